//! The handle of a request that was sent. Layer: listener. Shared by the caller, the responses
//! poller and the request processor; its state is one atomic, so that it ends exactly once.
//!
//! A request is one piece of memory, its listener included, and as little of it as there can be: of a
//! million open requests each is in nobody's cache, and every piece is waited for.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Response, ResponseListener, SendStatus};
use crate::id::RequestId;
use crate::time::Timestamp;

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const EXPIRED: u8 = 2;

/// Requests whose memory is kept: half a megabyte at most.
const MAX_SPARE: usize = 4096;
/// Bytes of a request whose memory is kept: one with a larger listener goes back to the allocator.
const MAX_SPARE_BYTES: usize = 128;
/// How many are looked at to find one with a listener of the same type that nobody is about to let go
/// of.
const MAX_TRIES: usize = 4;

/// What a request asks of the engine that tracks it.
pub(crate) trait RequestControl: Send + Sync {
    /// Expiry becomes now + `timeout`; returns when that is. `None` when the request is not tracked
    /// any more.
    fn reset(&self, id: RequestId, timeout: Duration) -> Option<Timestamp>;
    /// Stops tracking.
    fn forget(&self, id: RequestId);
    /// The time that deadlines are compared with.
    fn now(&self) -> Timestamp;
    /// Memory for requests.
    fn spare(&self) -> &SpareRequests;
}

/// What the requests of a publisher have in common.
pub(crate) struct RequestOrigin {
    pub(crate) topic: Arc<str>,
    pub(crate) control: Arc<dyn RequestControl>,
}

/// The memory of requests that are over, for those that come: in steady state a request takes none
/// from the allocator, unless its listener is large.
#[derive(Default)]
pub(crate) struct SpareRequests {
    kept: Mutex<VecDeque<Arc<Shared<dyn Held>>>>,
    /// How many these are; a hint for those who do not hold the lock.
    count: AtomicUsize,
}

impl SpareRequests {
    fn put(&self, shared: &Arc<Shared<dyn Held>>) {
        if self.count.load(Ordering::Relaxed) >= MAX_SPARE
            || size_of_val(&**shared) > MAX_SPARE_BYTES
        {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.len() < MAX_SPARE {
            kept.push_back(Arc::clone(shared));
            self.count.store(kept.len(), Ordering::Relaxed);
        }
    }

    /// Puts the listener into the memory that was put first: whoever put it has let go of it by now. If
    /// not, or if it was made for listeners of another type, into another one.
    fn take<L: ResponseListener>(&self, listener: &mut Option<L>) -> Option<Arc<Shared<dyn Held>>> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut kept = self.kept.lock();
        for _ in 0..MAX_TRIES {
            let mut memory = kept.pop_front()?;
            let place = Arc::get_mut(&mut memory)
                .and_then(|shared| (&mut shared.listener as &mut dyn Any).downcast_mut());
            if let Some(place) = place {
                *place = listener.take();
                self.count.store(kept.len(), Ordering::Relaxed);
                return Some(memory);
            }
            kept.push_back(memory);
        }
        None
    }
}

/// A request that was sent, open until it expires or is closed. Cloning gives another handle to
/// the same request; dropping handles does not close it.
#[derive(Clone)]
pub struct SentRequest {
    shared: Arc<Shared<dyn Held>>,
}

struct Shared<L: ?Sized> {
    /// Set before anybody else sees the request.
    id: AtomicU64,
    state: AtomicU8,
    /// Set once the send returned: whether subscribers were known.
    lonely: AtomicU8,
    responses: AtomicU64,
    /// Nanoseconds of the [`Timestamp`] at which it expires.
    deadline: AtomicU64,
    /// `None` once there is no handle any more, and only then.
    origin: Option<Arc<RequestOrigin>>,
    /// The same.
    listener: L,
}

/// A listener, or the place of one.
trait Held: Any + Send + Sync {
    fn listener(&self) -> Option<&dyn ResponseListener>;
    /// Drops the listener: user code.
    fn release(&mut self);
}

impl<L: ResponseListener> Held for Option<L> {
    fn listener(&self) -> Option<&dyn ResponseListener> {
        self.as_ref().map(|listener| listener as _)
    }

    fn release(&mut self) {
        drop(self.take());
    }
}

