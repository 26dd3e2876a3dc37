//! How many bytes are in use. Tests. Threads add to one count, without a lock.

use std::sync::atomic::{AtomicIsize, Ordering};

use crate::allocator::Watched;

static IN_USE: AtomicIsize = AtomicIsize::new(0);

#[global_allocator]
static ALLOCATOR: Watched = Watched {
    taken: |bytes| {
        IN_USE.fetch_add(bytes.cast_signed(), Ordering::Relaxed);
    },
    given_back: |bytes| {
        IN_USE.fetch_sub(bytes.cast_signed(), Ordering::Relaxed);
    },
};

/// Bytes that were asked for and not given back.
pub(crate) fn bytes_in_use() -> isize {
    IN_USE.load(Ordering::Relaxed)
}
