//! Who else is there and what they publish and subscribe. Layer: discovery (sans-IO), above `wire`.
//! Owned by the conductor.
//!
//! No socket, clock, thread or lock: the owner moves bytes, time and events.
//!
//! # Contract
//!
//! 1. Hand every datagram of the discovery group and of the control socket that
//!    [`wire::advert`](crate::wire::advert) describes to [`Discovery::handle_datagram`]. Read the
//!    sockets dry before calling [`Discovery::handle_timeout`]: after a pause of the process, peers
//!    whose packets wait in a socket would count as silent.
//! 2. After any `handle_*`, [`Discovery::advertise`] or [`Discovery::withdraw`], call
//!    [`Discovery::poll_event`] and [`Discovery::poll_transmit`] until they return nothing.
//! 3. Send everything **from the control socket**, to the group as well: an ASK is answered to its
//!    source address, a daemon sends there, and our own packets are recognized by it. A datagram that cannot be sent may
//!    be dropped; that is a loss like any other.
//! 4. Call [`Discovery::handle_timeout`], then `poll_*`, when [`Discovery::next_deadline`] has come.
//!    It is in the past when something can leave at once.
//! 5. At the end call [`Discovery::goodbye`], and send what there is to send then.
//!
//! The adverts of this instance itself are never reported as events.
//!
//! # How it works
//!
//! Each instance keeps a log of the changes of its advertised set ([`log`]). New changes are
//! multicast at once; who misses some notices it by the change number or the digest in the next
//! ANNOUNCE and asks for the difference ([`peer`], [`registry`]), paced and bounded by [`feed`]. In
//! steady state all that is sent is one ANNOUNCE per instance and interval ([`announce`]).
//!
//! Where there is no multicast, what is meant for the group goes through daemons ([`daemons`]), each of
//! which is a [`relay`]; everything between two instances stays between them.

mod announce;
mod counters;
mod daemons;
pub(crate) mod event;
mod feed;
mod floor;
#[cfg(feature = "sim")]
mod inspect;
mod jitter;
mod log;
mod peer;
pub(crate) mod presence;
mod registry;
pub(crate) mod relay;
mod topics;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

pub(crate) use counters::DiscoveryCounters;

use self::announce::{Announcer, Due};
use self::daemons::{Daemons, Errand};
use self::event::{Event, EventQueue, PeerInfo};
use self::feed::{Feed, MAX_ANSWER_PAGES, Reception, STRANGER_PAGES};
use self::jitter::Jitter;
use self::log::{ChangeLog, Cursor};
use self::registry::{Registry, Sighting};
use self::topics::TopicTable;
use crate::config::{Config, DaemonAddress, DiscoveryConfig, Transport};
use crate::id::{InstanceId, SessionId, TopicHash};
use crate::time::Timestamp;
use crate::wire::WireError;
use crate::wire::advert::daemon::{DaemonView, HeardView};
use crate::wire::advert::{
    self, AdvertKind, Announce, Ask, ChangesView, DiscoveryView, MAX_TEXT_BYTES,
};
use crate::wire::locator::Locator;
use crate::wire::packet::{PacketKind, Prefix};

/// A shorter refresh interval is raised to this one: announcing is not a busy loop.
const MIN_REFRESH: Duration = Duration::from_millis(10);

/// Adverts of one instance, by default. Also the limit of what this instance may advertise.
pub(crate) const MAX_ADVERTS_PER_PEER: usize = 65_536;

/// Adverts of all peers together, by default; each takes a few hundred bytes.
pub(crate) const MAX_ADVERTS: usize = 1 << 20;

/// Datagrams are dropped while more events than this wait to be polled: an owner that does not poll
/// loses packets, which heal, and not memory.
const MAX_WAITING_EVENTS: usize = 65_536;

/// What an instance tells about itself. Does not change while it lives.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) instance: InstanceId,
    /// For people; cut at [`MAX_TEXT_BYTES`].
    pub(crate) name: Arc<str>,
    /// Where others reach the socket that everything is sent from and that takes unicast packets.
    pub(crate) control: Locator,
    /// The address of that socket here: where our own packets to the group come from.
    pub(crate) source: SocketAddr,
    pub(crate) responses: Locator,
    /// Equal on instances that can share memory.
    pub(crate) host: u64,
}

