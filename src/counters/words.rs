//! The memory of counters: words that are only ever accessed as atomics, on the heap or in a mapped
//! file. Layer: counters. No thread owns it.
#![expect(
    unsafe_code,
    reason = "words may lie in a mapped file, which is reachable by its pointer"
)]

use std::any::Any;
use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Eight words: what travels between cores in one piece.
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "reached by its address")] [AtomicU64; WORDS_PER_LINE]);

pub(super) const WORDS_PER_LINE: usize = 8;
/// Bytes of a word.
pub(super) const WORD: usize = size_of::<u64>();

/// Words in a row. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Words {
    base: NonNull<AtomicU64>,
    count: usize,
    /// Keeps the memory alive.
    owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: `Words` is a range of atomics that stays valid as long as the owner lives.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Zeroes on the heap, from the begin of a cache line on.
    pub(super) fn heap(count: usize) -> Self {
        let lines = Box::<[Line]>::new_zeroed_slice(count.div_ceil(WORDS_PER_LINE));
        // SAFETY: all zeroes is a valid array of atomics.
        let lines = unsafe { lines.assume_init() };
        let base = NonNull::from(&*lines).cast();
        // SAFETY: as many words are there, or a few more; the box keeps its place when it moves.
        unsafe { Self::from_raw(base, count, Arc::new(lines)) }
    }

    /// Words inside memory that `owner` keeps alive.
    ///
    /// # Safety
    ///
    /// `base` points to `count` words that are aligned, and readable and writable as long as `owner`
    /// lives. Whoever else accesses them does so as atomics, or only reads what may be torn.
    pub(crate) unsafe fn from_raw(
        base: NonNull<AtomicU64>,
        count: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { base, count, owner }
    }

    /// A part of the words.
    ///
    /// # Panics
    ///
    /// When the range lies outside.
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        let part = &self[range];
        Self { base: NonNull::from(part).cast(), count: part.len(), owner: Arc::clone(&self.owner) }
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: valid by the contract of `from_raw`, which `heap` and `part` keep.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.count) }
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("count", &self.count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn parts_are_the_same_words() {
        let words = Words::heap(20);
        assert_eq!(words.len(), 20);
        assert!(words.as_ptr().cast::<Line>().is_aligned());
        let part = words.part(8..20);
        drop(words.clone());
        part[11].store(7, Ordering::Relaxed);
        assert_eq!(words[19].load(Ordering::Relaxed), 7);
        drop(words);
        assert_eq!(part[11].load(Ordering::Relaxed), 7);
    }
}
