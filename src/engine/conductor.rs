//! The conductor: the one slow-path thread of an instance. Layer: engine.
//!
//! It moves discovery's datagrams, keeps matches up to date, and looks after publications that are
//! active: tails nobody follows up, heartbeats, silent receivers. It never runs user callbacks and
//! never waits for a poller.

mod link;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::{Events, Interest, Poll};

pub(super) use self::link::ALARM;
use self::link::{CONTROL, GROUP};
pub(crate) use self::link::{Command, ConductorLink, Mailroom};
use super::dispatch::Ticket;
use super::heartbeats::{Heartbeats, Outgoing};
use super::matching::{LocalSubscriber, Matching, MatchingParts};
use super::poller::PollerHandle;
use super::publication::Urgency;
use super::request_processor::RequestProcessor;
use super::resolver::Resolver;
use super::responses::Responses;
use super::tending::Tending;
use crate::config::Family;
use crate::counters::{Counter, Counters};
use crate::discovery::event::{self, PeerInfo};
use crate::discovery::{Advert, AdvertKey, AdvertiseError, Discovery, DiscoveryCounters, Target};
use crate::id::{InstanceId, TopicHash};
use crate::listener::{DownReason, Event, Peer, Side, TopicAdvert};
use crate::time::{Clock, Timestamp};
use crate::transport::Alarm;
use crate::transport::udp::{Destination, ReceiveBuffer, UdpSocket};
use crate::wire::advert::{AdvertKind, MAX_DISCOVERY_BYTES};
use crate::wire::roll::Roll;

/// Pause between two looks at active publications: the bound on how long a tail that nobody follows
/// up can wait, scheduling apart.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Pause between two looks at publications that have sent everything: coarser, so that a thread that
/// sends and receives all the time is rarely disturbed.
const HEARTBEAT_TICK: Duration = Duration::from_millis(4);
/// How often dead readers and writers of rings are looked for.
const RECLAIM_INTERVAL: Duration = Duration::from_millis(100);
/// How often rows of counters without a place in the table are summed up, however often something
/// happens: there is one for each of thousands of topics.
const SETTLE_INTERVAL: Duration = Duration::from_millis(10);
/// The conductor looks around at least this often.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Datagrams read from one socket, or sent, before the rest of the cycle gets its turn.
pub(super) const BURST: usize = 256;
/// An instance that closes waits this long for receivers to confirm what it has sent: dozens of
/// round trips on a local network, and not long for a person.
const CLOSE_LINGER: Duration = Duration::from_millis(500);
/// A goodbye is not repeated later, so it is said more than once.
pub(super) const GOODBYES: usize = 2;

/// The sockets of discovery.
pub(crate) struct DiscoverySockets {
    /// Everything is sent from here, to the group as well.
    pub(crate) control: UdpSocket,
    /// The discovery group and its address, where the network has multicast.
    pub(crate) group: Option<(UdpSocket, Destination)>,
}

