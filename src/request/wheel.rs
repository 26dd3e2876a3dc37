//! Hierarchical timing wheel: finds what is due without looking at what is not. Layer: request.
//! Owned by the table that embeds it; sans-IO, time comes in as an argument.
//!
//! ```text
//! level 0  one tick per slot          |0|1|2| .. |511|        the next 512 ticks (67 ms), exact
//! level 1  256 ticks per slot         |0  |1  | .. |511  |    the next 512 x 256 ticks (17 s)
//! level 2  256 x 256 ticks per slot   |0     | .. |511     |  and so on, to the end of time
//! ```
//!
//! A timer waits in the lowest level whose 512 slots reach its deadline. Each level reaches two
//! slots of the level above, not one: so the slot that comes *next* can be emptied into the level
//! below while the current one still runs. A slot with a hundred thousand timers takes milliseconds
//! to empty; done ahead, in portions, after whatever is due, it delays none of them.
//!
//! So many slots, because of a million timers each is in nobody's cache when it moves: most requests
//! wait for milliseconds or seconds, and move never or once.
//!
//! Each slot has a list of timers ([`Lists`]), which know where each of them stands, and each level
//! has one bit per slot: so inserting and removing take constant time, and idle stretches of any
//! length are skipped with one bit scan per level.

mod bits;
mod lists;

use crate::time::Timestamp;

use bits::Bits;
pub(super) use lists::Entry;
use lists::Lists;

/// Timers fire at tick boundaries: the tick is how late the wheel alone can make them. 2^17 ns
/// (131 µs) is what an operating system needs to wake a thread, and leaves most of the millisecond
/// that a timeout may be late to the callbacks ahead of it; a finer tick would only add wake-ups.
const TICK_BITS: u32 = 17;

/// Length of a tick in nanoseconds.
pub(super) const TICK_NANOS: u64 = 1 << TICK_BITS;

/// Slots of a level.
const SLOTS: u32 = 1 << (STRIDE_BITS + 1);
const SLOT_MASK: u64 = SLOTS as u64 - 1;

/// Each level's slots are 2^8 times as long as those of the level below: half of [`SLOTS`], which
/// is what lets a level hold the slot in progress and the next one.
const STRIDE_BITS: u32 = 8;

/// Tick of the latest deadline, rounded up: one past the last tick that a clock can reach.
const LAST_TICK: u64 = u64::MAX.div_ceil(TICK_NANOS);

/// Enough for every deadline, seen from tick zero.
const LEVELS: u32 = 6;
const _: () = assert!(LAST_TICK >> shift(LEVELS - 1) <= SLOT_MASK);

const LISTS: u32 = LEVELS * SLOTS;

/// Most timers of a wheel: as many as there are places for in its lists.
pub(super) const MAX_TIMERS: u32 = 1 << 31;

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

/// Timers by deadline. Of what they time the wheel knows an index only.
#[derive(Debug)]
pub(super) struct Wheel {
    /// The tick that slots are counted from. No occupied slot starts before it, so a level's bits,
    /// rotated to begin at this tick, are in order of time.
    base: u64,
    /// One bit per level that has a timer: most scans concern two or three levels.
    levels: u32,
    /// One bit per slot that has a timer.
    occupied: [Bits; LEVELS as usize],
    lists: Lists,
}

impl Wheel {
    /// A wheel for at most `timers` timers.
    pub(super) fn new(now: Timestamp, timers: u32) -> Self {
        Self {
            base: ticks_passed(now),
            levels: 0,
            occupied: [Bits::NONE; LEVELS as usize],
            lists: Lists::new(timers),
        }
    }

    /// Adds the timer `index`, which must be in no list, to fire at `deadline`. A deadline in the
    /// past is due at once.
    pub(super) fn insert(&mut self, index: u32, now: Timestamp, deadline: Timestamp) {
        // After an idle stretch the timer would otherwise go to a level meant for far deadlines,
        // and wake its thread just to be sorted in again.
        self.catch_up(ticks_passed(now));
        // Rounded up: never early.
        self.put(Entry { tick: deadline.as_nanos().div_ceil(TICK_NANOS), index });
    }

    /// Takes the timer `index`, which must have been inserted, out of its list.
    pub(super) fn remove(&mut self, index: u32) {
        let list = self.lists.remove(index);
        if self.lists.is_empty(list) {
            self.set_vacant(list);
        }
    }

    /// Removes timers that are due at `now` and passes them to `expired`, some at a time, in order
    /// of their ticks and in no order within a tick. Then brings timers of the slots ahead closer.
    /// Touches at most `limit` timers, the expired and the moved together; returns whether work is
    /// left.
    pub(super) fn advance(
        &mut self,
        now: Timestamp,
        limit: usize,
        mut expired: impl FnMut(&[Entry]),
    ) -> bool {
        let now = ticks_passed(now);
        let mut budget = limit;
        while let Some(slot) = self.next_work(now) {
            while budget > 0 && !self.lists.is_empty(slot.list()) {
                if slot.level == 0 {
                    let due = self.lists.pop_some(slot.list(), budget);
                    expired(due);
                    budget -= due.len();
                } else {
                    let count = self.lists.fetch(slot.list(), budget);
                    for _ in 0..count {
                        let Some(entry) = self.lists.pop(slot.list()) else { break };
                        self.put(entry);
                    }
                    budget -= count;
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
        self.occupied = [Bits::NONE; LEVELS as usize];
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
    fn put(&mut self, Entry { tick, index }: Entry) {
        let tick = tick.max(self.base);
        let slot = self.slot_of(tick);
        self.lists.push(slot.list(), Entry { tick, index });
        self.occupied[slot.level as usize].insert(slot.bit());
        self.levels |= 1 << slot.level;
    }

    /// Notes that the list has no timer left.
    fn set_vacant(&mut self, list: u32) {
        let level = list / SLOTS;
        let occupied = &mut self.occupied[level as usize];
        occupied.remove(list % SLOTS);
        if occupied.is_empty() {
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
        let ahead = self.occupied[level as usize].first_from(base.bit());
        Slot { level, number: base.number + u64::from(ahead) }
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
