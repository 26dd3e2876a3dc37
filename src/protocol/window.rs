//! Packets that arrived after a gap, kept until the gap is closed or given up. Layer: protocol.
//! Owned by one receive session.

use std::collections::VecDeque;

/// Copies of packets beyond the next expected one. Index 0 is the expected packet itself, which is
/// missing by definition.
#[derive(Debug, Default)]
pub(super) struct Window {
    slots: VecDeque<Option<Vec<u8>>>,
    held: usize,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
}

/// Buffers kept for reuse; more are given back to the allocator.
const SPARE_BUFFERS: usize = 64;

impl Window {
    pub(super) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Keeps a copy of the packet `distance` after the expected one. False when it is held already.
    pub(super) fn hold(&mut self, distance: usize, frames: &[u8]) -> bool {
        if self.slots.len() <= distance {
            self.slots.resize_with(distance + 1, || None);
        }
        if self.slots[distance].is_some() {
            return false;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.extend_from_slice(frames);
        self.slots[distance] = Some(copy);
        self.held += 1;
        true
    }

    /// The expected packet has been dealt with: moves on by one, and gives the packet that is
    /// expected now, if it is held.
    pub(super) fn advance(&mut self) -> Option<Vec<u8>> {
        self.slots.pop_front();
        let next = self.slots.front_mut()?.take()?;
        self.held -= 1;
        Some(next)
    }

    /// How many packets are missing before the first held one.
    pub(super) fn gap(&self) -> usize {
        self.slots.iter().take_while(|slot| slot.is_none()).count()
    }

    /// Takes a buffer back for reuse.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_packets_come_out_in_order() {
        let mut window = Window::default();
        assert!(window.hold(2, b"c"));
        assert!(window.hold(1, b"b"));
        assert!(!window.hold(1, b"b"));
        assert_eq!(window.gap(), 1);
        assert_eq!(window.advance(), Some(b"b".to_vec()));
        assert_eq!(window.advance(), Some(b"c".to_vec()));
        assert!(window.is_empty());
        assert_eq!(window.advance(), None);
    }
}
