//! Publishes topics: publications, their sockets, shared rings. Layer: engine. Called by user threads,
//! under the lock of `topics`.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{
    Place, Published, PublisherLink, TopicError, Topics, interface_of, place_of, udp_settings,
};
use crate::config::{
    Carrier, FlowControl, SlowConsumer, Template, TopicRoute, Transport, UdpSettings,
};
use crate::counters::{PublisherColumn, Row};
use crate::discovery::Advert;
use crate::discovery::presence::Pace;
use crate::engine::Engine;
use crate::engine::conductor::Command as ConductorCommand;
use crate::engine::heartbeats::Activation;
use crate::engine::matches::Matches;
use crate::engine::matching::{LocalPublisher, PublisherPath, ring_name};
use crate::engine::publication::{Attention, Publication, PublicationParts};
use crate::engine::ring_publication::RingPublication;
use crate::engine::send_socket::{Opener, SendSocket};
use crate::id::SessionId;
use crate::listener::{ConnectionSink, HeartbeatParameters};
use crate::protocol::flow_control::{FlowSettings, Strategy};
use crate::ring::Layout;
use crate::ring::shared::{Description, SharedRing};
use crate::transport::accept_barriers;
use crate::wire::advert::AdvertKind;
use crate::wire::locator::Locator;

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
        let row = self.counters.row(topic, &place_of(&route));
        let matches = Arc::new(Matches::counted(row.level(PublisherColumn::Subscribers)));
        let template = route.settings();
        let (published, path, locator) = match &template.carrier {
            Carrier::Multicast { .. } | Carrier::Unicast { .. } => {
                self.publish_udp(&mut topics, &route, Arc::clone(&matches), row)?
            }
            Carrier::Ipc => self.publish_ring(&route, Arc::clone(&matches), row)?,
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
        row: Row<PublisherColumn>,
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
                let opened = self.open_publication(topics, route, stream, group)?;
                topics.publications.insert(place.clone(), (Arc::clone(&opened), 1));
                opened
            }
        };
        let path = match group {
            Some(address) => PublisherPath::Multicast {
                publication: Arc::clone(&publication),
                group: Locator { address, stream },
            },
            None => PublisherPath::Unicast {
                publication: Arc::clone(&publication),
                from: Locator { address: publication.local_address(), stream },
            },
        };
        let locator = match &path {
            PublisherPath::Multicast { group: locator, .. }
            | PublisherPath::Unicast { from: locator, .. } => Some(*locator),
            PublisherPath::Ring(_) => None,
        };
        let published = Published {
            topic: Arc::from(route.topic()),
            hash: route.topic_hash(),
            transport: route.transport(),
            session: publication.session(),
            index: publication.add_publisher(),
            matches,
            row,
            link: PublisherLink::Udp(publication),
            idle: self.config.pollers[route.settings().poller].idle,
            place: Some(place),
        };
        Ok((published, path, locator))
    }

    fn open_publication(
        &self,
        topics: &mut Topics,
        route: &TopicRoute<'_>,
        stream: u32,
        group: Option<SocketAddr>,
    ) -> Result<Arc<Publication>, TopicError> {
        let template = route.settings();
        let (udp, ttl) = udp_settings(template)?;
        let layout = Layout::for_window(template.packet_bytes, template.window_bytes);
        let socket = self.send_socket(topics, template, udp, ttl)?;
        if let Some(group) = group {
            socket
                .check_group(group)
                .map_err(|source| TopicError::Socket { template: template.name.clone(), source })?;
        }
        let parts = PublicationParts {
            socket,
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
        };
        let row = self.counters.row(&template.name, &place_of(route));
        let publication = Arc::new(Publication::new(parts, row));
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
        let key = (interface.address, interface.index, ttl);
        if let Some(socket) = topics.send_sockets.get(&key) {
            return Ok(Arc::clone(socket));
        }
        let opener = Opener { interface, ttl, options: self.socket_options.clone() };
        let socket = SendSocket::open(opener, Arc::clone(&self.counters))
            .map_err(|source| TopicError::Socket { template: template.name.clone(), source })?;
        let socket = Arc::new(socket);
        topics.send_sockets.insert(key, Arc::clone(&socket));
        self.tending.add_socket(Arc::clone(&socket));
        Ok(socket)
    }

    fn publish_ring(
        &self,
        route: &TopicRoute<'_>,
        matches: Arc<Matches>,
        row: Row<PublisherColumn>,
    ) -> Result<(Published, PublisherPath, Option<Locator>), TopicError> {
        let directory = self.directory.as_ref().map_err(TopicError::from)?;
        let template = route.settings();
        let session = SessionId::random();
        let description = Description {
            layout: Layout::for_shared_window(template.packet_bytes, template.window_bytes),
            topic: route.topic_hash(),
            session,
            instance: self.id,
            stream: 0,
        };
        let bytes = SharedRing::file_bytes(description.layout) as u64;
        let file = directory
            .create(&ring_name(self.id, session), bytes)
            .map_err(|error| TopicError::from(&error))?;
        file.bring_in(self.config.ipc.pages, &self.counters);
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
            row,
            link: PublisherLink::Ring(Box::new(publication)),
            idle: self.config.pollers[template.poller].idle,
            place: None,
        };
        Ok((published, PublisherPath::Ring(ring), None))
    }

    /// Has the conductor call the subscribers of a topic.
    pub(crate) fn activate_heartbeats(
        &self,
        published: &Published,
        parameters: HeartbeatParameters,
        sink: Arc<ConnectionSink>,
        connected: Arc<Matches>,
    ) {
        let HeartbeatParameters { rate, timeout, max_missed } = parameters;
        let pace = Pace { rate, timeout, max_missed };
        let activation = Activation { topic: published.hash, pace, sink, connected };
        self.conductor.submit(ConductorCommand::ActivateHeartbeats(activation));
    }

    pub(crate) fn deactivate_heartbeats(&self, published: &Published) {
        self.conductor.submit(ConductorCommand::DeactivateHeartbeats(published.hash));
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
}
