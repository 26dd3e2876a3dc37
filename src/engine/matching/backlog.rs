//! Commands that the conductor keeps for pollers that have no room for them: it must never wait for
//! a poller, which may be in a long callback. Layer: engine. Owned by the conductor.

use crate::engine::poller::{Command, PollerHandle};

/// Commands that wait for room.
#[derive(Default)]
pub(super) struct Backlog(Vec<(PollerHandle, Command)>);

impl Backlog {
    /// Gives a command, now or with a later [`Backlog::retry`], and never before one for the same
    /// poller that waits: a ring must not be detached before it is attached.
    pub(super) fn submit(&mut self, poller: &PollerHandle, command: Command) {
        let refused = if self.0.iter().any(|(waiting, _)| waiting.is_same(poller)) {
            Some(command)
        } else {
            poller.try_submit(command).err()
        };
        self.0.extend(refused.map(|command| (poller.clone(), command)));
    }

    /// Gives what has waited, as far as there is room.
    pub(super) fn retry(&mut self) {
        for (poller, command) in std::mem::take(&mut self.0) {
            self.submit(&poller, command);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::poller::stalled;
    use crate::id::InstanceId;

    #[test]
    fn commands_for_one_poller_stay_in_order_and_those_for_others_do_not_wait() {
        let (full, queue) = stalled(0, 1);
        let (idle, others) = stalled(1, 1);
        let forget: Vec<_> = (0..4).map(|_| InstanceId::random()).collect();
        let mut backlog = Backlog::default();
        backlog.submit(&full, Command::ForgetInstance(forget[0]));
        backlog.submit(&full, Command::ForgetInstance(forget[1]));
        backlog.submit(&idle, Command::Stop);
        assert!(matches!(others.try_recv(), Ok(Command::Stop)));

        // There is room again when the next command comes, while one still waits.
        let mut taken = Vec::new();
        let mut take = || match queue.try_recv() {
            Ok(Command::ForgetInstance(instance)) => taken.push(instance),
            _ => panic!("nothing to take"),
        };
        take();
        backlog.submit(&full, Command::ForgetInstance(forget[2]));
        backlog.submit(&full, Command::ForgetInstance(forget[3]));
        for _ in 0..3 {
            backlog.retry();
            take();
        }
        assert_eq!(taken, forget);
        assert!(backlog.is_empty());
    }
}
