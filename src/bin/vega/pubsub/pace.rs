//! A fixed number of messages per second. Layer: bin.

use std::time::{Duration, Instant};

use crate::clock;
use crate::signals::StopFlag;

/// Message `n` is due at `start + n / rate`: what is late is caught up, so that the mean rate holds
/// even where the operating system wakes us late.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    per_second: f64,
    /// Messages let through so far.
    passed: u64,
}

impl Pace {
    /// `per_second` must be more than zero.
    pub(crate) fn new(per_second: f64) -> Self {
        Self { start: clock::now(), per_second, passed: 0 }
    }

    /// Waits until the next message is due. False when the user wants to end first.
    pub(crate) fn wait(&mut self, stop: &StopFlag) -> bool {
        let due = self.due();
        self.passed += 1;
        let left = due.saturating_sub(self.start.elapsed());
        if left.is_zero() { !stop.is_raised() } else { !stop.wait(left) }
    }

    /// When the next message is due, counted from the start.
    #[expect(clippy::cast_precision_loss, reason = "2^53 messages are not reached")]
    fn due(&self) -> Duration {
        // A rate so low that the time does not fit into a duration means: never.
        Duration::try_from_secs_f64(self.passed as f64 / self.per_second).unwrap_or(Duration::MAX)
    }
}

/// Reads a rate of the command line.
///
/// # Errors
///
/// What is allowed.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err("a rate is a number above 0, in messages per second".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_equal_distances() {
        let mut pace = Pace::new(4.0);
        for number in 0..9 {
            assert_eq!(pace.due(), Duration::from_millis(250) * number);
            pace.passed += 1;
        }
        let never = Pace { per_second: 1e-300, ..pace };
        assert_eq!(never.due(), Duration::MAX);
    }

    #[test]
    fn rates_are_numbers_above_zero() {
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "inf", "NaN", "fast", ""] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
