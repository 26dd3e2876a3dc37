//! Calling the roll over networks that lose datagrams, in virtual time. Tests.

use proptest::prelude::*;

use super::*;
use crate::random::SplitMix64;

const PACE: Pace =
    Pace { rate: Duration::from_secs(1), timeout: Duration::from_secs(1), max_missed: 3 };

fn instance(number: u8) -> InstanceId {
    InstanceId::from_bytes([number; 16])
}

fn topic(number: u64) -> TopicHash {
    TopicHash(number)
}

fn at(millis: u64) -> Timestamp {
    Timestamp::default() + Duration::from_millis(millis)
}

/// Publishers on one side, subscribers that answer on the other, and a line between them that loses
/// some of what passes in either direction.
struct World {
    presence: Presence,
    now: Timestamp,
    random: SplitMix64,
    /// Datagrams lost, in thousandths.
    loss: u64,
    /// Who listens to what.
    listening: BTreeSet<(TopicHash, InstanceId)>,
    calls: u64,
    changes: Vec<Change>,
}

impl World {
    fn new(loss: u64) -> Self {
        Self {
            presence: Presence::new(77),
            now: at(5),
            random: SplitMix64::new(3),
            loss,
            listening: BTreeSet::new(),
            calls: 0,
            changes: Vec::new(),
        }
    }

    fn subscribe(&mut self, of: u64, who: u8) {
        self.listening.insert((topic(of), instance(who)));
        self.presence.handle_matched(topic(of), instance(who));
        self.settle();
    }

    fn activate(&mut self, of: u64, pace: Pace) {
        let there: Vec<_> =
            self.listening.iter().filter(|it| it.0 == topic(of)).map(|it| it.1).collect();
        self.presence.activate(topic(of), pace, there, self.now);
        self.settle();
    }

    fn is_lost(&mut self) -> bool {
        self.random.below(1000) < self.loss
    }

    fn settle(&mut self) {
        while let Some((who, entries)) = self.presence.poll_call() {
            assert!(!entries.is_empty() && entries.len() <= MAX_ENTRIES);
            self.calls += 1;
            if self.is_lost() || self.is_lost() {
                continue;
            }
            for entry in entries {
                if self.listening.contains(&(entry.topic, who)) {
                    self.presence.handle_answer(who, entry);
                }
            }
        }
        while let Some(change) = self.presence.poll_change() {
            self.changes.push(change);
        }
    }

    fn run(&mut self, until: Timestamp) {
        while self.presence.next_deadline() <= until {
            self.now = self.presence.next_deadline().max(self.now);
            self.presence.handle_timeout(self.now);
            assert!(self.presence.next_deadline() > self.now);
            self.settle();
        }
        self.now = until;
    }

    fn changes(&mut self) -> Vec<(u64, u8, Connection)> {
        let taken = std::mem::take(&mut self.changes);
        taken.iter().map(|it| (it.topic.0, it.instance.to_bytes()[0], it.state)).collect()
    }
}

#[test]
fn who_listens_is_connected_and_who_does_not_is_not() {
    let mut world = World::new(0);
    world.listening.insert((topic(1), instance(1)));
    world.listening.insert((topic(2), instance(2)));
    world.activate(1, PACE);
    assert_eq!(world.changes(), [(1, 1, Connection::Connected)]);
    // Discovery says that it listens, and it does not answer for this topic.
    world.presence.handle_matched(topic(1), instance(2));
    world.run(at(60_000));
    assert_eq!(world.changes(), []);
    // The next one is called without waiting for a round.
    world.now = at(60_300);
    world.subscribe(1, 3);
    assert_eq!(world.changes(), [(1, 3, Connection::Connected)]);
}

#[test]
fn silence_for_the_given_number_of_rounds_is_absence() {
    let mut world = World::new(0);
    world.listening.insert((topic(1), instance(1)));
    world.activate(1, PACE);
    world.run(at(10_500));
    assert_eq!(world.changes(), [(1, 1, Connection::Connected)]);
    world.listening.clear();
    // It has answered at 10 s; the rounds of 11, 12 and 13 s are over a second later.
    world.run(at(13_999));
    assert_eq!(world.changes(), []);
    world.run(at(14_000));
    assert_eq!(world.changes(), [(1, 1, Connection::Silent)]);
    assert_eq!(world.presence.take_missed(), 3);
    world.listening.insert((topic(1), instance(1)));
    world.run(at(15_000));
    assert_eq!(world.changes(), [(1, 1, Connection::Connected)]);
}

