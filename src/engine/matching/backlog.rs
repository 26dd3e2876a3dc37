//! Commands that the conductor keeps for pollers that have no room for them: it must never wait for
//! a poller, which may be in a long callback. Layer: engine. Owned by the conductor.

use std::collections::VecDeque;

use crate::engine::poller::{Command, PollerHandle};

/// Commands that wait for one poller, beside those in its queue, above which only ends of rings are
/// taken. There is at most one of these for each ring that was attached, and rings are attached only
/// below.
const MAX_WAITING: usize = 4096;

/// Commands that wait for room, by poller.
#[derive(Default)]
pub(super) struct Backlog(Vec<(PollerHandle, VecDeque<Command>)>);

impl Backlog {
    /// Gives a command, now or with a later [`Backlog::retry`], and never before one for the same
    /// poller that waits: a ring must not be detached before it is attached. Whoever can do without
    /// asks first whether there [is room](Backlog::has_room).
    pub(super) fn submit(&mut self, poller: &PollerHandle, command: Command) {
        if let Some((_, waiting)) = self.0.iter_mut().find(|(other, _)| other.is_same(poller)) {
            waiting.push_back(command);
        } else if let Err(command) = poller.try_submit(command) {
            self.0.push((poller.clone(), VecDeque::from([command])));
        }
    }

    /// Whether no more commands wait for a poller than may.
    pub(super) fn has_room(&self, poller: &PollerHandle) -> bool {
        let waiting = self.0.iter().find(|(other, _)| other.is_same(poller));
        waiting.is_none_or(|(_, waiting)| waiting.len() < MAX_WAITING)
    }

    /// Gives what has waited, as far as there is room.
    pub(super) fn retry(&mut self) {
        for (poller, waiting) in &mut self.0 {
            while let Some(command) = waiting.pop_front() {
                if let Err(command) = poller.try_submit(command) {
                    waiting.push_front(command);
                    break;
                }
            }
        }
        self.0.retain(|(_, waiting)| !waiting.is_empty());
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
        assert!(matches!(others.take(), Some(Command::Stop)));

        // There is room again when the next command comes, while one still waits.
        let mut taken = Vec::new();
        let mut take = || match queue.take() {
            Some(Command::ForgetInstance(instance)) => taken.push(instance),
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

    #[test]
    fn each_poller_has_room_for_so_many_commands_and_no_more() {
        let (full, queue) = stalled(0, 1);
        let (other, _others) = stalled(1, 0);
        let mut backlog = Backlog::default();
        for _ in 0..=MAX_WAITING {
            assert!(backlog.has_room(&full));
            backlog.submit(&full, Command::ForgetInstance(InstanceId::random()));
        }
        assert!(!backlog.has_room(&full) && backlog.has_room(&other));
        queue.take().expect("the first command");
        backlog.retry();
        assert!(backlog.has_room(&full));
    }
}
