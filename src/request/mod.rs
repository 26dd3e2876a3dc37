//! Open requests: who waits for responses, and until when. Layer: request, above `time` and `id`;
//! sans-IO. The engine owns one [`RequestTable`] behind a mutex: callers register, the poller of
//! the responses looks up, the request processor expires.
//!
//! **Completion.** A request is open from [`register`](RequestTable::register) until it is taken
//! out of the table, which happens exactly once: by [`remove`](RequestTable::remove) (closed by the
//! user), by [`expire`](RequestTable::expire) (timed out) or by [`drain`](RequestTable::drain) (the
//! instance closes). Whoever takes it out completes it, outside the lock; from then on its id finds
//! nothing, so a response, a reset or a second close that comes too late has no effect.
//!
//! **Bounds.** Every call but `drain` is short whatever the number of open requests: constant time,
//! plus one scan over the levels of the wheel, plus `limit` requests in `expire`. Memory grows in
//! chunks with the number of open requests, never beyond the capacity, and is reused.

mod slab;
mod vacancy;
mod wheel;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::BitXor;
use std::time::Duration;

use thiserror::Error;

use crate::id::RequestId;
use crate::time::Timestamp;

use slab::{Key, Slab};
use wheel::{MAX_TIMERS, Wheel};

/// The largest capacity of a [`RequestTable`]: 16 times what the engine is built for. For requests
/// that were never opened it takes 3 MiB, and 64 MiB of addresses without memory behind them.
pub(crate) const MAX_CAPACITY: u32 = 1 << 24;
const _: () = assert!(MAX_CAPACITY <= MAX_TIMERS);

/// Reads what will be needed. Of a million requests each is in nobody's cache: one after the other
/// they would be waited for, reads that do not depend on each other overlap.
fn fetched<N: BitXor<Output = N> + Default>(numbers: impl Iterator<Item = N>) {
    std::hint::black_box(numbers.fold(N::default(), BitXor::bitxor));
}

/// Why a request was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum RegisterError {
    /// As many requests are open as the table may hold.
    #[error("too many open requests, allowed: up to {limit}")]
    Full {
        /// The capacity of the table.
        limit: usize,
    },
    /// The request would be over before it is sent.
    #[error("request timeout is 0 ns, allowed: 1 ns or more")]
    ZeroTimeout,
}

/// The open requests of an instance and their deadlines. `T` is what the engine keeps per request,
/// usually an `Arc` of its state.
pub(crate) struct RequestTable<T> {
    open: Slab<T>,
    wheel: Wheel,
    capacity: u32,
}

impl<T> RequestTable<T> {
    /// A table for at most `capacity` open requests, or [`MAX_CAPACITY`] when that is less.
    pub(crate) fn new(capacity: usize, now: Timestamp) -> Self {
        let capacity = u32::try_from(capacity).map_or(MAX_CAPACITY, |it| it.min(MAX_CAPACITY));
        Self { open: Slab::new(capacity), wheel: Wheel::new(now, capacity), capacity }
    }

    /// Opens a request until `now + timeout`. `make` builds what is kept for it from the id it will
    /// have, before the id can be found; when it panics, nothing is registered.
    ///
    /// # Errors
    ///
    /// [`RegisterError::ZeroTimeout`], [`RegisterError::Full`]; `make` is not called then.
    pub(crate) fn register(
        &mut self,
        now: Timestamp,
        timeout: Duration,
        make: impl FnOnce(RequestId) -> T,
    ) -> Result<(RequestId, T), RegisterError>
    where
        T: Clone,
    {
        if timeout.is_zero() {
            return Err(RegisterError::ZeroTimeout);
        }
        let limit = self.capacity as usize;
        let slot = self.open.vacant().ok_or(RegisterError::Full { limit })?;
        let key = slot.key();
        let id = RequestId::from(key);
        let request = make(id);
        slot.insert(request.clone());
        self.wheel.insert(key.index, now, now + timeout);
        Ok((id, request))
    }

    /// Moves the deadline of an open request to `now + timeout`, be that later or earlier than it
    /// was; a zero timeout makes it due. Returns whether the request was still open.
    pub(crate) fn reset(&mut self, id: RequestId, now: Timestamp, timeout: Duration) -> bool {
        let key = Key::from(id);
        if self.open.get(key).is_none() {
            return false;
        }
        self.wheel.remove(key.index);
        self.wheel.insert(key.index, now, now + timeout);
        true
    }

    /// Closes a request: it will not expire. `None` when it has ended before.
    pub(crate) fn remove(&mut self, id: RequestId) -> Option<T> {
        let key = Key::from(id);
        self.open.get(key)?;
        self.wheel.remove(key.index);
        self.open.remove(key)
    }

    /// Takes out requests whose deadline has passed and appends them to `out`, the earlier tick
    /// first: never before the deadline, and less than a tick (131 µs) after it when called in
    /// time.
    ///
    /// Handles at most `limit` requests, those whose timers it only moves closer included, so that
    /// the caller's lock is held for a bounded time. Returns whether there is more to do now, in
    /// which case `out` can still be empty; a `limit` of 0 makes no progress.
    pub(crate) fn expire(&mut self, now: Timestamp, limit: usize, out: &mut Vec<T>) -> bool {
        let open = &mut self.open;
        self.wheel.advance(now, limit, |due| {
            let indices = due.iter().map(|timer| timer.index);
            open.fetch(indices.clone());
            out.extend(indices.filter_map(|index| open.remove_at(index)));
        })
    }

    /// Takes out all requests and appends them to `out` in no particular order. Takes time in
    /// proportion to the largest number of requests that was ever open.
    pub(crate) fn drain(&mut self, out: &mut Vec<T>) {
        self.wheel.clear();
        self.open.drain(|request| out.push(request));
    }

    /// What is kept for an open request; `None` for an id that has ended or never existed.
    pub(crate) fn get(&self, id: RequestId) -> Option<&T> {
        self.open.get(Key::from(id))
    }

    /// When to call [`expire`](Self::expire) next, `None` when no request is open. After an
    /// `expire` that returned `false` this is later than its `now`. It is always less than a tick
    /// after the earliest deadline, and can be before it: a distant deadline is approached in
    /// steps, at most one per level of the wheel. A new or reset request can bring it forward.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.wheel.next_wake()
    }

    /// Number of open requests.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

impl<T> fmt::Debug for RequestTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestTable")
            .field("open", &self.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Bits of the slot index in a [`RequestId`]; the generation stands above.
const INDEX_BITS: u32 = u32::BITS;

impl From<Key> for RequestId {
    fn from(key: Key) -> Self {
        Self(u64::from(key.generation) << INDEX_BITS | u64::from(key.index))
    }
}

impl From<RequestId> for Key {
    fn from(id: RequestId) -> Self {
        Self { generation: (id.0 >> INDEX_BITS) as u32, index: (id.0 & 0xffff_ffff) as u32 }
    }
}
