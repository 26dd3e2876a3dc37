//! How long the rounds of a poller take, and the callbacks in them. Layer: engine. Owned by one poller.
//!
//! Every round that finds something is measured, with two reads of the cycle counter: no slow callback
//! stays unseen. A single callback is measured when none has been for a while, so that rare messages
//! all are and streams cost nothing.

use crate::counters::{PollerColumn, Row, SubscriptionColumn};
use crate::time::{Clock, Timestamp};
use crate::transport::cycles;

/// Rounds that take longer hold up other topics for longer than a network does.
const SLOW_NS: u64 = 10_000_000;
/// Pause between two callbacks that are measured.
const CALLBACK_INTERVAL_NS: f64 = 100_000.0;
/// The length of a cycle is measured again after so many rounds.
const CALIBRATE_EVERY: u32 = 1024;

/// Measures the rounds of a poller.
pub(super) struct Stopwatch {
    row: Row<PollerColumn>,
    clock: Clock,
    /// The same moment by both.
    origin: (Timestamp, u64),
    ns_per_cycle: f64,
    started: u64,
    until_calibration: u32,
}

impl Stopwatch {
    pub(super) fn new(row: Row<PollerColumn>, clock: Clock) -> Self {
        let origin = (clock.now(), cycles());
        Self { row, clock, origin, ns_per_cycle: 0.0, started: origin.1, until_calibration: 0 }
    }

    /// A round begins.
    #[inline]
    pub(super) fn start(&mut self) -> u64 {
        self.started = cycles();
        self.started
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
        if self.ns_per_cycle > 0.0 {
            in_ns(self.started.saturating_sub(earlier), self.ns_per_cycle)
        } else {
            u64::MAX
        }
    }

    /// It has found something, and ends.
    #[inline]
    pub(super) fn finish(&mut self, callbacks: &mut CallbackTiming) {
        let took = cycles().saturating_sub(self.started);
        if self.until_calibration == 0 {
            self.calibrate();
            callbacks.ns_per_cycle = self.ns_per_cycle;
        }
        self.until_calibration -= 1;
        let took_ns = in_ns(took, self.ns_per_cycle);
        self.row.add(PollerColumn::Cycles, 1);
        self.row.add(PollerColumn::BusyTime, took_ns);
        self.row.raise(PollerColumn::LongestCycle, took_ns);
        if took_ns > SLOW_NS {
            self.row.add(PollerColumn::SlowCycles, 1);
        }
    }

    #[cold]
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    fn calibrate(&mut self) {
        let (at, count) = self.origin;
        let passed = self.clock.now().since(at).as_nanos() as f64;
        self.ns_per_cycle = passed / cycles().saturating_sub(count).max(1) as f64;
        self.until_calibration = CALIBRATE_EVERY;
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measurement; neither is negative"
)]
fn in_ns(count: u64, ns_per_cycle: f64) -> u64 {
    (count as f64 * ns_per_cycle) as u64
}

/// Measures a callback now and then.
#[derive(Debug, Default)]
pub(super) struct CallbackTiming {
    /// The next callback is to be measured.
    is_due: bool,
    /// When the round began in which the last one was.
    last: u64,
    /// 0 until it is known.
    ns_per_cycle: f64,
}

impl CallbackTiming {
    /// A round of the poller begins.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "compared with a pause")]
    pub(super) fn begin_cycle(&mut self, now: u64) {
        let passed_ns = now.saturating_sub(self.last) as f64 * self.ns_per_cycle;
        if passed_ns >= CALLBACK_INTERVAL_NS {
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
        let took_ns = in_ns(cycles().saturating_sub(started), self.ns_per_cycle);
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
    fn a_poller_that_has_found_nothing_yet_has_been_quiet_for_long() {
        let counters = Arc::new(Counters::new());
        let mut stopwatch = Stopwatch::new(counters.row("data", ""), Clock::start());
        let began = stopwatch.start();
        assert_eq!(stopwatch.since(began), u64::MAX);
        std::iter::repeat_with(cycles).find(|now| *now > began + 1_000_000);
        stopwatch.finish(&mut CallbackTiming::default());
        let worked = stopwatch.start();
        assert_eq!(stopwatch.since(worked), 0);
        assert!((1..u64::MAX).contains(&stopwatch.since(began)));
    }
}
