//! Which packets of a capture somebody wants to see. Layer: bin.

use std::collections::{HashMap, HashSet};

use vega::inspect::{Body, Change, Packet, PacketKind, SessionId, TopicHash, TopicNames};
use vega::{InstanceId, TopicPattern};

/// Sessions and instances that are remembered, so that a capture cannot take all memory.
const MAX_REMEMBERED: usize = 65_536;

/// What is wanted, and what packets so far have told of it.
pub(super) struct Wanted {
    pub(super) kinds: Vec<PacketKind>,
    pub(super) topic: Option<TopicPattern>,
    /// What that says letter by letter: the name of a topic that no advert has told yet, perhaps.
    literal: Option<TopicHash>,
    pub(super) instance: Option<TopicPattern>,
    /// Sessions that have carried a topic that is wanted: their feedback is, too.
    sessions: HashSet<SessionId>,
    instances: HashMap<InstanceId, String>,
}

impl Wanted {
    pub(super) fn new(
        kinds: Vec<PacketKind>,
        topic: Option<TopicPattern>,
        instance: Option<TopicPattern>,
    ) -> Self {
        // Whoever knows regular expressions writes the dots of a name with a backslash.
        let literal = topic.as_ref().map(|it| TopicHash::of(&it.as_str().replace("\\.", ".")));
        let (sessions, instances) = (HashSet::new(), HashMap::new());
        Self { kinds, topic, literal, instance, sessions, instances }
    }

    pub(super) const fn is_everything(&self) -> bool {
        self.kinds.is_empty() && self.topic.is_none() && self.instance.is_none()
    }

    /// Whether a packet is wanted. To be asked about every packet, in order.
    pub(super) fn admits(&mut self, packet: &Packet<'_>, names: &TopicNames) -> bool {
        self.learn(packet);
        let is_of_topic = self.is_of_topic(packet, names);
        let is_of_kind =
            self.kinds.is_empty() || packet.kind.is_some_and(|kind| self.kinds.contains(&kind));
        is_of_topic && is_of_kind && self.is_of_instance(packet)
    }

    fn learn(&mut self, packet: &Packet<'_>) {
        match &packet.body {
            Some(Body::Announce(announce)) if self.instances.len() < MAX_REMEMBERED => {
                self.instances.entry(announce.instance).or_insert_with(|| announce.name.to_owned());
            }
            Some(Body::Relay { packet, .. }) => self.learn(packet),
            _ => {}
        }
    }

    fn is_of_instance(&self, packet: &Packet<'_>) -> bool {
        let Some(pattern) = &self.instance else { return true };
        packet.instance().is_some_and(|id| {
            let name = self.instances.get(&id).map_or("", String::as_str);
            pattern.matches(name) || pattern.matches(&id.to_string())
        })
    }

    fn is_of_topic(&mut self, packet: &Packet<'_>, names: &TopicNames) -> bool {
        let Some(pattern) = &self.topic else { return true };
        let has = |topic: TopicHash| {
            Some(topic) == self.literal
                || names.name(topic).is_some_and(|name| pattern.matches(name))
        };
        match &packet.body {
            Some(Body::Data { sender, frames, .. }) => {
                let is_wanted = frames.iter().any(|frame| has(frame.topic));
                if is_wanted && self.sessions.len() < MAX_REMEMBERED {
                    self.sessions.insert(sender.session);
                }
                is_wanted
            }
            Some(Body::Changes(changes)) => changes.entries.iter().any(|change| match change {
                Change::Add(advert) => has(advert.topic_hash),
                _ => false,
            }),
            Some(Body::Call(roll) | Body::Present(roll)) => {
                roll.entries.iter().any(|entry| has(entry.topic))
            }
            Some(Body::Relay { packet, .. }) => self.is_of_topic(packet, names),
            _ => packet.session().is_some_and(|session| self.sessions.contains(&session)),
        }
    }
}
