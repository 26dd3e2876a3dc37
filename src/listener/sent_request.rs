//! The handle of a request that was sent. Layer: listener. Shared by the caller, the responses
//! poller and the request processor; its state is one atomic, so that it ends exactly once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Response, ResponseListener, SendStatus};
use crate::id::RequestId;
use crate::time::Timestamp;

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const EXPIRED: u8 = 2;

/// Requests whose memory is kept: half a megabyte.
const MAX_SPARE: usize = 4096;
/// How many are looked at to find one that nobody is about to let go of.
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

/// The memory of requests that are over, for those that come: in steady state a request takes none
/// from the allocator, unless its listener does.
#[derive(Default)]
pub(crate) struct SpareRequests(Mutex<VecDeque<Arc<Shared>>>);

impl SpareRequests {
    fn put(&self, shared: Arc<Shared>) {
        let mut spare = self.0.lock();
        if spare.len() < MAX_SPARE {
            spare.push_back(shared);
        }
    }

    /// The one that was put first: whoever put it has let go of it by now. If not, another one.
    fn take(&self) -> Option<Arc<Shared>> {
        let mut spare = self.0.lock();
        for _ in 0..MAX_TRIES {
            let mut shared = spare.pop_front()?;
            if Arc::get_mut(&mut shared).is_some() {
                return Some(shared);
            }
            spare.push_back(shared);
        }
        None
    }
}

/// A request that was sent, open until it expires or is closed. Cloning gives another handle to
/// the same request; dropping handles does not close it.
#[derive(Clone)]
pub struct SentRequest {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    id: RequestId,
    state: AtomicU8,
    /// Set once the send returned: whether subscribers were known.
    lonely: AtomicU8,
    responses: AtomicU64,
    /// Nanoseconds of the [`Timestamp`] at which it expires.
    deadline: AtomicU64,
    /// `None` once there is no handle any more, and only then.
    ties: Option<Ties>,
}

/// What a request holds on to while there are handles to it.
struct Ties {
    topic: Arc<str>,
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
        let spare = control.spare().take();
        let shared = Shared {
            id,
            state: AtomicU8::new(OPEN),
            lonely: AtomicU8::new(0),
            responses: AtomicU64::new(0),
            deadline: AtomicU64::new(deadline.as_nanos()),
            ties: Some(Ties { topic, control, listener }),
        };
        let Some(mut memory) = spare else { return Self { shared: Arc::new(shared) } };
        match Arc::get_mut(&mut memory) {
            Some(place) => {
                *place = shared;
                Self { shared: memory }
            }
            None => Self { shared: Arc::new(shared) },
        }
    }

    /// Brings the state of requests close to the processor. Those that were sent long ago are in
    /// nobody's cache: one after the other each would be waited for, looks that do not depend on each
    /// other overlap.
    pub(crate) fn fetch(requests: &[Self]) {
        for Self { shared } in requests {
            let state = shared.state.load(Ordering::Relaxed);
            std::hint::black_box((state, shared.ties.is_some()));
        }
    }

    fn ties(&self) -> &Ties {
        // Only dropping the last handle takes them away.
        self.shared.ties.as_ref().expect("there is a handle: this one")
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
        &self.ties().topic
    }

    pub(crate) fn topic_arc(&self) -> &Arc<str> {
        &self.ties().topic
    }

    /// Whether its time ran out before it was closed.
    #[must_use]
    pub fn has_expired(&self) -> bool {
        match self.shared.state.load(Ordering::Acquire) {
            EXPIRED => true,
            OPEN => {
                let now = self.ties().control.now();
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
        let Some(deadline) = self.ties().control.reset(self.shared.id, timeout) else {
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
            self.ties().control.forget(self.shared.id);
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
        self.ties().listener.on_response(self, response);
        true
    }

    /// Ends the request by expiry, and tells the listener. False when it had ended before.
    pub(crate) fn handle_timeout(&self) -> bool {
        if !self.end(EXPIRED) {
            return false;
        }
        self.ties().listener.on_timeout(self);
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
        if let Some(Ties { control, listener, .. }) =
            Arc::get_mut(&mut self.shared).and_then(|shared| shared.ties.take())
        {
            control.spare().put(Arc::clone(&self.shared));
            // Last, because it is user code.
            drop(listener);
        }
    }
}

impl fmt::Debug for SentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentRequest")
            .field("id", &self.shared.id)
            .field("topic", &self.ties().topic)
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
        SentRequest::new(RequestId(id), "t".into(), Timestamp::NEVER, control, Box::new(listener))
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
        let held = Arc::clone(&control.0.0.lock()[0]);
        let next = request(&control, 3, &witness);
        assert!(!Arc::ptr_eq(&next.shared, &held));
        assert_eq!(control.0.0.lock().len(), 1, "the other one was taken");
        drop(request(&control, 4, &witness));
    }

    #[test]
    fn what_is_spare_is_bounded() {
        let (control, witness) = (Arc::new(Control::default()), Arc::new(()));
        let many = (0..MAX_SPARE as u64 + 10).map(|id| request(&control, id, &witness));
        drop(many.collect::<Vec<_>>());
        assert_eq!(control.0.0.lock().len(), MAX_SPARE);
    }
}