impl DiscoverySockets {
    /// Has a poll report what arrives.
    ///
    /// # Errors
    ///
    /// What the operating system says when a socket cannot be polled.
    pub(super) fn register(&self, poll: &Poll) -> io::Result<()> {
        poll.registry().register(&mut &self.control, CONTROL, Interest::READABLE)?;
        if let Some((group, _)) = &self.group {
            poll.registry().register(&mut &*group, GROUP, Interest::READABLE)?;
        }
        Ok(())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &UdpSocket> {
        [&self.control].into_iter().chain(self.group.as_ref().map(|(group, _)| group))
    }

    /// Sends one datagram. False when that fails: discovery repeats what matters.
    pub(super) fn send(&self, target: Target, bytes: &[u8]) -> bool {
        let unicast;
        let destination = match target {
            Target::Group => match &self.group {
                Some((_, address)) => address,
                None => return true,
            },
            Target::Unicast(address) => {
                unicast = self.control.destination(address);
                &unicast
            }
        };
        let sent = self.control.send_run(Some(destination), bytes, bytes.len());
        if let Err(error) = &sent {
            tracing::debug!(%error, ?target, "a discovery datagram was not sent");
        }
        sent.is_ok()
    }
}

/// What the conductor needs from its instance.
pub(crate) struct ConductorParts {
    pub(crate) instance: InstanceId,
    pub(crate) discovery: Discovery,
    /// The daemons, as they are configured.
    pub(crate) daemons: Vec<Arc<str>>,
    /// Looks up those that have names, and how often it is to.
    pub(crate) resolver: Option<(Resolver, Duration)>,
    pub(crate) sockets: DiscoverySockets,
    pub(crate) matching: MatchingParts,
    pub(crate) pollers: Vec<PollerHandle>,
    pub(crate) requests: Arc<RequestProcessor>,
    pub(crate) responses: Arc<Responses>,
    pub(crate) tending: Arc<Tending>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
}

/// Starts the conductor's thread.
///
/// # Errors
///
/// What the operating system says when a socket cannot be polled or it gives no thread.
pub(crate) fn start(mailroom: Mailroom, parts: ConductorParts) -> io::Result<JoinHandle<()>> {
    parts.sockets.register(&mailroom.poll)?;
    let alarm = Alarm::open(&mailroom.poll, ALARM)?;
    let conductor = Conductor {
        queue: mailroom.queue,
        poll: mailroom.poll,
        alarm,
        events: Events::with_capacity(16),
        matching: Matching::new(parts.matching),
        heartbeats: Heartbeats::new(
            parts.instance,
            Arc::clone(&parts.requests),
            Arc::clone(&parts.counters),
        ),
        instance: parts.instance,
        discovery: parts.discovery,
        daemons: parts.daemons,
        resolver: parts.resolver,
        resolve_at: Timestamp::default(),
        sockets: parts.sockets,
        pollers: parts.pollers,
        requests: parts.requests,
        responses: parts.responses,
        tending: parts.tending,
        counters: parts.counters,
        clock: parts.clock,
        counted: DiscoveryCounters::default(),
        own: HashMap::new(),
        joining: HashMap::new(),
        buffer: ReceiveBuffer::new(),
        outgoing: Vec::with_capacity(MAX_DISCOVERY_BYTES),
        reclaimed_at: Timestamp::default(),
        settled_at: Timestamp::default(),
        tend_at: Timestamp::NEVER,
        leaving_until: None,
        busy: false,
    };
    thread::Builder::new().name("vega-conductor".to_owned()).spawn(move || conductor.run())
}

struct Conductor {
    queue: Receiver<Command>,
    poll: Poll,
    alarm: Alarm,
    events: Events,
    instance: InstanceId,
    discovery: Discovery,
    daemons: Vec<Arc<str>>,
    resolver: Option<(Resolver, Duration)>,
    resolve_at: Timestamp,
    sockets: DiscoverySockets,
    matching: Matching,
    heartbeats: Heartbeats,
    pollers: Vec<PollerHandle>,
    requests: Arc<RequestProcessor>,
    responses: Arc<Responses>,
    tending: Arc<Tending>,
    counters: Arc<Counters>,
    clock: Clock,
    counted: DiscoveryCounters,
    /// Adverts of this instance.
    own: HashMap<(TopicHash, AdvertKind), (AdvertKey, Arc<Advert>)>,
    /// Subscriptions that their pollers do not serve yet. Others hear of a subscriber only when
    /// nothing that they send then can be missed.
    joining: HashMap<TopicHash, (Ticket, Advert, LocalSubscriber)>,
    buffer: ReceiveBuffer,
    outgoing: Vec<u8>,
    reclaimed_at: Timestamp,
    settled_at: Timestamp,
    /// When publications have something to say, should nothing else happen.
    tend_at: Timestamp,
    /// The instance closes: then at the latest.
    leaving_until: Option<Timestamp>,
    /// Something was left for the next cycle.
    busy: bool,
}

impl Conductor {
    fn run(mut self) {
        loop {
            self.wait();
            self.busy = false;
            let now = self.clock.now();
            self.receive(now);
            if self.take_commands(now) {
                self.leaving_until.get_or_insert(now + CLOSE_LINGER);
                self.tending.forget(self.instance);
            }
            self.discovery.handle_timeout(now);
            self.look_up_daemons(now);
            self.take_events(now);
            self.transmit(now);
            self.matching.service(now);
            self.beat(now);
            self.service_publications(now);
            if self.matching.has_rings() && now.since(self.reclaimed_at) >= RECLAIM_INTERVAL {
                self.reclaimed_at = now;
                self.matching.reclaim(now);
            }
            self.count();
            if now.since(self.settled_at) >= SETTLE_INTERVAL {
                self.settled_at = now;
                self.counters.settle();
            }
            if self.leaving_until.is_some_and(|until| until <= now || !self.tending.owes()) {
                break;
            }
        }
        self.leave();
    }

