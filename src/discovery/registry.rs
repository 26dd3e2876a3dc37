//! Who is there, until when, and who has to be asked what. Layer: discovery (sans-IO). Owned by the
//! conductor, inside [`Discovery`](super::Discovery).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::event::{DownReason, Event, Overflow, PeerInfo};
use super::floor::{Floor, Turn};
use super::jitter::Jitter;
use super::log::Cursor;
use super::peer::{Peer, Progress};
use super::{Ledger, Settings};
use crate::id::InstanceId;
use crate::time::Timestamp;
use crate::wire::advert::daemon::Heard;
use crate::wire::advert::{Announce, ChangesView};

/// Bounds of the timeout of a peer, whatever it says itself: a shorter one would make it flap, a
/// longer one would keep a place for somebody long gone.
const MIN_PEER_TIMEOUT: Duration = Duration::from_millis(100);
const MAX_PEER_TIMEOUT: Duration = Duration::from_secs(3_600);

/// The first ASK waits at random up to this long, plus a share per known instance: what is missing
/// may be under way to the group already, or asked for by another.
const ASK_SPREAD: Duration = Duration::from_millis(4);
const ASK_SPREAD_PER_PEER: Duration = Duration::from_millis(1);
const MAX_ASK_SPREAD: Duration = Duration::from_millis(250);

/// After a page, how long its successor may take before we ask for it, beyond two turns of its sender.
const ASK_PATIENCE: Duration = Duration::from_millis(30);

/// An unanswered ASK is repeated after the first of these, then ever later up to the second: short,
/// because under loss a listing takes many rounds and an ASK is 80 bytes.
const MIN_ASK_RETRY: Duration = Duration::from_millis(50);
const MAX_ASK_RETRY: Duration = Duration::from_millis(250);

/// A packet that was sent before a GOODBYE can be read after it, from another socket. For so long,
/// and for so many instances, it cannot bring back the dead.
const BURIAL: Duration = Duration::from_millis(500);
const MAX_BURIED: usize = 64;

#[derive(Debug)]
pub(super) struct Registry {
    max_peers: usize,
    max_adverts_per_peer: usize,
    max_adverts: usize,
    peers: HashMap<InstanceId, Peer>,
    /// Adverts of all peers together.
    adverts: usize,
    /// One entry per peer. It is moved when it comes up, not whenever the peer is heard.
    expiries: BTreeSet<(Timestamp, InstanceId)>,
    /// At most one entry per peer.
    asks: BTreeSet<(Timestamp, InstanceId)>,
    buried: VecDeque<(Timestamp, InstanceId)>,
    floor: Floor,
    full: bool,
}

/// What an ANNOUNCE brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sighting {
    /// An instance that was unknown until now.
    New,
    Known,
    /// Nothing that counts.
    Ignored,
}

/// An ASK to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) target: InstanceId,
    pub(super) address: SocketAddr,
    pub(super) cursor: Cursor,
}

