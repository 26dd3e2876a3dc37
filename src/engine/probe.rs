//! Handles for the benchmarks on what only the engine sees. Layer: engine; only with the feature
//! `internals`. Each belongs to the thread that measures.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::audience::{Member, Rank};
use super::dispatch::{Dispatch, Origin, Ticket, TopicSubscription};
use super::endpoint::EndpointId;
use super::request_processor::RequestProcessor;
use crate::counters::Counters;
use crate::id::{InstanceId, SessionId, TopicHash};
use crate::listener::{
    ListenerHandle, Message, Reply, RequestOrigin, Respond, RespondError, SentRequest,
};
use crate::protocol::delivery::{Arrival, Sink};
use crate::time::Clock;
use crate::wire::frame::{FrameKind, ResponsePrefix};

/// Longer than any measurement.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Subscriptions of one poller, on their way from topic hash to listener.
pub struct DispatchProbe {
    dispatch: Dispatch,
    origin: Origin,
    topics: Vec<TopicHash>,
    sequence: u64,
}

impl DispatchProbe {
    /// A poller that listens to `topics` topics.
    #[must_use]
    pub fn new(topics: usize) -> Self {
        let instance = InstanceId::from_bytes([2; 16]);
        let origin = Origin {
            endpoint: EndpointId::SHARED_MEMORY,
            stream: 1,
            instance,
            session: SessionId(3),
            source: None,
        };
        let counters = Arc::new(Counters::new());
        let mut dispatch = Dispatch::new(Arc::clone(&counters), Arc::new(Nowhere));
        let topics: Vec<_> = (0..topics)
            .map(|number| {
                let topic: Arc<str> = format!("market.data.{number}").into();
                let hash = TopicHash::of(&topic);
                let row = counters.row(&topic, "");
                dispatch.add(TopicSubscription {
                    topic,
                    hash,
                    endpoint: origin.endpoint,
                    stream: origin.stream,
                    member: Member {
                        ticket: Ticket::default(),
                        rank: Rank::DIRECT,
                        closed: Arc::new(AtomicBool::new(false)),
                        listener: ListenerHandle::of(|message: &Message<'_>| {
                            black_box(message.payload());
                        }),
                    },
                    opening: Ticket::default(),
                    row,
                });
                hash
            })
            .collect();
        Self { dispatch, origin, topics, sequence: 0 }
    }

    /// Delivers a message on the topic after the one before. Topics are visited in an order that
    /// neither caches nor branch predictors know.
    #[inline]
    pub fn deliver(&mut self, payload: &[u8]) {
        self.sequence += 1;
        let at = scattered(self.sequence, self.topics.len());
        self.dispatch.sink(&self.origin).deliver(Arrival {
            kind: FrameKind::Message,
            publisher: 0,
            topic: self.topics[at],
            sequence: self.sequence,
            body: payload,
        });
    }
}

impl DispatchProbe {
    /// The hash of the topic of this number.
    pub(crate) fn topic(&self, number: usize) -> TopicHash {
        self.topics[number]
    }

    /// Where frames of its origin go.
    pub(crate) fn sink(&mut self) -> impl Sink {
        self.dispatch.sink(&self.origin)
    }
}

impl fmt::Debug for DispatchProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchProbe").field("topics", &self.topics.len()).finish_non_exhaustive()
    }
}

/// The request processor with open requests, its thread not started: nothing expires.
pub struct RequestProbe {
    processor: Arc<RequestProcessor>,
    instance: InstanceId,
    origin: Arc<RequestOrigin>,
    open: Vec<SentRequest>,
    responses: u64,
}

impl RequestProbe {
    /// A processor with `open` open requests, and room for one more.
    ///
    /// # Panics
    ///
    /// When `open` is 0 or more than a processor tracks.
    #[must_use]
    pub fn new(open: usize) -> Self {
        assert!(open > 0, "a response needs a request");
        let instance = InstanceId::from_bytes([4; 16]);
        let counters = Arc::new(Counters::new());
        let processor = RequestProcessor::new(instance, open + 1, counters, Clock::start());
        let processor = Arc::new(processor);
        let origin = processor.origin(&"rfq".into());
        let mut probe =
            Self { processor, instance, origin, open: Vec::with_capacity(open), responses: 0 };
        for _ in 0..open {
            let request = probe.register();
            probe.open.push(request);
        }
        probe
    }

    /// Opens one more request and closes it, as a caller does.
    pub fn register_and_close(&self) -> bool {
        self.register().close()
    }

    /// A response frame arrives for one of the open requests, in no predictable order.
    #[inline]
    pub fn respond(&mut self) {
        self.responses += 1;
        let request = &self.open[scattered(self.responses, self.open.len())];
        let prefix = ResponsePrefix { request: request.request_id(), requester: self.instance };
        self.processor.sink(self.instance).deliver(Arrival {
            kind: FrameKind::Response,
            publisher: 0,
            topic: TopicHash(5),
            sequence: self.responses,
            body: &prefix.encode(),
        });
    }

    /// Responses that the open requests have counted.
    #[must_use]
    pub fn responses(&self) -> u64 {
        self.open.iter().map(SentRequest::number_of_responses).sum()
    }

    fn register(&self) -> SentRequest {
        match self.processor.register(&self.origin, TIMEOUT, ()) {
            Ok(request) => request,
            Err(error) => panic!("{error}"),
        }
    }
}

impl fmt::Debug for RequestProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestProbe").field("open", &self.open.len()).finish_non_exhaustive()
    }
}

impl Drop for RequestProbe {
    /// Open requests hold the processor that holds them.
    fn drop(&mut self) {
        self.processor.stop();
    }
}

/// The `nth` number below `count` of a sequence without a pattern.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the product's upper half is below count")]
fn scattered(nth: u64, count: usize) -> usize {
    let mixed = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((u128::from(mixed ^ mixed >> 32) * count as u128) >> 64) as usize
}

/// Sends no responses: the listeners that are measured give none.
struct Nowhere;

impl Respond for Nowhere {
    fn respond(&self, _: &Reply, _: &[u8]) -> Result<(), RespondError> {
        Err(RespondError::Closed)
    }
}
