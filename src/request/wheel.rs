//! Hierarchical timing wheel: finds what is due without looking at what is not. Layer: request.
//! Owned by the table that embeds it; sans-IO, time comes in as an argument.
//!
//! ```text
//! level 0  one tick per slot         |0|1|2| .. |63|        the next 64 ticks, exact
//! level 1  32 ticks per slot         |0  |1  | .. |63  |    the next 64 x 32 ticks
//! level 2  32 x 32 ticks per slot    |0     | .. |63     |  and so on, to the end of time
//! ```
//!
//! A timer waits in the lowest level whose 64 slots reach its deadline. Each level reaches two
//! slots of the level above, not one: so the slot that comes *next* can be emptied into the level
//! below while the current one still runs. A slot with a hundred thousand timers takes milliseconds
//! to empty; done ahead, in portions, after whatever is due, it delays none of them.
//!
//! Each slot has a list of timers ([`Lists`]), of which each timed object knows its place
//! ([`Timers`]), and each level has one bit per slot: so inserting and removing take constant time,
//! and idle stretches of any length are skipped with one bit scan per level.

mod lists;

use crate::time::Timestamp;

pub(super) use lists::Position;
use lists::{Entry, Lists};

/// Timers fire at tick boundaries: the tick is how late the wheel alone can make them. 2^17 ns
/// (131 µs) is what an operating system needs to wake a thread, and leaves most of the millisecond
/// that a timeout may be late to the callbacks ahead of it; a finer tick would only add wake-ups.
const TICK_BITS: u32 = 17;

/// Length of a tick in nanoseconds.
pub(super) const TICK_NANOS: u64 = 1 << TICK_BITS;

/// Slots of a level: one bit each in a `u64`.
const SLOTS: u32 = u64::BITS;
const SLOT_MASK: u64 = SLOTS as u64 - 1;

/// Each level's slots are 2^5 times as long as those of the level below: half of [`SLOTS`], which
/// is what lets a level hold the slot in progress and the next one.
const STRIDE_BITS: u32 = 5;

/// Tick of the latest deadline, rounded up: one past the last tick that a clock can reach.
const LAST_TICK: u64 = u64::MAX.div_ceil(TICK_NANOS);

/// Enough for every deadline, seen from tick zero.
const LEVELS: u32 = 10;
const _: () = assert!(LAST_TICK >> shift(LEVELS - 1) <= SLOT_MASK);

const LISTS: u32 = LEVELS * SLOTS;

/// Most timers of a wheel: as many as there are places for in its lists.
pub(super) const MAX_TIMERS: u32 = 1 << 31;

/// Where what the wheel has to know of a timed object is stored. The wheel keeps indices only.
pub(super) trait Timers {
    /// Where the timer `index` stands. Only the wheel changes it.
    fn position(&mut self, index: u32) -> &mut Position;
}

/// A slot by its absolute number on the time line of its level.
#[derive(Clone, Copy, Debug)]
struct Slot {
    level: u32,
    number: u64,
}

impl Slot {
    /// First tick of the slot.
    const fn start(self) -> u64 {
        self.number << shift(self.level)
    }

    /// The tick from which on the wheel has something to do with this slot: to expire it, or to
    /// empty it into the level below, one slot ahead.
    const fn ready(self) -> u64 {
        if self.level == 0 {
            self.number
        } else {
            self.number.saturating_sub(1) << shift(self.level)
        }
    }

    /// Bit of the slot in its level, the same for numbers that are [`SLOTS`] apart.
    const fn bit(self) -> u32 {
        (self.number & SLOT_MASK) as u32
    }

    const fn list(self) -> u32 {
        self.level * SLOTS + self.bit()
    }
}

/// Timers by deadline.
#[derive(Debug)]
pub(super) struct Wheel {
    /// The tick that slots are counted from. No occupied slot starts before it, so a level's bits,
    /// rotated to begin at this tick, are in order of time.
    base: u64,
    /// One bit per level that has a timer: most scans concern two or three levels.
    levels: u32,
    /// One bit per slot that has a timer.
    occupied: [u64; LEVELS as usize],
    lists: Lists,
}

impl Wheel {
    /// A wheel for at most `timers` timers.
    pub(super) fn new(now: Timestamp, timers: u32) -> Self {
        Self {
            base: ticks_passed(now),
            levels: 0,
            occupied: [0; LEVELS as usize],
            lists: Lists::new(timers),
        }
    }

    /// Adds the timer `index`, which must be in no list, to fire at `deadline`. A deadline in the
    /// past is due at once.
    pub(super) fn insert<S: Timers>(
        &mut self,
        timers: &mut S,
        index: u32,
        now: Timestamp,
        deadline: Timestamp,
    ) {
        // After an idle stretch the timer would otherwise go to a level meant for far deadlines,
        // and wake its thread just to be sorted in again.
        self.catch_up(ticks_passed(now));
        // Rounded up: never early.
        self.put(timers, Entry { tick: deadline.as_nanos().div_ceil(TICK_NANOS), index });
    }

