//! From the topic hash of a frame to the listener. Layer: engine. Owned by one poller.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::audience::{Audience, Member};
use super::callback;
use super::endpoint::EndpointId;
use super::stopwatch::CallbackTiming;
use crate::counters::{Counter, Counters, Row, SubscriptionColumn};
use crate::id::{InstanceId, PublisherId, SessionId, TopicHash};
use crate::listener::{Message, MessageLoss, Reply, Request, Respond};
use crate::protocol::delivery::{Arrival, Loss, Sink};
use crate::wire::frame::{FrameKind, RequestPrefix};

/// A subscription to a topic, on its way to the poller that delivers it.
pub(crate) struct TopicSubscription {
    pub(crate) topic: Arc<str>,
    pub(crate) hash: TopicHash,
    /// Where the topic's data arrives; data from elsewhere is foreign.
    pub(crate) endpoint: EndpointId,
    pub(crate) stream: u32,
    pub(crate) member: Member,
    /// Of the first subscription of those to the topic that share endpoint and advert.
    pub(crate) opening: Ticket,
    /// All subscriptions to the topic count in one row.
    pub(crate) row: Row<SubscriptionColumn>,
}

/// What became of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// Nobody listened to the topic there. Data of the topic may have been expected elsewhere,
    /// which is over.
    Topic { instead_of: Option<(EndpointId, u32)> },
    /// It shares what arrives with others, or was over before it began.
    Nothing,
}

/// A topic that somebody listens to.
struct Topic {
    name: Arc<str>,
    hash: TopicHash,
    endpoint: EndpointId,
    stream: u32,
    audience: Audience,
    row: Row<SubscriptionColumn>,
}

impl Topic {
    /// Whether a frame of this topic is expected from there, and somebody still listens.
    #[inline]
    fn takes(&self, hash: TopicHash, origin: &Origin) -> bool {
        self.hash == hash
            && self.endpoint == origin.endpoint
            && self.stream == origin.stream
            && !self.audience.is_closed()
    }
}

/// Which of an instance's subscriptions: each has a number of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

/// The topics that somebody listens to, by their hash.
#[derive(Default)]
struct TopicTable {
    all: Vec<Topic>,
    by_hash: HashMap<TopicHash, u32, BuildHasherDefault<HashHasher>>,
    /// The topic of the message before: mostly that of the next message, too.
    last: usize,
}

impl TopicTable {
    fn put(&mut self, topic: Topic) {
        #[expect(clippy::cast_possible_truncation, reason = "far fewer topics than 2^32")]
        self.by_hash.insert(topic.hash, self.all.len() as u32);
        self.all.push(topic);
    }

    fn take(&mut self, hash: TopicHash) -> Option<Topic> {
        let at = self.by_hash.remove(&hash)? as usize;
        let taken = self.all.swap_remove(at);
        if let Some(moved) = self.all.get(at) {
            #[expect(clippy::cast_possible_truncation, reason = "far fewer topics than 2^32")]
            self.by_hash.insert(moved.hash, at as u32);
        }
        self.last = 0;
        Some(taken)
    }

    fn get(&self, hash: TopicHash) -> Option<&Topic> {
        self.all.get(*self.by_hash.get(&hash)? as usize)
    }

    /// The topic of a frame, if it is expected from there and somebody still listens.
    fn find(&mut self, hash: TopicHash, origin: &Origin) -> Option<&mut Topic> {
        self.last = *self.by_hash.get(&hash)? as usize;
        let topic = self.all.get_mut(self.last)?;
        topic.takes(hash, origin).then_some(topic)
    }
}

/// The topics that one poller delivers.
pub(super) struct Dispatch {
    topics: TopicTable,
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
            topics: TopicTable::default(),
            counters,
            responder,
            foreign: 0,
            timing: CallbackTiming::default(),
        }
    }

    /// Adds a subscription to those of its topic.
    pub(super) fn add(&mut self, subscription: TopicSubscription) -> Added {
        let TopicSubscription { topic: name, hash, endpoint, stream, member, row, .. } =
            subscription;
        if member.is_closed() {
            callback::discard(&self.counters, &name, member.listener);
            return Added::Nothing;
        }
        let mut instead_of = None;
        if let Some(mut topic) = self.topics.take(hash) {
            if (topic.endpoint, topic.stream) == (endpoint, stream) {
                topic.audience = topic.audience.add(member, &self.counters);
                self.topics.put(topic);
                return Added::Nothing;
            }
            instead_of = Some((topic.endpoint, topic.stream));
            self.discard(topic);
        }
        let audience = Audience::new(member, &self.counters);
        self.topics.put(Topic { name, hash, endpoint, stream, audience, row });
        Added::Topic { instead_of }
    }

    /// Ends a subscription; returns where the topic arrived if it was the last one.
    pub(super) fn remove(&mut self, hash: TopicHash, ticket: Ticket) -> Option<(EndpointId, u32)> {
        let topic = self.topics.take(hash)?;
        let (removed, rest) = topic.audience.remove(ticket);
        if let Some(listener) = removed {
            callback::discard(&self.counters, &topic.name, listener);
        }
        match rest {
            Some(audience) => {
                self.topics.put(Topic { audience, ..topic });
                None
            }
            None => Some((topic.endpoint, topic.stream)),
        }
    }

    fn discard(&self, topic: Topic) {
        for listener in topic.audience.into_listeners() {
            callback::discard(&self.counters, &topic.name, listener);
        }
    }

    /// Whether somebody listens to a topic.
    pub(super) fn serves(&self, hash: TopicHash) -> bool {
        self.topics.get(hash).is_some_and(|topic| topic.audience.is_open())
    }

    /// What frames of `origin` are delivered to.
    #[inline]
    pub(super) fn sink<'a>(&'a mut self, origin: &'a Origin) -> DispatchSink<'a> {
        DispatchSink { dispatch: self, origin }
    }

    /// Publishes the counts of a batch.
    pub(super) fn flush_counts(&mut self) {
        self.counters.add(Counter::Foreign, std::mem::take(&mut self.foreign));
    }
}

