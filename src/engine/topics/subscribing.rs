//! Subscribes to topics: endpoints, and where their feedback leaves. Layer: engine. Called by user
//! threads, under the lock of `topics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{
    Endpoint, Place, Subscribed, Subscription, TopicError, Topics, advertise_of, interface_of,
    place_of, udp_settings,
};
use crate::config::{Template, TopicRoute, Transport};
use crate::counters::SubscriptionColumn;
use crate::discovery::Advert;
use crate::engine::Engine;
use crate::engine::audience::{Member, Rank};
use crate::engine::callback;
use crate::engine::conductor::Command as ConductorCommand;
use crate::engine::dispatch::{Ticket, TopicSubscription};
use crate::engine::endpoint::{EndpointId, SocketEndpoint};
use crate::engine::matches::Matches;
use crate::engine::matching::LocalSubscriber;
use crate::engine::poller::Command;
use crate::engine::start::receiver_options;
use crate::id::ReceiverId;
use crate::listener::{ListenerHandle, SharedListener};
use crate::protocol::receiver::ReceiveSettings;
use crate::ring::Layout;
use crate::transport::interface::Interface;
use crate::transport::udp::{OpenError, UdpSocket};
use crate::wire::advert::AdvertKind;
use crate::wire::locator::Locator;

impl Engine {
    /// Listens to a topic. The first subscription to it opens what that needs, and tells discovery;
    /// those of patterns share it.
    ///
    /// # Errors
    ///
    /// [`TopicError`]; nothing is left open.
    pub(crate) fn subscribe(
        &self,
        topic: &str,
        listener: ListenerHandle,
    ) -> Result<Subscribed, TopicError> {
        self.listen(topic, Rank::DIRECT, Arc::default(), listener)
    }

    /// Listens to a topic for a pattern, until `closed` is set.
    ///
    /// # Errors
    ///
    /// [`TopicError`]; nothing is left open.
    pub(in crate::engine) fn join_topic(
        &self,
        topic: &str,
        rank: Rank,
        closed: &Arc<AtomicBool>,
        listener: &SharedListener,
    ) -> Result<Subscribed, TopicError> {
        let listener = ListenerHandle::Shared(listener.clone());
        self.listen(topic, rank, Arc::clone(closed), listener)
    }

    fn listen(
        &self,
        topic: &str,
        rank: Rank,
        closed: Arc<AtomicBool>,
        listener: ListenerHandle,
    ) -> Result<Subscribed, TopicError> {
        let route = self.config.route(topic)?;
        let hash = route.topic_hash();
        let is_direct = rank == Rank::DIRECT;
        self.poller(route.settings().poller).wait_for_room();
        let mut topics = self.topics.lock();
        if self.is_closed() {
            return Err(TopicError::Closed);
        }
        match topics.subscribed.get(&hash) {
            Some(subscription) if is_direct && subscription.is_direct => {
                return Err(TopicError::InUse { topic: topic.to_owned() });
            }
            Some(_) => {}
            None => self.open_subscription(&mut topics, &route)?,
        }
        topics.next_ticket += 1;
        let ticket = Ticket(topics.next_ticket);
        // Opened above, if it was not there.
        let Some(subscription) = topics.subscribed.get_mut(&hash) else {
            return Err(TopicError::Closed);
        };
        subscription.members += 1;
        subscription.is_direct |= is_direct;
        // After the conductor: it hears from the poller when the topic is being served.
        let command = Command::Subscribe(Box::new(TopicSubscription {
            topic: Arc::clone(&subscription.topic),
            hash,
            endpoint: subscription.endpoint,
            stream: subscription.stream,
            member: Member { ticket, rank, closed: Arc::clone(&closed), listener },
            opening: subscription.opening,
            row: subscription.row.share(),
        }));
        let refused = self.poller(subscription.poller).hand_over(command);
        let joined = (is_direct && subscription.members > 1).then(|| {
            let (done, joined) = crossbeam_channel::bounded(0);
            self.poller(subscription.poller).submit(Command::Pass(done));
            joined
        });
        let subscribed = Subscribed {
            topic: Arc::clone(&subscription.topic),
            hash,
            transport: subscription.transport,
            locator: subscription.locator,
            matches: Arc::clone(&subscription.matches),
            joined,
            ticket,
            closed,
            is_direct,
        };
        drop(topics);
        // The instance is being closed. A listener that holds handles lets go of topics.
        callback::discard(&self.counters, topic, refused);
        Ok(subscribed)
    }

