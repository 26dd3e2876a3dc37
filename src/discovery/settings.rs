//! Who an instance is, how often it speaks, how much it remembers. Layer: discovery (sans-IO). Plain data;
//! no thread owns it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, DaemonAddress, DiscoveryConfig};
use crate::id::InstanceId;
#[cfg(doc)]
use crate::wire::advert::MAX_TEXT_BYTES;
use crate::wire::locator::Locator;

/// Adverts of one instance, by default. Also the limit of what this instance may advertise.
pub(crate) const MAX_ADVERTS_PER_PEER: usize = 65_536;

/// Adverts of all peers together, by default; each takes a few hundred bytes.
pub(crate) const MAX_ADVERTS: usize = 1 << 20;

/// What an instance tells about itself. Does not change while it lives.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) instance: InstanceId,
    /// For people; cut at [`MAX_TEXT_BYTES`].
    pub(crate) name: Arc<str>,
    /// Where others reach the socket that everything is sent from and that takes unicast packets.
    pub(crate) control: Locator,
    /// The address of that socket here: where our own packets to the group come from.
    pub(crate) source: SocketAddr,
    pub(crate) responses: Locator,
    /// Equal on instances that can share memory.
    pub(crate) host: u64,
}

/// How often to speak and how much to remember.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Between two ANNOUNCEs, give or take 10 %. At least 10 ms.
    pub(crate) refresh: Duration,
    /// How long the others shall believe us alive after an ANNOUNCE. Several refresh intervals.
    pub(crate) timeout: Duration,
    pub(crate) max_peers: usize,
    pub(crate) max_adverts_per_peer: usize,
    pub(crate) max_adverts: usize,
}

impl Settings {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            refresh: config.discovery.refresh,
            timeout: config.discovery.timeout,
            max_peers: config.limits.max_peers,
            max_adverts_per_peer: MAX_ADVERTS_PER_PEER,
            max_adverts: MAX_ADVERTS,
        }
    }
}

/// What carries the packets that are for everybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carrier {
    /// The discovery group. Who hears it without having it here observes: it learns everything by
    /// asking, and nobody on the group ever learns of it.
    pub(crate) group: bool,
    /// The discovery daemons: `None` for one whose name is not resolved yet.
    pub(crate) daemons: Vec<Option<SocketAddr>>,
}

impl Carrier {
    /// The daemons of the configuration, and the group or not.
    pub(crate) fn of(config: &DiscoveryConfig, group: bool) -> Self {
        Self { group, daemons: config.daemons.iter().map(DaemonAddress::socket).collect() }
    }
}
