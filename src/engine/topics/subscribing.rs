//! Subscribes to topics: endpoints, and where their feedback leaves. Layer: engine. Called by user
//! threads, under the lock of `topics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{
    Endpoint, Place, Subscribed, Subscription, TopicError, Topics, interface_of, place_of,
    udp_settings,
};
use crate::config::{Template, TopicRoute, Transport};
use crate::counters::SubscriptionColumn;
use crate::discovery::Advert;
use crate::engine::Engine;
use crate::engine::conductor::Command as ConductorCommand;
use crate::engine::dispatch::{Ticket, TopicSubscription};
use crate::engine::endpoint::{EndpointId, SocketEndpoint};
use crate::engine::matches::Matches;
use crate::engine::matching::LocalSubscriber;
use crate::engine::poller::Command;
use crate::engine::start::receiver_options;
use crate::id::TopicHash;
use crate::listener::Listener;
use crate::protocol::receiver::ReceiveSettings;
use crate::ring::Layout;
use crate::transport::interface::Interface;
use crate::transport::udp::UdpSocket;
use crate::wire::advert::AdvertKind;
use crate::wire::locator::Locator;

impl Engine {
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
        let row = self.counters.row(topic, &place_of(&route));
        let matches = Arc::new(Matches::counted(row.level(SubscriptionColumn::Publishers)));
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
            row,
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
        let row = self.counters.row(&template.name, &format!("{} {address}", route.transport()));
        let endpoint = SocketEndpoint::new(id, socket, feedback, self.id, settings, row);
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
}