#[test]
fn who_leaves_is_told_of_at_once_and_once() {
    let mut world = World::new(0);
    world.listening.insert((topic(1), instance(1)));
    world.activate(1, PACE);
    world.presence.handle_unmatched(topic(1), instance(1));
    world.presence.handle_unmatched(topic(1), instance(1));
    world.settle();
    let expected = [(1, 1, Connection::Connected), (1, 1, Connection::Left)];
    assert_eq!(world.changes(), expected);
    world.run(at(20_000));
    assert_eq!(world.changes(), []);
}

#[test]
fn activating_again_keeps_the_table_and_tells_what_has_changed() {
    let mut world = World::new(0);
    for who in 1..=3 {
        world.listening.insert((topic(1), instance(who)));
    }
    world.activate(1, PACE);
    assert_eq!(world.changes().len(), 3);
    world
        .activate(1, Pace { rate: Duration::from_millis(100), timeout: PACE.timeout / 20, ..PACE });
    world.run(at(2000));
    assert_eq!(world.changes(), [], "nothing has changed");
    world.presence.deactivate(topic(1));
    world.listening.remove(&(topic(1), instance(2)));
    world.presence.handle_unmatched(topic(1), instance(2));
    world.run(at(9000));
    assert_eq!(world.changes(), [], "nobody is told anything");
    assert_eq!(world.presence.next_deadline(), Timestamp::NEVER);
    world.activate(1, PACE);
    world.run(at(12_000));
    assert_eq!(world.changes(), [(1, 2, Connection::Left)]);
    world.presence.remove(topic(1));
    world.activate(1, PACE);
    assert_eq!(world.changes().len(), 2, "another publisher knows nobody");
}

#[test]
fn only_answers_to_the_call_of_this_round_count() {
    let mut presence = Presence::new(77);
    presence.activate(topic(1), PACE, [instance(1)], at(0));
    let (who, entries) = presence.poll_call().unwrap();
    assert_eq!((who, entries.len()), (instance(1), 1));
    let call = entries[0];
    for (who, entry) in [
        (instance(2), call),
        (instance(1), RollEntry { number: call.number + 1, ..call }),
        (instance(1), RollEntry { topic: topic(2), ..call }),
    ] {
        assert!(!presence.handle_answer(who, entry));
    }
    assert!(presence.handle_answer(instance(1), call));
    presence.handle_timeout(at(1000));
    assert!(!presence.handle_answer(instance(1), call), "its round is over");
    assert_eq!(presence.poll_change().map(|it| it.state), Some(Connection::Connected));
    assert_eq!(presence.poll_change(), None);
}

/// A tenth of all rounds would be missed with one call each, and three in a row once in a quarter of
/// an hour.
#[test]
fn nobody_is_missed_when_one_datagram_in_twenty_is_lost() {
    const HOURS: u64 = 24;
    let mut world = World::new(50);
    for who in 1..=10 {
        world.listening.insert((topic(1), instance(who)));
    }
    world.activate(1, PACE);
    world.run(at(HOURS * 3_600_000));
    let changes = world.changes();
    assert_eq!(changes.len(), 10, "{changes:?}");
    let rounds = HOURS * 3600 * 10;
    let missed = world.presence.take_missed();
    assert!(missed > 0 && missed < rounds / 5000, "{missed} of {rounds}");
    // A call is repeated for a tenth of them.
    assert!(world.calls < rounds * 12 / 10, "{} calls", world.calls);
}

/// Who never answers costs four calls a round, and topics share what they send.
#[test]
fn traffic_is_bounded() {
    let mut world = World::new(1000);
    world.listening.insert((topic(1), instance(1)));
    world.activate(1, PACE);
    world.run(at(100_999));
    assert!(world.calls <= 101 * u64::from(TRIES), "{}", world.calls);

    let mut world = World::new(0);
    for of in 0..200 {
        world.listening.insert((topic(of), instance(1)));
        world.activate(of, PACE);
    }
    world.run(at(2000));
    world.calls = 0;
    world.run(at(12_000));
    assert_eq!(world.calls, 10 * 200_u64.div_ceil(MAX_ENTRIES as u64));
}