    /// Opens what listening to a topic needs, and tells the conductor. Nobody listens yet.
    fn open_subscription(
        &self,
        topics: &mut Topics,
        route: &TopicRoute<'_>,
    ) -> Result<(), TopicError> {
        let (hash, template) = (route.topic_hash(), route.settings());
        let place = (template.transport() != Transport::Ipc).then(|| Place::of(route, None));
        let (endpoint, address) = match &place {
            Some(place) => {
                let (id, address) = self.endpoint(topics, route, place)?;
                (id, Some(address))
            }
            None => {
                self.directory.as_ref().map_err(TopicError::from)?;
                (EndpointId::SHARED_MEMORY, None)
            }
        };
        topics.next_ticket += 1;
        let row = self.counters.row(route.topic(), &place_of(route));
        let subscription = Subscription {
            topic: Arc::from(route.topic()),
            transport: route.transport(),
            locator: address
                .map(|address| Locator { address, stream: route.stream().unwrap_or_default() }),
            matches: Arc::new(Matches::counted(row.level(SubscriptionColumn::Publishers))),
            poller: template.poller,
            place,
            endpoint,
            stream: route.stream().unwrap_or_default(),
            opening: Ticket(topics.next_ticket),
            is_direct: false,
            members: 0,
            row,
        };
        let told = self.tell(|reply| ConductorCommand::Subscribe {
            advert: Advert {
                kind: AdvertKind::Subscriber,
                transport: subscription.transport,
                topic: Arc::clone(&subscription.topic),
                hash,
                locator: subscription.locator,
                session: None,
            },
            subscriber: LocalSubscriber {
                topic: Arc::clone(&subscription.topic),
                hash,
                matches: Arc::clone(&subscription.matches),
                transport: subscription.transport,
                locator: subscription.locator,
                poller: self.poller(subscription.poller).clone(),
            },
            ticket: subscription.opening,
            reply,
        });
        if let Err(error) = told {
            self.close_endpoint(topics, &subscription);
            return Err(error);
        }
        topics.subscribed.insert(hash, subscription);
        Ok(())
    }

    /// The socket for feedback to the senders of a group: the groups of an interface share it.
    fn feedback_socket(
        &self,
        topics: &mut Topics,
        template: &Template,
        interface: &Interface,
    ) -> Result<Arc<UdpSocket>, TopicError> {
        let key = (interface.address, interface.index);
        if let Some(socket) = topics.feedback_sockets.get(&key) {
            return Ok(Arc::clone(socket));
        }
        let socket = UdpSocket::open_sender(interface, 0, &self.socket_options)
            .map_err(|source| TopicError::Socket { template: template.name.clone(), source })?;
        let socket = Arc::new(socket);
        topics.feedback_sockets.insert(key, Arc::clone(&socket));
        Ok(socket)
    }

    /// The socket for a topic's data: the one that topics of the same place share, or a new one. Where
    /// others have the ports that are left of a range, one that this instance has there.
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
        };
        if matches!(socket, Err(OpenError::PortsTaken { .. }))
            && let Some(shared) = topics.nearest_endpoint(place)
        {
            let (id, address) = (shared.id, shared.address);
            topics.endpoints.insert(place.clone(), Endpoint { topics: 1, ..shared });
            return Ok((id, address));
        }
        let socket = socket
            .map_err(|source| TopicError::Socket { template: template.name.clone(), source })?;
        let port = socket.local_address().port();
        let address = match route.address() {
            Some(group) => SocketAddr::from((group, place.port)),
            None => advertise_of(template).of(socket.local_address(), udp.ports),
        };
        let id = EndpointId(EndpointId::FIRST_TOPIC + topics.next_endpoint);
        topics.next_endpoint += 1;
        let layout = Layout::for_window(template.packet_bytes, template.window_bytes);
        let settings = ReceiveSettings {
            is_group: route.address().is_some(),
            ..self.receive_settings(layout, template.window_bytes, udp.repair_timeout, &socket)
        };
        let receiver = ReceiverId { instance: self.id, port: address.port() };
        let feedback = match route.address() {
            Some(_) => Some(self.feedback_socket(topics, template, &interface)?),
            None => None,
        };
        let row = self.counters.row(&template.name, &format!("{} {address}", route.transport()));
        let endpoint = SocketEndpoint::new(id, socket, feedback, receiver, settings, row);
        self.poller(template.poller).submit(Command::AddSocket(Box::new(endpoint)));
        topics.endpoints.insert(place.clone(), Endpoint { id, address, port, topics: 1 });
        Ok((id, address))
    }

    /// Ends listening. Returns after the callback in flight, if `wait` is set and this is not a
    /// thread that runs callbacks.
    pub(crate) fn unsubscribe(&self, subscribed: &Subscribed, wait: bool) {
        let finished = self.leave_topic(&mut self.topics.lock(), subscribed);
        if let Some(finished) = finished
            && wait
        {
            // Disconnects when the poller is done with the topic, or stopped altogether.
            let _ = finished.recv();
        }
    }

    /// With the last subscription to the topic, what it needs is closed.
    fn leave_topic(
        &self,
        topics: &mut Topics,
        subscribed: &Subscribed,
    ) -> Option<crossbeam_channel::Receiver<()>> {
        let hash = subscribed.hash;
        let subscription = topics.subscribed.get_mut(&hash)?;
        let poller = self.poller(subscription.poller);
        subscription.members -= 1;
        if subscribed.is_direct {
            subscription.is_direct = false;
            // A pattern closes its subscriptions all at once.
            subscribed.closed.store(true, Ordering::SeqCst);
        }
        if subscription.members == 0
            && let Some(subscription) = topics.subscribed.remove(&hash)
        {
            self.conductor.submit(ConductorCommand::Unsubscribe(hash));
            self.close_endpoint(topics, &subscription);
        }
        poller.unsubscribe(hash, subscribed.ticket)
    }

    /// The socket goes before the listener: who waits for the subscription to end may take its port
    /// right after.
    fn close_endpoint(&self, topics: &mut Topics, subscription: &Subscription) {
        if let Some(place) = &subscription.place
            && let Some(endpoint) = topics.endpoints.get_mut(place)
        {
            endpoint.topics -= 1;
            if endpoint.topics > 0 {
                return;
            }
            let id = endpoint.id;
            topics.endpoints.remove(place);
            if topics.endpoints.values().all(|other| other.id != id) {
                self.poller(subscription.poller).submit(Command::RemoveSocket(id));
            }
        }
    }
}
