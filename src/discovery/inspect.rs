//! What the simulator sees of discovery, with the feature `sim` only. Layer: discovery.

use std::mem::size_of;
use std::sync::Arc;

use super::event::PeerInfo;
use super::peer::{Held, Peer};
use super::{Advert, Discovery};
use crate::id::{InstanceId, TopicHash};
use crate::time::Timestamp;

/// Strong and weak count before the value of an `Arc`.
const ARC_BYTES: usize = 16;
/// Hash tables are between 7/16 and 7/8 full: on average, so many places for two entries, and a byte
/// of control for each place.
const TABLE_PLACES_PER_TWO: usize = 3;
/// Entries of a leaf of a B-tree, and what else is in it. Leaves of one entry or two are the rule.
const LEAF_ENTRIES: usize = 11;
const LEAF_BYTES: usize = 16;
/// The share of a leaf that is used when there are many, in twelfths.
const LEAF_TWELFTHS_USED: usize = 7;

impl Discovery {
    /// Whether everything that `other` advertises is known here, and nothing else of it.
    pub(crate) fn knows(&self, other: &Self) -> bool {
        self.registry.get(other.identity.instance).is_some_and(|peer| {
            peer.len() == other.log.len() && peer.digest() == other.log.digest()
        })
    }

    /// Heap memory that what is known of others takes, about: by the sizes of what is stored and the
    /// usual filling of its tables.
    pub(crate) fn known_bytes(&self) -> usize {
        let table = |entry: usize| (entry + 1) * TABLE_PLACES_PER_TWO / 2;
        let leaf = |entry: usize| LEAF_BYTES + LEAF_ENTRIES * entry;
        let peer = |peer: &Peer| {
            let info = ARC_BYTES + size_of::<PeerInfo>() + ARC_BYTES + peer.info.name.len();
            let filed = leaf(size_of::<(Timestamp, InstanceId)>()) / LEAF_TWELFTHS_USED;
            let entry = size_of::<(u64, Held)>();
            let leaves = match peer.len() {
                0 => 0,
                1..=LEAF_ENTRIES => leaf(entry),
                many => many * leaf(entry) / LEAF_TWELFTHS_USED,
            };
            let adverts = peer.len() * (ARC_BYTES + size_of::<Advert>());
            table(size_of::<(InstanceId, Peer)>()) + info + filed + leaves + adverts
        };
        let peers: usize = self.registry.peers().map(peer).sum();
        let topics = self.ledger.topics.lengths().map(|length| {
            // A hash, and what belongs to it: an `Arc<str>`, a count and a flag.
            let entry = size_of::<TopicHash>() + size_of::<Arc<str>>() + 2 * size_of::<usize>();
            table(entry) + ARC_BYTES + length
        });
        peers + topics.sum::<usize>()
    }
}
