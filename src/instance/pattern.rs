//! The handle of a pattern subscription. Layer: instance.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::SubscribePatternError;
use crate::config::TopicPattern;
use crate::engine::Engine;
use crate::engine::patterns::PatternSubscribed;
use crate::listener::ListenerHandle;

/// Keeps a listener subscribed to all topics that match a pattern. Made by
/// [`Instance::subscribe_pattern`](crate::Instance::subscribe_pattern).
///
/// Dropping it ends the subscription without waiting for a callback in flight.
#[must_use = "the subscription ends when this is dropped"]
pub struct PatternSubscription {
    engine: Arc<Engine>,
    subscribed: Arc<PatternSubscribed>,
    ended: bool,
}

impl PatternSubscription {
    pub(super) fn open(
        engine: Arc<Engine>,
        pattern: TopicPattern,
        listener: ListenerHandle,
    ) -> Result<Self, SubscribePatternError> {
        let text = pattern.as_str().to_owned();
        let subscribed = engine
            .subscribe_pattern(pattern, listener)
            .map_err(|error| SubscribePatternError::new(text, error))?;
        Ok(Self { engine, subscribed, ended: false })
    }

    /// The pattern.
    #[must_use]
    pub fn pattern(&self) -> &TopicPattern {
        &self.subscribed.pattern
    }

    /// The topics that match and are listened to now, in no particular order.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        self.subscribed.topics.all().iter().map(ToString::to_string).collect()
    }

    /// Waits until at least `count` topics are listened to. False when the time is over first.
    #[must_use = "false means that they are not there"]
    pub fn wait_for_topics(&self, count: usize, timeout: Duration) -> bool {
        self.subscribed.topics.wait_for(count, timeout)
    }

    /// Ends the subscription. When this returns, the listener is not called for it any more.
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
            self.engine.unsubscribe_pattern(&self.subscribed, wait);
        }
    }
}

impl Drop for PatternSubscription {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl fmt::Debug for PatternSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatternSubscription")
            .field("pattern", self.pattern())
            .field("topics", &self.subscribed.topics.count())
            .finish_non_exhaustive()
    }
}
