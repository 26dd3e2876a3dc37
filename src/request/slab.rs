//! Slab with generations: storage for what open requests need, addressed by keys that stop working
//! the moment their value is removed. Layer: request. Owned by the table that embeds it.
//!
//! Slots live in chunks that are never moved or given back. Growing therefore costs one allocation
//! of [`CHUNK_SLOTS`] slots, written only as they are used, however large the slab already is; and
//! a slab that has seen its peak allocates nothing more.

use super::fetched;
use super::vacancy::VacantSlots;

/// Slots per allocation: 32 KiB for a 32-byte slot, small enough to come from the allocator's heap
/// rather than from a fresh mapping, large enough that a million slots need only a thousand chunks.
const CHUNK_SLOTS: u32 = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 10;

/// The generation of a slot that was never used. Zero is left out, so that an all-zero key is never
/// valid.
const FIRST_GENERATION: u32 = 1;

/// Address of a value: a slot, and which of the slot's successive values is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) generation: u32,
    pub(super) index: u32,
}

/// Aligned so that a slot never straddles two cache lines: among a million open requests each
/// visit is a cache miss, and should be only one.
#[derive(Debug)]
#[repr(align(32))]
struct Slot<V> {
    /// Generation of the value inside or, when vacant, of the next one. Changes at removal.
    generation: u32,
    value: Option<V>,
}

/// Values addressed by [`Key`], at most `limit` of them.
///
/// The lowest vacant slot is the first to be used: few values stay in few cache lines. A key
/// repeats only after its slot was used 2^32 - 1 times more.
#[derive(Debug)]
pub(super) struct Slab<V> {
    chunks: Vec<Vec<Slot<V>>>,
    /// Slots that exist, all chunks together. Only grows.
    created: u32,
    occupied: u32,
    limit: u32,
    /// Those of the created slots that hold no value.
    vacant: VacantSlots,
}

impl<V> Slab<V> {
    /// Reserves the tables that grow with the limit (less than 0.2 bytes per slot) and no slot.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            chunks: Vec::with_capacity(limit.div_ceil(CHUNK_SLOTS) as usize),
            created: 0,
            occupied: 0,
            limit,
            vacant: VacantSlots::new(limit),
        }
    }

    /// A slot to put a value in, `None` when the slab is full. Dropping it unused changes nothing.
    pub(super) fn vacant(&mut self) -> Option<Vacant<'_, V>> {
        let index = match self.vacant.lowest() {
            Some(index) => index,
            None => self.create_slot()?,
        };
        let generation = self.slot(index)?.generation;
        Some(Vacant { key: Key { generation, index }, slab: self })
    }

    /// Removes the value of `key`, unless it is gone.
    pub(super) fn remove(&mut self, key: Key) -> Option<V> {
        self.get(key)?;
        self.remove_at(key.index)
    }

    /// Removes whatever value the slot holds; for callers that got `index` from a structure of
    /// their own rather than from outside.
    pub(super) fn remove_at(&mut self, index: u32) -> Option<V> {
        let slot = self.slot_mut(index)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.checked_add(1).unwrap_or(FIRST_GENERATION);
        self.vacant.insert(index);
        self.occupied -= 1;
        Some(value)
    }

    /// Removes all values, slot by slot.
    pub(super) fn drain(&mut self, mut sink: impl FnMut(V)) {
        for index in 0..self.created {
            if let Some(value) = self.remove_at(index) {
                sink(value);
            }
        }
    }

    /// Brings slots whose values are about to be removed close to the processor.
    pub(super) fn fetch(&self, indices: impl Iterator<Item = u32> + Clone) {
        fetched(indices.clone().filter_map(|index| Some(self.slot(index)?.generation)));
        self.vacant.fetch(indices);
    }

    pub(super) fn get(&self, key: Key) -> Option<&V> {
        let slot = self.slot(key.index)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    pub(super) fn len(&self) -> usize {
        self.occupied as usize
    }

    /// Appends a vacant slot; `None` at the limit.
    fn create_slot(&mut self) -> Option<u32> {
        if self.created == self.limit {
            return None;
        }
        if self.created.is_multiple_of(CHUNK_SLOTS) {
            let slots = CHUNK_SLOTS.min(self.limit - self.created);
            self.chunks.push(Vec::with_capacity(slots as usize));
        }
        // Never beyond the capacity reserved above, so the chunk stays where it is.
        self.chunks.last_mut()?.push(Slot { generation: FIRST_GENERATION, value: None });
        let index = self.created;
        self.vacant.insert(index);
        self.created += 1;
        Some(index)
    }

    fn slot(&self, index: u32) -> Option<&Slot<V>> {
        let (chunk, offset) = position(index);
        self.chunks.get(chunk)?.get(offset)
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<V>> {
        let (chunk, offset) = position(index);
        self.chunks.get_mut(chunk)?.get_mut(offset)
    }
}

/// A slot that is ready to be filled, and the key its value will have.
#[derive(Debug)]
pub(super) struct Vacant<'a, V> {
    key: Key,
    slab: &'a mut Slab<V>,
}

