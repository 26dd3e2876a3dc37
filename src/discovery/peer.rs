//! One other instance: what it advertises and how much of that is known. Layer: discovery (sans-IO).
//! Owned by the conductor, inside [`Registry`](super::registry::Registry).

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;
use std::time::Duration;

use super::event::{Event, Overflow, PeerInfo};
use super::log::Cursor;
use super::topics::TopicTable;
use super::{Advert, AdvertKey, Ledger};
use crate::id::TopicHash;
use crate::time::Timestamp;
use crate::wire::advert::{Add, ChangesView, Entry};

/// An advert of a peer, filed under its key.
#[derive(Debug)]
pub(super) struct Held {
    digest: u64,
    hash: TopicHash,
    /// Nothing when the advert was refused because of a hash collision: it still counts for the
    /// digest, and stays refused until its instance advertises it anew.
    pub(super) advert: Option<Arc<Advert>>,
}

/// When to ask, kept by the registry.
#[derive(Debug, Default)]
pub(super) struct AskTimer {
    pub(super) due: Option<Timestamp>,
    /// How long to wait after the next ASK before the one behind it.
    pub(super) wait: Duration,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) info: Arc<PeerInfo>,
    pub(super) last_heard: Timestamp,
    /// Kept by the registry's count of those that talk.
    pub(super) talked: Timestamp,
    /// The instant under which the registry has filed the expiry of this peer.
    pub(super) expiry: Timestamp,
    pub(super) ask: AskTimer,
    known: Cursor,
    head: u64,
    /// What is known is wrong: list everything from the start.
    restart: bool,
    /// Adverts were left out for lack of room.
    incomplete: bool,
    digest: u64,
    held: BTreeMap<u64, Held>,
}

/// What a page did for its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It was applied. With `end`, no more follows on its own.
    Applied { end: bool },
    /// Nothing new in it.
    Stale,
    /// Something before it is missing. With `end`, it does not come on its own.
    Gap { end: bool },
}

impl Peer {
    pub(super) fn new(info: PeerInfo, now: Timestamp) -> Self {
        Self {
            expiry: now + info.timeout,
            info: Arc::new(info),
            last_heard: now,
            talked: Timestamp::default(),
            ask: AskTimer::default(),
            known: Cursor::default(),
            head: 0,
            restart: false,
            incomplete: false,
            digest: 0,
            held: BTreeMap::new(),
        }
    }

    /// Compares what is known with what the peer says there is. An ANNOUNCE, or what a daemon tells of it, has the last word about
    /// the head, so that a false one in a page misleads for one interval at most.
    ///
    /// Returns whether this calls for a listing from the start.
    pub(super) fn compare(&mut self, head: u64, digest: u64, limit: usize) -> bool {
        self.head = head;
        let room = !self.incomplete || self.held.len() < limit;
        let wrong = match head.cmp(&self.known.have) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => digest != self.digest && room,
            std::cmp::Ordering::Greater => return false,
        };
        let first = wrong && !self.restart;
        self.restart = wrong;
        first
    }

    pub(super) fn apply(
        &mut self,
        page: &ChangesView<'_>,
        limit: usize,
        ledger: &mut Ledger,
    ) -> Progress {
        self.head = self.head.max(page.head);
        let start_over = page.from == 0 && (self.restart || (page.reset && self.is_behind()));
        if !start_over {
            if page.to <= self.known.have {
                return Progress::Stale;
            }
            if page.from > self.known.have {
                return Progress::Gap { end: page.end };
            }
        }
        self.list(page, limit, ledger);
        self.known.have = page.to;
        if page.from == 0 {
            self.known.horizon = page.head;
            self.restart = false;
        }
        Progress::Applied { end: page.end }
    }

    /// A page is the authority on its range of keys, so whatever it does not list there is gone.
    /// What it lists and we hold already stays untouched: starting over causes no false events.
    fn list(&mut self, page: &ChangesView<'_>, limit: usize, ledger: &mut Ledger) {
        if page.from == 0 {
            self.incomplete = false;
        }
        let mut listed = page.from;
        for entry in page.entries() {
            match entry {
                Entry::Add { add, digest } => {
                    self.drop_between(listed, add.key, ledger);
                    listed = add.key;
                    self.insert(&add, digest, limit, ledger);
                }
                Entry::Remove { key } => self.remove(key, ledger),
            }
        }
        self.drop_between(listed, page.to.saturating_add(1), ledger);
        self.drop_between(page.head, u64::MAX, ledger);
    }

    fn insert(&mut self, add: &Add<'_>, digest: u64, limit: usize, ledger: &mut Ledger) {
        match self.held.get(&add.key) {
            Some(held) if held.digest == digest => return,
            Some(_) => self.remove(add.key, ledger),
            None => {}
        }
        let instance = self.info.instance;
        if self.held.len() >= limit {
            ledger.counters.adverts_refused += 1;
            if !self.incomplete {
                ledger.events.push(Event::Overflow(Overflow::Adverts { instance, limit }));
            }
            self.incomplete = true;
            return;
        }
        let advert = match ledger.topics.hold(add.hash, add.topic) {
            Ok(topic) => Some(Arc::new(Advert {
                kind: add.kind,
                transport: add.transport,
                topic,
                hash: add.hash,
                locator: add.locator,
                session: add.session,
            })),
            Err(collision) => {
                ledger.counters.topic_collisions += 1;
                if collision.first {
                    ledger.events.push(Event::TopicCollision {
                        instance,
                        hash: add.hash,
                        held: collision.held,
                        refused: add.topic.into(),
                    });
                }
                None
            }
        };
        if let Some(advert) = advert.clone() {
            let key = AdvertKey(add.key);
            ledger.events.push(Event::Advertised { instance, key, advert });
        }
        self.digest ^= digest;
        self.held.insert(add.key, Held { digest, hash: add.hash, advert });
    }

    fn remove(&mut self, key: u64, ledger: &mut Ledger) {
        let Some(held) = self.held.remove(&key) else { return };
        self.digest ^= held.digest;
        if let Some(advert) = held.advert {
            ledger.topics.release(held.hash);
            let instance = self.info.instance;
            ledger.events.push(Event::Withdrawn { instance, key: AdvertKey(key), advert });
        }
    }

    /// Drops the adverts with keys between the two, both excluded.
    fn drop_between(&mut self, after: u64, before: u64, ledger: &mut Ledger) {
        while let Some(key) = self.first_between(after, before) {
            self.remove(key, ledger);
        }
    }

    fn first_between(&self, after: u64, before: u64) -> Option<u64> {
        let first = after.checked_add(1).filter(|first| *first < before)?;
        self.held.range(first..before).next().map(|(key, _)| *key)
    }

    /// Gives up the names of all adverts; the adverts themselves are left to the event queue.
    pub(super) fn dissolve(self, topics: &mut TopicTable) -> btree_map::IntoIter<u64, Held> {
        for held in self.held.values().filter(|held| held.advert.is_some()) {
            topics.release(held.hash);
        }
        self.held.into_iter()
    }

    /// Whether there is something to ask this peer for.
    pub(super) const fn is_behind(&self) -> bool {
        self.restart || self.known.have < self.head
    }

    /// Where the next answer has to start.
    pub(super) fn cursor(&self) -> Cursor {
        if self.restart { Cursor::default() } else { self.known }
    }

    /// What it advertises, as far as it is known and not refused.
    pub(super) fn adverts(&self) -> impl Iterator<Item = &Advert> {
        self.held.values().filter_map(|held| held.advert.as_deref())
    }

    /// Adverts held, the refused ones included.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }
}
