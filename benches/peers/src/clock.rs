//! Where time enters. Layer: peers.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the one home of this call")]
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}
