//! What topics need: publications, endpoints, rings, adverts. Layer: engine. Called by user
//! threads, under one lock that no callback holds while it waits.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use thiserror::Error;

use super::Engine;
use super::conductor::Command as ConductorCommand;
use super::dispatch::{Ticket, TopicSubscription};
use super::endpoint::{EndpointId, SocketEndpoint};
use super::matches::Matches;
use super::matching::{LocalPublisher, LocalSubscriber, PublisherPath, ring_name};
use super::poller::Command;
use super::publication::{Attention, Publication, PublicationParts};
use super::ring_publication::RingPublication;
use super::send_socket::SendSocket;
use super::start::receiver_options;
use crate::config::{
    Carrier, FlowControl, IdleKind, RouteError, SlowConsumer, Template, TopicRoute, Transport,
    UdpSettings,
};
use crate::discovery::{Advert, AdvertiseError};
use crate::id::{SessionId, TopicHash};
use crate::listener::Listener;
use crate::protocol::flow_control::{FlowSettings, Strategy};
use crate::protocol::receiver::ReceiveSettings;
use crate::ring::Layout;
use crate::ring::shared::{Description, SharedRing};
use crate::transport::accept_barriers;
use crate::transport::interface::{Interface, InterfaceError, resolve};
use crate::transport::shm::ShmError;
use crate::transport::udp::{OpenError, UdpSocket};
use crate::wire::advert::AdvertKind;
use crate::wire::locator::Locator;

/// Why a topic cannot be published or subscribed to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum TopicError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("the instance is closed")]
    Closed,
    #[error("topic {topic:?} is in use here already")]
    InUse { topic: String },
    #[error("[[template]] {template:?} interface")]
    Interface { template: String, source: InterfaceError },
    #[error("[[template]] {template:?} socket")]
    Socket { template: String, source: OpenError },
    #[error("shared memory is not available: {reason}")]
    SharedMemory { reason: String },
    #[error(transparent)]
    Advertise(#[from] AdvertiseError),
}

impl From<&ShmError> for TopicError {
    fn from(error: &ShmError) -> Self {
        Self::SharedMemory { reason: error.to_string() }
    }
}

/// Topics of this instance, and what they share.
#[derive(Default)]
pub(super) struct Topics {
    published: HashSet<TopicHash>,
    subscribed: HashMap<TopicHash, Subscription>,
    publications: HashMap<Place, (Arc<Publication>, usize)>,
    endpoints: HashMap<Place, Endpoint>,
    send_sockets: HashMap<(Ipv4Addr, u8), Arc<SendSocket>>,
    /// By interface: feedback to the senders of multicast.
    feedback_sockets: HashMap<Ipv4Addr, Arc<UdpSocket>>,
    next_endpoint: u32,
    next_ticket: u64,
}

/// Where a topic's data travels: what topics of one template share when they agree on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    template: String,
    group: Option<Ipv4Addr>,
    /// Of unicast, the port that is preferred.
    port: u16,
    /// For publications; endpoints serve all streams.
    stream: Option<u32>,
}

struct Endpoint {
    id: EndpointId,
    address: SocketAddr,
    topics: usize,
}

struct Subscription {
    poller: usize,
    place: Option<Place>,
    closed: Arc<AtomicBool>,
}

/// A topic that is being published.
pub(crate) struct Published {
    pub(crate) topic: Arc<str>,
    pub(crate) hash: TopicHash,
    pub(crate) transport: Transport,
    pub(crate) session: SessionId,
    pub(crate) index: u32,
    pub(crate) matches: Arc<Matches>,
    pub(crate) link: PublisherLink,
    /// How callers wait for room.
    pub(crate) idle: IdleKind,
    place: Option<Place>,
}

/// What a publisher writes to.
pub(crate) enum PublisherLink {
    Udp(Arc<Publication>),
    Ring(Box<RingPublication>),
}

/// A topic that is being listened to.
pub(crate) struct Subscribed {
    pub(crate) topic: Arc<str>,
    pub(crate) hash: TopicHash,
    pub(crate) transport: Transport,
    /// Where its data arrives; `None` for shared memory.
    pub(crate) locator: Option<Locator>,
    pub(crate) matches: Arc<Matches>,
}

