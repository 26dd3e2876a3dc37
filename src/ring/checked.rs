//! What loom sees of a ring: its words, and who touches which of its other bytes. Layer: ring. Only
//! in model tests; belongs to one execution of one model.
//!
//! The words of the ring live here and not in its memory, so that loom can choose what each load
//! sees. The other bytes stay in memory; each access to them is noted, and loom fails when a read
//! and a write of the same bytes are not ordered by the words.

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64;

use super::Layout;

const WORD: usize = 8;

/// One atomic and one witness for every eight bytes of a ring.
pub(super) struct Checked {
    words: Vec<AtomicU64>,
    bytes: Vec<UnsafeCell<()>>,
}

// SAFETY: the cells hold nothing; loom uses them to find accesses that are not ordered.
unsafe impl Send for Checked {}
// SAFETY: as above.
unsafe impl Sync for Checked {}

impl Checked {
    pub(super) fn new(layout: Layout) -> Self {
        let count = layout.bytes() / WORD;
        Self {
            words: (0..count).map(|_| AtomicU64::new(0)).collect(),
            bytes: (0..count).map(|_| UnsafeCell::new(())).collect(),
        }
    }

    /// The word at this offset from the first slot.
    pub(super) fn word(&self, at: usize) -> &AtomicU64 {
        &self.words[at / WORD]
    }

    pub(super) fn read(&self, at: usize, length: usize) {
        self.cells(at, length).for_each(|cell| cell.with(|_| ()));
    }

    pub(super) fn write(&self, at: usize, length: usize) {
        self.cells(at, length).for_each(|cell| cell.with_mut(|_| ()));
    }

    fn cells(&self, at: usize, length: usize) -> impl Iterator<Item = &UnsafeCell<()>> {
        self.bytes[at / WORD..(at + length).div_ceil(WORD)].iter()
    }
}
