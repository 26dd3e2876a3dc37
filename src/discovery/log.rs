//! What this instance advertises, as a numbered log of changes. Layer: discovery (sans-IO). Owned by
//! the conductor, inside [`Discovery`](super::Discovery).
//!
//! A live advert is filed under the number of the change that added it; a removed one leaves a
//! tombstone under the number of its removal. "What changed since c" is then what is filed above c.
//! Only so many tombstones are kept: who knows less than the oldest one starts over from 0, where
//! no tombstone is needed because a page is the authority on its range (see `wire::advert`).

use std::collections::{BTreeMap, VecDeque};

use super::{Advert, AdvertKey};
use crate::id::{InstanceId, TopicHash};
use crate::wire::WireError;
use crate::wire::advert::{Add, ChangesWriter, add_digest};

/// Removals that can still be told one by one. A peer that missed more of them gets everything anew.
pub(super) const MAX_TOMBSTONES: usize = 1024;

/// How far somebody has been told the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Everything up to this change is known.
    pub(super) have: u64,
    /// Removals up to this change are no concern, because the listing from 0 began only then.
    pub(super) horizon: u64,
}

#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    head: u64,
    digest: u64,
    live: BTreeMap<u64, LiveAdvert>,
    tombstones: VecDeque<Tombstone>,
    /// The latest removal whose tombstone is gone.
    forgotten: u64,
}

/// Encoded once, when it is added.
#[derive(Debug)]
struct LiveAdvert {
    entry: Box<[u8]>,
    hash: TopicHash,
}

#[derive(Clone, Copy, Debug)]
struct Tombstone {
    change: u64,
    key: u64,
}

impl ChangeLog {
    /// # Errors
    ///
    /// When the topic of the advert cannot travel; the log is unchanged then.
    pub(super) fn add(&mut self, advert: &Advert) -> Result<AdvertKey, WireError> {
        let key = self.head + 1;
        let add = Add {
            key,
            kind: advert.kind,
            transport: advert.transport,
            hash: advert.hash,
            topic: &advert.topic,
            locator: advert.locator,
            session: advert.session,
        };
        let entry = add.encode()?.into_boxed_slice();
        self.head = key;
        self.digest ^= add_digest(&entry);
        self.live.insert(key, LiveAdvert { entry, hash: advert.hash });
        Ok(AdvertKey(key))
    }

    /// Returns the topic hash of the removed advert, nothing when it was not there.
    pub(super) fn remove(&mut self, key: AdvertKey) -> Option<TopicHash> {
        let removed = self.live.remove(&key.0)?;
        self.head += 1;
        self.digest ^= add_digest(&removed.entry);
        if self.tombstones.len() == MAX_TOMBSTONES
            && let Some(oldest) = self.tombstones.pop_front()
        {
            self.forgotten = oldest.change;
        }
        self.tombstones.push_back(Tombstone { change: self.head, key: key.0 });
        Some(removed.hash)
    }

    /// Writes the page that follows `cursor` and moves the cursor behind it. Returns whether the
    /// log is told to its head.
    ///
    /// A cursor that cannot be continued goes back to the start with a RESET page. `last` says that
    /// no further page follows for now.
    pub(super) fn write_page(
        &self,
        instance: InstanceId,
        cursor: &mut Cursor,
        last: bool,
        buffer: &mut Vec<u8>,
    ) -> bool {
        let reset = !self.can_continue(*cursor);
        let from = if reset { 0 } else { cursor.have };
        let mut writer = ChangesWriter::begin(buffer, instance, from, self.head, reset);
        let stopped_at = self.fill(from, &mut writer);
        let to = stopped_at.unwrap_or(self.head);
        writer.finish(to, last || stopped_at.is_none());
        cursor.have = to;
        if from == 0 {
            cursor.horizon = self.head;
        }
        stopped_at.is_none()
    }

    /// Merges adverts and tombstones above `from` by change number. Returns the last number that
    /// found room, nothing when all did.
    fn fill(&self, from: u64, writer: &mut ChangesWriter<'_>) -> Option<u64> {
        let start = self.tombstones.partition_point(|tombstone| tombstone.change <= from);
        // A page lists what lives above `from`: a removal there needs no line of its own.
        let mut removals =
            self.tombstones.range(start..).filter(|tombstone| tombstone.key <= from).peekable();
        let mut adds = self.live.range(from + 1..).peekable();
        let mut told = from;
        loop {
            let removal_first = match (removals.peek(), adds.peek()) {
                (None, None) => return None,
                (Some(removal), Some((key, _))) => removal.change < **key,
                (removal, None) => removal.is_some(),
                (None, Some(_)) => false,
            };
            if removal_first {
                let removal = removals.next()?;
                if !writer.remove(removal.key) {
                    return Some(told);
                }
                told = removal.change;
            } else {
                let (key, advert) = adds.next()?;
                if !writer.add(&advert.entry) {
                    return Some(told);
                }
                told = *key;
            }
        }
    }

