//! How a reader joins a ring whose writer runs free; see "Joining" in [`shared`](super::shared).
//! Layer: ring. [`join`] runs in the reader's process, [`look`] in the writer's.
//!
//! The words are atomics of a mapped file; in model tests, those of loom.

use std::sync::atomic::Ordering;

use super::fence;

/// Nobody's entry.
pub(super) const FREE: u64 = 0;
/// The reader's start is not settled yet; its position holds the writer back already.
pub(super) const JOINING: u64 = 1;
const ACTIVE: u64 = 2;
/// Cut off by the writer: the reader has to attach again.
const EVICTED: u64 = 3;

/// A word that processes share.
pub(super) trait Word {
    fn load(&self, ordering: Ordering) -> u64;
    fn store(&self, value: u64, ordering: Ordering);
    /// Whether it was `current` and is `new` now.
    fn exchange(&self, current: u64, new: u64) -> bool;
}

impl Word for std::sync::atomic::AtomicU64 {
    #[inline]
    fn load(&self, ordering: Ordering) -> u64 {
        self.load(ordering)
    }

    #[inline]
    fn store(&self, value: u64, ordering: Ordering) {
        self.store(value, ordering);
    }

    #[inline]
    fn exchange(&self, current: u64, new: u64) -> bool {
        self.compare_exchange(current, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// Reader, with an entry that is its own: registers, and returns the packet to start with. It is
/// safe until the writer looks again, and then the writer sees the entry. `None` when the writer had
/// no more patience meanwhile: a process may be stopped here, too.
pub(super) fn join(edge: &impl Word, state: &impl Word, position: &impl Word) -> Option<u64> {
    position.store(edge.load(Ordering::Acquire), Ordering::Release);
    state.store(JOINING, Ordering::Release);
    // SeqCst fence: pairs with the one in `look`.
    fence(Ordering::SeqCst);
    let start = edge.load(Ordering::Acquire);
    position.store(start, Ordering::Release);
    state.exchange(JOINING, ACTIVE).then(|| u64::from_le(start))
}

/// Writer: cuts off the reader of an entry, if it is one that holds the writer back. What the reader
/// was about to read may be overwritten after the next [`look`].
pub(super) fn evict(state: &impl Word) -> bool {
    // The fence in `look` orders this before what is written then.
    state.exchange(ACTIVE, EVICTED) || state.exchange(JOINING, EVICTED)
}

/// Reader: whether it has its place still. Then everything that was loaded from the slots before, with
/// Acquire, is what the writer has written for it.
#[inline]
pub(super) fn is_in_place(state: &impl Word) -> bool {
    // Acquire: the loads before it are not moved behind it because they are Acquire themselves.
    state.load(Ordering::Acquire) == ACTIVE
}

/// Writer: says that `packet` is open, then reads the position of the slowest reader, if any.
pub(super) fn look(
    edge: &impl Word,
    packet: u64,
    positions: impl FnOnce() -> Option<u64>,
) -> Option<u64> {
    publish(edge, packet);
    // SeqCst fence: pairs with the one in `join`. Either this look sees the reader's entry, or the
    // reader sees this edge or a later one.
    fence(Ordering::SeqCst);
    positions()
}

/// Writer: says that `packet` is open.
#[inline]
pub(super) fn publish(edge: &impl Word, packet: u64) {
    // Release: pairs with the Acquire in `join`.
    edge.store(packet.to_le(), Ordering::Release);
}

/// The position of an entry that holds the writer back.
pub(super) fn position_of(state: &impl Word, position: &impl Word) -> Option<u64> {
    // Acquire: pairs with the Release in `join` and in `ReaderEntry`.
    match state.load(Ordering::Acquire) {
        JOINING | ACTIVE => Some(u64::from_le(position.load(Ordering::Acquire))),
        _ => None,
    }
}
