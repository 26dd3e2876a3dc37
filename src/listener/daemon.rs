//! What a discovery daemon tells of its clients. Layer: listener.

use std::net::SocketAddr;
use std::sync::Arc;

use super::DownReason;
use crate::id::InstanceId;

/// An instance that a discovery daemon serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonClient {
    pub(crate) id: InstanceId,
    pub(crate) name: Arc<str>,
    pub(crate) address: SocketAddr,
}

impl DaemonClient {
    /// Its identity, new at every start.
    #[must_use]
    pub const fn id(&self) -> InstanceId {
        self.id
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its datagrams come from; for one behind NAT, an address of the NAT.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Something happened at a discovery daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DaemonEvent {
    /// A client has announced itself.
    ClientUp(DaemonClient),
    /// A client is gone.
    ClientDown(DaemonClient, DownReason),
    /// There are as many clients as `[daemon] max_clients` allows: others are not served. Told once
    /// until there is room again.
    Full {
        /// The limit.
        limit: usize,
    },
    /// Something was lost, refused or dropped: how much since the last such event. Told once per
    /// second at most.
    Trouble(DaemonTrouble),
}

/// What a discovery daemon has lost, refused or dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DaemonTrouble {
    /// Datagrams that are no packets for a daemon.
    pub malformed: u64,
    /// Packets of a version of the wire protocol that this build does not speak.
    pub other_versions: u64,
    /// Packets without a good ticket, in the name of another instance, or of one client too many.
    pub refused: u64,
    /// Packets beyond what one client may have passed on, or when too much waited to be sent.
    pub dropped: u64,
    /// Sends and receives that the operating system refused.
    pub failed: u64,
    /// Calls of the daemon's listener that panicked.
    pub callback_panics: u64,
}

impl DaemonTrouble {
    pub(crate) const fn since(&self, earlier: &Self) -> Self {
        Self {
            malformed: self.malformed - earlier.malformed,
            other_versions: self.other_versions - earlier.other_versions,
            refused: self.refused - earlier.refused,
            dropped: self.dropped - earlier.dropped,
            failed: self.failed - earlier.failed,
            callback_panics: self.callback_panics - earlier.callback_panics,
        }
    }
}
