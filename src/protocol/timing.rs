//! Every timer of a session, and the round trip that most of them scale with. Layer: protocol.
//! `docs/reliability.md` lists them with their reasons.

use std::time::Duration;

/// Taken for the round trip until one has been measured: long for a local network, so that nobody
/// is asked twice for what is already on its way.
pub(crate) const UNKNOWN_RTT: Duration = Duration::from_micros(500);
/// Shortest pause between the last packet and the first heartbeat. A ping-pong over loopback takes
/// less than ten microseconds a turn: the answer cancels the heartbeat long before.
pub(crate) const SHORTEST_TAIL: Duration = Duration::from_micros(25);
/// Shortest pause between two requests for the same packet.
pub(crate) const SHORTEST_RETRY: Duration = Duration::from_micros(100);
/// Longest pause between two requests for the same packet, two heartbeats, or two questions of a new
/// receiver.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How often the round trip is measured while data flows without a pause.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_millis(10);
/// How long a new receiver of a group holds what arrives back while it asks where the session begins
/// for it. Its sender answers within a round trip, unless it does not know the receiver, or has to wait
/// for its turn on a busy machine: then who gives up too early loses what it is owed.
pub(crate) const JOIN_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a receiver that the sender does not know keeps a gap open: longer than any reordering
/// on a local network.
pub(crate) const REORDER_HOLD: Duration = Duration::from_millis(1);

/// A round trip counts for at most so many times the smoothed one: half of all probes are answered while
/// their sender is busy, and lie in its socket for ten round trips of a loopback. A path that did become
/// longer is learnt in some more steps.
const LONGEST_SAMPLE: u32 = 2;

/// A smoothed round trip and how much it varies, after RFC 6298.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rtt {
    smoothed: Duration,
    variation: Duration,
}

impl Rtt {
    /// Takes a measurement.
    pub(crate) fn sample(&mut self, sample: Duration) {
        if self.smoothed.is_zero() {
            *self = Self { smoothed: sample, variation: sample / 2 };
            return;
        }
        let sample = sample.min(self.smoothed * LONGEST_SAMPLE);
        let difference = sample.abs_diff(self.smoothed);
        self.variation = self.variation - self.variation / 4 + difference / 4;
        // The first round trips of a process are slow. Downwards it learns faster than the RFC, or
        // these would rule for dozens of losses.
        self.smoothed = if sample < self.smoothed {
            self.smoothed - difference / 2
        } else {
            self.smoothed + difference / 8
        };
    }

    /// The smoothed round trip; zero until one has been measured.
    pub(crate) const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// After this long an answer should have come.
    pub(crate) fn patience(&self) -> Duration {
        if self.smoothed.is_zero() {
            return UNKNOWN_RTT * 2;
        }
        self.smoothed + self.variation * 2
    }
}

/// The pause before the first heartbeat after a packet.
pub(crate) fn tail_delay(rtt: &Rtt) -> Duration {
    rtt.patience().clamp(SHORTEST_TAIL, LONGEST_PAUSE)
}

/// The pause before a packet that did not come is asked for again. `rtt` is what the sender told.
pub(crate) fn retry_delay(rtt: Duration) -> Duration {
    let rtt = if rtt.is_zero() { UNKNOWN_RTT } else { rtt };
    (rtt * 2).clamp(SHORTEST_RETRY, LONGEST_PAUSE)
}

/// Requests for a packet that was repeated less than this ago crossed it on the way.
pub(crate) fn linger(rtt: &Rtt) -> Duration {
    let rtt = if rtt.smoothed.is_zero() { UNKNOWN_RTT } else { rtt.smoothed };
    rtt.min(LONGEST_PAUSE / 2)
}

/// Longest random pause before a receiver of a group asks, so that one of many asks first and the
/// others see the repair: it grows with the logarithm of their number, from nothing for one.
pub(crate) fn longest_backoff(rtt: Duration, receivers: u32) -> Duration {
    let rtt = if rtt.is_zero() { UNKNOWN_RTT } else { rtt };
    (rtt / 2 * receivers.max(1).ilog2()).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn the_round_trip_is_learnt_fast_downwards_and_slowly_upwards() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.patience(), UNKNOWN_RTT * 2);
        rtt.sample(US * 1000);
        assert_eq!(rtt.smoothed(), US * 1000);
        for _ in 0..12 {
            rtt.sample(US * 10);
        }
        assert!(rtt.smoothed() < US * 12, "{rtt:?}");
        let quiet = rtt.smoothed();
        rtt.sample(US * 1000);
        assert!(rtt.smoothed() < quiet + US * 2, "one outlier: {rtt:?}");
    }

    #[test]
    fn probes_answered_late_do_not_make_timers_long() {
        let mut rtt = Rtt::default();
        for _ in 0..100 {
            rtt.sample(US * 20);
            rtt.sample(US * 170);
        }
        assert!(rtt.patience() < US * 70, "{rtt:?}");
    }

    #[test]
    fn a_path_that_became_longer_is_learnt() {
        let mut rtt = Rtt::default();
        rtt.sample(US * 10);
        for _ in 0..50 {
            rtt.sample(US * 1000);
        }
        assert!(rtt.smoothed() > US * 900, "{rtt:?}");
    }

    #[test]
    fn timers_stay_within_their_bounds() {
        let mut rtt = Rtt::default();
        rtt.sample(US);
        assert_eq!(tail_delay(&rtt), SHORTEST_TAIL);
        assert_eq!(retry_delay(US), SHORTEST_RETRY);
        let mut rtt = Rtt::default();
        rtt.sample(Duration::from_secs(100));
        assert_eq!(tail_delay(&rtt), LONGEST_PAUSE);
        assert_eq!(retry_delay(Duration::from_secs(1)), LONGEST_PAUSE);
        assert!(linger(&rtt) < retry_delay(rtt.smoothed()));
    }

    #[test]
    fn one_receiver_asks_at_once_and_many_spread() {
        assert_eq!(longest_backoff(US * 100, 1), Duration::ZERO);
        assert_eq!(longest_backoff(US * 100, 4), US * 100);
        assert_eq!(longest_backoff(US * 100, 0), Duration::ZERO);
        assert_eq!(longest_backoff(Duration::from_secs(9), 1000), LONGEST_PAUSE);
    }
}
