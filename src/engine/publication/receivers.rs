//! Who is matched with a publication, by which topics, and until when. Layer: engine. Owned by one
//! publication, under its lock.

use crate::id::{InstanceId, ReceiverId, TopicHash};

/// The receivers that discovery has matched.
#[derive(Debug, Default)]
pub(super) struct Receivers {
    matched: Vec<Matched>,
}

#[derive(Debug)]
struct Matched {
    id: ReceiverId,
    /// Topics of the publication that it listens to.
    topics: Vec<TopicHash>,
    /// Set when the last of them is not published any more: the receiver is let go once it has
    /// everything before this packet.
    until: Option<u64>,
}

impl Receivers {
    pub(super) const fn is_empty(&self) -> bool {
        self.matched.is_empty()
    }

    pub(super) const fn count(&self) -> usize {
        self.matched.len()
    }

    /// A receiver listens to one more topic. True when it was not known before.
    pub(super) fn add(&mut self, id: ReceiverId, topic: TopicHash) -> bool {
        if let Some(known) = self.matched.iter_mut().find(|known| known.id == id) {
            known.topics.push(topic);
            known.until = None;
            return false;
        }
        self.matched.push(Matched { id, topics: vec![topic], until: None });
        true
    }

    /// A topic is not for `instance` any more. The receiver whose last one that was stays, at most
    /// until it has everything before a packet, if one is named.
    pub(super) fn drop_topic(
        &mut self,
        instance: InstanceId,
        topic: TopicHash,
        until: Option<u64>,
    ) -> Option<ReceiverId> {
        let mut matched = self.matched.iter_mut();
        let listens =
            |one: &&mut Matched| one.id.instance == instance && one.topics.contains(&topic);
        let known = matched.find(listens)?;
        known.topics.retain(|other| *other != topic);
        if !known.topics.is_empty() {
            return None;
        }
        known.until = until;
        Some(known.id)
    }

    pub(super) fn remove(&mut self, id: ReceiverId) {
        self.matched.retain(|known| known.id != id);
    }

    /// Removes one receiver of which `is_done` says so, by its identity and the packet before which it
    /// is to have everything.
    pub(super) fn take(
        &mut self,
        is_done: impl Fn(ReceiverId, Option<u64>) -> bool,
    ) -> Option<ReceiverId> {
        let at = self.matched.iter().position(|known| is_done(known.id, known.until))?;
        Some(self.matched.swap_remove(at).id)
    }
}
