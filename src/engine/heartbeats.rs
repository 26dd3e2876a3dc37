//! Heartbeats: calls to the subscribers of publishers whose users want to know who answers, and
//! answers to the calls of others. Layer: engine. Owned by the conductor.
//!
//! Calls and answers travel between control sockets, so that all transports have the same, and a
//! publisher's heartbeats cost its messages nothing. An answer is given by the poller that delivers
//! the topic, between two callbacks: one that hangs does not answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::matches::Matches;
use super::matching::{Matching, SubscriberChange};
use super::poller::{Command, PollerHandle};
use super::request_processor::RequestProcessor;
use crate::counters::{Counter, Counters};
use crate::discovery::presence::{Change, Connection, Pace, Presence};
use crate::id::{InstanceId, TopicHash};
use crate::listener::{ConnectionSink, DisconnectReason, Event};
use crate::time::Timestamp;
use crate::wire::roll::{Roll, RollEntry};

/// Calls that one poller may have to look at. One that is in a long callback takes none meanwhile,
/// and what is not answered is asked again.
const MAX_LOOKING: usize = 1024;

/// What a publisher's user wants to know.
pub(crate) struct Activation {
    pub(crate) topic: TopicHash,
    pub(crate) pace: Pace,
    pub(crate) sink: Arc<ConnectionSink>,
    /// Who answers, for the user to read.
    pub(crate) connected: Arc<Matches>,
}

/// A call on its way to the poller that delivers its topics, and back.
pub(crate) struct PendingCall {
    /// Who calls, and from where; this instance needs no address.
    caller: InstanceId,
    source: Option<SocketAddr>,
    /// Those that nobody listens to are left out on the way back.
    pub(super) entries: Vec<RollEntry>,
    poller: usize,
}

/// A datagram to another instance.
pub(super) struct Outgoing {
    pub(super) to: SocketAddr,
    pub(super) roll: Roll,
}

/// All heartbeats of one instance.
pub(super) struct Heartbeats {
    instance: InstanceId,
    presence: Presence,
    activations: HashMap<TopicHash, Activation>,
    /// The control sockets of the other instances.
    controls: HashMap<InstanceId, SocketAddr>,
    /// How many calls each poller is looking at.
    looking: HashMap<usize, usize>,
    requests: Arc<RequestProcessor>,
    counters: Arc<Counters>,
}

impl Heartbeats {
    pub(super) fn new(
        instance: InstanceId,
        requests: Arc<RequestProcessor>,
        counters: Arc<Counters>,
    ) -> Self {
        let (high, low) = InstanceId::random().as_uuid().as_u64_pair();
        Self {
            instance,
            presence: Presence::new(high ^ low.rotate_left(32)),
            activations: HashMap::new(),
            controls: HashMap::new(),
            looking: HashMap::new(),
            requests,
            counters,
        }
    }

    pub(super) fn instance_up(&mut self, instance: InstanceId, control: SocketAddr) {
        self.controls.insert(instance, control);
    }

    pub(super) fn instance_down(&mut self, instance: InstanceId) {
        self.controls.remove(&instance);
    }

    pub(super) fn activate(
        &mut self,
        activation: Activation,
        subscribers: Vec<InstanceId>,
        now: Timestamp,
    ) {
        let (topic, pace) = (activation.topic, activation.pace);
        let before = self.activations.insert(topic, activation);
        self.discard(before);
        self.presence.activate(topic, pace, subscribers, now);
    }

    pub(super) fn deactivate(&mut self, topic: TopicHash) {
        self.presence.deactivate(topic);
        let before = self.activations.remove(&topic);
        self.discard(before);
    }

    /// The publisher is gone.
    pub(super) fn remove(&mut self, topic: TopicHash) {
        self.presence.remove(topic);
        let before = self.activations.remove(&topic);
        self.discard(before);
    }

    /// The listener may end here, which is user code: that is for another thread.
    fn discard(&self, before: Option<Activation>) {
        if let Some(before) = before {
            self.requests.tell(Event::Discarded(before.sink));
        }
    }

    pub(super) fn next_deadline(&self) -> Timestamp {
        self.presence.next_deadline()
    }

