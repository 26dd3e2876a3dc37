//! What one process of an exchange does. Layer: peers; runs on the process's main thread.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cases::Case;
use crate::console::Console;
use crate::links;
use crate::place::Place;
use crate::setups::{Peer, Setup};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// What the peer needs beside the two sides: a driver, a broker.
    Broker,
    /// Sends, and times what comes back.
    Ping,
    /// Sends back what comes.
    Pong,
    /// Sends as fast as there is room.
    Send,
    /// Counts what comes.
    Count,
}

/// A part, as the process that plays it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) role: Role,
    pub(crate) case: Case,
    pub(crate) setup: Setup,
    pub(crate) place: Place,
    /// How long is measured.
    pub(crate) duration: Duration,
}

impl Part {
    /// Where this process runs if it is pinned: a core for each side.
    pub(crate) fn core(&self) -> Option<usize> {
        let number = match self.role {
            Role::Broker => return None,
            Role::Ping | Role::Send => 0,
            Role::Pong | Role::Count => 1,
        };
        let cores = self.setup.pinned.then(core_affinity::get_core_ids).flatten()?;
        (cores.len() > 1).then(|| cores[number].id)
    }

    /// Plays the part until it is time to leave.
    ///
    /// # Errors
    ///
    /// Whatever the peer's library or the system refuses.
    pub(crate) fn play(&self) -> anyhow::Result<()> {
        let console = Console::open()?;
        // Vega pins its own threads.
        if self.setup.peer != Peer::Vega
            && let Some(id) = self.core()
        {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
        links::play(self, &console)
    }
}
