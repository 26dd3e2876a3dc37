//! One side of one topic, as it is told, and why it may not be. Layer: discovery (sans-IO). Plain data; no
//! thread owns it.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::config::Transport;
use crate::id::{SessionId, TopicHash};
use crate::wire::advert::{AdvertKind, MAX_TEXT_BYTES};
use crate::wire::locator::Locator;

/// One side of one topic, of this instance or another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advert {
    pub(crate) kind: AdvertKind,
    pub(crate) transport: Transport,
    /// 1 to [`MAX_TEXT_BYTES`] bytes.
    pub(crate) topic: Arc<str>,
    pub(crate) hash: TopicHash,
    /// Where the data arrives: the group of a multicast topic, the socket of a unicast subscriber.
    pub(crate) locator: Option<Locator>,
    /// Names, with the instance, the shared-memory file of an IPC publisher.
    pub(crate) session: Option<SessionId>,
}

/// Names an advert within its instance. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AdvertKey(pub(super) u64);

impl fmt::Display for AdvertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a topic cannot be advertised.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum AdvertiseError {
    /// The name does not fit the wire format.
    #[error("topic name has {length} bytes (allowed: 1 to {MAX_TEXT_BYTES})")]
    TopicLength {
        /// Bytes of the name.
        length: usize,
    },
    /// This instance advertises as much as one instance may.
    #[error(
        "the instance advertises {limit} publishers and subscribers already (allowed: {limit})"
    )]
    Full {
        /// The limit.
        limit: usize,
    },
    /// Another topic, here or at a peer, has the same hash. One of them needs another name.
    #[error("topic \"{topic}\" has the same hash as the topic \"{held}\" that is in use")]
    HashCollision {
        /// The refused topic.
        topic: Arc<str>,
        /// The topic that has the hash.
        held: Arc<str>,
    },
}
