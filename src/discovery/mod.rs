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

mod advertised;
mod announce;
mod counters;
mod daemons;
pub(crate) mod event;
mod feed;
mod floor;
mod incoming;
#[cfg(feature = "sim")]
mod inspect;
mod jitter;
mod log;
mod outgoing;
mod peer;
pub(crate) mod presence;
mod registry;
pub(crate) mod relay;
mod settings;
mod topics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::advertised::{Advert, AdvertKey, AdvertiseError};
use self::announce::Announcer;
pub(crate) use self::counters::DiscoveryCounters;
use self::daemons::Daemons;
pub(crate) use self::daemons::LOST_AFTER_INTERVALS;
use self::event::{Event, EventQueue, PeerInfo};
use self::feed::Feed;
use self::jitter::Jitter;
use self::log::ChangeLog;
use self::registry::Registry;
pub(crate) use self::settings::{Carrier, Identity, Settings};
use self::topics::TopicTable;
use crate::id::InstanceId;
use crate::time::Timestamp;
use crate::wire::advert::MAX_TEXT_BYTES;

/// A shorter refresh interval is raised to this one: announcing is not a busy loop.
const MIN_REFRESH: Duration = Duration::from_millis(10);

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The discovery group; never without one.
    Group,
    Unicast(SocketAddr),
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

#[cfg(test)]
mod tests;