impl Engine {
    /// Opens what publishing a topic needs, and tells discovery.
    ///
    /// # Errors
    ///
    /// [`TopicError`]; nothing is left open.
    pub(crate) fn publish(&self, topic: &str) -> Result<Published, TopicError> {
        let route = self.config.route(topic)?;
        let hash = route.topic_hash();
        let mut topics = self.topics.lock();
        if self.is_closed() {
            return Err(TopicError::Closed);
        }
        if topics.published.contains(&hash) {
            return Err(TopicError::InUse { topic: topic.to_owned() });
        }
        let matches = Arc::new(Matches::default());
        let template = route.settings();
        let (published, path, locator) = match &template.carrier {
            Carrier::Multicast { .. } | Carrier::Unicast { .. } => {
                self.publish_udp(&mut topics, &route, Arc::clone(&matches))?
            }
            Carrier::Ipc => self.publish_ring(&route, Arc::clone(&matches))?,
        };
        let advert = Advert {
            kind: AdvertKind::Publisher,
            transport: route.transport(),
            topic: Arc::clone(&published.topic),
            hash,
            locator,
            session: matches!(template.carrier, Carrier::Ipc).then_some(published.session),
        };
        let publisher = LocalPublisher { topic: Arc::clone(&published.topic), hash, matches, path };
        let told = self.tell(|reply| ConductorCommand::Publish { advert, publisher, reply });
        if let Err(error) = told {
            self.release_publication(&mut topics, published.place.as_ref());
            return Err(error);
        }
        topics.published.insert(hash);
        Ok(published)
    }

    fn publish_udp(
        &self,
        topics: &mut Topics,
        route: &TopicRoute<'_>,
        matches: Arc<Matches>,
    ) -> Result<(Published, PublisherPath, Option<Locator>), TopicError> {
        let place = Place::of(route, route.stream());
        let stream = route.stream().unwrap_or_default();
        let group = route.address().map(|address| SocketAddr::from((address, place.port)));
        let publication = match topics.publications.get_mut(&place) {
            Some((publication, publishers)) => {
                *publishers += 1;
                Arc::clone(publication)
            }
            None => {
                let opened = self.open_publication(topics, route.settings(), stream, group)?;
                topics.publications.insert(place.clone(), (Arc::clone(&opened), 1));
                opened
            }
        };
        let path = match group {
            Some(address) => PublisherPath::Multicast {
                publication: Arc::clone(&publication),
                group: Locator { address, stream },
            },
            None => PublisherPath::Unicast { publication: Arc::clone(&publication), stream },
        };
        let published = Published {
            topic: Arc::from(route.topic()),
            hash: route.topic_hash(),
            transport: route.transport(),
            session: publication.session(),
            index: publication.add_publisher(),
            matches,
            link: PublisherLink::Udp(publication),
            idle: self.config.pollers[route.settings().poller].idle,
            place: Some(place),
        };
        Ok((published, path, group.map(|address| Locator { address, stream })))
    }

    fn open_publication(
        &self,
        topics: &mut Topics,
        template: &Template,
        stream: u32,
        group: Option<SocketAddr>,
    ) -> Result<Arc<Publication>, TopicError> {
        let (udp, ttl) = udp_settings(template)?;
        let layout = Layout::for_window(template.packet_bytes, template.window_bytes);
        let publication = Arc::new(Publication::new(PublicationParts {
            socket: self.send_socket(topics, template, udp, ttl)?,
            instance: self.id,
            stream,
            layout,
            flow: FlowSettings {
                strategy: match udp.flow_control {
                    FlowControl::Min => Strategy::Min,
                    FlowControl::Max => Strategy::Max,
                    FlowControl::Tagged(tag) => Strategy::Tagged(tag),
                },
                drops_slow: template.slow_consumer == SlowConsumer::Drop,
                window_packets: layout.window_packets(template.window_bytes),
                timeout: udp.receiver_timeout,
            },
            group,
            attention: Arc::clone(&self.conductor) as Arc<dyn Attention>,
            counters: Arc::clone(&self.counters),
            clock: self.clock,
        }));
        self.tending.add_publication(Arc::clone(&publication));
        Ok(publication)
    }

    fn send_socket(
        &self,
        topics: &mut Topics,
        template: &Template,
        udp: &UdpSettings,
        ttl: u8,
    ) -> Result<Arc<SendSocket>, TopicError> {
        let interface = interface_of(template, udp)?;
        let key = (interface.address, ttl);
        if let Some(socket) = topics.send_sockets.get(&key) {
            return Ok(Arc::clone(socket));
        }
        let socket = UdpSocket::open_sender(&interface, ttl, &self.socket_options)
            .map_err(|source| TopicError::Socket { template: template.name.clone(), source })?;
        let socket = Arc::new(SendSocket::new(socket, Arc::clone(&self.counters)));
        topics.send_sockets.insert(key, Arc::clone(&socket));
        self.tending.add_socket(Arc::clone(&socket));
        Ok(socket)
    }