impl<V> Vacant<'_, V> {
    pub(super) fn key(&self) -> Key {
        self.key
    }

    pub(super) fn insert(self, value: V) {
        if let Some(slot) = self.slab.slot_mut(self.key.index) {
            slot.value = Some(value);
            self.slab.vacant.remove(self.key.index);
            self.slab.occupied += 1;
        }
    }
}

const fn position(index: u32) -> (usize, usize) {
    ((index >> CHUNK_BITS) as usize, (index & (CHUNK_SLOTS - 1)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert<V>(slab: &mut Slab<V>, value: V) -> Option<Key> {
        let slot = slab.vacant()?;
        let key = slot.key();
        slot.insert(value);
        Some(key)
    }

    #[test]
    fn a_removed_value_is_unreachable_even_when_its_slot_is_used_again() {
        let mut slab = Slab::new(1);
        let first = insert(&mut slab, 'a').unwrap();
        assert_eq!(slab.remove(first), Some('a'));
        assert_eq!(slab.get(first), None);

        let second = insert(&mut slab, 'b').unwrap();
        assert_eq!(second.index, first.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&'b'));
    }

    #[test]
    fn the_next_generation_of_a_vacant_slot_is_not_yet_valid() {
        let mut slab = Slab::new(1);
        let key = insert(&mut slab, 'a').unwrap();
        slab.remove(key);
        let next = Key { generation: key.generation + 1, ..key };
        assert_eq!(slab.get(next), None);
        assert_eq!(slab.remove(next), None);
        assert_eq!(slab.len(), 0);
    }

    #[test]
    fn forged_keys_miss() {
        let mut slab = Slab::new(8);
        insert(&mut slab, ()).unwrap();
        for generation in [0, 2, u32::MAX] {
            assert_eq!(slab.get(Key { generation, index: 0 }), None);
        }
        for index in [1, CHUNK_SLOTS, u32::MAX] {
            assert_eq!(slab.get(Key { generation: FIRST_GENERATION, index }), None);
        }
    }

    #[test]
    fn generations_wrap_around_zero() {
        let mut slab = Slab::new(1);
        let key = insert(&mut slab, 'a').unwrap();
        slab.slot_mut(key.index).unwrap().generation = u32::MAX;
        let last = Key { generation: u32::MAX, ..key };
        assert_eq!(slab.remove(last), Some('a'));
        let wrapped = insert(&mut slab, 'b').unwrap();
        assert_eq!(wrapped.generation, FIRST_GENERATION);
        assert_eq!(slab.get(last), None);
        assert_eq!(slab.get(wrapped), Some(&'b'));
    }

    #[test]
    fn the_limit_holds_and_removal_makes_room() {
        let mut slab = Slab::new(2);
        let first = insert(&mut slab, 1).unwrap();
        insert(&mut slab, 2).unwrap();
        assert_eq!(insert(&mut slab, 3), None);
        slab.remove(first);
        assert!(insert(&mut slab, 3).is_some());
        assert!(insert(&mut Slab::new(0), 1).is_none());
    }

    #[test]
    fn a_vacant_slot_that_is_not_used_stays_vacant() {
        let mut slab = Slab::new(1);
        let key = slab.vacant().unwrap().key();
        assert_eq!(slab.get(key), None);
        assert_eq!(slab.len(), 0);
        assert_eq!(insert(&mut slab, 'a'), Some(key));
    }

    #[test]
    fn slots_are_reused_and_never_moved() {
        let limit = 2 * CHUNK_SLOTS + 1;
        let mut slab = Slab::new(limit);
        let keys: Vec<_> = (0..limit).map(|value| insert(&mut slab, value).unwrap()).collect();
        let address = std::ptr::from_ref(slab.get(keys[0]).unwrap());
        assert_eq!(slab.chunks.len(), 3);
        assert_eq!(slab.chunks[2].capacity(), 1);

        for round in 0..3 {
            slab.drain(|_| ());
            assert_eq!(slab.len(), 0);
            assert!(keys.iter().all(|key| slab.get(*key).is_none()));
            for value in 0..limit {
                insert(&mut slab, value).unwrap();
            }
            assert_eq!(slab.created, limit, "round {round}");
        }
        let first_slot = slab.slot(0).unwrap().value.as_ref().unwrap();
        assert_eq!(std::ptr::from_ref(first_slot), address);
    }

    #[test]
    fn a_slot_adds_eight_bytes_to_a_value_that_has_a_niche() {
        assert_eq!(size_of::<Slot<(Box<u8>, [u64; 2])>>(), 32);
    }
}
