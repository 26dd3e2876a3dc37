//! Shared memory one way, with nothing around it: a ring of words between two threads. Layer: bin.
//! One thread writes, one reads; each owns its end.
//!
//! A slot is a commit word and the words of one message. The reader polls the commit word of the
//! slot it waits for, and tells its position in batches: the writer looks at it once per lap.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the ring holds, unless a single message is larger: it stays in the cache of a core.
const RING_BYTES: usize = 1 << 20;
const WORD_BYTES: usize = size_of::<u64>();
/// Messages after which the reader tells how far it is, unless the ring has room for fewer.
const MAX_BATCH: usize = 64;

#[derive(Debug)]
struct Ring {
    words: Box<[AtomicU64]>,
    /// Messages read.
    position: Position,
    slot_words: usize,
    slots: u64,
    batch: u64,
}

/// On cache lines of its own, so that writing it does not disturb the writer's.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Position(AtomicU64);

#[derive(Debug)]
pub(crate) struct Writer {
    ring: Arc<Ring>,
    payload: Vec<u64>,
    written: u64,
    /// First word of the next slot.
    at: usize,
    /// The reader's position when it was last looked at.
    read: u64,
}

/// A message that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its first word; zero when it has none.
    pub(crate) stamp: u64,
    /// The sum of its words.
    pub(crate) sum: u64,
}

#[derive(Debug)]
pub(crate) struct Reader {
    ring: Arc<Ring>,
    read: u64,
    /// First word of the next slot.
    at: usize,
}

/// A ring for messages of `size` bytes.
pub(crate) fn ring(size: usize) -> (Writer, Reader) {
    let payload = vec![0x5555_5555_5555_5555; size.div_ceil(WORD_BYTES)];
    let slot_words = 1 + payload.len();
    let slots = (RING_BYTES / WORD_BYTES / slot_words).max(2);
    let batch = (slots / 2).min(MAX_BATCH);
    // Whole batches: the reader has told its position whenever it has emptied the ring.
    let slots = slots / batch * batch;
    let ring = Arc::new(Ring {
        words: (0..slots * slot_words).map(|_| AtomicU64::new(0)).collect(),
        position: Position::default(),
        slot_words,
        slots: slots as u64,
        batch: batch as u64,
    });
    let writer = Writer { ring: Arc::clone(&ring), payload, written: 0, at: 0, read: 0 };
    (writer, Reader { ring, read: 0, at: 0 })
}

impl Ring {
    #[inline]
    fn slot(&self, at: usize) -> &[AtomicU64] {
        &self.words[at..at + self.slot_words]
    }

    #[inline]
    const fn next(&self, at: usize) -> usize {
        let next = at + self.slot_words;
        if next == self.words.len() { 0 } else { next }
    }
}

impl Writer {
    /// What the messages to come begin with, if they have a word.
    #[inline]
    pub(crate) fn stamp(&mut self, stamp: u64) {
        if let Some(first) = self.payload.first_mut() {
            *first = stamp;
        }
    }

    /// Writes a message, unless the reader is a whole ring behind.
    #[inline]
    pub(crate) fn write(&mut self) -> bool {
        if self.written - self.read == self.ring.slots {
            // Acquire: pairs with the Release in `read`; the reader is done with the slot.
            self.read = self.ring.position.0.load(Ordering::Acquire);
            if self.written - self.read == self.ring.slots {
                return false;
            }
        }
        let [commit, words @ ..] = self.ring.slot(self.at) else { return false };
        for (word, value) in words.iter().zip(&self.payload) {
            word.store(*value, Ordering::Relaxed);
        }
        self.written += 1;
        // Release: whoever sees the number sees the message.
        commit.store(self.written, Ordering::Release);
        self.at = self.ring.next(self.at);
        true
    }
}

impl Reader {
    /// Reads the next message, if there is one, all its words.
    #[inline]
    pub(crate) fn read(&mut self) -> Option<Message> {
        let [commit, words @ ..] = self.ring.slot(self.at) else { return None };
        // Acquire: pairs with the Release in `write`.
        if commit.load(Ordering::Acquire) != self.read + 1 {
            return None;
        }
        let stamp = words.first().map_or(0, |word| word.load(Ordering::Relaxed));
        let words = words.iter().map(|word| word.load(Ordering::Relaxed));
        let sum = words.fold(0, u64::wrapping_add);
        self.read += 1;
        self.at = self.ring.next(self.at);
        if self.read.is_multiple_of(self.ring.batch) {
            self.ring.position.0.store(self.read, Ordering::Release);
        }
        Some(Message { stamp, sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_full_ring_refuses() {
        let (mut writer, mut reader) = ring(16);
        let slots = writer.ring.slots;
        for _ in 0..3 {
            assert_eq!((0..).take_while(|_| writer.write()).count() as u64, slots);
            let sum = 0x5555_5555_5555_5555_u64.wrapping_mul(2);
            let read = std::iter::from_fn(|| reader.read()).inspect(|got| assert_eq!(got.sum, sum));
            assert_eq!(read.count() as u64, slots);
        }
        assert_eq!(reader.read(), None);
    }

    #[test]
    fn messages_carry_the_stamp_of_their_time() {
        let (mut writer, mut reader) = ring(16);
        for stamp in [7, 8] {
            writer.stamp(stamp);
            assert!(writer.write());
            assert_eq!(reader.read().map(|message| message.stamp), Some(stamp));
        }
    }

    #[test]
    fn empty_and_huge_messages_have_slots() {
        for size in [0, 1, 16 << 20] {
            let (mut writer, mut reader) = ring(size);
            assert!(writer.write());
            assert!(reader.read().is_some());
            assert!(reader.read().is_none());
        }
    }
}
