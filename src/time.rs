//! Monotonic time. Layer: base, below everything. Values are plain data; no thread owns them.
//!
//! Protocol logic never reads a clock: it gets a [`Timestamp`] as an argument. Only engine threads
//! own a [`Clock`] and read it once per duty cycle.

use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime};

/// A point on the monotonic time line of this process, in nanoseconds since its [`Clock`] started.
///
/// Never crosses the wire: the wire carries durations only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timestamp(u64);

impl Timestamp {
    /// Later than every timestamp a clock can return; the deadline of things that never happen.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`, zero when `earlier` is in the future.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::NEVER`].
    fn add(self, rhs: Duration) -> Self {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

/// The one place that reads the operating system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the home of the clock")]
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The wall clock, since 1970: for people to read, never to decide anything.
#[expect(clippy::disallowed_methods, reason = "shown and not compared")]
pub(crate) fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addition_saturates_at_never() {
        assert_eq!(Timestamp::from_nanos(5) + Duration::MAX, Timestamp::NEVER);
    }

    #[test]
    fn difference_never_goes_below_zero() {
        assert_eq!(Timestamp::from_nanos(1) - Timestamp::from_nanos(2), Duration::ZERO);
    }
}