    fn wait(&mut self) {
        let now = self.clock.now();
        let deadline = self.discovery.next_deadline().min(self.matching.next_deadline());
        let deadline = deadline.min(self.heartbeats.next_deadline());
        let mut timeout = deadline.since(now).min(LONGEST_WAIT);
        if self.matching.has_rings() {
            timeout = timeout.min(RECLAIM_INTERVAL);
        }
        let urgency = self.tending.urgency();
        timeout = match urgency {
            Urgency::Settled => timeout,
            Urgency::Unconfirmed => timeout.min(HEARTBEAT_TICK),
            Urgency::Waiting | Urgency::Streaming => timeout.min(TICK),
        };
        // Whoever streams keeps the timers of repairs, too.
        let is_kept = urgency == Urgency::Streaming || !self.tending.is_left_to_conductor();
        if !is_kept || self.leaving_until.is_some() {
            timeout = timeout.min(self.tend_at.since(now));
        }
        if self.resolver.is_some() {
            timeout = timeout.min(self.resolve_at.since(now));
        }
        if self.sockets.all().any(UdpSocket::is_holding) || self.tending.is_holding() {
            timeout = timeout.min(TICK);
        }
        if self.busy {
            timeout = Duration::ZERO;
        }
        if let Err(error) = self.alarm.poll(&mut self.poll, &mut self.events, timeout) {
            self.counters.add(Counter::ReceiveErrors, 1);
            tracing::error!(%error, "polling failed");
        }
    }

    /// Reads both sockets; what is left after a burst is read in the next cycle.
    fn receive(&mut self, now: Timestamp) {
        for socket in self.sockets.all() {
            for count in 0..=BURST {
                let received = match socket.recv(&mut self.buffer) {
                    Ok(Some(received)) => received,
                    Ok(None) => break,
                    Err(error) => {
                        self.counters.add(Counter::ReceiveErrors, 1);
                        tracing::debug!(%error, "receive failed");
                        break;
                    }
                };
                if received.bytes().is_empty() {
                    self.counters.add(Counter::Malformed, 1);
                }
                let source = received.source();
                for datagram in received.segments() {
                    if Roll::is_one(datagram) {
                        self.heartbeats.handle_datagram(source, datagram, &self.matching);
                        continue;
                    }
                    // Counted there; nothing else is to be done about it.
                    let _ = self.discovery.handle_datagram(now, source, datagram);
                }
                self.busy |= count == BURST;
            }
        }
    }

    /// True when the conductor is to stop.
    fn take_commands(&mut self, now: Timestamp) -> bool {
        while let Ok(command) = self.queue.try_recv() {
            match command {
                Command::Publish { advert, publisher, reply } => {
                    let result = self.advertise(advert, now, |matching| {
                        matching.add_publisher(publisher, now);
                    });
                    // Nobody waits any more when the instance was closed meanwhile.
                    let _ = reply.send(result);
                }
                Command::Subscribe { advert, subscriber, ticket, reply } => {
                    let result = self.discovery.check(&advert);
                    if result.is_ok() {
                        self.joining.insert(advert.hash, (ticket, advert, subscriber));
                    }
                    let _ = reply.send(result);
                }
                Command::Listening(hash, ticket) => self.join(hash, ticket, now),
                Command::Unpublish(hash) => {
                    self.heartbeats.remove(hash);
                    self.matching.remove_publisher(hash);
                    self.withdraw(hash, AdvertKind::Publisher);
                }
                Command::Unsubscribe(hash) => {
                    self.joining.remove(&hash);
                    self.matching.remove_subscriber(hash);
                    self.withdraw(hash, AdvertKind::Subscriber);
                }
                Command::RingLost(session, delivery) => {
                    self.matching.ring_lost(session, delivery, now);
                }
                Command::ActivateHeartbeats(activation) => {
                    let subscribers = self.matching.subscribers(activation.topic);
                    self.heartbeats.activate(activation, subscribers, now);
                }
                Command::DeactivateHeartbeats(hash) => self.heartbeats.deactivate(hash),
                Command::LookedUp(call) => {
                    if let Some(answer) = self.heartbeats.handle_looked_up(*call) {
                        self.send_roll(&answer);
                    }
                }
                Command::WatchTopics(watch) => self.matching.watch(watch),
                Command::Peers(reply) => {
                    let peers = self.discovery.peers().map(peer).collect();
                    let _ = reply.send(peers);
                }
                Command::Adverts(reply) => {
                    let adverts = self.discovery.adverts().map(topic_advert).collect();
                    let _ = reply.send(adverts);
                }
                Command::Daemons(reply) => {
                    let _ = reply.send(self.discovery.daemons_up().collect());
                }
                Command::DaemonMoved(index, address) => {
                    self.discovery.daemon_moved(index, address, now);
                }
                Command::Stop => return true,
            }
        }
        false
    }

