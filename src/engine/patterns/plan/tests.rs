//! The plan of pattern subscriptions, against a model that looks at everything each time. Tests.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> Arc<TopicPattern> {
    Arc::new(TopicPattern::regex(text).unwrap())
}

fn at(millis: u64) -> Timestamp {
    Timestamp::default() + Duration::from_millis(millis)
}

/// A plan, and what carrying out its steps has led to.
#[derive(Default)]
struct Driven {
    plan: Plan,
    joined: BTreeSet<(String, PatternId)>,
}

impl Driven {
    fn publish(&mut self, topic: &str) {
        self.plan.handle_published(TopicHash::of(topic), &Arc::from(topic));
        self.settle();
    }

    fn silence(&mut self, topic: &str, now: Timestamp) {
        self.plan.handle_silent(TopicHash::of(topic), now);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(step) = self.plan.poll_step() {
            match step {
                Step::Join { topic, pattern, hash } => {
                    assert_eq!(hash, TopicHash::of(&topic));
                    assert!(self.joined.insert((topic.to_string(), pattern)), "joined twice");
                }
                Step::Leave { topic, pattern, .. } => {
                    assert!(self.joined.remove(&(topic.to_string(), pattern)), "was not there");
                }
            }
        }
    }

    fn topics(&self, id: u64) -> Vec<&str> {
        let of = self.joined.iter().filter(|(_, pattern)| pattern.0 == id);
        of.map(|(topic, _)| topic.as_str()).collect()
    }
}

#[test]
fn topics_come_with_their_publishers_and_go_a_while_after_them() {
    let mut driven = Driven::default();
    driven.publish("a.1");
    driven.plan.add_pattern(PatternId(1), pattern("a.*"));
    driven.settle();
    driven.publish("a.2");
    driven.publish("b.1");
    assert_eq!(driven.topics(1), ["a.1", "a.2"]);
    driven.silence("a.1", at(0));
    assert_eq!(driven.plan.next_deadline(), at(0) + LINGER);
    driven.publish("a.1");
    assert_eq!(driven.plan.next_deadline(), Timestamp::NEVER, "it came back");
    driven.silence("a.2", at(10));
    driven.plan.handle_timeout(at(9) + LINGER);
    driven.settle();
    assert_eq!(driven.topics(1), ["a.1", "a.2"]);
    driven.plan.handle_timeout(at(10) + LINGER);
    driven.settle();
    assert_eq!(driven.topics(1), ["a.1"]);
}

#[test]
fn what_was_refused_is_tried_again_while_it_is_wanted() {
    let mut driven = Driven::default();
    driven.plan.add_pattern(PatternId(1), pattern(".*"));
    let refuse = |driven: &mut Driven, topic: &str, now| {
        driven.plan.handle_published(TopicHash::of(topic), &Arc::from(topic));
        assert!(driven.plan.poll_step().is_some());
        driven.plan.handle_refused(TopicHash::of(topic), PatternId(1), now);
    };
    for topic in ["stays", "goes", "returns"] {
        refuse(&mut driven, topic, at(0));
    }
    driven.silence("goes", at(1));
    driven.silence("returns", at(1));
    refuse(&mut driven, "returns", at(2));
    driven.plan.handle_timeout(at(0) + RETRY);
    driven.settle();
    assert_eq!(driven.topics(1), ["returns", "stays"]);
    driven.plan.handle_timeout(at(2) + RETRY);
    driven.settle();
    assert_eq!(driven.plan.next_deadline(), Timestamp::NEVER);
    refuse(&mut driven, "more", at(3));
    driven.plan.remove_pattern(PatternId(1));
    driven.plan.handle_timeout(Timestamp::NEVER);
    driven.settle();
    assert!(driven.joined.is_empty());
}

#[test]
fn another_name_with_the_same_hash_is_another_topic() {
    let mut driven = Driven::default();
    driven.plan.add_pattern(PatternId(1), pattern("old"));
    let hash = TopicHash::of("old");
    driven.publish("old");
    driven.plan.handle_published(hash, &Arc::from("new"));
    driven.settle();
    assert!(driven.joined.is_empty());
}

#[derive(Clone, Debug)]
enum Input {
    Publish(usize),
    Silence(usize),
    Add(u64, usize),
    Remove(u64),
    Pass(u64),
}

const TOPICS: [&str; 4] = ["a", "ab", "b", "abc"];
const PATTERNS: [&str; 4] = [".*", "a.*", "b", "ab?"];

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => (0..TOPICS.len()).prop_map(Input::Publish),
        3 => (0..TOPICS.len()).prop_map(Input::Silence),
        1 => (0..6_u64, 0..PATTERNS.len()).prop_map(|(id, which)| Input::Add(id, which)),
        1 => (0..6_u64).prop_map(Input::Remove),
        2 => (0..3000_u64).prop_map(Input::Pass),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_model_that_looks_at_everything(inputs in proptest::collection::vec(input(), 0..80)) {
        let mut driven = Driven::default();
        let mut now = at(0);
        let mut patterns = BTreeMap::new();
        // Which topics are published, or have been silent since when.
        let mut topics: BTreeMap<&str, Option<Timestamp>> = BTreeMap::new();
        let mut expected: BTreeSet<(String, PatternId)> = BTreeSet::new();
        for input in inputs {
            match input {
                Input::Publish(which) => {
                    topics.insert(TOPICS[which], None);
                    driven.publish(TOPICS[which]);
                }
                Input::Silence(which) => {
                    if let Some(since) = topics.get_mut(TOPICS[which]) {
                        since.get_or_insert(now);
                    }
                    driven.silence(TOPICS[which], now);
                }
                Input::Add(id, which) => {
                    if patterns.contains_key(&PatternId(id)) {
                        continue;
                    }
                    patterns.insert(PatternId(id), pattern(PATTERNS[which]));
                    driven.plan.add_pattern(PatternId(id), pattern(PATTERNS[which]));
                }
                Input::Remove(id) => {
                    patterns.remove(&PatternId(id));
                    driven.plan.remove_pattern(PatternId(id));
                }
                Input::Pass(millis) => now = now + Duration::from_millis(millis),
            }
            driven.plan.handle_timeout(now);
            driven.settle();
            topics.retain(|_, since| since.is_none_or(|since| since + LINGER > now));
            expected.retain(|(topic, id)| topics.contains_key(topic.as_str()) && patterns.contains_key(id));
            for (topic, _) in topics.iter().filter(|(_, since)| since.is_none()) {
                for (id, pattern) in patterns.iter().filter(|(_, pattern)| pattern.matches(topic)) {
                    let _ = pattern;
                    expected.insert(((*topic).to_owned(), *id));
                }
            }
            prop_assert_eq!(&driven.joined, &expected);
            prop_assert!(driven.plan.next_deadline() > now);
        }
        for id in 0..6 {
            driven.plan.remove_pattern(PatternId(id));
        }
        for topic in TOPICS {
            driven.silence(topic, now);
        }
        driven.plan.handle_timeout(now + LINGER);
        driven.settle();
        prop_assert!(driven.joined.is_empty() && driven.plan.topics.is_empty(), "nothing is kept");
    }
}
