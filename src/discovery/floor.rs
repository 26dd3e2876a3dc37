//! How many instances tell the group something at the same time. Layer: discovery (sans-IO). Owned by
//! the conductor, inside [`Registry`](super::registry::Registry).
//!
//! Everybody reads what anybody tells the group, so what all may tell together is bounded by what one
//! can read, however many there are: who wants to talk shares with those it has heard lately.

use std::time::Duration;

use crate::time::Timestamp;

/// Pages that all who talk may tell the group together...
const PAGES: u32 = 16;
/// ... within this time: 16 000 pages per second, 22 MB/s. A reader takes some 15 us for a page.
const INTERVAL: Duration = Duration::from_millis(1);

/// Who was heard in this time or in the one before counts as talking.
const WINDOW: Duration = Duration::from_millis(100);

/// What one instance may tell the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) pages: u32,
    /// Until the next turn.
    pub(super) interval: Duration,
}

impl Turn {
    /// When so many others talk.
    pub(super) fn among(talkers: u32) -> Self {
        let sharing = talkers.saturating_add(1);
        if sharing <= PAGES {
            Self { pages: PAGES / sharing, interval: INTERVAL }
        } else {
            Self { pages: 1, interval: INTERVAL.saturating_mul(sharing) / PAGES }
        }
    }
}

/// Counts who talks.
#[derive(Debug, Default)]
pub(super) struct Floor {
    window_end: Timestamp,
    talkers: u32,
    /// Those of the window before.
    before: u32,
}

impl Floor {
    /// Somebody appears, or tells changes. `counted` is kept for each, and zero at first.
    pub(super) fn heard(&mut self, now: Timestamp, counted: &mut Timestamp) {
        if now >= self.window_end {
            self.before = self.talkers(now);
            self.talkers = 0;
            self.window_end = now + WINDOW;
        }
        if *counted != self.window_end {
            *counted = self.window_end;
            self.talkers += 1;
        }
    }

    /// How many others talk.
    pub(super) fn talkers(&self, now: Timestamp) -> u32 {
        if now < self.window_end {
            self.talkers.max(self.before)
        } else if now < self.window_end + WINDOW {
            self.talkers
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000 + 1_000_000 * millis)
    }

    #[test]
    fn each_counts_once_for_a_while() {
        let mut floor = Floor::default();
        let mut peers = [Timestamp::default(); 3];
        assert_eq!(floor.talkers(at(0)), 0);
        for (millis, peer) in [(0, 0), (1, 1), (2, 0), (50, 1), (99, 2)] {
            floor.heard(at(millis), &mut peers[peer]);
        }
        assert_eq!([99, 150, 199, 200].map(|millis| floor.talkers(at(millis))), [3, 3, 3, 0]);
        floor.heard(at(150), &mut peers[0]);
        assert_eq!([150, 249, 250, 350].map(|millis| floor.talkers(at(millis))), [3, 3, 1, 0]);
    }

    #[test]
    fn all_together_tell_no_more_than_one_alone() {
        assert_eq!(Turn::among(0), Turn { pages: PAGES, interval: INTERVAL });
        for talkers in [0, 1, 2, 5, 15, 16, 100, 2_000, 65_536] {
            let turn = Turn::among(talkers);
            let together = f64::from(turn.pages) * f64::from(talkers + 1);
            let rate = together / turn.interval.as_secs_f64();
            assert!((8_000.0..=16_001.0).contains(&rate), "{talkers}: {rate} pages per second");
        }
        assert!(Turn::among(u32::MAX).interval > Duration::from_secs(1_000));
    }
}
