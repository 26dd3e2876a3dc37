//! From the topic hash of a frame to the listener. Layer: engine. Owned by one poller.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::callback;
use super::endpoint::EndpointId;
use super::stopwatch::CallbackTiming;
use crate::counters::{Counter, Counters, Row, SubscriptionColumn};
use crate::id::{InstanceId, PublisherId, SessionId, TopicHash};
use crate::listener::{Listener, Message, MessageLoss, Reply, Request, Respond};
use crate::protocol::delivery::{Arrival, Loss, Sink};
use crate::wire::frame::{FrameKind, RequestPrefix};

/// A topic that somebody listens to.
pub(crate) struct TopicSubscription {
    pub(crate) topic: Arc<str>,
    pub(crate) hash: TopicHash,
    /// Where the topic's data arrives; data from elsewhere is foreign.
    pub(crate) endpoint: EndpointId,
    pub(crate) stream: u32,
    pub(crate) listener: Box<dyn Listener>,
    /// Set by unsubscribe: nothing is delivered from then on, even before the poller has removed
    /// the subscription.
    pub(crate) closed: Arc<AtomicBool>,
    /// Names this subscription among those to the same topic, one after the other.
    pub(crate) ticket: Ticket,
    pub(crate) row: Row<SubscriptionColumn>,
}

/// Which of an instance's subscriptions: each has a number of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

/// The topics that one poller delivers.
pub(super) struct Dispatch {
    subscriptions: Vec<TopicSubscription>,
    by_hash: HashMap<TopicHash, u32, BuildHasherDefault<HashHasher>>,
    /// The subscription of the message before: mostly the one of the next message, too.
    last: usize,
    pub(super) counters: Arc<Counters>,
    responder: Arc<dyn Respond>,
    foreign: u64,
    pub(super) timing: CallbackTiming,
}

/// Where frames come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) endpoint: EndpointId,
    pub(super) stream: u32,
    pub(super) instance: InstanceId,
    pub(super) session: SessionId,
    /// Host that the packet came from; `None` for shared memory, which is this host.
    pub(super) source: Option<std::net::IpAddr>,
}

impl Dispatch {
    pub(super) fn new(counters: Arc<Counters>, responder: Arc<dyn Respond>) -> Self {
        Self {
            subscriptions: Vec::new(),
            by_hash: HashMap::default(),
            last: 0,
            counters,
            responder,
            foreign: 0,
            timing: CallbackTiming::default(),
        }
    }

    /// Adds what the engine has checked to be the only subscription to its topic.
    pub(super) fn add(&mut self, subscription: TopicSubscription) {
        self.remove(subscription.hash);
        #[expect(clippy::cast_possible_truncation, reason = "far fewer topics than 2^32")]
        self.by_hash.insert(subscription.hash, self.subscriptions.len() as u32);
        self.subscriptions.push(subscription);
    }

    /// Ends delivery of a topic; returns where it arrived.
    pub(super) fn remove(&mut self, hash: TopicHash) -> Option<(EndpointId, u32)> {
        let at = self.by_hash.remove(&hash)? as usize;
        let removed = self.subscriptions.swap_remove(at);
        if let Some(moved) = self.subscriptions.get(at) {
            #[expect(clippy::cast_possible_truncation, reason = "far fewer topics than 2^32")]
            self.by_hash.insert(moved.hash, at as u32);
        }
        self.last = 0;
        let TopicSubscription { topic, endpoint, stream, listener, .. } = removed;
        callback::discard(&self.counters, &topic, listener);
        Some((endpoint, stream))
    }

