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
}
