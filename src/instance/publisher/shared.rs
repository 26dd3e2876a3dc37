//! A publisher behind a lock. Layer: instance. Any thread may use it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Publisher;
use crate::config::IdleKind;
use crate::engine::until_accepted;
use crate::id::{InstanceId, PublisherId};
use crate::instance::RequestError;
use crate::listener::{
    ConnectionListener, HeartbeatError, HeartbeatParameters, ResponseListener, SendError,
    SendStatus, SentRequest,
};
use crate::time::Clock;

/// Publishes one topic from several threads. Cloning gives another handle to the same publisher;
/// it is dropped with the last one.
#[derive(Clone)]
pub struct SharedPublisher {
    publisher: Arc<Mutex<Publisher>>,
    topic: Arc<str>,
    /// How it waits.
    waiting: (IdleKind, Clock),
}

impl SharedPublisher {
    pub(super) fn new(publisher: Publisher) -> Self {
        let topic = Arc::clone(&publisher.published.topic);
        let waiting = (publisher.published.idle, publisher.engine.clock);
        Self { publisher: Arc::new(Mutex::new(publisher)), topic, waiting }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its identity, as messages carry it.
    #[must_use]
    pub fn id(&self) -> PublisherId {
        self.publisher.lock().id()
    }

    /// How many instances are known to listen.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.publisher.lock().subscribers()
    }

    /// As [`Publisher::wait_for_subscribers`]; other threads may send meanwhile.
    #[must_use = "false means that they are not there"]
    pub fn wait_for_subscribers(&self, count: usize, timeout: Duration) -> bool {
        let matches = Arc::clone(&self.publisher.lock().published.matches);
        matches.wait_for(count, timeout)
    }

    /// As [`Publisher::send`].
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    pub fn send(&self, payload: &[u8]) -> Result<SendStatus, SendError> {
        self.publisher.lock().send(payload)
    }

    /// As [`Publisher::send_blocking`]; other threads may send while this one waits.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    ///
    /// # Blocking
    ///
    /// As [`Publisher::send_blocking`].
    pub fn send_blocking(
        &self,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<SendStatus, SendError> {
        // Another thread may be sending a message that is larger than the ring.
        let first = match self.publisher.try_lock() {
            Some(mut publisher) => publisher.send_at_once(payload),
            None => Err(SendError::BackPressured),
        };
        if first != Err(SendError::BackPressured) {
            return first;
        }
        let (idle, clock) = self.waiting;
        let until = clock.now() + timeout;
        until_accepted(idle, &clock, until, || {
            let publisher = self.publisher.try_lock_for(until.since(clock.now()));
            publisher.ok_or(SendError::BackPressured)?.send_until(payload, until)
        })
    }

    /// As [`Publisher::request`].
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was sent.
    pub fn request(
        &self,
        payload: &[u8],
        timeout: Duration,
        listener: impl ResponseListener,
    ) -> Result<SentRequest, RequestError> {
        self.publisher.lock().request(payload, timeout, listener)
    }

    /// As [`Publisher::activate_heartbeats`].
    ///
    /// # Errors
    ///
    /// [`HeartbeatError`]; nothing has changed.
    pub fn activate_heartbeats(
        &self,
        listener: impl ConnectionListener,
        parameters: HeartbeatParameters,
    ) -> Result<(), HeartbeatError> {
        self.publisher.lock().activate_heartbeats(listener, parameters)
    }

    /// As [`Publisher::deactivate_heartbeats`].
    pub fn deactivate_heartbeats(&self) {
        self.publisher.lock().deactivate_heartbeats();
    }

    /// As [`Publisher::has_heartbeats`].
    #[must_use]
    pub fn has_heartbeats(&self) -> bool {
        self.publisher.lock().has_heartbeats()
    }

    /// As [`Publisher::connected_subscribers`].
    #[must_use]
    pub fn connected_subscribers(&self) -> Vec<InstanceId> {
        self.publisher.lock().connected_subscribers()
    }

    /// As [`Publisher::flush`].
    ///
    /// # Errors
    ///
    /// [`SendError::BackPressured`]; the rest follows by itself.
    pub fn flush(&self) -> Result<(), SendError> {
        self.publisher.lock().flush()
    }
}

impl fmt::Debug for SharedPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPublisher").field("topic", &self.topic).finish_non_exhaustive()
    }
}
