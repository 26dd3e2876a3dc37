//! Which instances and topics somebody wants to see. Layer: bin.

use std::collections::HashMap;

use vega::{InstanceId, Peer, SnifferEvent, SnifferSnapshot, TopicAdvert, TopicPattern};

use super::line::{AdvertJson, InstanceJson, SnapshotJson};

/// What is wanted, and the names of the instances that are there.
pub(super) struct Filter {
    topic: Option<TopicPattern>,
    instance: Option<TopicPattern>,
    names: HashMap<InstanceId, String>,
}

impl Filter {
    pub(super) fn new(topic: Option<TopicPattern>, instance: Option<TopicPattern>) -> Self {
        Self { topic, instance, names: HashMap::new() }
    }

    /// The name of an instance; the beginning of its identity when it has none.
    pub(super) fn name(&self, id: InstanceId) -> String {
        match self.names.get(&id) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => id.to_string().chars().take(8).collect(),
        }
    }

    /// To be told of every event before it is judged.
    pub(super) fn learn(&mut self, event: &SnifferEvent) {
        if let SnifferEvent::InstanceUp(peer) = event {
            self.names.insert(peer.id(), peer.name().to_owned());
        }
    }

    /// To be told of every event after it has been shown.
    pub(super) fn forget(&mut self, event: &SnifferEvent) {
        if let SnifferEvent::InstanceDown(peer, _) = event {
            self.names.remove(&peer.id());
        }
    }

    /// Whether an event is wanted.
    pub(super) fn admits(&self, event: &SnifferEvent) -> bool {
        match event {
            SnifferEvent::InstanceUp(peer) | SnifferEvent::InstanceDown(peer, _) => {
                self.has_instance(peer.id())
            }
            SnifferEvent::Advertised(advert) | SnifferEvent::Withdrawn(advert) => {
                self.has_advert(advert)
            }
            SnifferEvent::TopicConflict { instance, refused, .. } => {
                self.has_topic(refused) && self.has_instance(*instance)
            }
            _ => true,
        }
    }

    /// What is wanted of everything that there is.
    pub(super) fn snapshot(&self, all: &SnifferSnapshot) -> SnapshotJson {
        let has = |peer: &Peer| self.matches_instance(peer.name(), peer.id());
        let instances = all.instances().iter().filter(|peer| has(peer));
        let adverts = all.adverts().iter().filter_map(|advert| {
            let peer = all.instance(advert.instance())?;
            let wanted = self.has_topic(advert.topic()) && has(peer);
            wanted.then(|| AdvertJson::new(advert, peer.name()))
        });
        SnapshotJson {
            instances: instances.map(InstanceJson::new).collect(),
            adverts: adverts.collect(),
            daemons_up: all.daemons_up().map(str::to_owned).collect(),
        }
    }

    fn has_advert(&self, advert: &TopicAdvert) -> bool {
        self.has_topic(advert.topic()) && self.has_instance(advert.instance())
    }

    fn has_topic(&self, topic: &str) -> bool {
        self.topic.as_ref().is_none_or(|pattern| pattern.matches(topic))
    }

    fn has_instance(&self, id: InstanceId) -> bool {
        self.matches_instance(self.names.get(&id).map_or("", String::as_str), id)
    }

    fn matches_instance(&self, name: &str, id: InstanceId) -> bool {
        let matches =
            |pattern: &TopicPattern| pattern.matches(name) || pattern.matches(&id.to_string());
        self.instance.as_ref().is_none_or(matches)
    }
}