    fn join(&mut self, hash: TopicHash, ticket: Ticket, now: Timestamp) {
        // It may have ended meanwhile, and another one begun.
        let is_current = self.joining.get(&hash).is_some_and(|(current, ..)| *current == ticket);
        if is_current && let Some((_, advert, subscriber)) = self.joining.remove(&hash) {
            let topic = Arc::clone(&advert.topic);
            let joined = self.advertise(advert, now, |matching| {
                matching.add_subscriber(subscriber, now);
            });
            if let Err(error) = joined {
                // Only a peer that took the hash since the subscription was accepted can do that.
                self.counters.add(Counter::TopicConflicts, 1);
                tracing::warn!(%topic, %error, "a subscription is not advertised");
                let reason =
                    "a peer has taken its hash for another topic: nobody hears of this one";
                self.requests.tell(Event::TopicConflict(topic, self.instance, reason));
            }
        }
    }

    fn advertise(
        &mut self,
        advert: Advert,
        now: Timestamp,
        add: impl FnOnce(&mut Matching),
    ) -> Result<(), AdvertiseError> {
        let key = self.discovery.advertise(advert.clone())?;
        let advert = Arc::new(advert);
        add(&mut self.matching);
        self.own.insert((advert.hash, advert.kind), (key, Arc::clone(&advert)));
        self.matching.advertised(self.instance, &advert, now);
        Ok(())
    }

    fn withdraw(&mut self, hash: TopicHash, kind: AdvertKind) {
        if let Some((key, advert)) = self.own.remove(&(hash, kind)) {
            self.discovery.withdraw(key);
            self.matching.withdrawn(self.instance, &advert);
        }
    }

    fn take_events(&mut self, now: Timestamp) {
        while let Some(event) = self.discovery.poll_event() {
            match event {
                event::Event::InstanceUp(info) => {
                    self.responses.learn(info.instance, info.responses.address);
                    self.matching.instance_up(info.instance, info.host);
                    self.heartbeats.instance_up(info.instance, info.control.address);
                    self.requests.tell(Event::InstanceUp(peer(&info)));
                    self.tell_what_is_out_of_reach(&info);
                }
                event::Event::InstanceDown { peer: info, reason } => {
                    self.responses.forget(info.instance);
                    self.matching.instance_down(info.instance, &self.pollers);
                    self.heartbeats.instance_down(info.instance);
                    self.requests.tell(Event::InstanceDown(peer(&info), down_reason(reason)));
                }
                event::Event::Advertised { instance, advert, .. } => {
                    self.matching.advertised(instance, &advert, now);
                }
                event::Event::Withdrawn { instance, advert, .. } => {
                    self.matching.withdrawn(instance, &advert);
                }
                event::Event::TopicCollision { instance, held, refused, .. } => {
                    self.counters.add(Counter::TopicConflicts, 1);
                    tracing::warn!(%instance, %held, %refused, "two topics have the same hash");
                    let reason = "another topic with the same hash";
                    self.requests.tell(Event::TopicConflict(held, instance, reason));
                }
                event::Event::Overflow(limit) => {
                    tracing::warn!(?limit, "discovery holds as much as it may");
                }
                event::Event::DaemonUp { index, address, daemon } => {
                    let name = &self.daemons[index];
                    tracing::info!(daemon = %name, %address, id = %daemon, "a discovery daemon is up");
                    self.requests.tell(Event::DaemonUp(Arc::clone(name)));
                }
                event::Event::DaemonDown { index } => {
                    let name = &self.daemons[index];
                    tracing::warn!(daemon = %name, "a discovery daemon answers no more");
                    self.requests.tell(Event::DaemonDown(Arc::clone(name)));
                }
                event::Event::DuplicateIdentity { source } => {
                    tracing::error!(%source, "somebody else uses the identity of this instance");
                }
            }
        }
    }

