//! The allocator of the system, watched: what a test counts is up to it. Tests. Runs on every thread.
#![expect(unsafe_code, reason = "an allocator can only be wrapped by an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};

/// Is told of the bytes that are asked for, and of those that are given back. Neither call may allocate
/// without an end.
pub(crate) struct Watched {
    pub(crate) taken: fn(usize),
    pub(crate) given_back: fn(usize),
}

// SAFETY: all work is done by the allocator of the system, with the arguments of the caller.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        (self.taken)(layout.size());
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        (self.taken)(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        (self.given_back)(layout.size());
        (self.taken)(bytes);
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        (self.given_back)(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(block, layout) }
    }
}
