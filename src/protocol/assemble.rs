//! Fragments become messages again. Layer: protocol. Owned by the delivery of one session.

use crate::wire::frame::Fragment;

/// Memory that a message announces is reserved at most this far ahead of what has arrived, so that
/// a forged total cannot make us allocate.
const RESERVE_BYTES: usize = 64 * 1024;

/// Puts the fragments of one message of one publisher together.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    sequence: u64,
    total: usize,
    body: Vec<u8>,
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More fragments are needed.
    Partial,
    /// [`Assembler::message`] is complete.
    Complete,
    /// Does not continue what was there: its message cannot be completed.
    OutOfPlace,
    /// The message is larger than this receiver accepts.
    TooLarge,
}

impl Assembler {
    pub(super) fn push(
        &mut self,
        sequence: u64,
        fragment: Fragment,
        body: &[u8],
        limit: usize,
    ) -> Progress {
        let (total, offset) = (fragment.total as usize, fragment.offset as usize);
        if total > limit {
            self.body.clear();
            return Progress::TooLarge;
        }
        if offset == 0 {
            self.sequence = sequence;
            self.total = total;
            self.body.clear();
            self.body.reserve(total.min(RESERVE_BYTES));
        } else if self.sequence != sequence || self.total != total || self.body.len() != offset {
            self.body.clear();
            self.total = 0;
            return Progress::OutOfPlace;
        }
        self.body.extend_from_slice(body);
        if self.body.len() == total { Progress::Complete } else { Progress::Partial }
    }

    /// The assembled body, valid after [`Progress::Complete`].
    pub(super) fn message(&self) -> &[u8] {
        &self.body
    }

    /// Gives back the memory of large messages, keeps that of small ones for the next.
    pub(super) fn recycle(&mut self) {
        self.body.clear();
        self.total = 0;
        self.body.shrink_to(1024 * 1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(total: u32, offset: u32) -> Fragment {
        Fragment { total, offset }
    }

    #[test]
    fn parts_in_order_become_a_message() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.push(1, fragment(5, 0), b"abc", 10), Progress::Partial);
        assert_eq!(assembler.push(1, fragment(5, 3), b"de", 10), Progress::Complete);
        assert_eq!(assembler.message(), b"abcde");
    }

    #[test]
    fn a_part_that_does_not_continue_spoils_the_message() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.push(1, fragment(9, 3), b"def", 10), Progress::OutOfPlace);
        assembler.push(1, fragment(9, 0), b"abc", 10);
        assert_eq!(assembler.push(2, fragment(9, 3), b"def", 10), Progress::OutOfPlace);
        assert_eq!(assembler.push(1, fragment(9, 3), b"def", 10), Progress::OutOfPlace);
    }

    #[test]
    fn announced_totals_do_not_allocate() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.push(1, fragment(11, 0), b"a", 10), Progress::TooLarge);
        assembler.push(1, fragment(u32::MAX, 0), b"a", usize::MAX);
        assert!(assembler.body.capacity() <= 2 * RESERVE_BYTES);
    }
}
