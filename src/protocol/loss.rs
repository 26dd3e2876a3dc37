//! When a receiver asks for what it misses, and when it stops waiting. Layer: protocol. Owned by
//! one receive session.
//!
//! A gap that has just been seen is asked for once, soon; everything that is still missing is asked
//! for again, ever more slowly while nothing comes. What has been missing for too long is given up.

use std::collections::VecDeque;
use std::time::Duration;

use super::timing::LONGEST_PAUSE;
use crate::time::Timestamp;

/// Gaps are given up in this many groups of about the same age: none is waited for longer than the
/// time limit and one such part of it.
const AGES: u32 = 8;
/// Doublings of the pause between two requests.
const MAX_DOUBLINGS: u32 = 10;

/// The gaps of a session.
#[derive(Debug)]
pub(super) struct Gaps {
    /// Packets below this one have been asked for.
    asked: u64,
    /// When to ask for the others.
    ask_at: Timestamp,
    /// When to ask for everything again.
    retry_at: Timestamp,
    due: Due,
    retries: u32,
    /// Until where packets were missing at what time, the oldest first; empty without gaps.
    marks: VecDeque<(u64, Timestamp)>,
}

/// What is to be asked for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Nothing,
    /// What has not been asked for yet.
    New,
    /// Everything, once more.
    All,
}

impl Gaps {
    pub(super) const fn none() -> Self {
        Self {
            asked: 0,
            ask_at: Timestamp::NEVER,
            retry_at: Timestamp::NEVER,
            due: Due::Nothing,
            retries: 0,
            marks: VecDeque::new(),
        }
    }

    #[inline]
    pub(super) fn is_open(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Something is missing between `expected` and `until`. `delay` says how long to wait before
    /// asking for what is new; without one nothing is asked for.
    pub(super) fn see(
        &mut self,
        now: Timestamp,
        (expected, until): (u64, u64),
        patience: Duration,
        delay: impl FnOnce() -> Option<Duration>,
    ) {
        match self.marks.back() {
            None => {
                self.asked = expected;
                self.marks.push_back((until, now));
            }
            Some((marked, at)) if until > *marked && now.since(*at) >= patience / AGES => {
                self.marks.push_back((until, now));
            }
            Some(_) => {}
        }
        if until > self.asked
            && self.ask_at == Timestamp::NEVER
            && let Some(delay) = delay()
        {
            if delay.is_zero() {
                self.due = self.due.max(Due::New);
            } else {
                self.ask_at = now + delay;
            }
        }
    }

    /// It is time to ask, or to ask again. Time is looked at here alone, when everything that has
    /// arrived is dealt with: the answer may be among it.
    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        if self.retry_at <= now {
            self.due = Due::All;
        } else if self.ask_at <= now {
            self.due = self.due.max(Due::New);
        }
    }

    /// What is to be asked for now, if anything: what is missing from the given packet on.
    pub(super) fn due(&self, expected: u64) -> Option<u64> {
        match self.due {
            Due::Nothing => None,
            Due::New => Some(self.asked.max(expected)),
            Due::All => Some(expected),
        }
    }

    /// Everything below `until` has been asked for. `pause` is how long an answer may take.
    pub(super) fn note_asked(&mut self, now: Timestamp, until: u64, pause: Duration) {
        if std::mem::replace(&mut self.due, Due::Nothing) == Due::All {
            self.retries = (self.retries + 1).min(MAX_DOUBLINGS);
            self.retry_at = Timestamp::NEVER;
        }
        self.asked = self.asked.max(until);
        self.ask_at = Timestamp::NEVER;
        let pause = pause.saturating_mul(1 << self.retries).min(LONGEST_PAUSE);
        self.retry_at = self.retry_at.min(now + pause);
    }

    /// Something has come: the line is up, and the sender lives.
    pub(super) const fn note_progress(&mut self) {
        self.retries = 0;
    }

    /// Until where packets have been missing for longer than `patience`.
    pub(super) fn given_up(&mut self, now: Timestamp, patience: Duration) -> Option<u64> {
        let (until, _) = *self.marks.front().filter(|(_, at)| now.since(*at) >= patience)?;
        self.marks.pop_front();
        Some(until)
    }

