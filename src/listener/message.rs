//! Messages, borrowed and owned, and the trait that receives them. Layer: listener.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{MessageLoss, Request};
use crate::id::{InstanceId, PublisherId};

/// A received message. It borrows the receive buffer: take [`Message::to_owned`] to keep it.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub(crate) topic: &'a Arc<str>,
    pub(crate) sender: InstanceId,
    pub(crate) publisher: PublisherId,
    pub(crate) sequence: u64,
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The topic it was published on.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// What the publisher sent.
    ///
    /// By shared memory, a message that fits into one packet is read where the publisher wrote it,
    /// which waits for the callback for `reader_timeout`, or for 100 ms with `slow_consumer = "drop"`,
    /// and then may write something else there. A callback that takes longer copies first.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The instance that sent it.
    #[must_use]
    pub const fn sender(&self) -> InstanceId {
        self.sender
    }

    /// The publisher that sent it. A publisher that was dropped and created again is a new one.
    #[must_use]
    pub const fn publisher_id(&self) -> PublisherId {
        self.publisher
    }

    /// Number of the message among those of its publisher, messages and requests together,
    /// counted from 1.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Copies the message so that it can outlive the callback and go to other threads.
    #[must_use]
    pub fn to_owned(&self) -> OwnedMessage {
        OwnedMessage {
            topic: Arc::clone(self.topic),
            sender: self.sender,
            publisher: self.publisher,
            sequence: self.sequence,
            payload: Bytes::copy_from_slice(self.payload),
        }
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("sender", &self.sender)
            .field("publisher", &self.publisher)
            .field("sequence", &self.sequence)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// A message that owns its payload. Cloning is cheap: the payload is shared.
#[derive(Clone, Debug)]
pub struct OwnedMessage {
    topic: Arc<str>,
    sender: InstanceId,
    publisher: PublisherId,
    sequence: u64,
    payload: Bytes,
}

impl OwnedMessage {
    /// The topic it was published on.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What the publisher sent.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The instance that sent it.
    #[must_use]
    pub const fn sender(&self) -> InstanceId {
        self.sender
    }

    /// The publisher that sent it.
    #[must_use]
    pub const fn publisher_id(&self) -> PublisherId {
        self.publisher
    }

    /// Number of the message among those of its publisher, counted from 1.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// Receives what arrives on a topic. Closures that take a `&Message` are listeners, too, and
/// [`on_request`] makes one of a closure that answers requests.
///
/// # Threads
///
/// All methods are called by the poller of the topic's template, one call at a time, never under a
/// lock. Do not block there: everything that this poller serves waits. Publishing, requesting,
/// responding, subscribing and unsubscribing are all allowed; [`close`](crate::Instance::close) is
/// not. A panic is caught, counted and reported, and the next message is delivered.
pub trait Listener: Send + 'static {
    /// A message arrived.
    fn on_message(&mut self, message: &Message<'_>) {
        let _ = message;
    }

    /// A request arrived. It can be answered any number of times, now or later.
    fn on_request(&mut self, request: &Request<'_>) {
        let _ = request;
    }

    /// Messages were lost for good. Called before the next message of that publisher.
    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        let _ = loss;
    }
}

impl<F> Listener for F
where
    F: FnMut(&Message<'_>) + Send + 'static,
{
    fn on_message(&mut self, message: &Message<'_>) {
        self(message);
    }
}

/// A listener made of a closure that answers requests; messages of the topic are passed over.
///
/// ```no_run
/// # fn answer(instance: &vega::Instance) -> Result<vega::Subscription, vega::SubscribeError> {
/// instance.subscribe("time", vega::on_request(|request| {
///     // Whether the requester still takes it is its business.
///     let _ = request.respond(b"noon");
/// }))
/// # }
/// ```
pub fn on_request<F>(answer: F) -> impl Listener
where
    F: FnMut(&Request<'_>) + Send + 'static,
{
    Answering(answer)
}

struct Answering<F>(F);

impl<F> Listener for Answering<F>
where
    F: FnMut(&Request<'_>) + Send + 'static,
{
    fn on_request(&mut self, request: &Request<'_>) {
        self.0(request);
    }
}