/// A process that was stopped does not blame others for its pause.
#[test]
fn a_pause_of_our_own_is_one_round() {
    let mut world = World::new(0);
    world.listening.insert((topic(1), instance(1)));
    world.activate(1, PACE);
    world.run(at(5500));
    world.listening.clear();
    world.presence.handle_timeout(at(60_500));
    world.listening.insert((topic(1), instance(1)));
    world.now = at(60_500);
    world.settle();
    world.run(at(90_000));
    assert_eq!(world.changes(), [(1, 1, Connection::Connected)]);
}

#[derive(Clone, Debug)]
enum Input {
    Activate(u64, u64),
    Deactivate(u64),
    Remove(u64),
    Matched(u64, u8),
    Unmatched(u64, u8),
    Mute(u64, u8),
    Pass(u64),
}

fn input() -> impl Strategy<Value = Input> {
    let (of, who) = (0..3_u64, 0..3_u8);
    prop_oneof![
        (of.clone(), 10..2000_u64).prop_map(|(of, rate)| Input::Activate(of, rate)),
        of.clone().prop_map(Input::Deactivate),
        of.clone().prop_map(Input::Remove),
        (of.clone(), who.clone()).prop_map(|(of, who)| Input::Matched(of, who)),
        (of.clone(), who.clone()).prop_map(|(of, who)| Input::Unmatched(of, who)),
        (of, who).prop_map(|(of, who)| Input::Mute(of, who)),
        (1..5000_u64).prop_map(Input::Pass),
    ]
}

proptest! {
    /// Connected and gone alternate for each subscriber of each publisher, nobody is connected who is
    /// not matched, and after a long quiet time exactly those are who are matched and answer.
    #[test]
    fn changes_alternate_and_the_end_is_the_truth(
        inputs in proptest::collection::vec(input(), 0..60),
        loss in 0..300_u64,
    ) {
        let mut world = World::new(loss);
        let mut matched = BTreeSet::new();
        let mut active = BTreeSet::new();
        let mut connected = BTreeSet::new();
        for input in inputs {
            match input {
                Input::Activate(of, rate) => {
                    let rate = Duration::from_millis(rate);
                    let pace = Pace { rate, timeout: rate / 2, max_missed: 2 };
                    let there = matched.iter().filter(|it: &&(u64, u8)| it.0 == of);
                    let there: Vec<_> = there.map(|it| instance(it.1)).collect();
                    world.presence.activate(topic(of), pace, there, world.now);
                    active.insert(of);
                }
                Input::Deactivate(of) => {
                    world.presence.deactivate(topic(of));
                    active.remove(&of);
                }
                Input::Remove(of) => {
                    world.presence.remove(topic(of));
                    active.remove(&of);
                    connected.retain(|it: &(u64, u8)| it.0 != of);
                }
                Input::Matched(of, who) => {
                    matched.insert((of, who));
                    world.subscribe(of, who);
                }
                Input::Unmatched(of, who) => {
                    matched.remove(&(of, who));
                    world.presence.handle_unmatched(topic(of), instance(who));
                }
                Input::Mute(of, who) => {
                    world.listening.remove(&(topic(of), instance(who)));
                }
                Input::Pass(millis) => world.run(world.now + Duration::from_millis(millis)),
            }
            world.settle();
            for (of, who, state) in world.changes() {
                prop_assert!(active.contains(&of));
                if state == Connection::Connected {
                    prop_assert!(connected.insert((of, who)));
                    prop_assert!(matched.contains(&(of, who)));
                } else {
                    prop_assert!(connected.remove(&(of, who)));
                }
            }
        }
        world.loss = 0;
        world.run(world.now + Duration::from_secs(60));
        for (of, who, state) in world.changes() {
            if state == Connection::Connected {
                prop_assert!(connected.insert((of, who)));
            } else {
                prop_assert!(connected.remove(&(of, who)));
            }
        }
        let is_active = |it: &(u64, u8)| active.contains(&it.0);
        let answers = |it: &(u64, u8)| world.listening.contains(&(topic(it.0), instance(it.1)));
        let expected: Vec<_> = matched.iter().copied().filter(is_active).filter(answers).collect();
        let told: Vec<_> = connected.iter().copied().filter(is_active).collect();
        prop_assert_eq!(told, expected);
    }
}
