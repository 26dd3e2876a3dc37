//! Received responses, borrowed and owned, and the trait that receives them. Layer: listener.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::SentRequest;
use crate::id::{InstanceId, RequestId};

/// A response to a request of this instance. It borrows the receive buffer: take
/// [`Response::to_owned`] to keep it.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    pub(crate) topic: &'a Arc<str>,
    pub(crate) request: RequestId,
    pub(crate) responder: InstanceId,
    pub(crate) payload: &'a [u8],
}

impl<'a> Response<'a> {
    /// The topic that the request was sent on.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// What the responder sent.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The request that this answers.
    #[must_use]
    pub const fn original_request_id(&self) -> RequestId {
        self.request
    }

    /// The instance that answered.
    #[must_use]
    pub const fn responder(&self) -> InstanceId {
        self.responder
    }

    /// Copies the response so that it can outlive the callback and go to other threads.
    #[must_use]
    pub fn to_owned(&self) -> OwnedResponse {
        OwnedResponse {
            topic: Arc::clone(self.topic),
            request: self.request,
            responder: self.responder,
            payload: Bytes::copy_from_slice(self.payload),
        }
    }
}

impl fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("topic", &self.topic)
            .field("request", &self.request)
            .field("responder", &self.responder)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// A response that owns its payload. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct OwnedResponse {
    topic: Arc<str>,
    request: RequestId,
    responder: InstanceId,
    payload: Bytes,
}

impl OwnedResponse {
    /// The topic that the request was sent on.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What the responder sent.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The request that this answers.
    #[must_use]
    pub const fn original_request_id(&self) -> RequestId {
        self.request
    }

    /// The instance that answered.
    #[must_use]
    pub const fn responder(&self) -> InstanceId {
        self.responder
    }
}

/// Receives the responses and the timeout of one request. Closures that take the request and a
/// response are listeners, too, and so are pairs of closures for response and timeout.
///
/// # Threads
///
/// `on_response` runs on the poller that `[responses]` names, `on_timeout` on the request
/// processor's thread; the two can overlap. Never under a lock: closing, extending and sending
/// requests inside is allowed. Do not block there.
pub trait ResponseListener: Send + Sync + 'static {
    /// A response arrived while the request was open.
    fn on_response(&self, request: &SentRequest, response: &Response<'_>) {
        let _ = (request, response);
    }

    /// The request expired before it was closed; also when responses had arrived. At most once, and
    /// the last call for this request.
    fn on_timeout(&self, request: &SentRequest) {
        let _ = request;
    }
}

/// No listener: responses are counted, nobody is called.
impl ResponseListener for () {}

impl<F> ResponseListener for F
where
    F: Fn(&SentRequest, &Response<'_>) + Send + Sync + 'static,
{
    fn on_response(&self, request: &SentRequest, response: &Response<'_>) {
        self(request, response);
    }
}

impl<F, G> ResponseListener for (F, G)
where
    F: Fn(&SentRequest, &Response<'_>) + Send + Sync + 'static,
    G: Fn(&SentRequest) + Send + Sync + 'static,
{
    fn on_response(&self, request: &SentRequest, response: &Response<'_>) {
        self.0(request, response);
    }

    fn on_timeout(&self, request: &SentRequest) {
        self.1(request);
    }
}
