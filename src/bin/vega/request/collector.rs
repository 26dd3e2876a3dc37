//! What happens to an open request, on its way from the callbacks to the main thread. Layer: bin.
//! Responses come on the responses poller, the timeout on the request processor.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use serde::Serialize;
use vega::{InstanceId, Response, ResponseListener, SentRequest};

use crate::clock;
use crate::inbox::{Inlet, Outlet, inbox};

/// One response.
#[derive(Debug)]
pub(super) struct Reply {
    /// Counted from 1.
    pub(super) number: u64,
    pub(super) responder: InstanceId,
    /// Since the request was sent.
    pub(super) elapsed: Duration,
    pub(super) payload: Vec<u8>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// As many responses came as were expected.
    Complete,
    Expired,
    Interrupted,
    /// Too few subscribers.
    NotSent,
}

/// Listens to one request: extends it with every response, and closes it with the last one that is
/// expected.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) extend: Option<Duration>,
    pub(super) expect: Option<u64>,
    sent_at: Instant,
    replies: Inlet<Reply>,
    ended: Sender<Outcome>,
}

/// What the main thread sees of it.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) replies: Outlet<Reply>,
    pub(super) ended: Receiver<Outcome>,
}

impl Collector {
    /// To be called right before the request is sent.
    pub(super) fn new(extend: Option<Duration>, expect: Option<u64>) -> (Self, Collected) {
        let (inlet, replies) = inbox();
        // A request ends once.
        let (sender, ended) = crossbeam_channel::bounded(1);
        let collector =
            Self { extend, expect, sent_at: clock::now(), replies: inlet, ended: sender };
        (collector, Collected { replies, ended })
    }

    fn end(&self, outcome: Outcome) {
        // Nobody listens any more after an interruption.
        let _ = self.ended.try_send(outcome);
    }
}

impl ResponseListener for Collector {
    fn on_response(&self, request: &SentRequest, response: &Response<'_>) {
        let number = request.number_of_responses();
        self.replies.push(|| Reply {
            number,
            responder: response.responder(),
            elapsed: self.sent_at.elapsed(),
            payload: response.payload().to_vec(),
        });
        if self.expect.is_some_and(|expected| number >= expected) {
            if request.close() {
                self.end(Outcome::Complete);
            }
        } else if let Some(extend) = self.extend {
            request.reset_expiration(extend);
        }
    }

    fn on_timeout(&self, _: &SentRequest) {
        self.end(Outcome::Expired);
    }
}