/// How often to speak and how much to remember.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Between two ANNOUNCEs, give or take 10 %. At least 10 ms.
    pub(crate) refresh: Duration,
    /// How long the others shall believe us alive after an ANNOUNCE. Several refresh intervals.
    pub(crate) timeout: Duration,
    pub(crate) max_peers: usize,
    pub(crate) max_adverts_per_peer: usize,
    pub(crate) max_adverts: usize,
}

impl Settings {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            refresh: config.discovery.refresh,
            timeout: config.discovery.timeout,
            max_peers: config.limits.max_peers,
            max_adverts_per_peer: MAX_ADVERTS_PER_PEER,
            max_adverts: MAX_ADVERTS,
        }
    }
}

/// What carries the packets that are for everybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carrier {
    /// The discovery group. Who hears it without having it here observes: it learns everything by
    /// asking, and nobody on the group ever learns of it.
    pub(crate) group: bool,
    /// The discovery daemons: `None` for one whose name is not resolved yet.
    pub(crate) daemons: Vec<Option<SocketAddr>>,
}

impl Carrier {
    /// The daemons of the configuration, and the group or not.
    pub(crate) fn of(config: &DiscoveryConfig, group: bool) -> Self {
        Self { group, daemons: config.daemons.iter().map(DaemonAddress::socket).collect() }
    }
}

/// One side of one topic, of this instance or another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advert {
    pub(crate) kind: AdvertKind,
    pub(crate) transport: Transport,
    /// 1 to [`MAX_TEXT_BYTES`] bytes.
    pub(crate) topic: Arc<str>,
    pub(crate) hash: TopicHash,
    /// Where the data arrives: the group of a multicast topic, the socket of a unicast subscriber.
    pub(crate) locator: Option<Locator>,
    /// Names, with the instance, the shared-memory file of an IPC publisher.
    pub(crate) session: Option<SessionId>,
}

/// Names an advert within its instance. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AdvertKey(u64);

impl fmt::Display for AdvertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The discovery group; never without one.
    Group,
    Unicast(SocketAddr),
}

/// Why a topic cannot be advertised.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum AdvertiseError {
    /// The name does not fit the wire format.
    #[error("topic name has {length} bytes (allowed: 1 to {MAX_TEXT_BYTES})")]
    TopicLength {
        /// Bytes of the name.
        length: usize,
    },
    /// This instance advertises as much as one instance may.
    #[error(
        "the instance advertises {limit} publishers and subscribers already (allowed: {limit})"
    )]
    Full {
        /// The limit.
        limit: usize,
    },
    /// Another topic, here or at a peer, has the same hash. One of them needs another name.
    #[error("topic \"{topic}\" has the same hash as the topic \"{held}\" that is in use")]
    HashCollision {
        /// The refused topic.
        topic: Arc<str>,
        /// The topic that has the hash.
        held: Arc<str>,
    },
}

/// What every part of discovery writes to.
#[derive(Debug, Default)]
struct Ledger {
    topics: TopicTable,
    events: EventQueue,
    counters: DiscoveryCounters,
}

/// Discovery of one instance. See the [module](self) for how to drive it.
#[derive(Debug)]
pub(crate) struct Discovery {
    identity: Identity,
    settings: Settings,
    jitter: Jitter,
    log: ChangeLog,
    announcer: Announcer,
    feed: Feed,
    registry: Registry,
    has_group: bool,
    daemons: Daemons,
    /// GOODBYEs to send. Once there have been any, nothing else is sent.
    farewells: Option<usize>,
    ledger: Ledger,
}

impl Discovery {
    /// The first ANNOUNCE is due at once. `seed` spreads the timers: it must differ between
    /// instances.
    pub(crate) fn new(
        identity: Identity,
        settings: Settings,
        carrier: &Carrier,
        seed: u64,
        now: Timestamp,
    ) -> Self {
        let refresh = settings.refresh.max(MIN_REFRESH);
        Self {
            has_group: carrier.group,
            daemons: Daemons::new(&carrier.daemons, refresh, now),
            farewells: None,
            jitter: Jitter::new(seed),
            log: ChangeLog::default(),
            announcer: Announcer::new(settings.refresh, now),
            feed: Feed::new(carrier.group),
            registry: Registry::new(&settings),
            ledger: Ledger::default(),
            identity,
            settings,
        }
    }