impl Drop for Dispatch {
    fn drop(&mut self) {
        for topic in std::mem::take(&mut self.topics.all) {
            self.discard(topic);
        }
    }
}

/// Delivers the frames of one session to listeners.
pub(super) struct DispatchSink<'a> {
    dispatch: &'a mut Dispatch,
    origin: &'a Origin,
}

/// Hands a request to whom it is for. Apart, so that the way of messages is short. Returns the bytes of
/// its payload, if it is one.
#[inline(never)]
fn deliver_request(
    topic: &mut Topic,
    origin: &Origin,
    arrival: &Arrival<'_>,
    responder: &Arc<dyn Respond>,
    counters: &Counters,
) -> Option<usize> {
    let Ok((prefix, payload)) = RequestPrefix::decode(arrival.body) else {
        counters.add(Counter::Malformed, 1);
        return None;
    };
    let request = Request {
        message: message(&topic.name, origin, arrival, payload),
        timeout: Duration::from_nanos(prefix.timeout_ns),
        reply: Reply {
            to: prefix.reply_to,
            requester: origin.instance,
            request: prefix.request,
            topic: arrival.topic,
            trusted: origin.source.is_none_or(|source| source == prefix.reply_to.address.ip()),
        },
        responder,
    };
    let listener = topic.audience.listener();
    callback::run(counters, "on_request", &topic.name, || {
        listener.on_request(&request);
    });
    topic.row.add(SubscriptionColumn::Requests, 1);
    Some(payload.len())
}

#[inline]
fn message<'a>(
    topic: &'a Arc<str>,
    origin: &Origin,
    arrival: &Arrival<'_>,
    payload: &'a [u8],
) -> Message<'a> {
    Message {
        topic,
        sender: origin.instance,
        publisher: PublisherId { session: origin.session, index: arrival.publisher },
        sequence: arrival.sequence,
        payload,
    }
}

impl Sink for DispatchSink<'_> {
    /// Always inlined: each call on the way costs as much as what it does.
    #[inline(always)]
    fn deliver(&mut self, arrival: Arrival<'_>) {
        let Self { dispatch: Dispatch { topics, counters, responder, foreign, timing }, origin } =
            self;
        let topic = match topics.all.get_mut(topics.last) {
            Some(last) if last.takes(arrival.topic, origin) => last,
            _ => match topics.find(arrival.topic, origin) {
                Some(other) => other,
                None => {
                    *foreign += 1;
                    return;
                }
            },
        };
        let started = timing.start();
        let bytes = match arrival.kind {
            FrameKind::Message => {
                let message = message(&topic.name, origin, &arrival, arrival.body);
                let listener = topic.audience.listener();
                callback::run(counters, "on_message", message.topic, || {
                    listener.on_message(&message);
                });
                arrival.body.len()
            }
            FrameKind::Request => {
                match deliver_request(topic, origin, &arrival, responder, counters) {
                    Some(bytes) => bytes,
                    None => return,
                }
            }
            FrameKind::Response | FrameKind::Padding | FrameKind::End => {
                *foreign += 1;
                return;
            }
        };
        topic.row.add(SubscriptionColumn::Messages, 1);
        topic.row.add(SubscriptionColumn::Bytes, bytes as u64);
        if let Some(started) = started {
            timing.finish(started, &mut topic.row);
        }
    }

    fn lost(&mut self, loss: Loss) {
        let Some(topic) = self.dispatch.topics.find(loss.topic, self.origin) else { return };
        topic.row.add(SubscriptionColumn::Lost, loss.messages);
        let report = MessageLoss {
            topic: &topic.name,
            sender: self.origin.instance,
            publisher: PublisherId { session: self.origin.session, index: loss.publisher },
            messages: loss.messages,
        };
        let listener = topic.audience.listener();
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
