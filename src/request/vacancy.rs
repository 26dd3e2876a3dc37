//! The vacant slots of a slab, lowest first. Layer: request. Owned by the slab that embeds it.
//!
//! A chain through the vacant slots would be shorter to write, but hands them out in the order in
//! which they were vacated: after the first million random removals, every insertion and then every
//! walk along neighbours is a cache miss. Lowest first keeps values that are inserted together next
//! to each other, whatever happened before.

use super::fetched;

/// A set of indices below a limit, as a tree of bits: a bit in one level says whether its word in
/// the level below has any bit set. Every operation takes one step per level, and a level holds 64
/// times what the one above it holds: four for a million slots, six for 2^32.
#[derive(Debug)]
pub(super) struct VacantSlots {
    /// The slots' own level first; the last one is a single word.
    levels: Vec<Vec<u64>>,
}

impl VacantSlots {
    /// An empty set. Reserves one bit per slot and a 63rd of that for the levels above.
    pub(super) fn new(limit: u32) -> Self {
        let mut levels = Vec::new();
        let mut words = limit;
        while levels.is_empty() || words > 1 {
            words = words.div_ceil(u64::BITS).max(1);
            levels.push(vec![0; words as usize]);
        }
        Self { levels }
    }

    /// Brings what is about to change close to the processor, for indices below the limit.
    pub(super) fn fetch(&self, indices: impl Iterator<Item = u32>) {
        let slots = &self.levels[0];
        fetched(indices.map(|index| slots[(index / u64::BITS) as usize]));
    }

    /// Adds an index below the limit.
    pub(super) fn insert(&mut self, mut index: u32) {
        for level in &mut self.levels {
            let word = &mut level[(index / u64::BITS) as usize];
            let had_any = *word != 0;
            *word |= 1 << (index % u64::BITS);
            if had_any {
                return;
            }
            index /= u64::BITS;
        }
    }

    /// Takes out an index below the limit.
    pub(super) fn remove(&mut self, mut index: u32) {
        for level in &mut self.levels {
            let word = &mut level[(index / u64::BITS) as usize];
            *word &= !(1 << (index % u64::BITS));
            if *word != 0 {
                return;
            }
            index /= u64::BITS;
        }
    }

    pub(super) fn lowest(&self) -> Option<u32> {
        self.levels.iter().rev().try_fold(0_u32, |position, level| {
            let word = level[position as usize];
            (word != 0).then(|| position * u64::BITS + word.trailing_zeros())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn levels_follow_the_limit() {
        for (limit, levels) in
            [(0, 1), (1, 1), (64, 1), (65, 2), (4096, 2), (4097, 3), (1_000_000, 4)]
        {
            let vacant = VacantSlots::new(limit);
            assert_eq!(vacant.levels.len(), levels, "{limit}");
            assert_eq!(vacant.lowest(), None);
        }
    }

    #[test]
    fn both_ends_of_the_range_are_found() {
        for limit in [1, 64, 65, 4096, 4097, 300_000] {
            let mut vacant = VacantSlots::new(limit);
            vacant.insert(limit - 1);
            assert_eq!(vacant.lowest(), Some(limit - 1));
            vacant.insert(0);
            assert_eq!(vacant.lowest(), Some(0));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        #[test]
        fn agrees_with_a_sorted_set(
            steps in prop::collection::vec((any::<bool>(), 0_u32..5000), 1..200),
        ) {
            let mut vacant = VacantSlots::new(5000);
            let mut model = BTreeSet::new();
            for (insert, index) in steps {
                if insert {
                    vacant.insert(index);
                    model.insert(index);
                } else {
                    let index = model.first().copied().unwrap_or(index);
                    vacant.remove(index);
                    model.remove(&index);
                }
                prop_assert_eq!(vacant.lowest(), model.first().copied());
            }
        }
    }
}