    /// Tells the others of a publisher or subscriber of this instance, with the next
    /// [`Self::poll_transmit`].
    ///
    /// # Errors
    ///
    /// When the topic name is empty or too long, when its hash belongs to another topic, or when
    /// this instance advertises `max_adverts_per_peer` already. Nothing is advertised then.
    pub(crate) fn advertise(&mut self, advert: Advert) -> Result<AdvertKey, AdvertiseError> {
        self.check_size(&advert)?;
        let length = advert.topic.len();
        if let Err(collision) = self.ledger.topics.hold(advert.hash, &advert.topic) {
            self.ledger.counters.topic_collisions += 1;
            let held = collision.held;
            return Err(AdvertiseError::HashCollision { topic: advert.topic, held });
        }
        // The wire refuses nothing but the length, which has been checked above.
        self.log.add(&advert).map_err(|_| AdvertiseError::TopicLength { length })
    }

    /// Whether [`Self::advertise`] would accept the advert now.
    ///
    /// # Errors
    ///
    /// As [`Self::advertise`].
    pub(crate) fn check(&self, advert: &Advert) -> Result<(), AdvertiseError> {
        self.check_size(advert)?;
        match self.ledger.topics.name_of(advert.hash) {
            Some(held) if *held != advert.topic => {
                let (topic, held) = (Arc::clone(&advert.topic), Arc::clone(held));
                Err(AdvertiseError::HashCollision { topic, held })
            }
            _ => Ok(()),
        }
    }

    fn check_size(&self, advert: &Advert) -> Result<(), AdvertiseError> {
        let limit = self.settings.max_adverts_per_peer;
        if self.log.len() >= limit {
            return Err(AdvertiseError::Full { limit });
        }
        let length = advert.topic.len();
        if length == 0 || length > MAX_TEXT_BYTES {
            return Err(AdvertiseError::TopicLength { length });
        }
        Ok(())
    }

    /// Takes back an advert; does nothing when that has happened before.
    pub(crate) fn withdraw(&mut self, key: AdvertKey) {
        if let Some(hash) = self.log.remove(key) {
            self.ledger.topics.release(hash);
        }
    }

