//! A ping-pong as the one who pings sees it, the same for every peer. Layer: peers; owned by the
//! thread that receives.

use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;

use crate::clock;
use crate::stream::NUMBER_BYTES;

/// Round trips that do not count: caches, branch predictors and sockets have settled by then...
const WARM_UP: u64 = 2_000;
/// ...or after this time, where round trips are slow.
const WARM_UP_TIME: Duration = Duration::from_millis(150);
/// The longest that is told apart.
const LONGEST_NS: u64 = 60_000_000_000;

/// Numbers, times and records round trips, of which one at a time is under way.
pub(crate) struct RoundTrips {
    duration: Duration,
    payload: Vec<u8>,
    number: u64,
    /// When the first pong came.
    began: Option<Instant>,
    sent_at: Instant,
    /// Known once the warm-up is over.
    finish: Option<Instant>,
    is_over: bool,
    latency: Histogram<u64>,
}

/// An empty histogram of nanoseconds, with three digits.
///
/// # Errors
///
/// Never, as the bounds are valid.
pub(crate) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).context("bounds of a histogram")
}

impl RoundTrips {
    /// Round trips of messages of `size` bytes, to be recorded for `duration`.
    ///
    /// # Errors
    ///
    /// As [`histogram`].
    pub(crate) fn new(size: usize, duration: Duration) -> anyhow::Result<Self> {
        let now = clock::now();
        Ok(Self {
            duration,
            payload: vec![0x55; size],
            number: 0,
            began: None,
            sent_at: now,
            finish: None,
            is_over: false,
            latency: histogram()?,
        })
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// The next ping, which is to be sent at once.
    #[inline]
    pub(crate) fn ping(&mut self) -> &[u8] {
        self.number += 1;
        if let Some(number) = self.payload.first_chunk_mut::<NUMBER_BYTES>() {
            *number = self.number.to_le_bytes();
        }
        self.sent_at = clock::now();
        &self.payload
    }

    /// Takes a pong. False if it does not answer the last ping, byte by byte.
    #[inline]
    pub(crate) fn pong(&mut self, pong: &[u8]) -> bool {
        let now = clock::now();
        if pong != self.payload {
            return false;
        }
        let began = *self.began.get_or_insert(now);
        match self.finish {
            Some(finish) => {
                let ns = u64::try_from((now - self.sent_at).as_nanos()).unwrap_or(LONGEST_NS);
                self.latency.saturating_record(ns);
                self.is_over = now >= finish;
            }
            None if self.number >= WARM_UP || now - began >= WARM_UP_TIME => {
                self.finish = Some(now + self.duration);
            }
            None => {}
        }
        true
    }

    /// Nanoseconds, and how often they were recorded.
    pub(crate) fn values(&self) -> Vec<(u64, u64)> {
        self.latency
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pong_in_play_counts_and_only_after_the_warm_up() {
        let mut trips = RoundTrips::new(32, Duration::ZERO).unwrap();
        let stale = trips.ping().to_vec();
        assert!(trips.pong(&stale));
        let mut rounds = 1;
        while !trips.is_over() {
            let ping = trips.ping().to_vec();
            assert!(!trips.pong(&stale), "{rounds}");
            assert!(trips.pong(&ping));
            rounds += 1;
        }
        assert!(rounds <= WARM_UP + 1);
        assert_eq!(trips.values().iter().map(|(_, count)| count).sum::<u64>(), 1);
    }
}