    /// Takes the timer `index`, which must have been inserted, out of its list.
    pub(super) fn remove<S: Timers>(&mut self, timers: &mut S, index: u32) {
        let position = *timers.position(index);
        let list = self.lists.remove(timers, position);
        if self.lists.is_empty(list) {
            self.set_vacant(list);
        }
    }

    /// Removes timers that are due at `now` and passes each to `expired`, in order of their ticks
    /// and in no order within a tick. Then brings timers of the slots ahead closer. Touches at most
    /// `limit` timers, the expired and the moved together; returns whether work is left.
    pub(super) fn advance<S: Timers>(
        &mut self,
        timers: &mut S,
        now: Timestamp,
        limit: usize,
        mut expired: impl FnMut(&mut S, u32),
    ) -> bool {
        let now = ticks_passed(now);
        let mut budget = limit;
        while let Some(slot) = self.next_work(now) {
            let mut fetched = 0;
            while budget > 0 && !self.lists.is_empty(slot.list()) {
                if fetched == 0 {
                    fetched = self.lists.fetch(timers, slot.list());
                }
                fetched -= 1;
                let Some(entry) = self.lists.pop(slot.list()) else { break };
                budget -= 1;
                if slot.level == 0 {
                    expired(timers, entry.index);
                } else {
                    self.put(timers, entry);
                }
            }
            if !self.lists.is_empty(slot.list()) {
                return true;
            }
            self.set_vacant(slot.list());
        }
        false
    }

    /// Forgets all timers.
    pub(super) fn clear(&mut self) {
        self.levels = 0;
        self.occupied = [0; LEVELS as usize];
        self.lists.clear();
    }

    /// When [`advance`](Self::advance) has something to do next, `None` when there is no timer.
    /// Never later than the earliest deadline, rounded up to a tick. Of a distant deadline it is an
    /// earlier moment, at which the timer moves one level down: at most one per level.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        let tick = self.first_slots().map(Slot::ready).min()?;
        // Saturates for the tick after the last: NEVER.
        Some(Timestamp::from_nanos(tick.saturating_mul(TICK_NANOS)))
    }

    /// The next slot to empty at tick `now`, in order of time: what is due comes before what is
    /// only moved ahead, so that a crowded slot ahead delays nothing.
    fn next_work(&mut self, now: u64) -> Option<Slot> {
        self.catch_up(now);
        self.first_slots().filter(|slot| slot.ready() <= self.base).min_by_key(|slot| slot.start())
    }

    /// Moves the base towards `now`, as far as the slots that are still occupied allow.
    fn catch_up(&mut self, now: u64) {
        if self.base < now {
            let first = self.first_slots().map(Slot::start).min();
            self.base = first.map_or(now, |first| now.min(first));
        }
    }

    /// Adds the timer to the list of its slot; one that is overdue goes to the current slot.
    fn put<S: Timers>(&mut self, timers: &mut S, Entry { tick, index }: Entry) {
        let tick = tick.max(self.base);
        let slot = self.slot_of(tick);
        self.lists.push(timers, slot.list(), Entry { tick, index });
        self.occupied[slot.level as usize] |= 1 << slot.bit();
        self.levels |= 1 << slot.level;
    }

    /// Notes that the list has no timer left.
    fn set_vacant(&mut self, list: u32) {
        let level = list / SLOTS;
        let occupied = &mut self.occupied[level as usize];
        *occupied &= !(1 << (list % SLOTS));
        if *occupied == 0 {
            self.levels &= !(1 << level);
        }
    }

    /// The slot of the lowest level that reaches `tick`, which is not before the base. Above level
    /// 0 that is never the current nor the next slot of the level: those reach further down.
    fn slot_of(&self, tick: u64) -> Slot {
        let mut level = 0;
        // Ends at the top level at the latest, which reaches `LAST_TICK` from tick zero.
        while (tick >> shift(level)) - (self.base >> shift(level)) > SLOT_MASK {
            level += 1;
        }
        Slot { level, number: tick >> shift(level) }
    }

    /// The earliest occupied slot of each level that has one, from the lowest level up.
    fn first_slots(&self) -> impl Iterator<Item = Slot> {
        let mut levels = self.levels;
        std::iter::from_fn(move || {
            let level = (levels != 0).then(|| levels.trailing_zeros())?;
            levels &= levels - 1;
            Some(self.first_slot(level))
        })
    }

    /// The earliest occupied slot of a level that has one.
    fn first_slot(&self, level: u32) -> Slot {
        let base = Slot { level, number: self.base >> shift(level) };
        let occupied = self.occupied[level as usize].rotate_right(base.bit());
        Slot { level, number: base.number + u64::from(occupied.trailing_zeros()) }
    }
}

/// Binary logarithm of a slot's length in ticks.
const fn shift(level: u32) -> u32 {
    STRIDE_BITS * level
}

/// Whole ticks up to `now`; rounded down, deadlines are rounded up.
const fn ticks_passed(now: Timestamp) -> u64 {
    now.as_nanos() / TICK_NANOS
}

#[cfg(test)]
mod tests;
