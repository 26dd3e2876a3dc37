//! Which subscribers of a topic answer when they are called: heartbeats, as the users of publishers
//! have them. Layer: discovery (sans-IO). Owned by the conductor.
//!
//! # Contract
//!
//! Tell [`Presence`] of publishers, of the subscribers that are matched with them, and of answers.
//! Then poll calls and changes until there are none, and come back at [`Presence::next_deadline`].
//! A call may be lost like any datagram.
//!
//! # How it works
//!
//! Each publisher has rounds, one per `rate`. A round has a number, which answers repeat; it is over
//! after `timeout`, and whoever has not answered by then has missed it. Until then, whoever is silent
//! is called [`TRIES`] times, so that single losses do not count. Rounds begin at multiples of the
//! rate: the calls of many topics to one instance go out together.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::id::{InstanceId, TopicHash};
use crate::time::Timestamp;
use crate::wire::roll::{MAX_ENTRIES, RollEntry};

/// How often a subscriber that is silent is called in one round. When 5 % of all datagrams are lost,
/// a call and its answer both pass nine times in ten, so one round in ten thousand is missed, and
/// three in a row once in forty thousand years of one round a second.
pub(crate) const TRIES: u32 = 4;

/// How often to call, and when silence is absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// From one round to the next.
    pub(crate) rate: Duration,
    /// From the beginning of a round to its end; at most `rate`.
    pub(crate) timeout: Duration,
    /// Rounds in a row that a subscriber may miss, and one less.
    pub(crate) max_missed: u32,
}

/// A subscriber answers, or does so no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) topic: TopicHash,
    pub(crate) instance: InstanceId,
    pub(crate) state: Connection,
}

/// What a subscriber has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    Connected,
    /// It has missed as many rounds as it may.
    Silent,
    /// Discovery says that it listens no longer, or is gone.
    Left,
}

/// The publishers whose subscribers are called.
#[derive(Debug)]
pub(crate) struct Presence {
    rolls: HashMap<TopicHash, Roll>,
    /// The first one random: an answer cannot be guessed.
    next_number: u64,
    /// Calls that are to leave, by whom they call. A call that waits is not repeated.
    calls: BTreeMap<InstanceId, Vec<RollEntry>>,
    changes: VecDeque<Change>,
    missed: u64,
    /// The first deadline of all publishers, or earlier.
    due: Timestamp,
}

/// One publisher. Who is connected outlives deactivation, so that whoever activates again is told
/// what has changed and nothing else.
#[derive(Debug, Default)]
struct Roll {
    active: Option<Active>,
    connected: BTreeSet<InstanceId>,
}

#[derive(Debug)]
struct Active {
    pace: Pace,
    /// Of the round that has begun last.
    number: u64,
    /// When it is over; `NEVER` once it is.
    ends_at: Timestamp,
    next_round: Timestamp,
    /// When those who are silent are called again; `NEVER` after the last time.
    repeat_at: Timestamp,
    subscribers: BTreeMap<InstanceId, Subscriber>,
}

#[derive(Debug, Default)]
struct Subscriber {
    /// In the round that has begun last.
    has_answered: bool,
    /// Rounds in a row.
    missed: u32,
}

