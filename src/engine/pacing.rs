//! When to hand frames to the kernel. Layer: engine. Owned by one publication, under its lock.
//!
//! A system call costs thousands of cycles, a message tens. Sending each message at once is right
//! as long as messages are rare; under load it is right to fill packets meanwhile. The rule needs
//! no configuration, because it compares the time since the last transmission with what that
//! transmission cost: at most half of the time goes into system calls, and at most a fifth where
//! messages follow each other as fast as they can be framed.
//!
//! That counts only for a stream, where one message follows closely upon the other: a sender that
//! waits for answers in between is never made to wait.
//!
//! A short burst after a pause is not load: its first [`BURST`] messages are sent at once, too.

/// Messages of a burst after a pause that are sent at once, whatever the distance between them.
const BURST: u32 = 16;
/// A pause is this many times as long as a transmission takes.
const PAUSE_FACTOR: u64 = 8;

/// Messages follow each other closely when less than this part of a transmission lies between them.
const STREAM_FRACTION: u64 = 4;

/// A stream is dense when less than this part of a transmission lies between its messages: about a
/// tenth of a microsecond. Whoever sends ten million messages a second waits for the system calls.
const DENSE_FRACTION: u64 = 64;
/// A dense stream is transmitted at most this many times the cost of a transmission after the last
/// one: some 40 us, in which it about fills a run.
const DENSE_PATIENCE: u64 = 4;

/// What of all that waits is to be handed to the kernel now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// A whole run of packets; the open one waits for the next.
    ClosedPackets,
    Everything,
}

/// Decides between sending now and waiting for more. Times are counter readings of
/// `transport::cycles`.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    /// When the last transmission ended.
    ended: u64,
    /// What a transmission costs: the last one, smoothed.
    cost: u64,
    /// When the last message was appended.
    appended: u64,
    /// Messages that may still be sent at once in this burst.
    credit: u32,
    /// Messages since the last transmission.
    messages: u64,
}

impl Pacing {
    /// A message was appended; `full` packets are waiting.
    #[inline]
    pub(super) fn due(&mut self, now: u64, full: u64, batch: u64) -> Due {
        let since_message = now.saturating_sub(self.appended);
        self.appended = now;
        self.messages += 1;
        if since_message > self.cost.saturating_mul(PAUSE_FACTOR) {
            self.credit = BURST;
        }
        // Who does something else between two messages, waits for an answer say, may not send
        // another one for long; who streams does not.
        if since_message >= self.cost / STREAM_FRACTION {
            return Due::Everything;
        }
        if full >= batch {
            return Due::ClosedPackets;
        }
        let elapsed = now.saturating_sub(self.ended);
        if elapsed >= self.cost {
            let is_late = elapsed >= self.cost.saturating_mul(DENSE_PATIENCE);
            return if is_late || !self.is_dense(elapsed) { Due::Everything } else { Due::Nothing };
        }
        if self.credit > 0 {
            self.credit -= 1;
            return Due::Everything;
        }
        Due::Nothing
    }

    /// Whether the messages of this time filled it.
    const fn is_dense(&self, elapsed: u64) -> bool {
        elapsed < self.messages.saturating_mul(self.cost / DENSE_FRACTION)
    }

    /// A transmission took from `start` to `end`.
    #[inline]
    pub(super) const fn transmitted(&mut self, start: u64, end: u64) {
        let cost = end.saturating_sub(start);
        // An eighth of each new cost: one preempted call does not change the rule.
        self.cost = self.cost - self.cost / 8 + cost / 8;
        self.ended = end;
        self.appended = end;
        self.messages = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: u64 = 8000;

    fn warmed_up() -> Pacing {
        let mut pacing = Pacing::default();
        for _ in 0..100 {
            pacing.transmitted(0, COST);
        }
        pacing
    }

    #[test]
    fn rare_messages_are_sent_at_once() {
        let mut pacing = warmed_up();
        let mut now = COST;
        for _ in 0..1000 {
            now += 2 * COST;
            assert_eq!(pacing.due(now, 0, 40), Due::Everything);
            pacing.transmitted(now, now + COST);
            now += COST;
        }
    }

    #[test]
    fn who_waits_for_answers_is_never_made_to_wait() {
        let mut pacing = warmed_up();
        let mut now = COST * 100;
        for _ in 0..1000 {
            now += COST / 3;
            assert_eq!(pacing.due(now, 0, 40), Due::Everything);
            pacing.transmitted(now, now + COST);
            now += COST;
        }
    }

    #[test]
    fn a_short_burst_is_sent_at_once_and_a_long_one_is_packed() {
        let mut pacing = warmed_up();
        let mut now = COST * 100;
        let mut direct = 0;
        for _ in 0..1000 {
            now += 50;
            if pacing.due(now, 0, 40) == Due::Everything {
                direct += 1;
                pacing.transmitted(now, now + COST);
                now += COST;
            }
        }
        assert!((BURST..BURST + 10).contains(&direct), "{direct}");
    }

    /// The share of the time that goes into transmissions when a message comes every `distance`.
    fn transmitting(distance: u64) -> f64 {
        let mut pacing = warmed_up();
        let (mut now, mut transmitting) = (COST, 0);
        for _ in 0..100_000 {
            now += distance;
            if pacing.due(now, 0, 40) == Due::Everything {
                pacing.transmitted(now, now + COST);
                now += COST;
                transmitting += COST;
            }
        }
        transmitting as f64 / now as f64
    }

    #[test]
    fn under_load_about_half_of_the_time_is_spent_transmitting() {
        assert!((0.4..0.6).contains(&transmitting(COST / 20)));
    }

    #[test]
    fn a_dense_stream_spends_about_a_fifth_of_the_time_transmitting() {
        assert!((0.15..0.25).contains(&transmitting(COST / 200)));
    }

    #[test]
    fn a_full_batch_does_not_wait() {
        let mut pacing = warmed_up();
        pacing.credit = 0;
        assert_eq!(pacing.due(COST + 1, 39, 40), Due::Nothing);
        assert_eq!(pacing.due(COST + 2, 40, 40), Due::ClosedPackets);
    }
}
