//! What discovery tells its owner. Layer: discovery (sans-IO). Owned by the conductor, inside
//! [`Discovery`](super::Discovery).

use std::collections::{VecDeque, btree_map};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::peer::Held;
use super::{Advert, AdvertKey};
use crate::id::{InstanceId, TopicHash};
use crate::wire::locator::Locator;

/// Another instance, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerInfo {
    pub(crate) instance: InstanceId,
    pub(crate) name: Arc<str>,
    /// Where it takes feedback; its discovery packets come from here as well.
    pub(crate) control: Locator,
    /// Where it takes responses.
    pub(crate) responses: Locator,
    /// Equal on instances that can share memory.
    pub(crate) host: u64,
    /// How often it announces itself.
    pub(crate) interval: Duration,
    /// How long it may be silent before it counts as down.
    pub(crate) timeout: Duration,
}

/// Something changed out there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    InstanceUp(Arc<PeerInfo>),
    /// Follows the `Withdrawn` of everything the instance advertised.
    InstanceDown {
        peer: Arc<PeerInfo>,
        reason: DownReason,
    },
    Advertised {
        instance: InstanceId,
        key: AdvertKey,
        advert: Arc<Advert>,
    },
    Withdrawn {
        instance: InstanceId,
        key: AdvertKey,
        advert: Arc<Advert>,
    },
    /// An advert was refused because its hash stands for another name here. Told once for as long
    /// as that name lives.
    TopicCollision {
        instance: InstanceId,
        hash: TopicHash,
        held: Arc<str>,
        refused: Box<str>,
    },
    /// A limit was reached. Told once until there is room again.
    Overflow(Overflow),
    /// A daemon has given this instance a ticket; the number is that of the carrier's list.
    DaemonUp {
        index: usize,
        address: SocketAddr,
        daemon: InstanceId,
    },
    /// A daemon answers no more.
    DaemonDown {
        index: usize,
    },
    /// Somebody else, at this address, uses the identity of this instance. Told once.
    DuplicateIdentity {
        source: SocketAddr,
    },
}

/// Why an instance is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DownReason {
    /// It said so.
    Goodbye,
    /// It was silent for longer than it had promised.
    Expired,
}

/// Which limit refuses what goes beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// More instances than `max_peers`: the others are invisible.
    Peers { limit: usize },
    /// One instance advertises more than there is room for: the rest is invisible.
    Adverts { instance: InstanceId, limit: usize },
}

/// Events in the order in which they happened, until the owner takes them.
///
/// A departed instance waits as a whole and is taken apart into events on the way out, so that a
/// departure costs no memory that was not in use before.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    items: VecDeque<Item>,
    /// Events to come, those inside of departures included.
    waiting: usize,
}

#[derive(Debug)]
enum Item {
    Event(Event),
    Departure { peer: Arc<PeerInfo>, adverts: btree_map::IntoIter<u64, Held>, reason: DownReason },
}

impl EventQueue {
    pub(super) fn push(&mut self, event: Event) {
        self.waiting += 1;
        self.items.push_back(Item::Event(event));
    }

    pub(super) fn push_departure(
        &mut self,
        peer: Arc<PeerInfo>,
        adverts: btree_map::IntoIter<u64, Held>,
        reason: DownReason,
    ) {
        self.waiting += adverts.len() + 1;
        self.items.push_back(Item::Departure { peer, adverts, reason });
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        if let Some(Item::Departure { peer, adverts, .. }) = self.items.front_mut() {
            let instance = peer.instance;
            let before = adverts.len();
            let withdrawn =
                adverts.find_map(|(key, held)| held.advert.map(|advert| (AdvertKey(key), advert)));
            self.waiting -= before - adverts.len();
            if let Some((key, advert)) = withdrawn {
                return Some(Event::Withdrawn { instance, key, advert });
            }
        }
        let event = match self.items.pop_front()? {
            Item::Event(event) => event,
            Item::Departure { peer, reason, .. } => Event::InstanceDown { peer, reason },
        };
        self.waiting -= 1;
        Some(event)
    }

    /// Events to come; refused adverts of departed instances count too, though no event tells of
    /// them.
    pub(super) const fn len(&self) -> usize {
        self.waiting
    }
}