impl SentRequest {
    /// A request that is not tracked yet: it gets its id and deadline by [`SentRequest::open`].
    pub(crate) fn new(origin: &Arc<RequestOrigin>, listener: impl ResponseListener) -> Self {
        let mut listener = Some(listener);
        let mut shared = origin.control.spare().take(&mut listener).unwrap_or_else(|| {
            Arc::new(Shared {
                id: AtomicU64::new(0),
                state: AtomicU8::new(OPEN),
                lonely: AtomicU8::new(0),
                responses: AtomicU64::new(0),
                deadline: AtomicU64::new(0),
                origin: None,
                listener: listener.take(),
            })
        });
        if let Some(shared) = Arc::get_mut(&mut shared) {
            shared.state = AtomicU8::new(OPEN);
            shared.responses = AtomicU64::new(0);
            shared.origin = Some(Arc::clone(origin));
        }
        Self { shared }
    }

    /// To be called once, before the request can be found by anybody.
    pub(crate) fn open(&self, id: RequestId, deadline: Timestamp) {
        self.shared.id.store(id.0, Ordering::Relaxed);
        self.shared.deadline.store(deadline.as_nanos(), Ordering::Relaxed);
    }

    /// Brings requests close to the processor. Those that were sent long ago are in nobody's cache: one
    /// after the other each would be waited for, looks that do not depend on each other overlap.
    pub(crate) fn fetch(requests: &[Self]) {
        black_box(requests.iter().fold(0, |seen, Self { shared }| {
            // Both ends of it: that can be two cache lines.
            seen ^ Arc::strong_count(shared) ^ usize::from(shared.listener.listener().is_some())
        }));
    }

    fn origin(&self) -> &RequestOrigin {
        // Only dropping the last handle takes it away.
        self.shared.origin.as_ref().expect("there is a handle: this one")
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
        RequestId(self.shared.id.load(Ordering::Relaxed))
    }