impl Presence {
    /// `seed` is a random number.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rolls: HashMap::new(),
            next_number: seed,
            calls: BTreeMap::new(),
            changes: VecDeque::new(),
            missed: 0,
            due: Timestamp::NEVER,
        }
    }

    /// Begins to call the subscribers of a topic, or goes on at another pace. Who is connected stays
    /// so, unless it is not among them any more.
    pub(crate) fn activate(
        &mut self,
        topic: TopicHash,
        pace: Pace,
        subscribers: impl IntoIterator<Item = InstanceId>,
        now: Timestamp,
    ) {
        let roll = self.rolls.entry(topic).or_default();
        let subscribers: BTreeMap<_, _> =
            subscribers.into_iter().map(|instance| (instance, Subscriber::default())).collect();
        roll.connected.retain(|known| {
            let stays = subscribers.contains_key(known);
            if !stays {
                let (instance, state) = (*known, Connection::Left);
                self.changes.push_back(Change { topic, instance, state });
            }
            stays
        });
        roll.active = Some(Active {
            pace,
            number: 0,
            ends_at: Timestamp::NEVER,
            next_round: now,
            repeat_at: Timestamp::NEVER,
            subscribers,
        });
        self.due = now;
        self.handle_timeout(now);
    }

    /// Calls nobody any more, and tells nothing.
    pub(crate) fn deactivate(&mut self, topic: TopicHash) {
        if let Some(roll) = self.rolls.get_mut(&topic) {
            roll.active = None;
        }
        self.forget_calls(topic);
    }

    /// The publisher is gone.
    pub(crate) fn remove(&mut self, topic: TopicHash) {
        self.rolls.remove(&topic);
        self.forget_calls(topic);
    }

    /// A subscriber is matched with the publisher: it is called at once.
    pub(crate) fn handle_matched(&mut self, topic: TopicHash, instance: InstanceId) {
        let Some(active) = self.rolls.get_mut(&topic).and_then(|roll| roll.active.as_mut()) else {
            return;
        };
        active.subscribers.entry(instance).or_default();
        if active.ends_at != Timestamp::NEVER {
            call(&mut self.calls, topic, active.number, instance);
        }
    }

    /// A subscriber is not matched with the publisher any more.
    pub(crate) fn handle_unmatched(&mut self, topic: TopicHash, instance: InstanceId) {
        let Some(roll) = self.rolls.get_mut(&topic) else { return };
        let Some(active) = &mut roll.active else { return };
        active.subscribers.remove(&instance);
        if roll.connected.remove(&instance) {
            self.changes.push_back(Change { topic, instance, state: Connection::Left });
        }
    }

    /// A subscriber has answered. False when nobody has asked for it, or not any more. An answer
    /// that comes after its time, but before the round was ended, may have waited in the socket.
    pub(crate) fn handle_answer(&mut self, instance: InstanceId, entry: RollEntry) -> bool {
        let RollEntry { topic, number } = entry;
        let Some(roll) = self.rolls.get_mut(&topic) else { return false };
        let Some(active) = &mut roll.active else { return false };
        if number != active.number || active.ends_at == Timestamp::NEVER {
            return false;
        }
        let Some(subscriber) = active.subscribers.get_mut(&instance) else { return false };
        *subscriber = Subscriber { has_answered: true, missed: 0 };
        if roll.connected.insert(instance) {
            self.changes.push_back(Change { topic, instance, state: Connection::Connected });
        }
        true
    }

    /// Ends rounds, begins others, and repeats calls.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        if now < self.due {
            return;
        }
        for (topic, roll) in &mut self.rolls {
            let Roll { active: Some(active), connected } = roll else { continue };
            if active.ends_at <= now {
                self.missed += active.end(connected, |instance| {
                    let (topic, state) = (*topic, Connection::Silent);
                    self.changes.push_back(Change { topic, instance, state });
                });
            }
            if active.next_round <= now {
                self.next_number = self.next_number.wrapping_add(1);
                active.begin(self.next_number, now);
            } else if active.repeat_at > now {
                continue;
            }
            active.repeat_at = active.repeat_after(now);
            for (instance, _) in active.subscribers.iter().filter(|(_, it)| !it.has_answered) {
                call(&mut self.calls, *topic, active.number, *instance);
            }
        }
        let active = self.rolls.values().filter_map(|roll| roll.active.as_ref());
        let deadlines = active.map(|it| it.next_round.min(it.ends_at).min(it.repeat_at));
        self.due = deadlines.min().unwrap_or(Timestamp::NEVER);
    }

    /// When to call [`Presence::handle_timeout`]. Now and then there turns out to be nothing to do.
    pub(crate) const fn next_deadline(&self) -> Timestamp {
        self.due
    }

    /// Whom to call next, with which entries: as many as a packet has room for.
    #[must_use = "the call has to be sent"]
    pub(crate) fn poll_call(&mut self) -> Option<(InstanceId, Vec<RollEntry>)> {
        let mut waiting = self.calls.first_entry()?;
        let instance = *waiting.key();
        let entries = waiting.get_mut();
        if entries.len() <= MAX_ENTRIES {
            return Some((instance, waiting.remove()));
        }
        let rest = entries.split_off(MAX_ENTRIES);
        Some((instance, std::mem::replace(entries, rest)))
    }

    /// The next thing to be told.
    pub(crate) fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Rounds missed since this was last asked.
    pub(crate) fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    fn forget_calls(&mut self, topic: TopicHash) {
        self.calls.retain(|_, entries| {
            entries.retain(|entry| entry.topic != topic);
            !entries.is_empty()
        });
    }
}

impl Active {
    fn begin(&mut self, number: u64, now: Timestamp) {
        self.number = number;
        self.ends_at = now + self.pace.timeout;
        // At least a rate from now, at a multiple of it.
        let rate = self.pace.rate.as_nanos().max(1);
        let next = (u128::from((now + self.pace.rate).as_nanos())).div_ceil(rate) * rate;
        self.next_round = Timestamp::from_nanos(u64::try_from(next).unwrap_or(u64::MAX));
        for subscriber in self.subscribers.values_mut() {
            subscriber.has_answered = false;
        }
    }

    /// Ends the round. Returns how many of those who are connected have missed it; those who are so
    /// no longer are told to `lost`.
    fn end(
        &mut self,
        connected: &mut BTreeSet<InstanceId>,
        mut lost: impl FnMut(InstanceId),
    ) -> u64 {
        self.ends_at = Timestamp::NEVER;
        self.repeat_at = Timestamp::NEVER;
        let mut missed = 0;
        for (instance, subscriber) in &mut self.subscribers {
            if subscriber.has_answered || !connected.contains(instance) {
                continue;
            }
            missed += 1;
            subscriber.missed += 1;
            if subscriber.missed >= self.pace.max_missed {
                subscriber.missed = 0;
                connected.remove(instance);
                lost(*instance);
            }
        }
        missed
    }

    /// When to call again who was called now.
    fn repeat_after(&self, now: Timestamp) -> Timestamp {
        let next = now + self.pace.timeout / TRIES;
        // A try just before the end would leave no time for the answer.
        let last = self.ends_at.since(next) >= self.pace.timeout / (2 * TRIES);
        if self.ends_at != Timestamp::NEVER && last { next } else { Timestamp::NEVER }
    }
}

/// Has `instance` called, once.
fn call(
    calls: &mut BTreeMap<InstanceId, Vec<RollEntry>>,
    topic: TopicHash,
    number: u64,
    instance: InstanceId,
) {
    let entries = calls.entry(instance).or_default();
    match entries.iter_mut().find(|entry| entry.topic == topic) {
        Some(entry) => entry.number = number,
        None => entries.push(RollEntry { topic, number }),
    }
}

#[cfg(test)]
mod tests;
