//! Choices that a seed repeats. Layer: sim. Owned by one world, or by the drawing of one scenario.

use std::time::Duration;

use crate::random::SplitMix64;

/// All chances are counted in parts of this.
pub(super) const MILLION: u32 = 1_000_000;

/// A source of choices.
#[derive(Clone, Debug)]
pub(super) struct Dice(SplitMix64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    pub(super) const fn draw(&mut self) -> u64 {
        self.0.draw()
    }

    /// Uniform in `[low, high]`.
    pub(super) const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    /// Uniform in `[0, limit)`; `limit` is not zero.
    #[expect(clippy::cast_possible_truncation, reason = "below a usize")]
    pub(super) const fn index(&mut self, limit: usize) -> usize {
        self.0.below(limit as u64) as usize
    }

    /// True `parts` times in a [`MILLION`].
    pub(super) const fn chance(&mut self, parts: u32) -> bool {
        parts > 0 && self.0.below(MILLION as u64) < parts as u64
    }

    /// Uniform in `[0, longest]`.
    pub(super) fn pause(&mut self, longest: Duration) -> Duration {
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.between(0, nanos))
    }

    /// Uniform between two durations, in microseconds.
    pub(super) const fn micros(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.between(low, high))
    }

    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.index(all.len())]
    }
}
