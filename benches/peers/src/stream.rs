//! A stream in one direction: who sends numbers the messages, who receives counts them and holds
//! them to their order. The same for every peer. Layer: peers; each side is owned by the thread
//! that sends or receives, and the [`Tally`] may be read by another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock;

/// What every message begins with.
pub(crate) const NUMBER_BYTES: usize = size_of::<u64>();
/// Says at its place in a message whether it counts.
const WARM_UP: u8 = 0;
const COUNTED: u8 = 1;
/// The last byte of each.
const END: u8 = 0x55;
/// Messages between two looks at the clock.
const LOOK_MESSAGES: u64 = 64;
/// The warm-up lasts this part of the measurement.
const WARM_UP_PART: u32 = 5;

/// The sending side.
pub(crate) struct Outgoing {
    payload: Vec<u8>,
    number: u64,
    counted: u64,
    duration: Duration,
    warm_until: Instant,
    /// Known once the warm-up is over.
    finish: Option<Instant>,
}

impl Outgoing {
    /// Messages of `size` bytes for `duration`, after a warm-up that begins now.
    pub(crate) fn new(size: usize, duration: Duration) -> Self {
        let mut payload = vec![END; size];
        payload[NUMBER_BYTES] = WARM_UP;
        let warm_until = clock::now() + duration / WARM_UP_PART;
        Self { payload, number: 0, counted: 0, duration, warm_until, finish: None }
    }

    /// The next message, until the time is over.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        if self.number.is_multiple_of(LOOK_MESSAGES) && !self.goes_on() {
            return None;
        }
        if let Some(number) = self.payload.first_chunk_mut::<NUMBER_BYTES>() {
            *number = self.number.to_le_bytes();
        }
        self.number += 1;
        self.counted += u64::from(self.finish.is_some());
        Some(&self.payload)
    }

    #[inline]
    fn goes_on(&mut self) -> bool {
        let now = clock::now();
        if self.finish.is_none() && now >= self.warm_until {
            self.finish = Some(now + self.duration);
            self.payload[NUMBER_BYTES] = COUNTED;
        }
        self.finish.is_none_or(|finish| now < finish)
    }

    /// Messages after the warm-up.
    pub(crate) const fn counted(&self) -> u64 {
        self.counted
    }
}

/// The receiving side.
pub(crate) struct Incoming {
    size: usize,
    expected: u64,
    tally: Arc<Tally>,
}

/// What has come so far. Only who receives writes.
#[derive(Debug)]
pub(crate) struct Tally {
    began: Instant,
    received: AtomicU64,
    /// Numbers that were skipped, came again, or came with another payload.
    astray: AtomicU64,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
    /// Messages received when the last time stamp was taken.
    timed: AtomicU64,
}

/// What came after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) received: u64,
    pub(crate) astray: u64,
    /// Messages that arrived within `elapsed_ns`.
    pub(crate) timed: u64,
    pub(crate) elapsed_ns: u64,
}

impl Incoming {
    pub(crate) fn new(size: usize) -> Self {
        let tally = Tally {
            began: clock::now(),
            received: AtomicU64::new(0),
            astray: AtomicU64::new(0),
            first_ns: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            timed: AtomicU64::new(0),
        };
        Self { size, expected: 0, tally: Arc::new(tally) }
    }

    pub(crate) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    #[inline]
    pub(crate) fn take(&mut self, message: &[u8]) {
        let number = message.first_chunk::<NUMBER_BYTES>().map(|bytes| u64::from_le_bytes(*bytes));
        let is_whole = message.len() == self.size && message.last() == Some(&END);
        if number != Some(self.expected) || !is_whole {
            self.stray(number);
        }
        self.expected = number.unwrap_or(self.expected) + 1;
        if message.get(NUMBER_BYTES) == Some(&COUNTED) {
            self.tally.count();
        }
    }

    #[cold]
    fn stray(&self, number: Option<u64>) {
        let skipped = number.and_then(|number| number.checked_sub(self.expected));
        self.tally.astray.fetch_add(skipped.unwrap_or(1).max(1), Ordering::Relaxed);
    }
}

impl Tally {
    #[inline]
    fn count(&self) {
        let received = self.received.load(Ordering::Relaxed) + 1;
        if received < LOOK_MESSAGES || received.is_multiple_of(LOOK_MESSAGES) {
            let now_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            if received == 1 {
                self.first_ns.store(now_ns, Ordering::Relaxed);
            }
            self.last_ns.store(now_ns, Ordering::Relaxed);
            self.timed.store(received, Ordering::Relaxed);
        }
        // Release: pairs with the Acquire in `received`.
        self.received.store(received, Ordering::Release);
    }

    pub(crate) fn received(&self) -> u64 {
        // Acquire: pairs with the Release in `count`, so that the stamps are visible, too.
        self.received.load(Ordering::Acquire)
    }

    pub(crate) fn counted(&self) -> Counted {
        let received = self.received();
        let (first, last) =
            (self.first_ns.load(Ordering::Relaxed), self.last_ns.load(Ordering::Relaxed));
        Counted {
            received,
            astray: self.astray.load(Ordering::Relaxed),
            // The first message starts the clock, and is no part of what the clock measures.
            timed: self.timed.load(Ordering::Relaxed).saturating_sub(1),
            elapsed_ns: last.saturating_sub(first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 32;

    fn message(number: u64) -> Vec<u8> {
        let mut message = vec![END; SIZE];
        message[..NUMBER_BYTES].copy_from_slice(&number.to_le_bytes());
        message[NUMBER_BYTES] = COUNTED;
        message
    }

    #[test]
    fn what_is_sent_is_counted() {
        let mut outgoing = Outgoing::new(SIZE, Duration::from_millis(5));
        let mut incoming = Incoming::new(SIZE);
        while let Some(message) = outgoing.next() {
            incoming.take(message);
        }
        let counted = incoming.tally().counted();
        assert!(outgoing.counted() > 0);
        assert_eq!((counted.received, counted.astray), (outgoing.counted(), 0));
        assert!(counted.timed < counted.received);
    }

    #[test]
    fn gaps_repetitions_and_damage_are_noticed() {
        for (numbers, astray) in [(&[0, 1, 5, 6][..], 3), (&[0, 1, 1, 2], 1), (&[0, 2, 1, 2], 2)] {
            let mut incoming = Incoming::new(SIZE);
            numbers.iter().for_each(|&number| incoming.take(&message(number)));
            assert_eq!(incoming.tally().counted().astray, astray, "{numbers:?}");
        }
        let mut incoming = Incoming::new(SIZE);
        incoming.take(&message(0)[1..]);
        assert!(incoming.tally().counted().astray > 0);
    }
}
