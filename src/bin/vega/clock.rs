//! Monotonic time for the commands. Layer: bin; the library keeps its own clock to itself.

use std::time::Instant;

/// The one place of the command line that reads a clock.
#[expect(clippy::disallowed_methods, reason = "the library's clock is no part of its API")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
