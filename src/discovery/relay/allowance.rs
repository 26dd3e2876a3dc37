//! How much of something may happen in a time. Layer: discovery (sans-IO). Owned by the daemon's
//! thread, inside [`Relay`](super::Relay).

use std::time::Duration;

use crate::time::Timestamp;

/// What is left of a bounded amount that comes back at a steady rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    left: u32,
    since: Timestamp,
}

impl Allowance {
    pub(super) const fn new(most: u32, now: Timestamp) -> Self {
        Self { left: most, since: now }
    }

    /// Takes `cost`, if that much is left of what comes back at `per_second`, up to `most`.
    pub(super) fn take(&mut self, now: Timestamp, cost: u32, per_second: u32, most: u32) -> bool {
        let pause = Duration::from_secs(1) / per_second;
        let earned = now.since(self.since).as_nanos() / pause.as_nanos();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(earned).min(most);
            self.since = now;
        }
        let allowed = self.left >= cost;
        if allowed {
            self.left -= cost;
        }
        allowed
    }
}
