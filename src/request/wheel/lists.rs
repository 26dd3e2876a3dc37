//! The lists of a timing wheel: who is in which slot. Layer: request. Owned by the wheel.
//!
//! Timers stand one after the other in blocks, and a list is a stack of blocks. The obvious
//! alternative, links threaded through the timed objects, makes of a million of them a chain of
//! cache misses, each of which waits for the one before. Here all that is known of the next
//! timers is read in a row, and what they stand for can be fetched many at a time.

use super::{LISTS, MAX_TIMERS, Timers};

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

/// Where a timer stands. It changes while the timer waits; the wheel keeps it up to date in
/// [`Timers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::request) struct Position(u32);

impl Position {
    /// Of a timer that is in no list yet.
    pub(in crate::request) const NOWHERE: Self = Self(u32::MAX);

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
pub(super) struct Entry {
    pub(super) tick: u64,
    pub(super) index: u32,
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
}

impl Lists {
    /// Reserves the table of blocks that `timers` can take, 8 bytes for 63 timers, and no block.
    pub(super) fn new(timers: u32) -> Self {
        let blocks = (timers / ENTRIES).saturating_add(LISTS.min(timers));
        Self {
            blocks: Vec::with_capacity(blocks as usize),
            spare: NO_BLOCK,
            tops: [NO_BLOCK; LISTS as usize],
        }
    }

    pub(super) const fn is_empty(&self, list: u32) -> bool {
        self.tops[list as usize] == NO_BLOCK
    }

    /// Adds a timer to a list.
    pub(super) fn push<S: Timers>(&mut self, timers: &mut S, list: u32, entry: Entry) {
        let mut top = self.tops[list as usize];
        if top == NO_BLOCK || self.blocks[top as usize].len == ENTRIES as usize {
            top = self.add_block(list, top);
        }
        let block = &mut self.blocks[top as usize];
        block.entries[block.len] = entry;
        *timers.position(entry.index) = Position::new(top, block.len);
        block.len += 1;
    }

    /// Brings what the next timers of a list stand for close to the processor, and returns how many
    /// these are. One after the other each would be waited for; looks that do not depend on each other
    /// overlap.
    pub(super) fn fetch<S: Timers>(&self, timers: &mut S, list: u32) -> usize {
        let Some(block) = self.blocks.get(self.tops[list as usize] as usize) else { return 0 };
        let entries = &block.entries[..block.len];
        let seen = entries.iter().fold(0, |seen, entry| seen ^ timers.position(entry.index).0);
        std::hint::black_box(seen);
        entries.len()
    }

    /// Takes a timer out of a list, the one that was added last. `None` when the list is empty.
    pub(super) fn pop(&mut self, list: u32) -> Option<Entry> {
        let top = self.tops[list as usize];
        let block = self.blocks.get_mut(top as usize)?;
        block.len -= 1;
        let entry = block.entries[block.len];
        if block.len == 0 {
            self.tops[list as usize] = block.below;
            block.below = self.spare;
            self.spare = top;
        }
        Some(entry)
    }

    /// Takes out the timer that stands at `position`; the last one of its list takes its place.
    /// Returns the list.
    pub(super) fn remove<S: Timers>(&mut self, timers: &mut S, position: Position) -> u32 {
        let list = self.blocks[position.block() as usize].list;
        let Some(last) = self.pop(list) else { return list };
        // The block of `position` is still the list's, or it is the one that has just become spare,
        // and then the last timer was the one to be removed.
        let block = &mut self.blocks[position.block() as usize];
        if position.entry() < block.len {
            block.entries[position.entry()] = last;
            *timers.position(last.index) = position;
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
