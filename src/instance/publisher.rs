//! Handles to publish a topic. Layer: instance. A [`Publisher`] belongs to one thread at a time; a
//! [`SharedPublisher`] puts a lock around one.

mod claim;
mod shared;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::claim::Claim;
pub use self::shared::SharedPublisher;
use super::{PublishError, RequestError};
use crate::config::Transport;
use crate::counters::{PublisherColumn, Row};
use crate::engine::matches::Matches;
use crate::engine::{Engine, Published, PublisherLink, until_accepted};
use crate::id::{InstanceId, PublisherId};
use crate::listener::{
    ConnectionListener, ConnectionSink, HeartbeatError, HeartbeatParameters, RequestOrigin,
    ResponseListener, SendError, SendStatus, SentRequest,
};
use crate::ring::append::Entry;
use crate::time::Timestamp;
use crate::wire::frame::{
    FLAG_WHOLE, FrameHeader, FrameKind, REQUEST_PREFIX_LENGTH, RequestPrefix,
};

/// Publishes one topic. Made by [`Instance::publisher`](crate::Instance::publisher).
///
/// # Blocking
///
/// [`Publisher::send`] and [`Publisher::request`] do not wait, with one exception: a message larger
/// than the topic's ring goes out piece by piece and waits for receivers to make room, at most as
/// long as its template waits for a silent receiver. [`Publisher::send_blocking`] keeps to its own time
/// with such a message, too. Dropping a publisher does not wait either;
/// what it has accepted is sent.
pub struct Publisher {
    engine: Arc<Engine>,
    published: Published,
    /// What its requests refer to.
    origin: Arc<RequestOrigin>,
    /// Number of the last message.
    sequence: u64,
    /// Who answers heartbeats.
    connected: Arc<Matches>,
    /// Who hears of it, while heartbeats are active.
    connections: Option<Arc<ConnectionSink>>,
}

impl Publisher {
    pub(super) fn open(engine: Arc<Engine>, topic: &str) -> Result<Self, PublishError> {
        let published = engine.publish(topic)?;
        let origin = engine.requests.origin(&published.topic);
        let connected = Arc::default();
        Ok(Self { engine, published, origin, sequence: 0, connected, connections: None })
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.published.topic
    }

