//! The handle of a subscription. Layer: instance.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;

use super::SubscribeError;
use crate::config::Transport;
use crate::engine::{Engine, Subscribed};
use crate::id::InstanceId;
use crate::listener::ListenerHandle;

/// Keeps a listener subscribed to its topic. Made by
/// [`Instance::subscribe`](crate::Instance::subscribe).
///
/// Dropping it ends the subscription without waiting for a callback in flight.
#[must_use = "the subscription ends when this is dropped"]
pub struct Subscription {
    engine: Arc<Engine>,
    subscribed: Subscribed,
    ended: bool,
}

impl Subscription {
    pub(super) fn open(
        engine: Arc<Engine>,
        topic: &str,
        listener: ListenerHandle,
    ) -> Result<Self, SubscribeError> {
        let subscribed = engine.subscribe(topic, listener)?;
        Ok(Self { engine, subscribed, ended: false })
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.subscribed.topic
    }

    /// What carries the topic.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.subscribed.transport
    }

    /// Where the topic's data arrives: the group for multicast, this instance's own socket for
    /// unicast. `None` for shared memory.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.subscribed.locator.map(|locator| locator.address)
    }

    /// How many instances are known to publish the topic.
    #[must_use]
    pub fn publishers(&self) -> usize {
        self.subscribed.matches.count()
    }

    /// The instances that are known to publish the topic.
    #[must_use]
    pub fn publisher_instances(&self) -> Vec<InstanceId> {
        self.subscribed.matches.all()
    }

    /// Waits until at least `count` instances are known to publish the topic. False when the time
    /// is over first.
    #[must_use = "false means that they are not there"]
    pub fn wait_for_publishers(&self, count: usize, timeout: Duration) -> bool {
        if let Some(joined) = &self.subscribed.joined
            && joined.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout)
        {
            return false;
        }
        self.subscribed.matches.wait_for(count, timeout)
    }

    /// Ends the subscription. When this returns, the listener is not called any more.
    ///
    /// # Threads
    ///
    /// From a callback of the same instance it does not wait: a call of this listener that has
    /// begun on another poller may still be running.
    pub fn unsubscribe(mut self) {
        self.end(true);
    }

    fn end(&mut self, wait: bool) {
        if !std::mem::replace(&mut self.ended, true) {
            self.engine.unsubscribe(&self.subscribed, wait);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topic", &self.subscribed.topic)
            .field("transport", &self.subscribed.transport)
            .finish_non_exhaustive()
    }
}
