//! Which name each topic hash stands for. Layer: discovery (sans-IO). Owned by the conductor, inside
//! [`Discovery`](super::Discovery).

use std::collections::HashMap;
use std::sync::Arc;

use crate::id::TopicHash;

/// The names behind the hashes of all adverts, own and remote, each stored once.
///
/// Data carries only the hash, so two names with one hash would be mixed up: the later one is
/// refused. Its size is bounded by the adverts that hold names here.
#[derive(Debug, Default)]
pub(super) struct TopicTable {
    topics: HashMap<TopicHash, Topic>,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    holders: usize,
    collision_reported: bool,
}

/// The hash belongs to another name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Collision {
    pub(super) held: Arc<str>,
    /// The first refusal since this name took the hash.
    pub(super) first: bool,
}

impl TopicTable {
    /// Takes `hash` for `name` until [`Self::release`]; holders of the same name share it.
    ///
    /// # Errors
    ///
    /// [`Collision`] when the hash is held for another name.
    pub(super) fn hold(&mut self, hash: TopicHash, name: &str) -> Result<Arc<str>, Collision> {
        let topic = self.topics.entry(hash).or_insert_with(|| Topic {
            name: name.into(),
            holders: 0,
            collision_reported: false,
        });
        if &*topic.name != name {
            let first = !topic.collision_reported;
            topic.collision_reported = true;
            return Err(Collision { held: topic.name.clone(), first });
        }
        topic.holders += 1;
        Ok(topic.name.clone())
    }

    /// The name that `hash` stands for now.
    pub(super) fn name_of(&self, hash: TopicHash) -> Option<&Arc<str>> {
        self.topics.get(&hash).map(|topic| &topic.name)
    }

    /// The lengths of all names.
    #[cfg(feature = "sim")]
    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.topics.values().map(|topic| topic.name.len())
    }

    pub(super) fn release(&mut self, hash: TopicHash) {
        if let Some(topic) = self.topics.get_mut(&hash) {
            topic.holders -= 1;
            if topic.holders == 0 {
                self.topics.remove(&hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_belongs_to_one_name_until_its_last_holder_leaves() {
        let mut table = TopicTable::default();
        let hash = TopicHash(1);
        let first = table.hold(hash, "a").unwrap();
        let second = table.hold(hash, "a").unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(table.hold(hash, "b"), Err(Collision { held: "a".into(), first: true }));
        assert_eq!(table.hold(hash, "b"), Err(Collision { held: "a".into(), first: false }));
        table.release(hash);
        assert!(table.hold(hash, "b").is_err());
        table.release(hash);
        assert_eq!(&*table.hold(hash, "b").unwrap(), "b");
        table.release(hash);
        assert!(table.topics.is_empty());
    }
}
