//! How long the rounds of a poller take, and the callbacks in them. Layer: engine. Owned by one poller.
//!
//! Every round that finds something is measured, with a read of the cycle counter where it ends: no slow
//! callback stays unseen. A single callback is measured when none has been for a while, so that rare messages
//! all are and streams cost nothing.

use std::time::Duration;

use crate::counters::{PollerColumn, Row, SubscriptionColumn};
use crate::time::{Clock, Timestamp};
use crate::transport::cycles;

/// Rounds that take longer hold up other topics for longer than a network does.
const SLOW_NS: u64 = 10_000_000;
/// Pause between two callbacks that are measured.
const CALLBACK_INTERVAL_NS: u64 = 100_000;
/// The length of a cycle is measured again after so many rounds.
const CALIBRATE_EVERY: u32 = 1024;

/// Measures the rounds of a poller.
pub(super) struct Stopwatch {
    row: Row<PollerColumn>,
    clock: Clock,
    /// The same moment by both.
    origin: (Timestamp, u64),
    scale: Scale,
    started: u64,
    until_calibration: u32,
}

impl Stopwatch {
    pub(super) fn new(row: Row<PollerColumn>, clock: Clock) -> Self {
        let origin = (clock.now(), cycles());
        let (scale, started) = (Scale::default(), origin.1);
        Self { row, clock, origin, scale, started, until_calibration: 0 }
    }

    /// A round begins, and the one before has found nothing.
    #[inline]
    pub(super) fn start(&mut self) {
        self.started = cycles();
    }

    /// When the round began, in cycles.
    #[inline]
    pub(super) const fn started(&self) -> u64 {
        self.started
    }

    /// Nanoseconds from that moment of an earlier round to that of this one; longer than anything before
    /// the first round that found something.
    #[inline]
    pub(super) fn since(&self, earlier: u64) -> u64 {
        if self.scale.is_known() {
            self.scale.in_ns(self.started.saturating_sub(earlier))
        } else {
            u64::MAX
        }
    }

    /// It has found something, and ends. The next one begins: commands in between count with that.
    #[inline]
    pub(super) fn finish(&mut self, callbacks: &mut CallbackTiming) {
        let now = cycles();
        let took = now.saturating_sub(self.started);
        self.started = now;
        if self.until_calibration == 0 {
            self.calibrate();
            callbacks.scale = self.scale;
        }
        self.until_calibration -= 1;
        let took_ns = self.scale.in_ns(took);
        self.row.add(PollerColumn::Cycles, 1);
        self.row.add(PollerColumn::BusyTime, took_ns);
        self.row.raise(PollerColumn::LongestCycle, took_ns);
        if took_ns > SLOW_NS {
            self.row.add(PollerColumn::SlowCycles, 1);
        }
    }

    #[cold]
    fn calibrate(&mut self) {
        let (at, count) = self.origin;
        let passed = self.clock.now().since(at);
        self.scale = Scale::new(passed, cycles().saturating_sub(count));
        self.until_calibration = CALIBRATE_EVERY;
    }
}

/// How long a cycle takes. In integers: a conversion is done for every message of an exchange, and takes
/// twenty instructions by way of floating-point numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Scale {
    /// Nanoseconds in 2^32 cycles; 0 until it is known.
    ns: u64,
}

impl Scale {
    fn new(passed: Duration, cycles: u64) -> Self {
        let ns = (passed.as_nanos() << 32) / u128::from(cycles.max(1));
        Self { ns: u64::try_from(ns).unwrap_or(u64::MAX) }
    }

    #[inline]
    const fn is_known(self) -> bool {
        self.ns > 0
    }

    /// 0 as long as it is not known.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "nanoseconds of centuries")]
    const fn in_ns(self, cycles: u64) -> u64 {
        ((cycles as u128 * self.ns as u128) >> 32) as u64
    }
}

/// Measures a callback now and then.
#[derive(Debug, Default)]
pub(super) struct CallbackTiming {
    /// The next callback is to be measured.
    is_due: bool,
    /// When the round began in which the last one was.
    last: u64,
    scale: Scale,
}

impl CallbackTiming {
    /// A round of the poller begins.
    #[inline]
    pub(super) fn begin_cycle(&mut self, now: u64) {
        if self.scale.in_ns(now.saturating_sub(self.last)) >= CALLBACK_INTERVAL_NS {
            self.is_due = true;
            self.last = now;
        }
    }

    /// When the callback began, if it is to be measured.
    #[inline]
    pub(super) fn start(&mut self) -> Option<u64> {
        self.is_due.then(cycles)
    }

    #[cold]
    pub(super) fn finish(&mut self, started: u64, row: &mut Row<SubscriptionColumn>) {
        let took_ns = self.scale.in_ns(cycles().saturating_sub(started));
        self.is_due = false;
        row.add(SubscriptionColumn::CallbacksTimed, 1);
        row.add(SubscriptionColumn::CallbackTime, took_ns);
        row.raise(SubscriptionColumn::LongestCallback, took_ns);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::counters::Counters;

    #[test]
    fn cycles_are_as_long_as_they_were_measured_to_be() {
        // 2.6 GHz, and a counter of 24 MHz; and a count of a century.
        let second = Duration::from_secs(1);
        for (per_second, count, ns) in [
            (2_600_000_000, 26_000, 10_000),
            (24_000_000, 24, 1_000),
            (24_000_000, 24_000_000 * 3_600, 3_600_000_000_000),
            (2_600_000_000, u64::MAX / 2, 3_547_450_783_405_683_002),
        ] {
            let found = Scale::new(second, per_second).in_ns(count);
            assert!(found.abs_diff(ns) <= 1 + ns / 100_000_000, "{found} {ns}");
        }
        assert_eq!(Scale::default().in_ns(u64::MAX), 0);
        assert!(!Scale::default().is_known() && Scale::new(second, 0).is_known());
    }

    #[test]
    fn a_poller_that_has_found_nothing_yet_has_been_quiet_for_long() {
        let counters = Arc::new(Counters::new());
        let mut stopwatch = Stopwatch::new(counters.row("data", ""), Clock::start());
        stopwatch.start();
        let began = stopwatch.started();
        assert_eq!(stopwatch.since(began), u64::MAX);
        std::iter::repeat_with(cycles).find(|now| *now > began + 1_000_000);
        stopwatch.finish(&mut CallbackTiming::default());
        let worked = stopwatch.started();
        assert_eq!(stopwatch.since(worked), 0);
        assert!((1..u64::MAX).contains(&stopwatch.since(began)));
    }
}