    fn publish_ring(
        &self,
        route: &TopicRoute<'_>,
        matches: Arc<Matches>,
    ) -> Result<(Published, PublisherPath, Option<Locator>), TopicError> {
        let directory = self.directory.as_ref().map_err(TopicError::from)?;
        let template = route.settings();
        let session = SessionId::random();
        let description = Description {
            layout: Layout::for_window(template.packet_bytes, template.window_bytes),
            topic: route.topic_hash(),
            session,
            instance: self.id,
            stream: 0,
        };
        let bytes = SharedRing::file_bytes(description.layout) as u64;
        let file = directory
            .create(&ring_name(self.id, session), bytes)
            .map_err(|error| TopicError::from(&error))?;
        let ring = SharedRing::create(file, description);
        if accept_barriers() {
            ring.accept_barriers();
        }
        let publication = RingPublication::new(
            ring.clone(),
            self.config.ipc.reader_timeout,
            template.slow_consumer == SlowConsumer::Drop,
            Arc::clone(&self.wake),
            Arc::clone(&self.counters),
            self.clock,
        );
        let published = Published {
            topic: Arc::from(route.topic()),
            hash: route.topic_hash(),
            transport: Transport::Ipc,
            session,
            index: 0,
            matches,
            link: PublisherLink::Ring(Box::new(publication)),
            idle: self.config.pollers[template.poller].idle,
            place: None,
        };
        Ok((published, PublisherPath::Ring(ring), None))
    }

    /// Ends publishing; what is still in the ring is sent. Never waits for callbacks.
    pub(crate) fn unpublish(&self, published: &Published) {
        let mut topics = self.topics.lock();
        if topics.published.remove(&published.hash) {
            self.conductor.submit(ConductorCommand::Unpublish(published.hash));
            self.release_publication(&mut topics, published.place.as_ref());
        }
    }

    fn release_publication(&self, topics: &mut Topics, place: Option<&Place>) {
        let Some(place) = place else { return };
        let Some((publication, publishers)) = topics.publications.get_mut(place) else { return };
        *publishers -= 1;
        if *publishers == 0 {
            self.tending.retire(publication);
            topics.publications.remove(place);
        }
    }

    /// Opens what listening to a topic needs, and tells discovery.
    ///
    /// # Errors
    ///
    /// [`TopicError`]; nothing is left open.
    pub(crate) fn subscribe(
        &self,
        topic: &str,
        listener: Box<dyn Listener>,
    ) -> Result<Subscribed, TopicError> {
        let route = self.config.route(topic)?;
        let (hash, template) = (route.topic_hash(), route.settings());
        let mut topics = self.topics.lock();
        if self.is_closed() {
            return Err(TopicError::Closed);
        }
        if topics.subscribed.contains_key(&hash) {
            return Err(TopicError::InUse { topic: topic.to_owned() });
        }
        let place = (template.transport() != Transport::Ipc).then(|| Place::of(&route, None));
        let (endpoint, address) = match &place {
            Some(place) => {
                let (id, address) = self.endpoint(&mut topics, &route, place)?;
                (id, Some(address))
            }
            None => {
                self.directory.as_ref().map_err(TopicError::from)?;
                (EndpointId::SHARED_MEMORY, None)
            }
        };
        let stream = route.stream().unwrap_or_default();
        let closed = Arc::new(AtomicBool::new(false));
        let name: Arc<str> = Arc::from(topic);
        let poller = self.poller(template.poller);
        let held = Subscription { poller: template.poller, place, closed: Arc::clone(&closed) };
        topics.subscribed.insert(hash, held);
        topics.next_ticket += 1;
        let ticket = Ticket(topics.next_ticket);

        let locator = address.map(|address| Locator { address, stream });
        let matches = Arc::new(Matches::default());
        let told = self.tell(|reply| ConductorCommand::Subscribe {
            advert: Advert {
                kind: AdvertKind::Subscriber,
                transport: route.transport(),
                topic: Arc::clone(&name),
                hash,
                locator,
                session: None,
            },
            subscriber: LocalSubscriber {
                topic: Arc::clone(&name),
                hash,
                matches: Arc::clone(&matches),
                transport: route.transport(),
                locator,
                poller: poller.clone(),
            },
            ticket,
            reply,
        });
        if let Err(error) = told {
            self.end_subscription(&mut topics, hash);
            return Err(error);
        }
        // After the conductor: it hears from the poller when the topic is being served.
        poller.submit(Command::Subscribe(Box::new(TopicSubscription {
            topic: Arc::clone(&name),
            hash,
            endpoint,
            stream,
            listener,
            closed,
            ticket,
        })));
        Ok(Subscribed { topic: name, hash, transport: route.transport(), locator, matches })
    }

    /// The socket for feedback to the senders of a group: the groups of an interface share it.
    fn feedback_socket(
        &self,
        topics: &mut Topics,
        template: &Template,
        interface: &Interface,
    ) -> Result<Arc<UdpSocket>, TopicError> {
        if let Some(socket) = topics.feedback_sockets.get(&interface.address) {
            return Ok(Arc::clone(socket));
        }
        let socket = UdpSocket::open_sender(interface, 0, &self.socket_options)
            .map_err(|source| TopicError::Socket { template: template.name.clone(), source })?;
        let socket = Arc::new(socket);
        topics.feedback_sockets.insert(interface.address, Arc::clone(&socket));
        Ok(socket)
    }

