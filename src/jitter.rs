//! Random delays that keep instances from talking all at once. Layer: base. Owned by whoever draws;
//! sans-IO objects get a seed and nothing else that is random.

use std::time::Duration;

/// A seeded SplitMix64: statistically good enough to spread timers, and a simulation that repeats
/// its seed repeats its timers.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform in `[0, limit)`; zero for a zero limit.
    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let scaled = (u128::from(self.next()) * u128::from(limit)) >> 64;
        Duration::from_nanos(u64::try_from(scaled).unwrap_or(limit))
    }

    /// Uniform within 10 % of `centre`, on both sides.
    pub(crate) fn around(&mut self, centre: Duration) -> Duration {
        let margin = centre / 10;
        (centre - margin).saturating_add(self.below(margin.saturating_mul(2)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
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