    /// What frames of `origin` are delivered to.
    #[inline]
    pub(super) fn sink(&mut self, origin: Origin) -> DispatchSink<'_> {
        DispatchSink { dispatch: self, origin }
    }

    /// Publishes the counts of a batch.
    pub(super) fn flush_counts(&mut self) {
        self.counters.add(Counter::Foreign, std::mem::take(&mut self.foreign));
    }

    #[inline]
    fn find(&mut self, hash: TopicHash, origin: &Origin) -> Option<usize> {
        let hit = self.subscriptions.get(self.last).is_some_and(|last| last.hash == hash);
        if !hit {
            self.last = *self.by_hash.get(&hash)? as usize;
        }
        let subscription = &self.subscriptions[self.last];
        let wanted = subscription.endpoint == origin.endpoint
            && subscription.stream == origin.stream
            && !subscription.closed.load(Ordering::Relaxed);
        wanted.then_some(self.last)
    }
}

impl Drop for Dispatch {
    fn drop(&mut self) {
        for TopicSubscription { topic, listener, .. } in self.subscriptions.drain(..) {
            callback::discard(&self.counters, &topic, listener);
        }
    }
}

/// Delivers the frames of one session to listeners.
pub(super) struct DispatchSink<'a> {
    dispatch: &'a mut Dispatch,
    origin: Origin,
}

impl Sink for DispatchSink<'_> {
    #[inline]
    fn deliver(&mut self, arrival: Arrival<'_>) {
        let Some(at) = self.dispatch.find(arrival.topic, &self.origin) else {
            self.dispatch.foreign += 1;
            return;
        };
        let subscription = &mut self.dispatch.subscriptions[at];
        let message = Message {
            topic: &subscription.topic,
            sender: self.origin.instance,
            publisher: PublisherId { session: self.origin.session, index: arrival.publisher },
            sequence: arrival.sequence,
            payload: arrival.body,
        };
        let counters = &self.dispatch.counters;
        let started = self.dispatch.timing.start();
        let bytes = match arrival.kind {
            FrameKind::Message => {
                let listener = &mut subscription.listener;
                callback::run(counters, "on_message", message.topic, || {
                    listener.on_message(&message);
                });
                arrival.body.len()
            }
            FrameKind::Request => {
                let Ok((prefix, payload)) = RequestPrefix::decode(arrival.body) else {
                    counters.add(Counter::Malformed, 1);
                    return;
                };
                let request = Request {
                    message: Message { payload, ..message },
                    timeout: Duration::from_nanos(prefix.timeout_ns),
                    reply: Reply {
                        to: prefix.reply_to,
                        requester: self.origin.instance,
                        request: prefix.request,
                        topic: arrival.topic,
                        trusted: self
                            .origin
                            .source
                            .is_none_or(|source| source == prefix.reply_to.address.ip()),
                    },
                    responder: &self.dispatch.responder,
                };
                let listener = &mut subscription.listener;
                callback::run(counters, "on_request", message.topic, || {
                    listener.on_request(&request);
                });
                subscription.row.add(SubscriptionColumn::Requests, 1);
                payload.len()
            }
            FrameKind::Response | FrameKind::Padding | FrameKind::End => {
                self.dispatch.foreign += 1;
                return;
            }
        };
        let row = &mut subscription.row;
        row.add(SubscriptionColumn::Messages, 1);
        row.add(SubscriptionColumn::Bytes, bytes as u64);
        if let Some(started) = started {
            self.dispatch.timing.finish(started, row);
        }
    }

    fn lost(&mut self, loss: Loss) {
        let Some(at) = self.dispatch.find(loss.topic, &self.origin) else { return };
        let subscription = &mut self.dispatch.subscriptions[at];
        subscription.row.add(SubscriptionColumn::Lost, loss.messages);
        let report = MessageLoss {
            topic: &subscription.topic,
            sender: self.origin.instance,
            publisher: PublisherId { session: self.origin.session, index: loss.publisher },
            messages: loss.messages,
        };
        let listener = &mut subscription.listener;
        callback::run(&self.dispatch.counters, "on_message_lost", report.topic, || {
            listener.on_message_lost(&report);
        });
    }
}

/// Topic hashes are hashes already, and session numbers are random.
#[derive(Debug, Default)]
pub(super) struct HashHasher(u64);

impl Hasher for HashHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
