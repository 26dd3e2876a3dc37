//! Bytes of messages into the ring. Layer: ring.

use std::ptr::{self, NonNull};

/// # Safety
///
/// `target` is valid for writes of `source.len()` bytes.
#[inline]
pub(super) unsafe fn copy(source: &[u8], target: NonNull<u8>) {
    // SAFETY: by contract; user memory and ring memory do not overlap.
    unsafe { ptr::copy_nonoverlapping(source.as_ptr(), target.as_ptr(), source.len()) }
}

/// As [`copy`], without a call where the call takes longer than the copying.
///
/// # Safety
///
/// As for [`copy`].
#[inline(always)]
pub(super) unsafe fn copy_short(source: &[u8], target: NonNull<u8>) {
    // SAFETY: by contract, and each length is at least as long as the pieces.
    unsafe {
        match source.len() {
            0 => {}
            8..=16 => copy_ends::<8>(source, target),
            17..=32 => copy_ends::<16>(source, target),
            33..=64 => copy_ends::<32>(source, target),
            _ => copy(source, target),
        }
    }
}

/// Copies the first and the last `N` bytes, which may overlap.
///
/// # Safety
///
/// As for [`copy`]; `source` has from `N` to `2 * N` bytes.
#[inline(always)]
unsafe fn copy_ends<const N: usize>(source: &[u8], target: NonNull<u8>) {
    let last = source.len() - N;
    // SAFETY: by contract; user memory and ring memory do not overlap.
    unsafe {
        ptr::copy_nonoverlapping(source.as_ptr(), target.as_ptr(), N);
        ptr::copy_nonoverlapping(source.as_ptr().add(last), target.add(last).as_ptr(), N);
    }
}
