//! A reader that has caught up with a stream lets its writer go ahead, where that makes the stream faster. Layer:
//! engine. Owned by one ring of one poller; sans-IO: it is told the time when it needs to know.

use std::time::Duration;

use crate::time::Timestamp;

/// Up to so many, and more than one, are what a writer that streams leaves behind between two looks. More
/// have waited, and the next look finds more.
const EDGE_BATCH: usize = 16;
/// For so long the ring is left alone: some hundred messages of a stream.
const REST: Duration = Duration::from_micros(4);

/// When to leave a ring alone.
#[derive(Debug, Default)]
pub(super) struct Rest {
    is_allowed: bool,
    /// Until when the ring is left alone.
    until: Option<Timestamp>,
}

impl Rest {
    /// From now on the ring is left alone at times, or never.
    pub(super) const fn allow(&mut self, is_allowed: bool) {
        self.is_allowed = is_allowed;
    }

    /// So many messages have been read, and there were no more.
    #[inline]
    pub(super) fn handle_read(&mut self, frames: usize, now: impl FnOnce() -> Timestamp) {
        if self.is_allowed && (2..=EDGE_BATCH).contains(&frames) {
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
            rest.handle_read(frames, || NOW);
            assert!(!rest.is_under_way(|| NOW), "{frames}");
            rest.allow(true);
            rest.handle_read(frames, || NOW);
            assert_eq!(rest.is_under_way(|| NOW), rests, "{frames}");
        }
    }

    #[test]
    fn a_rest_ends_by_itself() {
        let mut rest = Rest::default();
        rest.allow(true);
        rest.handle_read(5, || NOW);
        assert!(rest.is_under_way(|| NOW + REST.mul_f32(0.9)));
        assert!(!rest.is_under_way(|| NOW + REST));
        // Nobody who does not rest asks for the time.
        assert!(!rest.is_under_way(|| unreachable!("the rest is over")));
    }
}