    /// Takes one datagram. Work and events are bounded by its length and by the adverts held of
    /// its sender.
    ///
    /// # Errors
    ///
    /// When it is not a discovery packet; it is counted and has no effect.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), WireError> {
        let counters = &mut self.ledger.counters;
        counters.packets_received += 1;
        counters.bytes_received += bytes.len() as u64;
        if self.ledger.events.len() >= MAX_WAITING_EVENTS {
            counters.overruns += 1;
            return Ok(());
        }
        let handled = match Prefix::decode(bytes).map(|prefix| prefix.kind) {
            Ok(PacketKind::Ticket | PacketKind::Heard) => self.handle_daemon(now, source, bytes),
            _ => self.handle_instance(now, source, bytes),
        };
        let counters = &mut self.ledger.counters;
        match handled {
            Err(WireError::Version { .. }) => counters.other_versions += 1,
            Err(_) => counters.malformed += 1,
            Ok(()) => {}
        }
        handled
    }

    fn handle_instance(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), WireError> {
        let view = advert::parse(bytes)?;
        let sender = match &view {
            DiscoveryView::Announce(announce) => announce.instance,
            DiscoveryView::Changes(page) => page.instance,
            DiscoveryView::Ask(ask) => ask.asker,
            DiscoveryView::Goodbye(instance) => *instance,
        };
        if sender == self.identity.instance {
            self.handle_own(source);
            return Ok(());
        }
        match view {
            DiscoveryView::Announce(announce) => self.handle_announce(now, &announce),
            DiscoveryView::Changes(page) => self.handle_changes(now, &page),
            DiscoveryView::Ask(ask) => self.handle_ask(now, source, &ask),
            DiscoveryView::Goodbye(instance) => {
                self.ledger.counters.goodbyes_received += 1;
                self.registry.goodbye(now, instance, &mut self.ledger);
            }
        }
        Ok(())
    }

    fn handle_daemon(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), WireError> {
        let view = advert::daemon::parse(bytes)?;
        let Some(index) = self.daemons.position(source) else {
            self.ledger.counters.not_from_daemons += 1;
            return Ok(());
        };
        match view {
            DaemonView::Ticket { daemon, ticket } => {
                self.daemons.ticket((index, now), daemon, ticket, &mut self.ledger);
            }
            DaemonView::Heard(heard) => self.handle_heard(now, index, &heard),
            _ => return Err(WireError::Malformed { what: "kind of a discovery packet" }),
        }
        Ok(())
    }

    fn handle_heard(&mut self, now: Timestamp, index: usize, view: &HeardView<'_>) {
        for heard in view.entries() {
            if heard.instance == self.identity.instance {
                self.daemons.confirmed(index, view.daemon, now, &mut self.ledger);
            } else if !self.registry.heard_of(now, &heard, &mut self.ledger, &mut self.jitter)
                && self.registry.has_room_for(heard.instance)
            {
                self.daemons.want(index, heard.instance);
            }
        }
    }

    fn handle_own(&mut self, source: SocketAddr) {
        let is_echo = source == self.identity.source || self.daemons.position(source).is_some();
        let counters = &mut self.ledger.counters;
        if is_echo {
            counters.echoes += 1;
            return;
        }
        counters.duplicate_identities += 1;
        if counters.duplicate_identities == 1 {
            self.ledger.events.push(Event::DuplicateIdentity { source });
        }
    }

    fn handle_announce(&mut self, now: Timestamp, announce: &Announce<'_>) {
        self.ledger.counters.announces_received += 1;
        let sighting = self.registry.announced(now, announce, &mut self.ledger, &mut self.jitter);
        // A daemon introduces its clients to each other.
        if sighting == Sighting::New && !announce.direct && self.has_group {
            let (newcomer, peers) = (announce.control.address, self.registry.len());
            self.announcer.greet(now, newcomer, peers, &mut self.jitter);
        }
    }

    fn handle_changes(&mut self, now: Timestamp, page: &ChangesView<'_>) {
        self.ledger.counters.changes_received += 1;
        self.registry.changed(now, page, &mut self.ledger, &mut self.jitter);
    }

    fn handle_ask(&mut self, now: Timestamp, source: SocketAddr, ask: &Ask) {
        let counters = &mut self.ledger.counters;
        counters.asks_received += 1;
        if ask.target != self.identity.instance {
            counters.asks_misdirected += 1;
            return;
        }
        if ask.control.address != source {
            counters.asks_readdressed += 1;
        }
        self.registry.heard(now, ask.asker);
        let is_at_home =
            self.registry.get(ask.asker).is_some_and(|peer| peer.info.control.address == source);
        let pages = if is_at_home { MAX_ANSWER_PAGES } else { STRANGER_PAGES };
        let cursor = Cursor { have: ask.have, horizon: ask.horizon };
        if self.feed.ask(now, source, cursor, pages, &self.log) == Reception::Deferred {
            counters.asks_deferred += 1;
        }
    }

    /// The name of a daemon was resolved; `index` is its place in [`Carrier::daemons`].
    pub(crate) fn daemon_moved(&mut self, index: usize, address: SocketAddr, now: Timestamp) {
        self.daemons.moved(index, address, now);
    }

    /// The daemons that are up now, by their places in [`Carrier::daemons`].
    pub(crate) fn daemons_up(&self) -> impl Iterator<Item = usize> {
        self.daemons.up()
    }

    /// Drops the peers and gives up the daemons whose time is up.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        self.registry.expire(now, &mut self.ledger);
        self.daemons.expire(now, &mut self.ledger);
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_transmit`] next, if nothing happens
    /// before. Now and then there turns out to be nothing to do.
    pub(crate) fn next_deadline(&self) -> Timestamp {
        self.announcer
            .next_deadline()
            .min(self.registry.next_deadline())
            .min(self.feed.next_deadline(&self.log))
            .min(self.daemons.next_deadline())
    }

    /// Writes the next datagram that is due into `buffer`, replacing its content, and says where it
    /// goes. The buffer never grows beyond
    /// [`MAX_DISCOVERY_BYTES`](crate::wire::advert::MAX_DISCOVERY_BYTES).
    ///
    /// An ANNOUNCE comes before the changes it makes intelligible.
    #[must_use = "the datagram in the buffer has to be sent"]
    pub(crate) fn poll_transmit(&mut self, now: Timestamp, buffer: &mut Vec<u8>) -> Option<Target> {
        let target = self.poll_packet(now, buffer)?;
        let counters = &mut self.ledger.counters;
        counters.packets_sent += 1;
        counters.bytes_sent += buffer.len() as u64;
        Some(target)
    }

    /// What is for everybody leaves once for the group and once for each daemon.
    fn poll_packet(&mut self, now: Timestamp, buffer: &mut Vec<u8>) -> Option<Target> {
        loop {
            if !self.daemons.has_spread()
                && let Some(address) = self.daemons.poll_spread(buffer)
            {
                return Some(Target::Unicast(address));
            }
            match self.poll_one(now, buffer)? {
                Target::Group => {
                    if !self.daemons.is_empty() {
                        self.daemons.spread(buffer);
                    }
                    if self.has_group {
                        return Some(Target::Group);
                    }
                }
                unicast => return Some(unicast),
            }
        }
    }

    fn poll_one(&mut self, now: Timestamp, buffer: &mut Vec<u8>) -> Option<Target> {
        if let Some(left) = &mut self.farewells {
            *left = left.checked_sub(1)?;
            advert::encode_goodbye(self.identity.instance, buffer);
            return Some(Target::Group);
        }
        let talkers = self.registry.talkers(now);
        if let Some(due) = self.announcer.poll(now, talkers, &mut self.jitter) {
            if self.announcer.is_open() {
                self.feed.open();
            }
            self.write_announce(due, buffer);
            self.ledger.counters.announces_sent += 1;
            return Some(due.target);
        }
        if let Some(address) = self.poll_daemons(now, buffer) {
            return Some(Target::Unicast(address));
        }
        if let Some(question) = self.registry.next_question(now, &mut self.jitter) {
            let ask = Ask {
                asker: self.identity.instance,
                control: self.identity.control,
                target: question.target,
                have: question.cursor.have,
                horizon: question.cursor.horizon,
            };
            ask.encode(buffer);
            self.ledger.counters.asks_sent += 1;
            return Some(Target::Unicast(question.address));
        }
        let target = self.feed.poll(now, talkers, self.identity.instance, &self.log, buffer)?;
        self.ledger.counters.changes_sent += 1;
        Some(target)
    }

    fn poll_daemons(&mut self, now: Timestamp, buffer: &mut Vec<u8>) -> Option<SocketAddr> {
        let (instance, registry) = (self.identity.instance, &self.registry);
        let is_news = |instance| registry.get(instance).is_none();
        loop {
            match self.daemons.poll(now, instance, is_news, &mut self.jitter, buffer)? {
                Errand::Send(address) => return Some(address),
                Errand::Introduce(index) => {
                    let mut announce = Vec::new();
                    self.write_announce(
                        Due { target: Target::Group, direct: false },
                        &mut announce,
                    );
                    if let Some(address) = self.daemons.relay_by(index, &announce, buffer) {
                        self.ledger.counters.announces_sent += 1;
                        return Some(address);
                    }
                }
            }
        }
    }

    /// Before its log is told an instance advertises nothing: nobody shall ask for what comes anyway.
    fn write_announce(&self, due: Due, buffer: &mut Vec<u8>) {
        let is_open = self.announcer.is_open();
        let (head, digest) =
            if is_open { (self.log.head(), self.log.digest()) } else { Default::default() };
        let announce = Announce {
            instance: self.identity.instance,
            control: self.identity.control,
            responses: self.identity.responses,
            host: self.identity.host,
            head,
            digest,
            interval_ms: milliseconds(self.settings.refresh.max(MIN_REFRESH)),
            timeout_ms: milliseconds(self.settings.timeout),
            direct: due.direct,
            name: &self.identity.name,
        };
        announce.encode(buffer);
    }

    /// The next thing that happened, in order.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.ledger.events.pop()
    }

    /// Says GOODBYE to everybody, so many times, because nobody repeats it later. It leaves with
    /// [`Discovery::poll_transmit`], and nothing else does any more.
    pub(crate) fn goodbye(&mut self, times: usize) {
        self.farewells = Some(times);
    }

    /// All known instances, in no particular order.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &PeerInfo> {
        self.registry.peers().map(|peer| &*peer.info)
    }

    /// All known adverts of others, instance by instance.
    pub(crate) fn adverts(&self) -> impl Iterator<Item = (InstanceId, &Advert)> {
        self.registry.peers().flat_map(|peer| {
            let instance = peer.info.instance;
            peer.adverts().map(move |advert| (instance, advert))
        })
    }

    pub(crate) fn counters(&self) -> DiscoveryCounters {
        DiscoveryCounters {
            peers: self.registry.len() as u64,
            adverts: self.registry.adverts() as u64,
            ..self.ledger.counters
        }
    }
}

/// Durations travel as milliseconds; the longest is 49 days.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
