//! Packets that arrived after a gap, kept until the gap is closed or given up. Layer: protocol.
//! Owned by one receive session.

use std::collections::VecDeque;

/// Copies of packets from the expected one on; index 0 is the expected packet itself.
#[derive(Debug, Default)]
pub(super) struct Window {
    slots: VecDeque<Option<Vec<u8>>>,
    held: usize,
    /// Buffers to use again: no more than were ever held at once, and so no more than a window. Who
    /// loses packets all the time, as networks do, takes them from here and not from the allocator.
    spare: Vec<Vec<u8>>,
}

impl Window {
    pub(super) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Packets that are held.
    #[cfg(any(test, feature = "internals"))]
    pub(super) const fn len(&self) -> usize {
        self.held
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

    /// The expected packet, if it is held.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let packet = self.slots.front_mut()?.take()?;
        self.held -= 1;
        Some(packet)
    }

    /// The expected packet has been dealt with: moves on by one.
    pub(super) fn advance(&mut self) {
        if self.slots.pop_front().flatten().is_some() {
            self.held -= 1;
        }
    }

    /// An earlier packet is expected: moves back by `packets`.
    pub(super) fn retreat(&mut self, packets: usize) {
        for _ in 0..packets {
            self.slots.push_front(None);
        }
    }

    /// The runs of missing packets in `from..until`, each as its first index and its length. What
    /// lies beyond the last packet held is missing.
    pub(super) fn missing(
        &self,
        from: usize,
        until: usize,
    ) -> impl Iterator<Item = (usize, usize)> + '_ {
        let is_missing = |at: &usize| self.slots.get(*at).is_none_or(Option::is_none);
        let mut at = from;
        std::iter::from_fn(move || {
            at += (at..until).take_while(|at| !is_missing(at)).count();
            let first = at;
            at += (at..until).take_while(is_missing).count();
            (at > first).then_some((first, at - first))
        })
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.held = 0;
    }

    /// Places in memory, for packets that are held or missing.
    #[cfg(feature = "sim")]
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    /// Takes a buffer back for reuse.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.spare.push(buffer);
    }
}

#[cfg(test)]
#[path = "window/tests.rs"]
mod tests;