    /// Takes a datagram that [`Roll::is_one`].
    pub(super) fn handle_datagram(
        &mut self,
        source: SocketAddr,
        bytes: &[u8],
        matching: &Matching,
    ) {
        let Ok(roll) = Roll::decode(bytes) else {
            return self.counters.add(Counter::Malformed, 1);
        };
        // Only who is known is answered, and nothing that we have not asked for counts.
        if roll.target != self.instance || !self.controls.contains_key(&roll.sender) {
            return self.counters.add(Counter::Foreign, 1);
        }
        if !roll.is_answer {
            return self.look_up(roll.sender, Some(source), roll.entries, matching);
        }
        for entry in roll.entries {
            // One that comes late, or twice, says nothing.
            let _ = self.presence.handle_answer(roll.sender, entry);
        }
    }

    /// Has the pollers that deliver these topics say so.
    fn look_up(
        &mut self,
        caller: InstanceId,
        source: Option<SocketAddr>,
        entries: Vec<RollEntry>,
        matching: &Matching,
    ) {
        let mut calls: Vec<(PollerHandle, PendingCall)> = Vec::new();
        for entry in entries {
            let Some(handle) = matching.poller_of(entry.topic) else { continue };
            match calls.iter_mut().find(|(known, _)| known.is_same(handle)) {
                Some((_, call)) => call.entries.push(entry),
                None => {
                    let poller = handle.index();
                    let call = PendingCall { caller, source, entries: vec![entry], poller };
                    calls.push((handle.clone(), call));
                }
            }
        }
        for (handle, call) in calls {
            let looking = self.looking.entry(call.poller).or_default();
            if *looking < MAX_LOOKING && handle.try_submit(Command::LookUp(Box::new(call))).is_ok()
            {
                *looking += 1;
            } else {
                self.counters.add(Counter::HeartbeatsDropped, 1);
            }
        }
    }

    /// A poller has looked: what is left in the call is to be answered.
    pub(super) fn handle_looked_up(&mut self, call: PendingCall) -> Option<Outgoing> {
        if let Some(looking) = self.looking.get_mut(&call.poller) {
            *looking = looking.saturating_sub(1);
        }
        let PendingCall { caller, source, entries, .. } = call;
        if entries.is_empty() {
            return None;
        }
        self.counters.add(Counter::HeartbeatsAnswered, 1);
        let Some(to) = source else {
            for entry in entries {
                let _ = self.presence.handle_answer(caller, entry);
            }
            return None;
        };
        let roll = Roll { is_answer: true, sender: self.instance, target: caller, entries };
        Some(Outgoing { to, roll })
    }

    /// Tells what has changed by `now`.
    pub(super) fn service(&mut self, changes: Vec<SubscriberChange>, now: Timestamp) {
        for SubscriberChange { topic, instance, is_there } in changes {
            if is_there {
                self.presence.handle_matched(topic, instance);
            } else {
                self.presence.handle_unmatched(topic, instance);
            }
        }
        self.presence.handle_timeout(now);
        self.counters.add(Counter::HeartbeatsMissed, self.presence.take_missed());
        while let Some(change) = self.presence.poll_change() {
            self.tell(&change);
        }
    }

    fn tell(&self, change: &Change) {
        let Some(Activation { sink, connected, .. }) = self.activations.get(&change.topic) else {
            return;
        };
        let disconnected = match change.state {
            Connection::Connected => None,
            Connection::Silent => Some(DisconnectReason::Silent),
            Connection::Left => Some(DisconnectReason::Left),
        };
        if disconnected.is_none() {
            connected.add(change.instance);
        } else {
            connected.remove(&change.instance);
        }
        self.requests.tell(Event::Connection(Arc::clone(sink), change.instance, disconnected));
    }

    /// The next call that is to leave.
    pub(super) fn poll_call(&mut self, matching: &Matching) -> Option<Outgoing> {
        loop {
            let (target, entries) = self.presence.poll_call()?;
            if target == self.instance {
                self.look_up(target, None, entries, matching);
                continue;
            }
            // Else it is gone, and its matches end right away.
            if let Some(to) = self.controls.get(&target).copied() {
                self.counters.add(Counter::HeartbeatsSent, 1);
                let roll = Roll { is_answer: false, sender: self.instance, target, entries };
                return Some(Outgoing { to, roll });
            }
        }
    }
}
