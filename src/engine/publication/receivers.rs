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
    /// Those that it listens to, too, and that are not published any more.
    released: Vec<TopicHash>,
    /// What was accepted for these stands before this packet.
    until: u64,
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
            known.released.retain(|other| *other != topic);
            return false;
        }
        self.matched.push(Matched { id, topics: vec![topic], released: Vec::new(), until: 0 });
        true
    }

    /// `instance` does not listen to a topic any more. Returns, and forgets, a receiver that listened to
    /// nothing else.
    pub(super) fn withdraw(
        &mut self,
        instance: InstanceId,
        topic: TopicHash,
    ) -> Option<ReceiverId> {
        let of_topic = |one: &Matched| one.topics.contains(&topic) || one.released.contains(&topic);
        let listens = |one: &Matched| one.id.instance == instance && of_topic(one);
        let at = self.matched.iter().position(listens)?;
        let known = &mut self.matched[at];
        known.topics.retain(|other| *other != topic);
        known.released.retain(|other| *other != topic);
        let listens_on = !known.topics.is_empty() || !known.released.is_empty();
        (!listens_on).then(|| self.matched.swap_remove(at).id)
    }

    /// A topic that `instance` listens to is not published any more. What was accepted for it stands
    /// before a packet.
    pub(super) fn release(&mut self, instance: InstanceId, topic: TopicHash, until: u64) {
        let listens =
            |one: &&mut Matched| one.id.instance == instance && one.topics.contains(&topic);
        if let Some(known) = self.matched.iter_mut().find(listens) {
            known.topics.retain(|other| *other != topic);
            known.released.push(topic);
            known.until = until;
        }
    }

    /// Returns, and forgets, one receiver of which no topic is published any more and that has all
    /// before a packet.
    pub(super) fn let_go(
        &mut self,
        has_all: impl Fn(ReceiverId, u64) -> bool,
    ) -> Option<ReceiverId> {
        for known in &mut self.matched {
            if !known.released.is_empty() && has_all(known.id, known.until) {
                known.released.clear();
            }
        }
        let is_done = |one: &Matched| one.topics.is_empty() && one.released.is_empty();
        self.take(is_done)
    }

    /// Returns, and forgets, one receiver of an instance.
    pub(super) fn forget(&mut self, instance: InstanceId) -> Option<ReceiverId> {
        self.take(|one| one.id.instance == instance)
    }

    fn take(&mut self, which: impl Fn(&Matched) -> bool) -> Option<ReceiverId> {
        let at = self.matched.iter().position(which)?;
        Some(self.matched.swap_remove(at).id)
    }
}
