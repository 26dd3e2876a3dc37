//! Random delays that keep instances from talking all at once. Layer: discovery (sans-IO). Owned by
//! the conductor, inside [`Discovery`](super::Discovery).

use std::time::Duration;

use crate::random::SplitMix64;

/// Seeded, so that a simulation that repeats its seed repeats its timers.
#[derive(Debug)]
pub(super) struct Jitter(SplitMix64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// Uniform in `[0, limit)`; zero for a zero limit.
    pub(super) fn below(&mut self, limit: Duration) -> Duration {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.0.below(limit))
    }

    /// Uniform within 10 % of `centre`, on both sides.
    pub(super) fn around(&mut self, centre: Duration) -> Duration {
        let margin = centre / 10;
        (centre - margin).saturating_add(self.below(margin.saturating_mul(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_within_their_limits_and_spread() {
        let mut jitter = Jitter::new(1);
        let centre = Duration::from_millis(1_000);
        let (mut low, mut high) = (0, 0);
        for _ in 0..1_000 {
            let delay = jitter.around(centre);
            assert!((Duration::from_millis(900)..Duration::from_millis(1_100)).contains(&delay));
            if delay < centre { low += 1 } else { high += 1 }
        }
        assert!(low > 400 && high > 400, "{low} below and {high} above the centre");
    }

    #[test]
    fn extreme_limits_are_harmless() {
        let mut jitter = Jitter::new(2);
        assert_eq!(jitter.below(Duration::ZERO), Duration::ZERO);
        assert_eq!(jitter.around(Duration::ZERO), Duration::ZERO);
        assert!(jitter.around(Duration::MAX) > Duration::from_secs(1));
    }

    #[test]
    fn equal_seeds_give_equal_delays() {
        let limit = Duration::from_secs(1);
        let draw = |seed| Jitter::new(seed).below(limit);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
