//! Names of topics: data carries hashes only, and adverts tell the names. Layer: inspect.

use std::collections::HashMap;

use super::{Body, Change, Packet};
use crate::id::TopicHash;

/// Names that are remembered, so that traffic cannot take all memory.
const MAX_TOPICS: usize = 65_536;

/// The names of topics, as far as adverts have told them. Remembers 65,536 of them.
#[derive(Clone, Debug, Default)]
pub struct TopicNames {
    names: HashMap<TopicHash, String>,
}

impl TopicNames {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers the names that a packet tells, also one inside a RELAY.
    pub fn learn(&mut self, packet: &Packet<'_>) {
        match &packet.body {
            Some(Body::Changes(changes)) => {
                for change in &changes.entries {
                    if let Change::Add(advert) = change {
                        self.remember(advert.topic_hash, advert.topic);
                    }
                }
            }
            Some(Body::Relay { packet, .. }) => self.learn(packet),
            _ => {}
        }
    }

    fn remember(&mut self, hash: TopicHash, name: &str) {
        if self.names.len() < MAX_TOPICS && !self.names.contains_key(&hash) {
            self.names.insert(hash, name.to_owned());
        }
    }

    /// The name of a topic.
    #[must_use]
    pub fn name(&self, topic: TopicHash) -> Option<&str> {
        self.names.get(&topic).map(String::as_str)
    }

    /// How many names are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
