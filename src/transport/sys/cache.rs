//! What a program can ask of the processor's caches. Layer: transport/sys; no thread owns it.
#![cfg_attr(
    all(target_arch = "x86_64", not(miri)),
    expect(unsafe_code, reason = "the instruction has no safe wrapper")
)]

use std::ptr::NonNull;

/// Bytes that travel together.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const LINE: usize = 64;

/// Whether [`demote`] does anything on this processor.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) fn can_demote() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    const EXTENDED_FEATURES: u32 = 7;
    const CLFLUSHOPT: u32 = 1 << 23;
    __cpuid(0).eax >= EXTENDED_FEATURES && __cpuid_count(EXTENDED_FEATURES, 0).ebx & CLFLUSHOPT != 0
}

/// Moves the cache lines that end within `bytes` out of all caches, to memory. Only a hint: what is
/// in them stays the same for everybody. To be called only where [`can_demote`].
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
pub(crate) fn demote(bytes: &[u8]) {
    let start = bytes.as_ptr();
    let end = start.addr() + bytes.len();
    let mut line = start.addr() & !(LINE - 1);
    while line + LINE <= end {
        // SAFETY: the line holds a byte of `bytes`, so its address is mapped and readable. The
        // instruction changes no byte that a program can see, and no flags.
        unsafe {
            core::arch::asm!(
                "clflushopt [{}]",
                in(reg) start.with_addr(line),
                options(nostack, preserves_flags)
            );
        }
        line += LINE;
    }
}

/// Begins to bring the cache line of an address here. Only a hint, of any address.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
pub(crate) fn fetch(at: NonNull<u8>) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    // SAFETY: the instruction does not fault, and changes nothing that a program can see.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.as_ptr().cast()) };
}

/// Begins no later load before all earlier ones are done. Between two looks at a word that another core
/// writes: a processor that runs ahead would have many looks under way, and take back all of them when
/// the word changes.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
pub(crate) fn finish_loads() {
    // SAFETY: the instruction exists on every x86-64 processor, and changes nothing that a program can
    // see.
    unsafe { std::arch::x86_64::_mm_lfence() };
}

/// Whether [`demote`] does anything on this processor.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn can_demote() -> bool {
    false
}

/// Nothing is known here that does it.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
pub(crate) fn fetch(_at: NonNull<u8>) {}

/// Lets time pass instead: nothing else is known here.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
pub(crate) fn finish_loads() {
    std::hint::spin_loop();
}

/// Nothing is known here that does it.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
pub(crate) fn demote(_bytes: &[u8]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_demoted_reads_as_before() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(4096 + 3).collect();
        let copy = bytes.clone();
        if can_demote() {
            for (from, to) in [(0, 4099), (1, 64), (63, 64), (64, 64), (4098, 4099)] {
                demote(&bytes[from..to]);
            }
        }
        assert_eq!(bytes, copy);
    }
}