    /// What carries the topic.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.published.transport
    }

    /// Its identity, as messages carry it.
    #[must_use]
    pub const fn id(&self) -> PublisherId {
        PublisherId { session: self.published.session, index: self.published.index }
    }

    /// Number of the last message that was accepted; 0 before the first.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many instances are known to listen.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.published.matches.count()
    }

    /// The instances that are known to listen.
    #[must_use]
    pub fn subscriber_instances(&self) -> Vec<InstanceId> {
        self.published.matches.all()
    }

    /// Waits until at least `count` instances are ready to receive what is sent from now on. False
    /// when the time is over first.
    ///
    /// An instance counts until its leaving is known here. One that has ended its subscription and
    /// begins another at once may be taken for ready because it was: what is sent before the new one
    /// has joined is not for it.
    #[must_use = "false means that they are not there"]
    pub fn wait_for_subscribers(&self, count: usize, timeout: Duration) -> bool {
        self.published.matches.wait_for(count, timeout)
    }

    /// Publishes a message: at once when messages are rare, packed with its neighbours under load.
    /// The last message of a burst waits for at most a millisecond; [`Publisher::flush`] does not
    /// let it wait.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent and no sequence number was used.
    #[inline]
    pub fn send(&mut self, payload: &[u8]) -> Result<SendStatus, SendError> {
        self.send_until(payload, Timestamp::NEVER)
    }

    /// Publishes a message, and waits for at most `timeout` until receivers make room for it. It waits
    /// as the poller of the topic's template does when it is idle, except that it sleeps, up to a
    /// millisecond at a time, where that one blocks.
    ///
    /// # Errors
    ///
    /// [`SendError`], [`SendError::BackPressured`] when the time is over: nothing was sent and no
    /// sequence number was used.
    ///
    /// # Blocking
    ///
    /// In a callback it holds up the poller, and with it every subscription that the poller serves:
    /// if this publisher waits for one of them, it waits in vain.
    pub fn send_blocking(
        &mut self,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<SendStatus, SendError> {
        let first = self.send_at_once(payload);
        if first != Err(SendError::BackPressured) {
            return first;
        }
        let (idle, clock) = (self.published.idle, self.engine.clock);
        let until = clock.now() + timeout;
        until_accepted(idle, &clock, until, || self.send_until(payload, until))
    }

    /// As [`Publisher::send`], but for messages that may have to wait piece by piece: those are not tried.
    /// So the clock is read only by who has something to wait for.
    fn send_at_once(&mut self, payload: &[u8]) -> Result<SendStatus, SendError> {
        if payload.len() > self.max_claim_bytes() {
            return Err(SendError::BackPressured);
        }
        self.send(payload)
    }

    /// As [`Publisher::send`]; a message larger than the ring waits until then at most.
    #[inline(always)]
    fn send_until(&mut self, payload: &[u8], until: Timestamp) -> Result<SendStatus, SendError> {
        self.check(payload.len())?;
        self.append(FrameKind::Message, &[], payload, until)
    }

    /// Reserves `bytes` for a message that is written in place and sent by [`Claim::commit`].
    /// Dropping the claim gives it up. Until then, topics that share the same group, port and
    /// stream wait behind it.
    ///
    /// # Errors
    ///
    /// [`SendError`]; a claim has to fit into one packet.
    pub fn try_claim(&mut self, bytes: usize) -> Result<Claim<'_>, SendError> {
        if self.engine.is_closed() {
            return Err(SendError::Closed);
        }
        let limit_bytes = self.max_claim_bytes();
        if bytes > limit_bytes {
            return Err(SendError::TooLarge { bytes, limit_bytes });
        }
        let header = FrameHeader {
            kind: FrameKind::Message,
            flags: FLAG_WHOLE,
            publisher: self.published.index,
            topic: self.published.hash,
            // Of the message before, until it is committed: who joins a ring learns from a claim
            // that was given up what has been sent.
            sequence: self.sequence,
        };
        let claimed = match &mut self.published.link {
            PublisherLink::Udp(publication) => publication.claim(&header, bytes),
            PublisherLink::Ring(ring) => ring.claim(&header, bytes),
        }
        .inspect_err(|error| note_refusal(&mut self.published.row, error))?;
        Ok(Claim { publisher: self, claimed: Some(claimed) })
    }

    /// The largest message that [`Publisher::try_claim`] can reserve: what fits into one packet.
    #[must_use]
    pub fn max_claim_bytes(&self) -> usize {
        match &self.published.link {
            PublisherLink::Udp(publication) => publication.layout().whole_body_bytes(),
            PublisherLink::Ring(ring) => ring.layout().whole_body_bytes(),
        }
    }

    /// The largest message that [`Publisher::send`] accepts.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        self.engine.config.limits.max_message_bytes
    }

    /// Hands everything that was accepted to the network now.
    ///
    /// # Errors
    ///
    /// [`SendError::BackPressured`] when receivers or the socket do not take everything; the rest
    /// follows by itself.
    pub fn flush(&mut self) -> Result<(), SendError> {
        if self.engine.is_closed() {
            return Err(SendError::Closed);
        }
        match &self.published.link {
            PublisherLink::Udp(publication) if !publication.flush() => {
                Err(SendError::BackPressured)
            }
            // A ring is read as it is written.
            PublisherLink::Udp(_) | PublisherLink::Ring(_) => Ok(()),
        }
    }

    /// Sends a request to all subscribers of the topic. Any of them may answer, any number of
    /// times, until the request expires or is closed; a closure that takes the request and a
    /// response is a listener, a pair of closures takes responses and the timeout, and `()` just
    /// counts.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use vega::{Response, SentRequest};
    /// # fn ask(publisher: &mut vega::Publisher) -> Result<(), vega::RequestError> {
    /// let wait = Duration::from_millis(100);
    /// publisher.request(b"quote EURUSD", wait, move |request: &SentRequest, quote: &Response<'_>| {
    ///     println!("{:?} from {}", quote.payload(), quote.responder());
    ///     request.reset_expiration(wait);
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was sent, and the listener is not called.
    pub fn request(
        &mut self,
        payload: &[u8],
        timeout: Duration,
        listener: impl ResponseListener,
    ) -> Result<SentRequest, RequestError> {
        self.check(payload.len())?;
        // Registered before the frame leaves: the fastest response finds its request.
        let request = self.engine.requests.register(&self.origin, timeout, listener)?;
        let prefix: [u8; REQUEST_PREFIX_LENGTH] = RequestPrefix {
            request: request.request_id(),
            timeout_ns: u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX),
            reply_to: self.engine.responses_at,
        }
        .encode();
        match self.append(FrameKind::Request, &prefix, payload, Timestamp::NEVER) {
            // Closed meanwhile, after the requests were ended: nobody would end this one.
            Ok(_) if self.engine.is_closed() => {
                request.close();
                Err(SendError::Closed.into())
            }
            Ok(status) => {
                request.set_send_status(status);
                self.published.row.add(PublisherColumn::Requests, 1);
                Ok(request)
            }
            Err(error) => {
                request.close();
                Err(error.into())
            }
        }
    }

    /// Begins to ask the topic's subscribers whether they are there, all the time, and tells
    /// `listener` who answers and who does not any more. It is the engine of a subscriber that
    /// answers, on the poller that delivers the topic: a subscriber that hangs in a callback counts
    /// as absent, and instances that do not subscribe never count. One that says goodbye or
    /// unsubscribes is disconnected at once.
    ///
    /// When heartbeats are active already, `listener` and `parameters` take the place of those
    /// before. Who is connected stays so, also across [`Publisher::deactivate_heartbeats`]: the new
    /// listener is told what changes, and [`Publisher::connected_subscribers`] who is there.
    ///
    /// # Errors
    ///
    /// [`HeartbeatError`]; nothing has changed.
    pub fn activate_heartbeats(
        &mut self,
        listener: impl ConnectionListener,
        parameters: HeartbeatParameters,
    ) -> Result<(), HeartbeatError> {
        parameters.check()?;
        if self.engine.is_closed() {
            return Err(HeartbeatError::Closed);
        }
        let topic = Arc::clone(&self.published.topic);
        let sink = Arc::new(ConnectionSink::new(topic, Box::new(listener)));
        self.end_connections();
        self.connections = Some(Arc::clone(&sink));
        let connected = Arc::clone(&self.connected);
        self.engine.activate_heartbeats(&self.published, parameters, sink, connected);
        Ok(())
    }

    /// Asks no more; the listener is told nothing more. Does nothing when heartbeats are not active.
    ///
    /// # Threads
    ///
    /// It does not wait: a call of the listener that has begun may still be running.
    pub fn deactivate_heartbeats(&mut self) {
        if self.end_connections() {
            self.engine.deactivate_heartbeats(&self.published);
        }
    }

    /// Whether heartbeats are active.
    #[must_use]
    pub const fn has_heartbeats(&self) -> bool {
        self.connections.is_some()
    }

    /// The instances that answer heartbeats; none while these are not active.
    #[must_use]
    pub fn connected_subscribers(&self) -> Vec<InstanceId> {
        if self.has_heartbeats() { self.connected.all() } else { Vec::new() }
    }

    /// True when there was a listener.
    fn end_connections(&mut self) -> bool {
        let sink = self.connections.take();
        sink.inspect(|sink| sink.close()).is_some()
    }

    /// A handle that several threads can use, at the cost of a lock per message.
    #[must_use]
    pub fn into_shared(self) -> SharedPublisher {
        SharedPublisher::new(self)
    }

    #[inline]
    fn check(&self, bytes: usize) -> Result<(), SendError> {
        if self.engine.is_closed() {
            return Err(SendError::Closed);
        }
        let limit_bytes = self.max_message_bytes();
        if bytes > limit_bytes {
            return Err(SendError::TooLarge { bytes, limit_bytes });
        }
        Ok(())
    }

    /// Always inlined: `send` is the only hot caller, and gets a copy without kind and prefix.
    #[inline(always)]
    fn append(
        &mut self,
        kind: FrameKind,
        prefix: &[u8],
        payload: &[u8],
        until: Timestamp,
    ) -> Result<SendStatus, SendError> {
        let sequence = self.sequence + 1;
        let entry = Entry {
            kind,
            publisher: self.published.index,
            topic: self.published.hash,
            sequence,
            prefix,
            payload,
        };
        match &mut self.published.link {
            // A copy of its own, so that the entry for a ring need not be in memory.
            PublisherLink::Udp(publication) => publication.send(&{ entry }, until),
            PublisherLink::Ring(ring) => ring.send(&entry, until),
        }
        .inspect_err(|error| note_refusal(&mut self.published.row, error))?;
        Ok(self.accepted(sequence, payload.len()))
    }

    #[inline]
    fn accepted(&mut self, sequence: u64, bytes: usize) -> SendStatus {
        self.sequence = sequence;
        // Messages are numbered from 1 on.
        self.published.row.set(PublisherColumn::Messages, sequence);
        self.published.row.add(PublisherColumn::Bytes, bytes as u64);
        if self.published.matches.count() == 0 {
            SendStatus::NoSubscribers
        } else {
            SendStatus::Sent
        }
    }
}

#[cold]
fn note_refusal(row: &mut Row<PublisherColumn>, error: &SendError) {
    if matches!(error, SendError::BackPressured) {
        row.add(PublisherColumn::BackPressured, 1);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.end_connections();
        self.engine.unpublish(&self.published);
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("topic", &self.published.topic)
            .field("transport", &self.published.transport)
            .field("id", &self.id())
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}