    /// The topic it was sent on.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.origin().topic
    }

    pub(crate) fn topic_arc(&self) -> &Arc<str> {
        &self.origin().topic
    }

    /// Whether its time ran out before it was closed.
    #[must_use]
    pub fn has_expired(&self) -> bool {
        match self.shared.state.load(Ordering::Acquire) {
            EXPIRED => true,
            OPEN => {
                let now = self.origin().control.now();
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
        let Some(deadline) = self.origin().control.reset(self.request_id(), timeout) else {
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
            self.origin().control.forget(self.request_id());
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
        if let Some(listener) = self.shared.listener.listener() {
            listener.on_response(self, response);
        }
        true
    }

    /// Ends the request by expiry, and tells the listener. False when it had ended before.
    pub(crate) fn handle_timeout(&self) -> bool {
        if !self.end(EXPIRED) {
            return false;
        }
        if let Some(listener) = self.shared.listener.listener() {
            listener.on_timeout(self);
        }
        true
    }

    /// The one transition: whoever wins it decides how the request ended.
    fn end(&self, how: u8) -> bool {
        let state = &self.shared.state;
        state.compare_exchange(OPEN, how, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Drop for SentRequest {
    /// The last handle lets go of everything else, and leaves its memory to another request. When two
    /// handles are dropped at the same moment, each may take the other for the last; then the memory is
    /// given back to the allocator, and nothing else is different.
    fn drop(&mut self) {
        // Looked at first, because it costs nothing.
        if Arc::strong_count(&self.shared) > 1 {
            return;
        }
        let Some(shared) = Arc::get_mut(&mut self.shared) else { return };
        let Some(origin) = shared.origin.take() else { return };
        shared.listener.release();
        origin.control.spare().put(&self.shared);
    }
}

impl fmt::Debug for SentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentRequest")
            .field("id", &self.request_id())
            .field("topic", &self.origin().topic)
            .field("closed", &self.is_closed())
            .field("responses", &self.number_of_responses())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Control(SpareRequests);

    impl RequestControl for Control {
        fn reset(&self, _: RequestId, _: Duration) -> Option<Timestamp> {
            None
        }

        fn forget(&self, _: RequestId) {}

        fn now(&self) -> Timestamp {
            Timestamp::default()
        }

        fn spare(&self) -> &SpareRequests {
            &self.0
        }
    }

    fn request(control: &Arc<Control>, id: u64, witness: &Arc<()>) -> SentRequest {
        let witness = Arc::clone(witness);
        let listener = move |_: &SentRequest, _: &Response<'_>| drop(Arc::clone(&witness));
        let control = Arc::clone(control) as Arc<dyn RequestControl>;
        let origin = Arc::new(RequestOrigin { topic: "t".into(), control });
        let request = SentRequest::new(&origin, listener);
        request.open(RequestId(id), Timestamp::NEVER);
        request
    }

    #[test]
    fn the_memory_of_a_request_serves_the_next_one_and_nothing_else_stays() {
        let (control, witness) = (Arc::new(Control::default()), Arc::new(()));
        let first = request(&control, 1, &witness);
        let place = Arc::as_ptr(&first.shared);
        assert!(first.close());
        let other_handle = first.clone();
        drop(first);
        assert_ne!(Arc::as_ptr(&request(&control, 2, &witness).shared), place, "it has a handle");
        drop(other_handle);
        assert_eq!(Arc::strong_count(&witness), 1, "listeners end with the last handle");
        assert_eq!(Arc::strong_count(&control), 1, "what is spare holds on to nobody");
        let [second, third] = [3, 4].map(|id| request(&control, id, &witness));
        assert!([&second, &third].map(|it| Arc::as_ptr(&it.shared)).contains(&place));
        assert!(!second.is_closed() && !third.is_closed());
        assert_eq!((second.request_id(), third.request_id()), (RequestId(3), RequestId(4)));
    }

    #[test]
    fn memory_that_somebody_is_about_to_let_go_of_is_left_to_him() {
        let (control, witness) = (Arc::new(Control::default()), Arc::new(()));
        drop([1, 2].map(|id| request(&control, id, &witness)));
        let held = Arc::clone(&control.0.kept.lock()[0]);
        let next = request(&control, 3, &witness);
        assert!(!Arc::ptr_eq(&next.shared, &held));
        assert_eq!(control.0.kept.lock().len(), 1, "the other one was taken");
        drop(request(&control, 4, &witness));
    }

    #[test]
    fn memory_serves_listeners_of_its_own_type_only() {
        let (control, witness) = (Arc::new(Control::default()), Arc::new(()));
        drop(request(&control, 1, &witness));
        let origin =
            Arc::new(RequestOrigin { topic: "t".into(), control: Arc::clone(&control) as _ });
        let other = SentRequest::new(&origin, ());
        assert_eq!(control.0.kept.lock().len(), 1);
        assert_eq!(other.number_of_responses(), 0);
        drop(other);
        assert_eq!(control.0.kept.lock().len(), 2);
        drop([SentRequest::new(&origin, ()), request(&control, 2, &witness)]);
        assert_eq!(control.0.kept.lock().len(), 2, "both were used again");
    }

    #[test]
    fn the_memory_of_large_listeners_is_not_kept() {
        let control = Arc::new(Control::default());
        let origin =
            Arc::new(RequestOrigin { topic: "t".into(), control: Arc::clone(&control) as _ });
        let large = [0_u8; MAX_SPARE_BYTES];
        drop(SentRequest::new(&origin, move |_: &SentRequest, _: &Response<'_>| {
            black_box(large);
        }));
        assert_eq!(control.0.kept.lock().len(), 0);
    }

    #[test]
    fn a_request_ends_once_and_counts_until_then() {
        let (control, witness) = (Arc::new(Control::default()), Arc::new(()));
        let request = request(&control, 1, &witness);
        let topic = "t".into();
        let response = Response {
            topic: &topic,
            request: request.request_id(),
            responder: crate::id::InstanceId::from_bytes([1; 16]),
            payload: &[],
        };
        assert!(request.handle_response(&response) && request.handle_response(&response));
        request.set_send_status(SendStatus::NoSubscribers);
        assert!(!request.is_closed() && !request.has_expired());
        assert!(request.handle_timeout());
        assert!(request.is_closed() && request.has_expired());
        assert!(!request.close() && !request.handle_timeout());
        assert!(!request.handle_response(&response));
        assert_eq!(request.number_of_responses(), 2);
        assert_eq!(request.send_status(), SendStatus::NoSubscribers);
    }

    #[test]
    fn what_is_spare_is_bounded() {
        let (control, witness) = (Arc::new(Control::default()), Arc::new(()));
        let many = (0..MAX_SPARE as u64 + 10).map(|id| request(&control, id, &witness));
        drop(many.collect::<Vec<_>>());
        assert_eq!(control.0.kept.lock().len(), MAX_SPARE);
    }
}
