//! Monotonic time for the commands. Layer: bin; the library keeps its own clock to itself.

use std::time::Instant;

use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

/// The one place of the command line that reads a clock.
#[expect(clippy::disallowed_methods, reason = "the library's clock is no part of its API")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds on a time line that all processes of this machine share, which those of an
/// [`Instant`] cannot be. Only differences mean anything.
pub(crate) fn shared_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)
        // Fails for clocks that do not exist; POSIX systems that this builds for have this one.
        .expect("there is a monotonic clock");
    // Counted from the start of the machine: neither negative nor beyond 584 years.
    time.num_nanoseconds().unsigned_abs()
}

/// Nanoseconds of processor time that this process has taken, all threads together.
pub(crate) fn processor_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        // As above.
        .expect("there is a clock of processor time");
    time.num_nanoseconds().unsigned_abs()
}