    /// Packets may still be missing up to `until`, or none are.
    pub(super) fn update(&mut self, now: Timestamp, open_until: Option<u64>) {
        let Some(until) = open_until else {
            self.marks.clear();
            (self.ask_at, self.retry_at) = (Timestamp::NEVER, Timestamp::NEVER);
            self.due = Due::Nothing;
            self.retries = 0;
            return;
        };
        if self.marks.is_empty() {
            self.marks.push_back((until, now));
        }
    }

    /// Whether no more ages of gaps are told apart than are of use.
    #[cfg(feature = "sim")]
    pub(super) fn is_bounded(&self) -> bool {
        self.marks.len() <= AGES as usize + 2
    }

    pub(super) fn next_deadline(&self, patience: Duration) -> Timestamp {
        let give_up = self.marks.front().map_or(Timestamp::NEVER, |(_, at)| *at + patience);
        give_up.min(self.ask_at).min(self.retry_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const PATIENCE: Duration = Duration::from_millis(80);
    const START: Timestamp = Timestamp::from_nanos(0);

    #[test]
    fn new_gaps_are_asked_for_once_and_all_of_them_again() {
        let mut gaps = Gaps::none();
        gaps.see(START, (5, 8), PATIENCE, || Some(Duration::ZERO));
        assert_eq!(gaps.due(5), Some(5));
        gaps.note_asked(START, 8, MS);
        gaps.handle_timeout(START + MS / 2);
        assert_eq!(gaps.due(5), None);
        let later = START + MS / 2;
        gaps.see(later, (5, 12), PATIENCE, || Some(Duration::ZERO));
        assert_eq!(gaps.due(5), Some(8), "only what is new");
        gaps.note_asked(later, 12, MS);
        gaps.handle_timeout(START + MS);
        assert_eq!(gaps.due(6), Some(6), "everything");
    }

    #[test]
    fn what_waits_for_its_time_is_asked_for_when_time_is_looked_at() {
        let mut gaps = Gaps::none();
        gaps.see(START, (5, 8), PATIENCE, || Some(MS));
        gaps.handle_timeout(START + MS / 2);
        assert_eq!(gaps.due(5), None);
        // More packets come, late: the missing ones may be among those behind.
        gaps.see(START + MS * 2, (5, 9), PATIENCE, || Some(MS));
        assert_eq!(gaps.due(5), None);
        gaps.handle_timeout(START + MS * 2);
        assert_eq!(gaps.due(6), Some(6));
    }

    #[test]
    fn pauses_grow_while_nothing_comes_and_shrink_with_progress() {
        let mut gaps = Gaps::none();
        gaps.see(START, (0, 1), PATIENCE, || Some(Duration::ZERO));
        let mut pauses = Vec::new();
        let mut now = START;
        for _ in 0..10 {
            gaps.handle_timeout(now);
            assert!(gaps.due(0).is_some());
            gaps.note_asked(now, 1, MS);
            let next = gaps.ask_at.min(gaps.retry_at);
            pauses.push(next.since(now));
            now = next;
        }
        assert_eq!(pauses[..4], [MS, MS * 2, MS * 4, MS * 8]);
        assert_eq!(pauses[9], LONGEST_PAUSE);
        gaps.note_progress();
        gaps.note_asked(now, 1, MS);
        assert!(gaps.retry_at.since(now) <= MS * 2);
    }

    #[test]
    fn gaps_are_given_up_by_age() {
        let mut gaps = Gaps::none();
        gaps.see(START, (0, 10), PATIENCE, || None);
        gaps.see(START + MS, (0, 11), PATIENCE, || None);
        gaps.see(START + MS * 20, (0, 20), PATIENCE, || None);
        assert_eq!(gaps.next_deadline(PATIENCE), START + PATIENCE);
        assert_eq!(gaps.given_up(START + MS * 79, PATIENCE), None);
        assert_eq!(gaps.given_up(START + MS * 80, PATIENCE), Some(10));
        assert_eq!(gaps.given_up(START + MS * 80, PATIENCE), None);
        assert_eq!(gaps.given_up(START + MS * 100, PATIENCE), Some(20));
        assert!(!gaps.is_open());
    }
}
