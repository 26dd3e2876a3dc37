//! The lists of a timing wheel: who is in which slot. Layer: request. Owned by the wheel.
//!
//! Timers stand one after the other in blocks, and a list is a stack of blocks. The obvious
//! alternative, links threaded through the timed objects, makes of a million of them a chain of
//! cache misses, each of which waits for the one before. Here all that is known of the next
//! timers is read in a row, and many of them are handed out at a time.
//!
//! Where a timer stands is kept apart from what it times, in four bytes for each: more of them fit
//! into caches.

use super::super::fetched;
use super::{LISTS, MAX_TIMERS};

/// Entries of a block. With its header a block takes 1 KiB: few enough that a list of one timer
/// wastes little, many enough that going from block to block is rare.
const ENTRIES: u32 = 63;

/// Bits of a [`Position`] that say which entry of its block is meant.
const ENTRY_BITS: u32 = 6;
const _: () = assert!(ENTRIES <= 1 << ENTRY_BITS);

/// All blocks that there can be, however the timers are distributed: full ones, and one for each
/// list that is not.
const MAX_BLOCKS: u32 = MAX_TIMERS / ENTRIES + LISTS;
const _: () = assert!(MAX_BLOCKS < 1 << (u32::BITS - ENTRY_BITS));

/// In place of a block: there is none.
const NO_BLOCK: u32 = u32::MAX;

/// Where a timer stands, which changes while it waits.
#[derive(Clone, Copy, Debug)]
struct Position(u32);

impl Position {
    /// Of a timer that has never been in a list.
    const NOWHERE: Self = Self(u32::MAX);

    #[expect(clippy::cast_possible_truncation, reason = "an entry is below 2^ENTRY_BITS")]
    const fn new(block: u32, entry: usize) -> Self {
        Self(block << ENTRY_BITS | entry as u32)
    }

    const fn block(self) -> u32 {
        self.0 >> ENTRY_BITS
    }

    const fn entry(self) -> usize {
        (self.0 & ((1 << ENTRY_BITS) - 1)) as usize
    }
}

/// A timer in a list.
#[derive(Clone, Copy, Debug)]
pub(in crate::request) struct Entry {
    pub(super) tick: u64,
    pub(in crate::request) index: u32,
}

#[derive(Debug)]
struct Block {
    list: u32,
    /// The block below in the stack of the list, or in the stack of spare blocks.
    below: u32,
    len: usize,
    entries: [Entry; ENTRIES as usize],
}

impl Block {
    const fn empty() -> Self {
        Self {
            list: 0,
            below: NO_BLOCK,
            len: 0,
            entries: [Entry { tick: 0, index: 0 }; ENTRIES as usize],
        }
    }
}

/// A fixed number of lists. Blocks are never moved or given back, and used again by any list: what
/// has seen its peak allocates nothing more.
#[derive(Debug)]
pub(super) struct Lists {
    #[expect(clippy::vec_box, reason = "growing must not move the blocks: that takes too long")]
    blocks: Vec<Box<Block>>,
    /// Top of the stack of blocks that no list uses.
    spare: u32,
    /// Top block of each list. Those below it are full, and none is empty.
    tops: [u32; LISTS as usize],
    /// By the index of the timer; outdated for one that is in no list.
    positions: Vec<Position>,
}

impl Lists {
    /// Reserves the table of blocks that `timers` can take, 8 bytes for 63 timers, 4 bytes for the
    /// position of each, and no block. What is reserved takes memory as it is used.
    pub(super) fn new(timers: u32) -> Self {
        let blocks = (timers / ENTRIES).saturating_add(LISTS.min(timers));
        Self {
            blocks: Vec::with_capacity(blocks as usize),
            spare: NO_BLOCK,
            tops: [NO_BLOCK; LISTS as usize],
            positions: Vec::with_capacity(timers as usize),
        }
    }

    pub(super) const fn is_empty(&self, list: u32) -> bool {
        self.tops[list as usize] == NO_BLOCK
    }

    /// Adds a timer to a list.
    pub(super) fn push(&mut self, list: u32, entry: Entry) {
        let mut top = self.tops[list as usize];
        if top == NO_BLOCK || self.blocks[top as usize].len == ENTRIES as usize {
            top = self.add_block(list, top);
        }
        let block = &mut self.blocks[top as usize];
        let position = Position::new(top, block.len);
        block.entries[block.len] = entry;
        block.len += 1;
        let index = entry.index as usize;
        if index >= self.positions.len() {
            self.positions.resize(index + 1, Position::NOWHERE);
        }
        self.positions[index] = position;
    }

    /// Brings the positions of the timers that are the next to leave a list close to the processor, for
    /// them to be moved, and returns how many these are: up to `limit`.
    pub(super) fn fetch(&self, list: u32, limit: usize) -> usize {
        let Some(block) = self.blocks.get(self.tops[list as usize] as usize) else { return 0 };
        let count = limit.min(block.len);
        let next = &block.entries[block.len - count..block.len];
        let positions = next.iter().map(|entry| self.positions[entry.index as usize].0);
        fetched(positions);
        count
    }

    /// Takes a timer out of a list, the one that was added last. `None` when the list is empty.
    pub(super) fn pop(&mut self, list: u32) -> Option<Entry> {
        self.pop_some(list, 1).first().copied()
    }

    /// Takes up to `limit` timers out of a list, of those that were added last. None only when the list
    /// is empty or the limit is 0.
    pub(super) fn pop_some(&mut self, list: u32, limit: usize) -> &[Entry] {
        let top = self.tops[list as usize];
        let Some(block) = self.blocks.get_mut(top as usize) else { return &[] };
        let len = block.len;
        block.len -= limit.min(len);
        if block.len == 0 {
            self.tops[list as usize] = block.below;
            block.below = self.spare;
            self.spare = top;
        }
        // Whoever uses the block next has to wait until these are read.
        &block.entries[block.len..len]
    }

    /// Takes out the timer `index`, which is in a list; the last one of that list takes its place.
    /// Returns the list.
    pub(super) fn remove(&mut self, index: u32) -> u32 {
        let position = self.positions[index as usize];
        let list = self.blocks[position.block() as usize].list;
        let Some(last) = self.pop(list) else { return list };
        // The block of `position` is still the list's, or it is the one that has just become spare,
        // and then the last timer was the one to be removed.
        let block = &mut self.blocks[position.block() as usize];
        if position.entry() < block.len {
            block.entries[position.entry()] = last;
            self.positions[last.index as usize] = position;
        }
        list
    }

    /// Empties all lists.
    pub(super) fn clear(&mut self) {
        for list in 0..LISTS {
            while self.pop(list).is_some() {}
        }
    }

    /// How many blocks there are, used and spare.
    #[expect(clippy::cast_possible_truncation, reason = "never more than MAX_BLOCKS")]
    pub(super) const fn count(&self) -> u32 {
        self.blocks.len() as u32
    }

    /// Puts an empty block on top of a list.
    fn add_block(&mut self, list: u32, below: u32) -> u32 {
        let block = match self.blocks.get(self.spare as usize) {
            Some(spare) => std::mem::replace(&mut self.spare, spare.below),
            None => {
                self.blocks.push(Box::new(Block::empty()));
                self.count() - 1
            }
        };
        let top = &mut self.blocks[block as usize];
        top.list = list;
        top.below = below;
        self.tops[list as usize] = block;
        block
    }
}
