//! A reader that has caught up with a stream lets its writer go ahead, where that makes the stream faster. Layer:
//! engine. Owned by one ring of one poller; sans-IO: it is told the time when it needs to know.

use std::time::Duration;

use crate::time::Timestamp;

/// Up to so many messages are what a writer that streams leaves behind between two looks. More have waited,
/// and the next look finds more.
const EDGE_BATCH: usize = 16;
/// So many reads in a row that did not have to wait show a stream, too. Few happen to who exchanges single messages.
const STREAK: u32 = 8;
/// For so long the ring is left alone: some hundred messages of a stream.
const REST: Duration = Duration::from_micros(4);

/// When to leave a ring alone.
#[derive(Debug, Default)]
pub(super) struct Rest {
    is_allowed: bool,
    /// Reads in a row that did not have to wait.
    streak: u32,
    /// Until when the ring is left alone.
    until: Option<Timestamp>,
}

impl Rest {
    /// From now on the ring is left alone at times, or never.
    pub(super) const fn allow(&mut self, is_allowed: bool) {
        self.is_allowed = is_allowed;
    }

    /// So many messages have been read, and there were no more; `at_once` if the first was there already when it
    /// was looked for.
    #[inline]
    pub(super) fn handle_read(
        &mut self,
        frames: usize,
        at_once: bool,
        now: impl FnOnce() -> Timestamp,
    ) {
        if !self.is_allowed {
            return;
        }
        self.streak = if at_once { self.streak + 1 } else { 0 };
        let streams = frames > 1 || self.streak >= STREAK;
        if streams && (1..=EDGE_BATCH).contains(&frames) {
            self.streak = 0;
            self.until = Some(now() + REST);
        }
    }

    /// Whether to leave the ring alone now.
    #[inline]
    pub(super) fn is_under_way(&mut self, now: impl FnOnce() -> Timestamp) -> bool {
        self.until.is_some() && self.goes_on(now())
    }

    #[cold]
    fn goes_on(&mut self, now: Timestamp) -> bool {
        self.until = self.until.filter(|until| now < *until);
        self.until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(1_000_000);

    #[test]
    fn only_who_has_caught_up_with_a_stream_rests_and_only_where_it_may() {
        for (frames, rests) in [(0, false), (1, false), (2, true), (16, true), (17, false)] {
            let mut rest = Rest::default();
            rest.handle_read(frames, false, || NOW);
            assert!(!rest.is_under_way(|| NOW), "{frames}");
            rest.allow(true);
            rest.handle_read(frames, false, || NOW);
            assert_eq!(rest.is_under_way(|| NOW), rests, "{frames}");
        }
    }

    #[test]
    fn single_messages_are_a_stream_when_none_of_many_had_to_be_waited_for() {
        let mut rest = Rest::default();
        rest.allow(true);
        for at_once in [true, false] {
            for _ in 1..STREAK {
                rest.handle_read(1, true, || NOW);
            }
            assert!(!rest.is_under_way(|| NOW));
            rest.handle_read(1, at_once, || NOW);
            assert_eq!(rest.is_under_way(|| NOW + REST / 2), at_once);
            assert!(!rest.is_under_way(|| NOW + REST));
        }
    }

    #[test]
    fn a_rest_ends_by_itself() {
        let mut rest = Rest::default();
        rest.allow(true);
        rest.handle_read(5, false, || NOW);
        assert!(rest.is_under_way(|| NOW + REST.mul_f32(0.9)));
        assert!(!rest.is_under_way(|| NOW + REST));
        // Nobody who does not rest asks for the time.
        assert!(!rest.is_under_way(|| unreachable!("the rest is over")));
    }
}
