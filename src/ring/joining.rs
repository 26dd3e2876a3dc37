//! How a reader joins a ring whose writer runs free; see "Joining" in [`shared`](super::shared).
//! Layer: ring. [`begin`] and [`settle`] run in the reader's process, [`look`] in the writer's.
//!
//! The words are atomics of a mapped file; in model tests, those of loom.

use std::sync::atomic::Ordering;

use super::fence;

/// The byte of a state that says what becomes of the entry. The rest is a number that grows with each
/// reader: what was seen of one reader cannot be taken for the state of the next.
const KIND: u64 = 0xff;
/// Nobody's entry.
const FREE: u64 = 0;
/// The reader's start is not settled yet; its position holds the writer back already.
const JOINING: u64 = 1;
const ACTIVE: u64 = 2;
/// Cut off by the writer: the reader has to attach again.
const EVICTED: u64 = 3;

/// The same reader's state, of another kind.
const fn of_kind(state: u64, kind: u64) -> u64 {
    state & !KIND | kind
}

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

/// Whether nobody has the entry.
pub(super) fn is_free(state: &impl Word) -> bool {
    state.load(Ordering::Acquire) & KIND == FREE
}

/// Reader, with an entry that is its own: registers, and returns the packet to start with. It is
/// safe until the writer looks again, and then the writer sees the entry, and is held back. The reader
/// counts as one once it has [settled](settle).
pub(super) fn begin(edge: &impl Word, state: &impl Word, position: &impl Word) -> u64 {
    position.store(edge.load(Ordering::Acquire), Ordering::Release);
    let next = state.load(Ordering::Relaxed).wrapping_add(KIND + 1);
    state.store(of_kind(next, JOINING), Ordering::Release);
    // SeqCst fence: pairs with the one in `look`.
    fence(Ordering::SeqCst);
    let start = edge.load(Ordering::Acquire);
    position.store(start, Ordering::Release);
    u64::from_le(start)
}

/// Reader: it stands where it begins, and takes everything that is committed from now on. False when
/// the writer had no more patience meanwhile: a process may be stopped here, too. Then what was read
/// since [`begin`] may be anything.
pub(super) fn settle(state: &impl Word) -> bool {
    let seen = state.load(Ordering::Relaxed);
    // Release, in `exchange`: who sees the reader count knows that its start is settled.
    seen & KIND == JOINING && state.exchange(seen, of_kind(seen, ACTIVE))
}

/// Reader: has no need of its entry any more.
pub(super) fn leave(state: &impl Word) {
    // Release: pairs with the Acquire in `is_free`. Nobody but its reader frees an entry that is alive.
    state.store(of_kind(state.load(Ordering::Relaxed), FREE), Ordering::Release);
}

/// Writer: frees the entry of a reader that `is_dead`, unless it is another one's by then.
pub(super) fn reclaim(state: &impl Word, is_dead: impl FnOnce() -> bool) -> bool {
    let seen = state.load(Ordering::Acquire);
    seen & KIND != FREE && is_dead() && state.exchange(seen, of_kind(seen, FREE))
}

/// Writer: cuts off the reader of an entry, if it is one that holds the writer back at or before a
/// packet. What the reader was about to read may be overwritten after the next [`look`].
pub(super) fn evict(state: &impl Word, position: &impl Word, packet: u64) -> bool {
    loop {
        let seen = state.load(Ordering::Acquire);
        let holds_back = matches!(seen & KIND, JOINING | ACTIVE);
        // Of this reader, or of one that has the entry since: then the state is another one.
        if !holds_back || u64::from_le(position.load(Ordering::Acquire)) > packet {
            return false;
        }
        // The fence in `look` orders this before what is written then.
        if state.exchange(seen, of_kind(seen, EVICTED)) {
            return true;
        }
    }
}

/// Reader: whether it has its place still. Then everything that was loaded from the slots before, with
/// Acquire, is what the writer has written for it.
#[inline]
pub(super) fn is_in_place(state: &impl Word) -> bool {
    // Acquire: pairs with the Release in `settle`. The loads before it are not moved behind it because
    // they are Acquire themselves.
    state.load(Ordering::Acquire) & KIND == ACTIVE
}

/// Writer: says that `packet` is open, then reads the position of the slowest reader, if any.
pub(super) fn look(
    edge: &impl Word,
    packet: u64,
    positions: impl FnOnce() -> Option<u64>,
) -> Option<u64> {
    publish(edge, packet);
    // SeqCst fence: pairs with the one in `begin`. Either this look sees the reader's entry, or the
    // reader sees this edge or a later one.
    fence(Ordering::SeqCst);
    positions()
}

/// Writer: says that `packet` is open.
#[inline]
pub(super) fn publish(edge: &impl Word, packet: u64) {
    // Release: pairs with the Acquire in `begin`.
    edge.store(packet.to_le(), Ordering::Release);
}

/// The position of an entry that holds the writer back.
pub(super) fn position_of(state: &impl Word, position: &impl Word) -> Option<u64> {
    // Acquire: pairs with the Release in `begin` and in `ReaderEntry`.
    match state.load(Ordering::Acquire) & KIND {
        JOINING | ACTIVE => Some(u64::from_le(position.load(Ordering::Acquire))),
        _ => None,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Two threads of the writer look for dead readers: while one of them is at it, the other one may
    /// have freed the entry, and a reader that lives may have it.
    #[test]
    fn what_was_seen_of_one_reader_frees_no_other() {
        let [edge, state, position] = [0, 0, 0].map(AtomicU64::new);
        let join = || {
            begin(&edge, &state, &position);
            assert!(settle(&state));
        };
        join();
        let is_dead = || {
            assert!(reclaim(&state, || true));
            join();
            true
        };
        assert!(!reclaim(&state, is_dead));
        assert!(is_in_place(&state));
    }

    #[test]
    fn an_entry_holds_back_from_its_beginning_and_counts_when_it_is_settled() {
        let [edge, state, position] = [7_u64.to_le(), 0, 0].map(AtomicU64::new);
        assert_eq!(position_of(&state, &position), None);
        assert_eq!(begin(&edge, &state, &position), 7);
        assert_eq!(position_of(&state, &position), Some(7));
        assert!(!is_in_place(&state) && !is_free(&state));
        assert!(settle(&state) && is_in_place(&state));
        assert!(!evict(&state, &position, 6));
        assert!(evict(&state, &position, 7) && !evict(&state, &position, 7));
        assert!(!is_in_place(&state) && !settle(&state));
        leave(&state);
        assert!(is_free(&state) && !reclaim(&state, || true));
    }
}
