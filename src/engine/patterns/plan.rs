//! Which topics the pattern subscriptions are subscribed to: what is published meets what is
//! wanted. Layer: engine, sans-IO. Owned by the thread of [`patterns`](super).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::config::TopicPattern;
use crate::id::TopicHash;
use crate::time::Timestamp;

/// How long a topic that nobody publishes any more stays subscribed to: what its publishers sent
/// last may still be on its way or being repaired, and a publisher that comes back at once misses
/// nobody. Four times as long as an instance waits for confirmations when it closes.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// How long to wait before a topic that could not be subscribed to is tried again: whatever is
/// missing, a port or memory, others have to give it up first.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// Names a pattern subscription of this instance; later ones have larger numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PatternId(pub(super) u64);

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Join { hash: TopicHash, topic: Arc<str>, pattern: PatternId },
    Leave { hash: TopicHash, topic: Arc<str>, pattern: PatternId },
}

/// Topics, patterns, and what follows from them.
#[derive(Debug, Default)]
pub(super) struct Plan {
    patterns: BTreeMap<PatternId, Arc<TopicPattern>>,
    topics: HashMap<TopicHash, Topic>,
    /// When topics that nobody publishes any more are left.
    lingering: BTreeSet<(Timestamp, TopicHash)>,
    /// When what failed is tried again.
    retries: BTreeSet<(Timestamp, TopicHash, PatternId)>,
    steps: VecDeque<Step>,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    /// When it is left; `None` while it is published.
    lingers_until: Option<Timestamp>,
    /// The patterns that are subscribed to it.
    joined: BTreeSet<PatternId>,
}

impl Plan {
    pub(super) fn add_pattern(&mut self, id: PatternId, pattern: Arc<TopicPattern>) {
        for (hash, topic) in &mut self.topics {
            if topic.lingers_until.is_none() && pattern.matches(&topic.name) {
                self.steps.extend(topic.join(*hash, id));
            }
        }
        self.patterns.insert(id, pattern);
    }

    pub(super) fn remove_pattern(&mut self, id: PatternId) {
        self.patterns.remove(&id);
        self.retries.retain(|(_, _, pattern)| *pattern != id);
        for (hash, topic) in &mut self.topics {
            self.steps.extend(topic.leave(*hash, id));
        }
    }

    /// A topic is published. Those of them that stay so need not be told again.
    pub(super) fn handle_published(&mut self, hash: TopicHash, name: &Arc<str>) {
        if self.topics.get(&hash).is_some_and(|topic| topic.name != *name) {
            // Another name with the same hash: discovery allows it once the first one is gone.
            self.forget(hash);
        }
        let topic = self.topics.entry(hash).or_insert_with(|| Topic {
            name: Arc::clone(name),
            lingers_until: None,
            joined: BTreeSet::new(),
        });
        if let Some(until) = topic.lingers_until.take() {
            self.lingering.remove(&(until, hash));
        }
        for (id, pattern) in &self.patterns {
            if !topic.joined.contains(id) && pattern.matches(name) {
                self.steps.extend(topic.join(hash, *id));
            }
        }
    }

    /// Nobody publishes the topic any more.
    pub(super) fn handle_silent(&mut self, hash: TopicHash, now: Timestamp) {
        let Some(topic) = self.topics.get_mut(&hash) else { return };
        if topic.joined.is_empty() {
            self.forget(hash);
        } else if topic.lingers_until.is_none() {
            topic.lingers_until = Some(now + LINGER);
            self.lingering.insert((now + LINGER, hash));
        }
    }

    /// A topic could not be joined: it is tried again after a while, as long as it is wanted.
    pub(super) fn handle_refused(&mut self, hash: TopicHash, id: PatternId, now: Timestamp) {
        let Some(topic) = self.topics.get_mut(&hash) else { return };
        if topic.joined.remove(&id) && self.patterns.contains_key(&id) {
            self.retries.insert((now + RETRY, hash, id));
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((_, hash)) = self.lingering.first().filter(|(due, _)| *due <= now) {
            self.forget(*hash);
        }
        while let Some((due, hash, id)) = self.retries.first().copied()
            && due <= now
        {
            self.retries.pop_first();
            // It may have been joined, and refused, again since.
            if let Some(topic) = self.topics.get_mut(&hash)
                && topic.lingers_until.is_none()
                && self.patterns.get(&id).is_some_and(|pattern| pattern.matches(&topic.name))
            {
                self.steps.extend(topic.join(hash, id));
            }
        }
    }

    /// When [`Plan::handle_timeout`] has something to do.
    pub(super) fn next_deadline(&self) -> Timestamp {
        let lingering = self.lingering.first().map(|(due, _)| *due);
        let retries = self.retries.first().map(|(due, ..)| *due);
        lingering.into_iter().chain(retries).min().unwrap_or(Timestamp::NEVER)
    }

    /// What is to be done next, in this order.
    pub(super) fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// Leaves a topic altogether.
    fn forget(&mut self, hash: TopicHash) {
        let Some(mut topic) = self.topics.remove(&hash) else { return };
        if let Some(until) = topic.lingers_until {
            self.lingering.remove(&(until, hash));
        }
        for id in topic.joined.clone() {
            self.steps.extend(topic.leave(hash, id));
        }
    }
}

impl Topic {
    fn join(&mut self, hash: TopicHash, pattern: PatternId) -> Option<Step> {
        let topic = Arc::clone(&self.name);
        self.joined.insert(pattern).then_some(Step::Join { hash, topic, pattern })
    }

    fn leave(&mut self, hash: TopicHash, pattern: PatternId) -> Option<Step> {
        let topic = Arc::clone(&self.name);
        self.joined.remove(&pattern).then_some(Step::Leave { hash, topic, pattern })
    }
}

#[cfg(test)]
mod tests;
