//! Commands that the conductor keeps for pollers that have no room for them: it must never wait for
//! a poller, which may be in a long callback. Layer: engine. Owned by the conductor.

use crate::engine::poller::{Command, PollerHandle};

/// Commands that wait for room.
#[derive(Default)]
pub(super) struct Backlog(Vec<(PollerHandle, Command)>);

impl Backlog {
    /// Gives a command, now or with a later [`Backlog::retry`].
    pub(super) fn submit(&mut self, poller: &PollerHandle, command: Command) {
        if let Err(command) = poller.try_submit(command) {
            self.0.push((poller.clone(), command));
        }
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
