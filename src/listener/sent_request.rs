//! The handle of a request that was sent. Layer: listener. Shared by the caller, the responses
//! poller and the request processor; its state is one atomic, so that it ends exactly once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::{Response, ResponseListener, SendStatus};
use crate::id::RequestId;
use crate::time::Timestamp;

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const EXPIRED: u8 = 2;

/// What a request asks of the engine that tracks it.
pub(crate) trait RequestControl: Send + Sync {
    /// Expiry becomes now + `timeout`; returns when that is. `None` when the request is not tracked
    /// any more.
    fn reset(&self, id: RequestId, timeout: Duration) -> Option<Timestamp>;
    /// Stops tracking.
    fn forget(&self, id: RequestId);
    /// The time that deadlines are compared with.
    fn now(&self) -> Timestamp;
}

/// A request that was sent, open until it expires or is closed. Cloning gives another handle to
/// the same request; dropping handles does not close it.
#[derive(Clone)]
pub struct SentRequest {
    shared: Arc<Shared>,
}

struct Shared {
    id: RequestId,
    topic: Arc<str>,
    state: AtomicU8,
    /// Set once the send returned: whether subscribers were known.
    lonely: AtomicU8,
    responses: AtomicU64,
    /// Nanoseconds of the [`Timestamp`] at which it expires.
    deadline: AtomicU64,
    control: Arc<dyn RequestControl>,
    listener: Box<dyn ResponseListener>,
}

impl SentRequest {
    pub(crate) fn new(
        id: RequestId,
        topic: Arc<str>,
        deadline: Timestamp,
        control: Arc<dyn RequestControl>,
        listener: Box<dyn ResponseListener>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                id,
                topic,
                state: AtomicU8::new(OPEN),
                lonely: AtomicU8::new(0),
                responses: AtomicU64::new(0),
                deadline: AtomicU64::new(deadline.as_nanos()),
                control,
                listener,
            }),
        }
    }

    /// What became of the send.
    #[must_use]
    pub fn send_status(&self) -> SendStatus {
        if self.shared.lonely.load(Ordering::Relaxed) == 0 {
            SendStatus::Sent
        } else {
            SendStatus::NoSubscribers
        }
    }

    pub(crate) fn set_send_status(&self, status: SendStatus) {
        let lonely = u8::from(status == SendStatus::NoSubscribers);
        self.shared.lonely.store(lonely, Ordering::Relaxed);
    }

    /// Identity of the request; responses carry it.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.shared.id
    }

    /// The topic it was sent on.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.shared.topic
    }

    pub(crate) fn topic_arc(&self) -> &Arc<str> {
        &self.shared.topic
    }

    /// Whether its time ran out before it was closed.
    #[must_use]
    pub fn has_expired(&self) -> bool {
        match self.shared.state.load(Ordering::Acquire) {
            EXPIRED => true,
            OPEN => {
                let now = self.shared.control.now();
                self.shared.deadline.load(Ordering::Relaxed) <= now.as_nanos()
            }
            _ => false,
        }
    }

    /// Gives the request more, or less, time: it expires `timeout` from now. A timeout of zero lets
    /// it expire at once. Returns whether that had an effect; it has none once the request ended.
    pub fn reset_expiration(&self, timeout: Duration) -> bool {
        if self.is_closed() {
            return false;
        }
        let Some(deadline) = self.shared.control.reset(self.shared.id, timeout) else {
            return false;
        };
        self.shared.deadline.store(deadline.as_nanos(), Ordering::Relaxed);
        true
    }

    /// Ends the request: no further responses, no timeout. Returns whether this call ended it;
    /// `false` means that it had expired or been closed before.
    pub fn close(&self) -> bool {
        let ended = self.end(CLOSED);
        if ended {
            self.shared.control.forget(self.shared.id);
        }
        ended
    }

    /// Whether the request ended, by closing or by expiry.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.state.load(Ordering::Acquire) != OPEN
    }

    /// Responses received so far.
    #[must_use]
    pub fn number_of_responses(&self) -> u64 {
        self.shared.responses.load(Ordering::Acquire)
    }

    /// Counts a response, and hands it to the listener. False when the request had ended.
    pub(crate) fn handle_response(&self, response: &Response<'_>) -> bool {
        if self.is_closed() {
            return false;
        }
        // Release: pairs with the Acquire in `number_of_responses`.
        self.shared.responses.fetch_add(1, Ordering::Release);
        self.shared.listener.on_response(self, response);
        true
    }

    /// Ends the request by expiry, and tells the listener. False when it had ended before.
    pub(crate) fn handle_timeout(&self) -> bool {
        if !self.end(EXPIRED) {
            return false;
        }
        self.shared.listener.on_timeout(self);
        true
    }

    /// The one transition: whoever wins it decides how the request ended.
    fn end(&self, how: u8) -> bool {
        let state = &self.shared.state;
        state.compare_exchange(OPEN, how, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl fmt::Debug for SentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentRequest")
            .field("id", &self.shared.id)
            .field("topic", &self.shared.topic)
            .field("closed", &self.is_closed())
            .field("responses", &self.number_of_responses())
            .finish_non_exhaustive()
    }
}
