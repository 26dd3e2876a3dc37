//! Who reads the rings of this instance's publishers, and whether the processes at either end of a ring
//! live. Layer: engine. Owned by the conductor.
//!
//! A ring is looked at soon after discovery told that its readers change, and then less and less
//! often until they have. Beside that all rings have their turn, so many at a time: what one cycle
//! costs does not grow with the rings.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::{LocalPublisher, Matching, PublisherPath};
use crate::counters::Counter;
use crate::engine::publication::Publication;
use crate::id::{SessionId, TopicHash};
use crate::ring::shared::SharedRing;
use crate::time::Timestamp;
use crate::wire::advert::AdvertKind;

/// How soon a ring is looked at again whose readers are not those that discovery knows. Each further
/// look comes after twice the time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(128);
/// Rings looked at before the rest of a cycle of the conductor gets its turn: below a millisecond.
const LOOKS_PER_CYCLE: usize = 256;
/// Rings whose processes are looked after in one go.
const CHECKS_PER_SWEEP: usize = 512;

/// When to look who reads the ring of a topic, where that is about to change.
#[derive(Default)]
pub(super) struct Looks {
    due: BTreeSet<(Timestamp, TopicHash)>,
    /// The same by topic, and the pause that came before.
    scheduled: HashMap<TopicHash, (Timestamp, Duration)>,
}

impl Looks {
    /// The readers of a topic change: looks at `due`, and soon again if that was too early.
    pub(super) fn expect(&mut self, topic: TopicHash, due: Timestamp) {
        self.schedule(topic, due, Duration::ZERO);
    }

    /// When the first is due.
    pub(super) fn next_deadline(&self) -> Timestamp {
        self.due.first().map_or(Timestamp::NEVER, |(due, _)| *due)
    }

    /// Stays in the list until somebody says whether to look again.
    fn first_due(&self, now: Timestamp) -> Option<TopicHash> {
        self.due.first().filter(|(due, _)| *due <= now).map(|(_, topic)| *topic)
    }

    fn again(&mut self, topic: TopicHash, now: Timestamp) {
        let last = self.scheduled.get(&topic).map_or(Duration::ZERO, |(_, pause)| *pause);
        let pause = (2 * last).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        self.schedule(topic, now + pause, pause);
    }

    fn schedule(&mut self, topic: TopicHash, due: Timestamp, pause: Duration) {
        self.forget(topic);
        self.due.insert((due, topic));
        self.scheduled.insert(topic, (due, pause));
    }

    fn forget(&mut self, topic: TopicHash) {
        if let Some((due, _)) = self.scheduled.remove(&topic) {
            self.due.remove(&(due, topic));
        }
    }
}

/// A ring whose processes are to be looked after.
#[derive(Clone, Copy)]
pub(super) enum Checked {
    /// By this instance, for a topic.
    Written(TopicHash),
    Read(SessionId),
}

impl Matching {
    /// Looks at the rings whose time has come.
    pub(super) fn look_at_readers(&mut self, now: Timestamp) {
        for _ in 0..LOOKS_PER_CYCLE {
            let Some(topic) = self.looks.first_due(now) else { return };
            self.match_readers(topic, now);
        }
    }

    /// Frees what dead processes hold in shared memory. Slow path: a few system calls per ring, of
    /// some rings after the others.
    pub(in crate::engine) fn reclaim(&mut self, now: Timestamp) {
        if self.unchecked.is_empty() {
            let written = self.topics.iter().filter(|(_, topic)| topic.ring().is_some());
            self.unchecked.extend(written.map(|(hash, _)| Checked::Written(*hash)));
            self.unchecked.extend(self.rings.attached().map(Checked::Read));
        }
        for _ in 0..CHECKS_PER_SWEEP {
            let Some(ring) = self.unchecked.pop() else { return };
            match ring {
                Checked::Written(topic) => {
                    self.reclaim_readers(topic);
                    self.match_readers(topic, now);
                }
                Checked::Read(session) => self.rings.reclaim(session, &mut self.backlog),
            }
        }
    }

    /// Whether [`Matching::reclaim`] can have something to do.
    pub(in crate::engine) fn has_rings(&self) -> bool {
        self.local_rings > 0 || self.rings.attached().len() > 0
    }

    fn reclaim_readers(&self, topic: TopicHash) {
        let ring = self.topics.get(&topic).and_then(|topic| topic.ring());
        let reclaimed = ring.map_or(0, |(_, ring)| ring.reclaim_dead_readers());
        self.counters.add(Counter::ReadersReclaimed, reclaimed as u64);
    }

    /// Holds the matches of a local ring to what its table of readers says; looks again while that
    /// differs from what discovery says.
    fn match_readers(&mut self, hash: TopicHash, now: Timestamp) {
        let topic = self.topics.get(&hash);
        let Some((topic, (publisher, ring))) = topic.and_then(|topic| Some((topic, topic.ring()?)))
        else {
            return self.looks.forget(hash);
        };
        let (readers, changes) = (&mut self.readers, &mut self.subscriber_changes);
        readers.clear();
        readers.extend(ring.reader_instances());
        while let Some(gone) = publisher.matches.other_than(readers) {
            publisher.unmatch(gone, &self.requests, changes, Publication::remove_receiver);
        }
        for instance in &*readers {
            publisher.match_with(*instance, &self.requests, changes);
        }
        let expected = topic.remotes.iter().filter(|(instance, advert)| {
            advert.kind == AdvertKind::Subscriber && self.rings.shares_memory(*instance)
        });
        if expected.clone().count() != readers.len()
            || expected.clone().any(|(instance, _)| !readers.contains(instance))
        {
            self.looks.again(hash, now);
        } else {
            self.looks.forget(hash);
        }
    }
}

impl super::Topic {
    /// The publisher of this instance, if it writes a ring.
    fn ring(&self) -> Option<(&LocalPublisher, &SharedRing)> {
        match self.publisher.as_ref()? {
            publisher @ LocalPublisher { path: PublisherPath::Ring(ring), .. } => {
                Some((publisher, ring))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Clock;

    #[test]
    fn each_look_comes_later_until_somebody_expects_a_change() {
        let (mut looks, mut now) = (Looks::default(), Clock::start().now());
        let (slow, settled) = (TopicHash::of("slow"), TopicHash::of("settled"));
        looks.expect(slow, now);
        looks.expect(slow, now);
        looks.expect(settled, now + SHORTEST_PAUSE);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            assert_eq!(looks.first_due(now), Some(slow));
            looks.again(slow, now);
            looks.forget(settled);
            pauses.push(looks.next_deadline().since(now));
            assert_eq!(looks.first_due(now), None);
            now = looks.next_deadline();
        }
        assert_eq!(pauses[0], SHORTEST_PAUSE);
        assert!(pauses.windows(2).all(|two| two[1] == (2 * two[0]).min(LONGEST_PAUSE)));

        looks.expect(slow, now);
        looks.again(slow, now);
        assert_eq!(looks.next_deadline(), now + SHORTEST_PAUSE);
        looks.forget(slow);
        assert_eq!(looks.next_deadline(), Timestamp::NEVER);
    }
}