    /// The socket for a topic's data: the one that topics of the same place share, or a new one.
    fn endpoint(
        &self,
        topics: &mut Topics,
        route: &TopicRoute<'_>,
        place: &Place,
    ) -> Result<(EndpointId, SocketAddr), TopicError> {
        if let Some(endpoint) = topics.endpoints.get_mut(place) {
            endpoint.topics += 1;
            return Ok((endpoint.id, endpoint.address));
        }
        let template = route.settings();
        let (udp, _) = udp_settings(template)?;
        let interface = interface_of(template, udp)?;
        let options = receiver_options(&self.socket_options, template.window_bytes);
        let socket = match route.address() {
            Some(group) => UdpSocket::bind_multicast(&interface, group, place.port, &options),
            None => {
                let ports = udp.ports.candidates(place.port);
                UdpSocket::bind_unicast(&interface, ports, &options)
            }
        }
        .map_err(|source| TopicError::Socket { template: template.name.clone(), source })?;
        let address = match route.address() {
            Some(group) => SocketAddr::from((group, place.port)),
            None => socket.local_address().into(),
        };
        let id = EndpointId(EndpointId::FIRST_TOPIC + topics.next_endpoint);
        topics.next_endpoint += 1;
        let layout = Layout::for_window(template.packet_bytes, template.window_bytes);
        let settings = ReceiveSettings {
            is_group: route.address().is_some(),
            ..self.receive_settings(layout, template.window_bytes, udp.repair_timeout, &socket)
        };
        let feedback = match route.address() {
            Some(_) => Some(self.feedback_socket(topics, template, &interface)?),
            None => None,
        };
        let endpoint = SocketEndpoint::new(id, socket, feedback, self.id, settings);
        self.poller(template.poller).submit(Command::AddSocket(Box::new(endpoint)));
        topics.endpoints.insert(place.clone(), Endpoint { id, address, topics: 1 });
        Ok((id, address))
    }

    /// Ends listening. Returns after the callback in flight, if `wait` is set and this is not a
    /// thread that runs callbacks.
    pub(crate) fn unsubscribe(&self, subscribed: &Subscribed, wait: bool) {
        let finished = {
            let mut topics = self.topics.lock();
            self.conductor.submit(ConductorCommand::Unsubscribe(subscribed.hash));
            self.end_subscription(&mut topics, subscribed.hash)
        };
        if let Some(finished) = finished
            && wait
        {
            // Disconnects when the poller is done with the topic, or stopped altogether.
            let _ = finished.recv();
        }
    }

    fn end_subscription(
        &self,
        topics: &mut Topics,
        hash: TopicHash,
    ) -> Option<crossbeam_channel::Receiver<()>> {
        let subscription = topics.subscribed.remove(&hash)?;
        let poller = self.poller(subscription.poller);
        // The socket first: who waits for the subscription to end may take its port right after.
        if let Some(place) = subscription.place
            && let Some(endpoint) = topics.endpoints.get_mut(&place)
        {
            endpoint.topics -= 1;
            if endpoint.topics == 0 {
                poller.submit(Command::RemoveSocket(endpoint.id));
                topics.endpoints.remove(&place);
            }
        }
        poller.unsubscribe(hash, &subscription.closed)
    }

    /// Gives the conductor a command and waits for its answer; it never waits for user code.
    fn tell(
        &self,
        command: impl FnOnce(crossbeam_channel::Sender<Result<(), AdvertiseError>>) -> ConductorCommand,
    ) -> Result<(), TopicError> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.conductor.submit(command(reply));
        match answer.recv() {
            Ok(result) => Ok(result?),
            Err(_) => Err(TopicError::Closed),
        }
    }
}

impl Place {
    fn of(route: &TopicRoute<'_>, stream: Option<u32>) -> Self {
        Self {
            template: route.template().to_owned(),
            group: route.address(),
            port: route.port().unwrap_or_default(),
            stream,
        }
    }
}

fn udp_settings(template: &Template) -> Result<(&UdpSettings, u8), TopicError> {
    match &template.carrier {
        Carrier::Multicast { udp, ttl, .. } => Ok((udp, *ttl)),
        Carrier::Unicast { udp } => Ok((udp, 0)),
        Carrier::Ipc => Err(TopicError::SharedMemory { reason: "it has no sockets".to_owned() }),
    }
}

fn interface_of(template: &Template, udp: &UdpSettings) -> Result<Interface, TopicError> {
    resolve(&udp.interface)
        .map_err(|source| TopicError::Interface { template: template.name.clone(), source })
}
