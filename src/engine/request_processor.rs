//! The request processor: tracks every sent request, and runs timeout callbacks and instance events
//! on its own thread. Layer: engine.
//!
//! The table of open requests is behind one lock that is held for a bounded time and never while
//! user code runs. Callers register, the responses poller looks up, this thread expires.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::callback::{self, CallbackThread};
use super::trouble::Trouble;
use crate::counters::{Counter, Counters};
use crate::id::{InstanceId, RequestId};
use crate::listener::{
    Event, InstanceListener, RequestControl, RequestOrigin, Response, ResponseListener,
    SentRequest, SpareRequests,
};
use crate::protocol::delivery::{Arrival, Loss, Sink};
use crate::request::{RegisterError, RequestTable};
use crate::time::{Clock, Timestamp};
use crate::wire::frame::{FrameKind, ResponsePrefix};

/// Requests that are expired under one hold of the lock.
const EXPIRY_BATCH: usize = 256;
/// From one expiry to the next, if the next is not late for other reasons: to wake the thread for each
/// tick of the wheel would cost more than thousands of requests per second do themselves.
const EXPIRY_PAUSE: Duration = Duration::from_micros(250);
/// Instance events that may wait; the oldest ones are forgotten first.
const MAX_EVENTS: usize = 16 * 1024;

/// All requests that this instance has open.
pub(crate) struct RequestProcessor {
    instance: InstanceId,
    state: Mutex<State>,
    changed: Condvar,
    spare: SpareRequests,
    counters: Arc<Counters>,
    clock: Clock,
}

struct State {
    table: RequestTable<SentRequest>,
    events: VecDeque<Event>,
    /// When the thread will look at the table by itself.
    wakes_at: Timestamp,
    /// It will not do so before this, whatever is due.
    rests_until: Timestamp,
    stopping: bool,
}

impl RequestProcessor {
    pub(crate) fn new(
        instance: InstanceId,
        max_open_requests: usize,
        counters: Arc<Counters>,
        clock: Clock,
    ) -> Self {
        Self {
            instance,
            state: Mutex::new(State {
                table: RequestTable::new(max_open_requests, clock.now()),
                events: VecDeque::new(),
                wakes_at: Timestamp::default(),
                rests_until: Timestamp::default(),
                stopping: false,
            }),
            changed: Condvar::new(),
            spare: SpareRequests::default(),
            counters,
            clock,
        }
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// What the operating system says when it gives no thread.
    pub(crate) fn start(
        self: &Arc<Self>,
        mut listener: Box<dyn InstanceListener>,
    ) -> io::Result<JoinHandle<()>> {
        let processor = Arc::clone(self);
        thread::Builder::new().name("vega-requests".to_owned()).spawn(move || {
            callback::adopt_thread(processor.instance, CallbackThread::RequestProcessor);
            processor.run(&mut *listener);
        })
    }

    /// What all requests on a topic refer to.
    pub(crate) fn origin(self: &Arc<Self>, topic: &Arc<str>) -> Arc<RequestOrigin> {
        let control = Arc::clone(self) as Arc<dyn RequestControl>;
        Arc::new(RequestOrigin { topic: Arc::clone(topic), control })
    }

    /// Tracks a new request; to be called before its frame leaves.
    ///
    /// # Errors
    ///
    /// [`RegisterError`].
    pub(crate) fn register(
        &self,
        origin: &Arc<RequestOrigin>,
        timeout: Duration,
        listener: impl ResponseListener,
    ) -> Result<SentRequest, RegisterError> {
        self.track(SentRequest::new(origin, listener), timeout)
    }

    fn track(&self, request: SentRequest, timeout: Duration) -> Result<SentRequest, RegisterError> {
        let now = self.clock.now();
        // What is refused is dropped after the lock: with it goes its listener, which is user code.
        let mut request = Some(request);
        let mut state = self.state.lock();
        let (_, request) = state.table.register(now, timeout, |id| {
            let request = request.take().expect("called once");
            request.open(id, now + timeout);
            request
        })?;
        self.count_open(&state);
        self.wake_for(&state, now + timeout);
        Ok(request)
    }

    /// Has an instance event delivered.
    pub(crate) fn tell(&self, event: Event) {
        let mut state = self.state.lock();
        if state.events.len() >= MAX_EVENTS {
            state.events.pop_front();
            self.counters.add(Counter::EventsDropped, 1);
        }
        state.events.push_back(event);
        self.changed.notify_one();
    }

    /// Ends all requests without callbacks, and the thread.
    pub(crate) fn stop(&self) {
        let mut open = Vec::new();
        {
            let mut state = self.state.lock();
            state.stopping = true;
            state.table.drain(&mut open);
            self.count_open(&state);
            self.changed.notify_one();
        }
        for request in open {
            request.close();
            let topic = Arc::clone(request.topic_arc());
            callback::discard(&self.counters, &topic, request);
        }
    }

    /// What response frames of `responder` are delivered to.
    pub(super) fn sink(&self, responder: InstanceId) -> ResponseSink<'_> {
        ResponseSink { processor: self, responder }
    }

    /// With the lock of the state in hand, which makes its holder the only writer.
    fn count_open(&self, state: &State) {
        self.counters.set(Counter::OpenRequests, state.table.len() as u64);
    }