    /// From 0 there is always a way. Ahead of the log is nobody who heard it from us.
    fn can_continue(&self, cursor: Cursor) -> bool {
        let known = cursor.have.max(cursor.horizon);
        cursor.have == 0 || (cursor.have <= self.head && known >= self.forgotten)
    }

    /// Number of the latest change, 0 before the first.
    pub(super) const fn head(&self) -> u64 {
        self.head
    }

    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }

    /// Number of live adverts.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Transport;
    use crate::wire::advert::{AdvertKind, DiscoveryView, Entry, parse};

    const INSTANCE: InstanceId = InstanceId::from_bytes([1; 16]);

    fn advert(topic: &str) -> Advert {
        Advert {
            kind: AdvertKind::Publisher,
            transport: Transport::Multicast,
            topic: topic.into(),
            hash: TopicHash::of(topic),
            locator: None,
            session: None,
        }
    }

    fn add(log: &mut ChangeLog, topic: &str) -> AdvertKey {
        log.add(&advert(topic)).unwrap()
    }

    /// Tells the whole rest after `cursor`; returns (added keys, removed keys, pages, resets).
    fn tell(log: &ChangeLog, mut cursor: Cursor) -> (Vec<u64>, Vec<u64>, usize, usize) {
        let (mut added, mut removed, mut pages, mut resets) = (Vec::new(), Vec::new(), 0, 0);
        let mut buffer = Vec::new();
        loop {
            let done = log.write_page(INSTANCE, &mut cursor, false, &mut buffer);
            let Ok(DiscoveryView::Changes(page)) = parse(&buffer) else { panic!("not CHANGES") };
            assert_eq!((page.to, page.end), (cursor.have, done));
            pages += 1;
            resets += usize::from(page.reset);
            for entry in page.entries() {
                match entry {
                    Entry::Add { add, .. } => added.push(add.key),
                    Entry::Remove { key } => removed.push(key),
                }
            }
            if done {
                assert_eq!(cursor.have, log.head());
                return (added, removed, pages, resets);
            }
            assert!(pages < 1_000, "the log must come to an end");
        }
    }

    fn at(have: u64) -> Cursor {
        Cursor { have, horizon: have }
    }

    #[test]
    fn only_what_happened_after_the_cursor_is_told() {
        let mut log = ChangeLog::default();
        let keys = ["a", "b", "c"].map(|topic| add(&mut log, topic));
        log.remove(keys[0]);
        let passing = add(&mut log, "d");
        log.remove(passing);
        assert_eq!(tell(&log, at(0)), (vec![2, 3], vec![], 1, 0));
        assert_eq!(tell(&log, at(2)), (vec![3], vec![1], 1, 0));
        assert_eq!(tell(&log, at(4)), (vec![], vec![], 1, 0), "the cursor never saw `d`");
        assert_eq!(tell(&log, at(5)), (vec![], vec![5], 1, 0));
        assert_eq!(tell(&log, at(6)), (vec![], vec![], 1, 0));
    }

    #[test]
    fn the_digest_depends_on_what_lives_and_not_on_the_way_there() {
        let mut log = ChangeLog::default();
        assert_eq!(log.digest(), 0);
        let key = add(&mut log, "a");
        let one = log.digest();
        let other = add(&mut log, "b");
        assert_ne!(log.digest(), one);
        log.remove(other);
        assert_eq!(log.digest(), one);
        log.remove(key);
        assert_eq!((log.digest(), log.head(), log.len()), (0, 4, 0));
        assert_eq!(log.remove(key), None);
        assert_eq!(log.head(), 4);
    }

    #[test]
    fn forgotten_removals_lead_to_a_reset_that_comes_to_an_end() {
        let mut log = ChangeLog::default();
        for index in 0..2_000 {
            add(&mut log, &format!("stays.{index}"));
        }
        for index in 0..=MAX_TOMBSTONES {
            let key = add(&mut log, &format!("goes.{index}"));
            log.remove(key);
        }
        let (added, removed, pages, resets) = tell(&log, at(2_000));
        assert_eq!((added.len(), removed.len(), resets), (2_000, 0, 1));
        assert!(pages > 16);
        // Who knows the removals that are gone needs no reset.
        assert_eq!(tell(&log, at(2_002)).3, 0);
        // Neither does a listing from 0 that is asked for piece by piece.
        let piece = Cursor { have: 500, horizon: log.head() };
        assert_eq!(tell(&log, piece).3, 0);
        assert_eq!(tell(&log, Cursor { have: 500, horizon: 0 }).3, 1);
    }

    #[test]
    fn a_cursor_ahead_of_the_log_starts_over() {
        let mut log = ChangeLog::default();
        assert_eq!(tell(&log, at(7)), (vec![], vec![], 1, 1));
        add(&mut log, "a");
        assert_eq!(tell(&log, at(u64::MAX)), (vec![1], vec![], 1, 1));
    }
}
