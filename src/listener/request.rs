//! Received requests, borrowed and owned, and the handle they answer through. Layer: listener.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::Message;
use crate::id::{InstanceId, PublisherId, RequestId, TopicHash};
use crate::wire::locator::Locator;

/// Why a response was not sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RespondError {
    /// The requester or the socket cannot take more now. Try again later.
    #[error("back-pressured: the requester or the socket cannot take more now")]
    BackPressured,
    /// The response is larger than `[limits] max_message_bytes`.
    #[error("response of {bytes} bytes is too large (allowed: 0..={limit_bytes})")]
    TooLarge {
        /// Size of the refused response.
        bytes: usize,
        /// The largest size that is accepted.
        limit_bytes: usize,
    },
    /// The request names a response socket that it did not come from: answering could hit a
    /// bystander.
    #[error("the request asks for responses to {locator}, which is not where it came from")]
    Untrusted {
        /// The address that the request named.
        locator: std::net::SocketAddr,
    },
    /// The requester takes responses at an address of the other IP version than that of `[responses]
    /// interface` here.
    #[error("responses to {locator} need another address family than [responses] has here")]
    OtherFamily {
        /// The address that the request named.
        locator: std::net::SocketAddr,
    },
    /// More requesters than `[limits] max_peers` are being answered.
    #[error("responses go to {limit} requesters already")]
    TooManyRequesters {
        /// The limit.
        limit: usize,
    },
    /// The instance was closed.
    #[error("the instance is closed")]
    Closed,
}

/// Where and to whom a response goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) to: Locator,
    pub(crate) requester: InstanceId,
    pub(crate) request: RequestId,
    pub(crate) topic: TopicHash,
    /// The requester named a response socket on the host that the request came from.
    pub(crate) trusted: bool,
}

/// Sends responses; implemented by the engine.
pub(crate) trait Respond: Send + Sync {
    fn respond(&self, reply: &Reply, payload: &[u8]) -> Result<(), RespondError>;
}

/// A received request. It borrows the receive buffer: take [`Request::to_owned`] to answer later
/// or from another thread.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub(crate) message: Message<'a>,
    pub(crate) timeout: Duration,
    pub(crate) reply: Reply,
    pub(crate) responder: &'a Arc<dyn Respond>,
}

impl<'a> Request<'a> {
    /// The topic it was sent on.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.message.topic
    }

    /// What the requester sent.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.message.payload
    }

    /// The instance that asks.
    #[must_use]
    pub const fn sender(&self) -> InstanceId {
        self.message.sender
    }

    /// The publisher that the request was sent through.
    #[must_use]
    pub const fn publisher_id(&self) -> PublisherId {
        self.message.publisher
    }

    /// Number of the request among the messages and requests of its publisher, from 1.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.message.sequence
    }

    /// Identity of the request; its responses carry it.
    #[must_use]
    pub const fn request_id(&self) -> RequestId {
        self.reply.request
    }

    /// How long the requester waited for responses when it sent the request; it may extend that.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Answers. Any number of answers is allowed; the requester drops those that come after its
    /// request ended.
    ///
    /// # Errors
    ///
    /// [`RespondError`]; the response was not sent.
    pub fn respond(&self, payload: &[u8]) -> Result<(), RespondError> {
        self.responder.respond(&self.reply, payload)
    }

    /// Copies the request so that it can be answered later, from any thread.
    #[must_use]
    pub fn to_owned(&self) -> OwnedRequest {
        OwnedRequest {
            topic: Arc::clone(self.message.topic),
            payload: Bytes::copy_from_slice(self.message.payload),
            timeout: self.timeout,
            reply: self.reply,
            responder: Arc::clone(self.responder),
        }
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("message", &self.message)
            .field("request_id", &self.reply.request)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A request that owns its payload and can still be answered. Cloning is cheap.
#[derive(Clone)]
pub struct OwnedRequest {
    topic: Arc<str>,
    payload: Bytes,
    timeout: Duration,
    reply: Reply,
    responder: Arc<dyn Respond>,
}

impl OwnedRequest {
    /// The topic it was sent on.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What the requester sent.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The instance that asks.
    #[must_use]
    pub const fn sender(&self) -> InstanceId {
        self.reply.requester
    }

    /// Identity of the request; its responses carry it.
    #[must_use]
    pub const fn request_id(&self) -> RequestId {
        self.reply.request
    }

    /// How long the requester waited for responses when it sent the request.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Answers, from any thread.
    ///
    /// # Errors
    ///
    /// [`RespondError`]; the response was not sent.
    pub fn respond(&self, payload: &[u8]) -> Result<(), RespondError> {
        self.responder.respond(&self.reply, payload)
    }
}

impl fmt::Debug for OwnedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedRequest")
            .field("topic", &self.topic)
            .field("request_id", &self.reply.request)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}
