//! A counter to compare costs with. Layer: transport/sys; no thread owns it.
#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(unsafe_code, reason = "the counter register has no safe reader")
)]

/// Reads the cheapest counter of this processor that never goes backwards on one core.
///
/// For comparing costs of the same process only: the unit differs between machines and is not
/// nanoseconds. Reading it takes a few nanoseconds, where the monotonic clock costs about 50 on
/// virtual machines. The reads are not ordered with the instructions around them.
#[cfg(target_arch = "x86_64")]
pub(crate) fn cycles() -> u64 {
    // SAFETY: `rdtsc` exists on every x86-64 processor and touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Reads the cheapest counter of this processor that never goes backwards on one core.
///
/// For comparing costs of the same process only: the unit differs between machines and is not
/// nanoseconds. The reads are not ordered with the instructions around them.
#[cfg(target_arch = "aarch64")]
pub(crate) fn cycles() -> u64 {
    let count: u64;
    // SAFETY: the virtual counter is readable from user space on every system this builds for, and
    // the instruction touches neither memory nor flags.
    unsafe {
        core::arch::asm!("mrs {}, cntvct_el0", out(reg) count, options(nomem, nostack, preserves_flags));
    }
    count
}

/// Reads the monotonic clock, in nanoseconds: this architecture has no counter known here.
///
/// For comparing costs of the same process only, like its siblings for other architectures.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn cycles() -> u64 {
    use crate::time::Clock;
    use std::sync::LazyLock;

    static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::start);
    CLOCK.now().as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_advances() {
        let start = cycles();
        while cycles() == start {
            std::hint::spin_loop();
        }
    }
}