impl Registry {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            max_peers: settings.max_peers,
            max_adverts_per_peer: settings.max_adverts_per_peer,
            max_adverts: settings.max_adverts,
            peers: HashMap::new(),
            adverts: 0,
            expiries: BTreeSet::new(),
            asks: BTreeSet::new(),
            buried: VecDeque::new(),
            floor: Floor::default(),
            full: false,
        }
    }

    pub(super) fn announced(
        &mut self,
        now: Timestamp,
        announce: &Announce<'_>,
        ledger: &mut Ledger,
        jitter: &mut Jitter,
    ) -> Sighting {
        let known = self.peers.contains_key(&announce.instance);
        if !known && !self.admit(now, announce, ledger) {
            return Sighting::Ignored;
        }
        let limit = self.limit_of(announce.instance);
        let spread = self.ask_spread(jitter);
        let Some(peer) = self.peers.get_mut(&announce.instance) else { return Sighting::Ignored };
        // One of the two that use this identity has to lose, and the first one is in use.
        if peer.info.control != announce.control || peer.info.responses != announce.responses {
            ledger.counters.conflicting_identities += 1;
            return Sighting::Ignored;
        }
        peer.last_heard = now;
        if peer.compare(announce.head, announce.digest, limit) {
            ledger.counters.restarts += 1;
        }
        Self::settle(&mut self.asks, peer, now + spread);
        if known { Sighting::Known } else { Sighting::New }
    }

    /// A daemon has heard an ANNOUNCE of an instance, and tells what matters of it. False when the
    /// instance is not known here.
    pub(super) fn heard_of(
        &mut self,
        now: Timestamp,
        heard: &Heard,
        ledger: &mut Ledger,
        jitter: &mut Jitter,
    ) -> bool {
        let limit = self.limit_of(heard.instance);
        let spread = self.ask_spread(jitter);
        let Some(peer) = self.peers.get_mut(&heard.instance) else { return false };
        peer.last_heard = now;
        if peer.compare(heard.head, heard.digest, limit) {
            ledger.counters.restarts += 1;
        }
        Self::settle(&mut self.asks, peer, now + spread);
        true
    }

    /// Whether an instance that is not known would be let in.
    pub(super) fn has_room_for(&self, instance: InstanceId) -> bool {
        self.peers.len() < self.max_peers
            && !self.buried.iter().any(|(_, buried)| *buried == instance)
    }

    /// Makes room for an unknown instance, or says why not.
    fn admit(&mut self, now: Timestamp, announce: &Announce<'_>, ledger: &mut Ledger) -> bool {
        self.buried.retain(|(until, _)| *until > now);
        if self.buried.iter().any(|(_, buried)| *buried == announce.instance) {
            ledger.counters.late_packets += 1;
            return false;
        }
        if self.peers.len() >= self.max_peers {
            ledger.counters.peers_refused += 1;
            if !self.full {
                let limit = self.max_peers;
                ledger.events.push(Event::Overflow(Overflow::Peers { limit }));
            }
            self.full = true;
            return false;
        }
        let timeout = Duration::from_millis(announce.timeout_ms.into());
        let info = PeerInfo {
            instance: announce.instance,
            name: announce.name.into(),
            control: announce.control,
            responses: announce.responses,
            host: announce.host,
            interval: Duration::from_millis(announce.interval_ms.into()),
            timeout: timeout.clamp(MIN_PEER_TIMEOUT, MAX_PEER_TIMEOUT),
        };
        let mut peer = Peer::new(info, now);
        self.floor.heard(now, &mut peer.talked);
        ledger.events.push(Event::InstanceUp(peer.info.clone()));
        self.expiries.insert((peer.expiry, announce.instance));
        self.peers.insert(announce.instance, peer);
        true
    }

    pub(super) fn changed(
        &mut self,
        now: Timestamp,
        page: &ChangesView<'_>,
        ledger: &mut Ledger,
        jitter: &mut Jitter,
    ) {
        let limit = self.limit_of(page.instance);
        let spread = self.ask_spread(jitter);
        let Some(peer) = self.peers.get_mut(&page.instance) else {
            // Its ANNOUNCE will tell us what we miss.
            ledger.counters.from_strangers += 1;
            return;
        };
        peer.last_heard = now;
        self.floor.heard(now, &mut peer.talked);
        let before = peer.len();
        let progress = peer.apply(page, limit, ledger);
        self.adverts = self.adverts - before + peer.len();
        match progress {
            Progress::Applied { end } => {
                peer.ask.wait = MIN_ASK_RETRY;
                let turns = 2 * Turn::among(self.floor.talkers(now)).interval;
                let due = if end { now } else { now + ASK_PATIENCE + turns };
                Self::reschedule(&mut self.asks, peer, Some(due));
            }
            Progress::Stale => ledger.counters.changes_stale += 1,
            Progress::Gap { end } => {
                ledger.counters.changes_gap += 1;
                // At most one ASK per transmission of the peer, whatever the back-off says.
                if end && peer.ask.due.is_some_and(|due| due > now + spread) {
                    Self::reschedule(&mut self.asks, peer, Some(now + spread));
                }
            }
        }
        Self::settle(&mut self.asks, peer, now + spread);
    }

    /// Any packet proves that its sender lives.
    pub(super) fn heard(&mut self, now: Timestamp, instance: InstanceId) {
        if let Some(peer) = self.peers.get_mut(&instance) {
            peer.last_heard = now;
        }
    }

    pub(super) fn goodbye(&mut self, now: Timestamp, instance: InstanceId, ledger: &mut Ledger) {
        if self.buried.len() == MAX_BURIED {
            self.buried.pop_front();
        }
        self.buried.push_back((now + BURIAL, instance));
        self.depart(instance, DownReason::Goodbye, ledger);
    }

    /// Drops the peers that were silent for too long.
    pub(super) fn expire(&mut self, now: Timestamp, ledger: &mut Ledger) {
        while let Some(&(due, instance)) = self.expiries.first()
            && due <= now
        {
            self.expiries.pop_first();
            let Some(peer) = self.peers.get_mut(&instance) else { continue };
            peer.expiry = peer.last_heard + peer.info.timeout;
            if peer.expiry <= now {
                ledger.counters.peers_expired += 1;
                self.depart(instance, DownReason::Expired, ledger);
            } else {
                self.expiries.insert((peer.expiry, instance));
            }
        }
    }

    fn depart(&mut self, instance: InstanceId, reason: DownReason, ledger: &mut Ledger) {
        let Some(mut peer) = self.peers.remove(&instance) else { return };
        self.expiries.remove(&(peer.expiry, instance));
        Self::reschedule(&mut self.asks, &mut peer, None);
        self.adverts -= peer.len();
        self.full = false;
        let info = peer.info.clone();
        let adverts = peer.dissolve(&mut ledger.topics);
        ledger.events.push_departure(info, adverts, reason);
    }

    /// The next ASK that is due. Its repetition is scheduled, in case no answer comes.
    pub(super) fn next_question(
        &mut self,
        now: Timestamp,
        jitter: &mut Jitter,
    ) -> Option<Question> {
        let &(due, instance) = self.asks.first()?;
        if due > now {
            return None;
        }
        let peer = self.peers.get_mut(&instance)?;
        let wait = peer.ask.wait.max(MIN_ASK_RETRY);
        peer.ask.wait = (wait * 2).min(MAX_ASK_RETRY);
        Self::reschedule(&mut self.asks, peer, Some(now + jitter.around(wait)));
        Some(Question {
            target: instance,
            address: peer.info.control.address,
            cursor: peer.cursor(),
        })
    }

    /// Asks whom there is something to ask, at `due` unless that is settled already.
    fn settle(asks: &mut BTreeSet<(Timestamp, InstanceId)>, peer: &mut Peer, due: Timestamp) {
        if !peer.is_behind() {
            peer.ask.wait = MIN_ASK_RETRY;
            Self::reschedule(asks, peer, None);
        } else if peer.ask.due.is_none() {
            Self::reschedule(asks, peer, Some(due));
        }
    }

    fn reschedule(
        asks: &mut BTreeSet<(Timestamp, InstanceId)>,
        peer: &mut Peer,
        due: Option<Timestamp>,
    ) {
        let instance = peer.info.instance;
        if let Some(old) = peer.ask.due {
            asks.remove(&(old, instance));
        }
        if let Some(new) = due {
            asks.insert((new, instance));
        }
        peer.ask.due = due;
    }

    fn ask_spread(&self, jitter: &mut Jitter) -> Duration {
        let peers = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        let spread = ASK_SPREAD + ASK_SPREAD_PER_PEER.saturating_mul(peers);
        jitter.below(spread.min(MAX_ASK_SPREAD))
    }

    /// How many adverts this instance may have, by its own limit and by what the others left.
    fn limit_of(&self, instance: InstanceId) -> usize {
        let own = self.peers.get(&instance).map_or(0, Peer::len);
        self.max_adverts_per_peer.min(own + self.max_adverts.saturating_sub(self.adverts))
    }

    /// How many others tell the group something now.
    pub(super) fn talkers(&self, now: Timestamp) -> u32 {
        self.floor.talkers(now)
    }

    pub(super) fn next_deadline(&self) -> Timestamp {
        let expiry = self.expiries.first().map_or(Timestamp::NEVER, |(due, _)| *due);
        let ask = self.asks.first().map_or(Timestamp::NEVER, |(due, _)| *due);
        expiry.min(ask)
    }

    pub(super) fn get(&self, instance: InstanceId) -> Option<&Peer> {
        self.peers.get(&instance)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Adverts of all peers together, the refused ones included.
    pub(super) const fn adverts(&self) -> usize {
        self.adverts
    }
}