    /// A socket reaches addresses of its own family only.
    fn tell_what_is_out_of_reach(&self, info: &PeerInfo) {
        for (here, there, reason) in [
            (
                self.sockets.control.family(),
                info.control,
                "[control] sockets of different address families: its topics are not found",
            ),
            (
                self.responses.family(),
                info.responses,
                "[responses] sockets of different address families: requests get no answers",
            ),
        ] {
            if Family::of_socket(there.address) != here {
                self.counters.add(Counter::PeerConflicts, 1);
                let (instance, name) = (info.instance, &info.name);
                tracing::warn!(%instance, %name, there = %there.address, here = %here, reason);
                self.requests.tell(Event::PeerConflict(peer(info), reason));
            }
        }
    }

    /// Has the names of daemons looked up while one of them does not answer.
    fn look_up_daemons(&mut self, now: Timestamp) {
        let Some((resolver, pause)) = &self.resolver else { return };
        if self.resolve_at <= now {
            self.resolve_at = now + *pause;
            if self.discovery.daemons_up().count() < self.daemons.len() {
                resolver.ask();
            }
        }
    }

    fn transmit(&mut self, now: Timestamp) {
        for _ in 0..BURST {
            let Some(target) = self.discovery.poll_transmit(now, &mut self.outgoing) else {
                return;
            };
            self.send(target);
        }
        self.busy = true;
    }

    fn send(&self, target: Target) {
        if !self.sockets.send(target, &self.outgoing) {
            self.counters.add(Counter::SendErrors, 1);
        }
    }

    /// Calls subscribers, and tells who answers.
    fn beat(&mut self, now: Timestamp) {
        let changes = self.matching.take_subscriber_changes();
        self.heartbeats.service(changes, now);
        for _ in 0..BURST {
            let Some(call) = self.heartbeats.poll_call(&self.matching) else { return };
            self.send_roll(&call);
        }
        self.busy = true;
    }

    fn send_roll(&mut self, Outgoing { to, roll }: &Outgoing) {
        roll.encode(&mut self.outgoing);
        self.send(Target::Unicast(*to));
    }

    fn service_publications(&mut self, now: Timestamp) {
        self.tend_at = self.tending.service(now);
        self.tending.settle_wakes();
        self.tending.release(now);
    }

    /// Adds what discovery has counted since the last time.
    fn count(&mut self) {
        let (now, before) = (self.discovery.counters(), self.counted);
        self.counted = now;
        let counters = &self.counters;
        counters.add(Counter::DiscoverySent, now.packets_sent - before.packets_sent);
        counters.add(Counter::DiscoveryBytesSent, now.bytes_sent - before.bytes_sent);
        counters.add(Counter::DiscoveryReceived, now.packets_received - before.packets_received);
        let refused = |of: &DiscoveryCounters| of.peers_refused + of.adverts_refused;
        counters.add(Counter::DiscoveryRefused, refused(&now) - refused(&before));
        let (doubles, known) = (now.duplicate_identities, before.duplicate_identities);
        counters.add(Counter::DuplicateIdentities, doubles - known);
        counters.add(Counter::DaemonsLost, now.daemons_lost - before.daemons_lost);
        counters.add(Counter::Malformed, now.malformed - before.malformed);
        counters.set(Counter::Peers, now.peers);
    }

    /// Says goodbye.
    fn leave(mut self) {
        self.discovery.goodbye(GOODBYES);
        self.transmit(self.clock.now());
        self.count();
        self.counters.settle();
    }
}

/// An advert as users see it.
pub(super) fn topic_advert((instance, advert): (InstanceId, &Advert)) -> TopicAdvert {
    TopicAdvert {
        instance,
        topic: Arc::clone(&advert.topic),
        side: match advert.kind {
            AdvertKind::Publisher => Side::Publisher,
            AdvertKind::Subscriber => Side::Subscriber,
        },
        transport: advert.transport,
        place: advert.locator.map(|locator| (locator.address, locator.stream)),
    }
}

pub(super) fn peer(info: &PeerInfo) -> Peer {
    Peer {
        id: info.instance,
        name: Arc::clone(&info.name),
        control: info.control.address,
        responses: info.responses.address,
        refresh: info.interval,
        timeout: info.timeout,
        host: info.host,
    }
}

pub(super) const fn down_reason(reason: event::DownReason) -> DownReason {
    match reason {
        event::DownReason::Goodbye => DownReason::Goodbye,
        event::DownReason::Expired => DownReason::Expired,
    }
}
