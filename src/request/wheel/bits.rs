//! Which slots of a level have timers. Layer: request. Owned by the wheel.

use super::SLOTS;

const WORDS: u32 = SLOTS / u64::BITS;

/// A set of slots, which come around: the first one follows the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits([u64; WORDS as usize]);

impl Bits {
    pub(super) const NONE: Self = Self([0; WORDS as usize]);

    pub(super) const fn insert(&mut self, slot: u32) {
        self.0[(slot / u64::BITS) as usize] |= 1 << (slot % u64::BITS);
    }

    pub(super) const fn remove(&mut self, slot: u32) {
        self.0[(slot / u64::BITS) as usize] &= !(1 << (slot % u64::BITS));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How far it is from the slot `start` to the next one of the set, `start` included. [`SLOTS`] or
    /// more when the set is empty.
    pub(super) fn first_from(&self, start: u32) -> u32 {
        let (word, bit) = (start / u64::BITS, start % u64::BITS);
        let rest = self.0[word as usize] >> bit;
        if rest != 0 {
            return rest.trailing_zeros();
        }
        // The first word once more at the end, for the slots before `start`.
        let others = (1..=WORDS).map(|step| (step, self.0[((word + step) % WORDS) as usize]));
        let found = others.into_iter().find(|(_, word)| *word != 0);
        let (step, word) = found.unwrap_or((WORDS + 1, 0));
        step * u64::BITS - bit + word.trailing_zeros()
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    #[test]
    fn the_next_slot_is_found_from_everywhere_also_around_the_end() {
        let mut random = SplitMix64::new(1);
        for count in [1, 2, 5, 40, SLOTS] {
            let mut bits = Bits::NONE;
            let mut member = [false; SLOTS as usize];
            for _ in 0..count {
                let slot = u32::try_from(random.below(SLOTS.into())).unwrap();
                bits.insert(slot);
                member[slot as usize] = true;
            }
            for start in 0..SLOTS {
                let expected =
                    (0..SLOTS).find(|ahead| member[((start + ahead) % SLOTS) as usize]).unwrap();
                assert_eq!(bits.first_from(start), expected, "{count} slots, from {start}");
            }
            for slot in 0..SLOTS {
                assert!(!bits.is_empty() || !member[slot as usize..].contains(&true));
                bits.remove(slot);
            }
            assert!(bits.is_empty() && bits.first_from(7) >= SLOTS);
        }
    }
}
