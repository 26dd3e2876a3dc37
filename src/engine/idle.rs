//! What a thread does that has nothing to do: a poller after a cycle that found nothing, a caller
//! that waits for room. Layer: engine. Owned by that thread.

use std::time::Duration;

use crate::config::IdleKind;
use crate::listener::SendError;
use crate::time::{Clock, Timestamp};

/// Empty cycles that spin before a backing-off poller yields.
const SPINS: u32 = 100;
/// Empty cycles that yield before it sleeps.
const YIELDS: u32 = 100;
const SHORTEST_SLEEP: Duration = Duration::from_micros(1);
const LONGEST_SLEEP: Duration = Duration::from_millis(1);
/// Empty cycles before a blocking poller waits in the kernel: a few tens of microseconds, as long
/// as a wake-up takes, so that waiting never costs more than twice the best choice.
const SPINS_BEFORE_BLOCKING: u32 = 16;

/// What the poller is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Look again.
    None,
    /// Wait in the kernel until something arrives.
    Block,
}

/// The state of an idle strategy.
#[derive(Debug)]
pub(super) struct Idle {
    kind: IdleKind,
    /// Empty cycles in a row.
    empty: u32,
    sleep: Duration,
}

impl Idle {
    pub(super) const fn new(kind: IdleKind) -> Self {
        Self { kind, empty: 0, sleep: SHORTEST_SLEEP }
    }

    /// To be called after a cycle that did something.
    #[inline]
    pub(super) const fn reset(&mut self) {
        self.empty = 0;
        self.sleep = SHORTEST_SLEEP;
    }

    /// To be called after a cycle that found nothing.
    pub(super) fn idle(&mut self) -> Pause {
        self.empty = self.empty.saturating_add(1);
        match self.kind {
            IdleKind::BusySpin => std::hint::spin_loop(),
            IdleKind::Yield => std::thread::yield_now(),
            IdleKind::Sleep { pause } => std::thread::sleep(pause),
            IdleKind::Backoff => self.back_off(),
            IdleKind::Block if self.empty > SPINS_BEFORE_BLOCKING => return Pause::Block,
            IdleKind::Block => std::hint::spin_loop(),
        }
        Pause::None
    }

    fn back_off(&mut self) {
        if self.empty <= SPINS {
            std::hint::spin_loop();
        } else if self.empty <= SPINS + YIELDS {
            std::thread::yield_now();
        } else {
            std::thread::sleep(self.sleep);
            self.sleep = (self.sleep * 2).min(LONGEST_SLEEP);
        }
    }
}

/// Tries once, and again until `attempt` is no longer back-pressured or the time is over, pausing as a
/// poller of this kind does. Where that one waits in the kernel, there is nothing to wait for here: a
/// caller sleeps.
pub(crate) fn until_accepted<T>(
    kind: IdleKind,
    clock: &Clock,
    until: Timestamp,
    mut attempt: impl FnMut() -> Result<T, SendError>,
) -> Result<T, SendError> {
    let mut idle = Idle::new(if kind == IdleKind::Block { IdleKind::Backoff } else { kind });
    loop {
        match attempt() {
            Err(SendError::BackPressured) => {}
            result => return result,
        }
        if clock.now() >= until {
            return Err(SendError::BackPressured);
        }
        idle.idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_room_tries_until_there_is_some_or_the_time_is_over() {
        let clock = Clock::start();
        let mut attempts = 0;
        let accepted = until_accepted(IdleKind::Block, &clock, Timestamp::NEVER, || {
            attempts += 1;
            if attempts < 5 { Err(SendError::BackPressured) } else { Ok(attempts) }
        });
        assert_eq!(accepted, Ok(5));
        let never = || Err::<(), _>(SendError::BackPressured);
        let until = clock.now() + Duration::from_millis(1);
        let refused = until_accepted(IdleKind::Yield, &clock, until, never);
        assert_eq!(refused, Err(SendError::BackPressured));
        let closed = || Err::<(), _>(SendError::Closed);
        let refused = until_accepted(IdleKind::Block, &clock, Timestamp::NEVER, closed);
        assert_eq!(refused, Err(SendError::Closed));
    }

    #[test]
    fn only_the_blocking_strategy_blocks_and_only_after_spinning() {
        for kind in [IdleKind::BusySpin, IdleKind::Yield, IdleKind::Backoff] {
            let mut idle = Idle::new(kind);
            assert!((0..220).all(|_| idle.idle() == Pause::None), "{kind:?}");
        }
        let mut idle = Idle::new(IdleKind::Block);
        let spins = (0..1000).take_while(|_| idle.idle() == Pause::None).count();
        assert_eq!(spins, SPINS_BEFORE_BLOCKING as usize);
        idle.reset();
        assert_eq!(idle.idle(), Pause::None);
    }
}