    fn wake_for(&self, state: &State, deadline: Timestamp) {
        if deadline.max(state.rests_until) < state.wakes_at {
            self.changed.notify_one();
        }
    }

    fn run(&self, listener: &mut dyn InstanceListener) {
        let mut expired = Vec::with_capacity(EXPIRY_BATCH);
        let mut timeouts = Timeouts { told: 0, topic: "".into() };
        let mut trouble = Trouble::new(self.clock.now());
        let mut state = self.state.lock();
        while !state.stopping {
            let now = self.clock.now();
            if trouble.is_due(now) {
                drop(state);
                trouble.tell(now, &self.counters, |counter, increase| {
                    let listener = &mut *listener;
                    callback::run(&self.counters, "instance listener", "", move || {
                        listener.on_trouble(counter, increase);
                    });
                });
                state = self.state.lock();
                continue;
            }
            let more = state.table.expire(now, EXPIRY_BATCH, &mut expired);
            self.count_open(&state);
            let event = state.events.pop_front();
            if expired.is_empty() && event.is_none() && !more {
                let deadline = state.table.next_deadline().unwrap_or(Timestamp::NEVER);
                let deadline = deadline.max(state.rests_until).min(trouble.next_deadline());
                state.wakes_at = deadline;
                let wait = deadline.since(now);
                self.changed.wait_for(&mut state, wait);
                state.wakes_at = Timestamp::default();
                continue;
            }
            if !expired.is_empty() {
                state.rests_until = now + EXPIRY_PAUSE;
            }
            drop(state);
            SentRequest::fetch(&expired);
            for request in expired.drain(..) {
                self.expire(request, &mut timeouts);
            }
            if let Some(event) = event {
                let listener = &mut *listener;
                // With the event goes what it holds, which can be a listener.
                callback::run(&self.counters, "instance listener", "", move || {
                    event.tell(listener);
                });
            }
            state = self.state.lock();
        }
    }

    fn expire(&self, request: SentRequest, timeouts: &mut Timeouts) {
        let Timeouts { told, topic } = timeouts;
        if !Arc::ptr_eq(topic, request.topic_arc()) {
            topic.clone_from(request.topic_arc());
        }
        callback::run(&self.counters, "on_timeout", topic, || {
            if request.handle_timeout() {
                *told += 1;
                self.counters.set(Counter::RequestTimeouts, *told);
            }
        });
        callback::discard(&self.counters, topic, request);
    }
}

/// What the thread keeps between timeouts.
struct Timeouts {
    /// How many there have been: this thread alone counts them.
    told: u64,
    /// Of the last one, to be named when a callback panics. Most timeouts in a row are of one topic.
    topic: Arc<str>,
}

impl RequestControl for RequestProcessor {
    fn reset(&self, id: RequestId, timeout: Duration) -> Option<Timestamp> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if !state.table.reset(id, now, timeout) {
            return None;
        }
        self.wake_for(&state, now + timeout);
        Some(now + timeout)
    }

    fn forget(&self, id: RequestId) {
        let forgotten = {
            let mut state = self.state.lock();
            let forgotten = state.table.remove(id);
            self.count_open(&state);
            forgotten
        };
        // Dropped here, after the lock: the listener's drop is user code.
        drop(forgotten);
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn spare(&self) -> &SpareRequests {
        &self.spare
    }
}

/// Hands responses to the requests that they answer.
pub(super) struct ResponseSink<'a> {
    processor: &'a RequestProcessor,
    responder: InstanceId,
}

impl Sink for ResponseSink<'_> {
    fn deliver(&mut self, arrival: Arrival<'_>) {
        let counters = &self.processor.counters;
        if arrival.kind != FrameKind::Response {
            counters.add(Counter::Foreign, 1);
            return;
        }
        let Ok((prefix, payload)) = ResponsePrefix::decode(arrival.body) else {
            counters.add(Counter::Malformed, 1);
            return;
        };
        let request = if prefix.requester == self.processor.instance {
            self.processor.state.lock().table.get(prefix.request).cloned()
        } else {
            None
        };
        let Some(request) = request else {
            counters.add(Counter::ResponsesUnmatched, 1);
            return;
        };
        let response = Response {
            topic: request.topic_arc(),
            request: prefix.request,
            responder: self.responder,
            payload,
        };
        let mut delivered = true;
        callback::run(counters, "on_response", request.topic(), || {
            delivered = request.handle_response(&response);
        });
        let counter =
            if delivered { Counter::ResponsesReceived } else { Counter::ResponsesUnmatched };
        counters.add(counter, 1);
        if request.is_closed() {
            // This may be the last handle.
            let topic = Arc::clone(request.topic_arc());
            callback::discard(counters, &topic, request);
        }
    }

    fn lost(&mut self, loss: Loss) {
        self.processor.counters.add(Counter::MessagesLost, loss.messages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener that blocks costs events, and not memory without end.
    #[test]
    fn events_that_nobody_takes_are_forgotten_and_counted() {
        let counters = Arc::new(Counters::new());
        let instance = InstanceId::random();
        let processor = RequestProcessor::new(instance, 1, Arc::clone(&counters), Clock::start());
        for _ in 0..MAX_EVENTS + 3 {
            processor.tell(Event::DaemonUp("daemon".into()));
        }
        assert_eq!(processor.state.lock().events.len(), MAX_EVENTS);
        assert_eq!(counters.get(Counter::EventsDropped), 3);
    }
}
