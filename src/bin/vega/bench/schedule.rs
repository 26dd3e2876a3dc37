//! When the messages of an open loop are due. Layer: bin; owned by the sending thread.

use super::goal::{Finish, Goal};
use crate::clock;

const NS_PER_SECOND: u128 = 1_000_000_000;

/// Messages at even distances, from now until a goal is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    begin_ns: u64,
    per_second: u64,
    finish: Finish,
}

impl Schedule {
    pub(crate) fn start(per_second: u64, goal: Goal) -> Self {
        Self { begin_ns: clock::shared_ns(), per_second, finish: goal.start() }
    }

    /// Spins until the message of this number is due, and says when that was. `None` when there is none
    /// to be sent any more. `late_ns` is how late it is.
    pub(crate) fn wait_for(
        &self,
        number: u64,
        late_ns: &mut u64,
        is_given_up: impl Fn() -> bool,
    ) -> Option<u64> {
        let due_ns = due_ns(self.begin_ns, number, self.per_second);
        loop {
            let now_ns = clock::shared_ns();
            *late_ns = now_ns.saturating_sub(due_ns);
            if self.finish.is_reached(number, now_ns) || is_given_up() {
                return None;
            }
            if now_ns >= due_ns {
                return Some(due_ns);
            }
            std::hint::spin_loop();
        }
    }
}

fn due_ns(begin_ns: u64, number: u64, per_second: u64) -> u64 {
    let after = u128::from(number) * NS_PER_SECOND / u128::from(per_second);
    // Beyond what is left of 584 years, it is never due.
    begin_ns.saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_evenly_without_drift() {
        assert_eq!(
            [0, 1, 2, 3].map(|number| due_ns(7, number, 3)),
            [7, 333_333_340, 666_666_673, 1_000_000_007]
        );
        assert_eq!(due_ns(7, u64::MAX, 1), u64::MAX);
    }

    #[test]
    fn as_many_are_due_as_are_wanted_and_none_once_it_is_given_up() {
        let schedule = Schedule::start(1_000_000_000, Goal::Count(3));
        let mut late_ns = 0;
        let due: Vec<_> =
            (0..9).map_while(|number| schedule.wait_for(number, &mut late_ns, || false)).collect();
        assert_eq!(due, [0, 1, 2].map(|ns| due[0] + ns));
        assert_eq!(schedule.wait_for(0, &mut late_ns, || true), None);
    }
}
