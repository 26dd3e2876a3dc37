//! What a sniffer tells of the instances that it sees. Layer: listener.

use std::sync::Arc;

use super::{DownReason, Peer, TopicAdvert};
use crate::counters::Counter;
use crate::id::InstanceId;

/// Something has changed among the instances that a sniffer sees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnifferEvent {
    /// An instance was seen for the first time.
    InstanceUp(Peer),
    /// An instance is gone. Whatever it advertised has been withdrawn before.
    InstanceDown(Peer, DownReason),
    /// An instance publishes a topic, or listens to it, from now on.
    Advertised(TopicAdvert),
    /// It does so no longer.
    Withdrawn(TopicAdvert),
    /// An instance uses a topic whose name has the hash of another one. Those who use the other one
    /// refuse it. Told once for as long as the other one is in use.
    TopicConflict {
        /// Whose topic is refused.
        instance: InstanceId,
        /// The topic that is refused.
        refused: Arc<str>,
        /// The topic that has the hash.
        held: Arc<str>,
    },
    /// There is more than the sniffer keeps: more instances than `[limits] max_peers`, or more
    /// adverts than there is room for. The rest is not seen. Told once until there is room again.
    Full {
        /// The instance of which not everything is seen; `None` if there are too many instances.
        instance: Option<InstanceId>,
        /// The limit.
        limit: usize,
    },
    /// A discovery daemon, `host:port` as it is configured, has let the sniffer in.
    DaemonUp(Arc<str>),
    /// A discovery daemon answers no more.
    DaemonDown(Arc<str>),
    /// Something was lost, refused or not found: a counter of which [`Counter::is_trouble`] says so has
    /// grown. Told once per second at most for each counter. See [`Sniffer::counters`](crate::Sniffer::counters).
    Trouble {
        /// What is counted.
        counter: Counter,
        /// By how much since it was told last.
        increase: u64,
    },
}

/// Everything that a sniffer sees at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnifferSnapshot {
    pub(crate) instances: Vec<Peer>,
    pub(crate) adverts: Vec<TopicAdvert>,
    pub(crate) daemons: Vec<Arc<str>>,
}

impl SnifferSnapshot {
    /// The instances, by name and then by identity.
    #[must_use]
    pub fn instances(&self) -> &[Peer] {
        &self.instances
    }

    /// One of them.
    #[must_use]
    pub fn instance(&self, id: InstanceId) -> Option<&Peer> {
        self.instances.iter().find(|peer| peer.id() == id)
    }

    /// What they publish and listen to, by topic; the publishers of each before its subscribers.
    #[must_use]
    pub fn adverts(&self) -> &[TopicAdvert] {
        &self.adverts
    }

    /// The discovery daemons that answer, as they are configured.
    pub fn daemons_up(&self) -> impl Iterator<Item = &str> {
        self.daemons.iter().map(|daemon| &**daemon)
    }
}
