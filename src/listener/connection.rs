//! Heartbeats as publishers' users see them: which subscribers answer. Layer: listener.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;

use crate::id::InstanceId;

/// Faster would be a load, slower is what discovery does anyway.
const RATE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
/// Shorter than a round trip of a local network under load is no time to answer.
const MIN_TIMEOUT: Duration = Duration::from_millis(5);
const MAX_MISSED: RangeInclusive<u32> = 1..=1000;

/// How often a publisher asks its subscribers whether they are there, and when silence is absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatParameters {
    /// Time from one heartbeat to the next: 10 ms to an hour. Default: 1 s.
    pub rate: Duration,
    /// Time to answer a heartbeat: 5 ms to `rate`. Within it, whoever is silent is asked four
    /// times, so that lost datagrams do not count. Default: 1 s.
    pub timeout: Duration,
    /// So many heartbeats in a row without an answer make a subscriber count as disconnected: 1 to
    /// 1000. Default: 3.
    pub max_missed: u32,
}

impl Default for HeartbeatParameters {
    fn default() -> Self {
        Self { rate: Duration::from_secs(1), timeout: Duration::from_secs(1), max_missed: 3 }
    }
}

impl HeartbeatParameters {
    pub(crate) fn check(&self) -> Result<(), HeartbeatError> {
        let Self { rate, timeout, max_missed } = *self;
        if !RATE.contains(&rate) {
            return Err(HeartbeatError::Rate { rate, least: *RATE.start(), most: *RATE.end() });
        }
        if timeout < MIN_TIMEOUT || timeout > rate {
            return Err(HeartbeatError::Timeout { timeout, least: MIN_TIMEOUT, most: rate });
        }
        if !MAX_MISSED.contains(&max_missed) {
            let (least, most) = (*MAX_MISSED.start(), *MAX_MISSED.end());
            return Err(HeartbeatError::MaxMissed { max_missed, least, most });
        }
        Ok(())
    }
}

/// Why heartbeats were not activated. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeartbeatError {
    /// The rate is out of range.
    #[error("a heartbeat rate of {rate:?} is out of range (allowed: {least:?} to {most:?})")]
    Rate {
        /// What was asked for.
        rate: Duration,
        /// The shortest.
        least: Duration,
        /// The longest.
        most: Duration,
    },
    /// The timeout is out of range.
    #[error(
        "a heartbeat timeout of {timeout:?} is out of range (allowed: {least:?} to the rate, {most:?})"
    )]
    Timeout {
        /// What was asked for.
        timeout: Duration,
        /// The shortest.
        least: Duration,
        /// The longest: the rate.
        most: Duration,
    },
    /// The number of missed heartbeats is out of range.
    #[error("{max_missed} missed heartbeats are out of range (allowed: {least} to {most})")]
    MaxMissed {
        /// What was asked for.
        max_missed: u32,
        /// The fewest.
        least: u32,
        /// The most.
        most: u32,
    },
    /// The instance was closed.
    #[error("the instance is closed")]
    Closed,
}

/// Why a subscriber counts as disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// It has not answered for as many heartbeats as it may miss.
    Silent,
    /// It has unsubscribed or said goodbye, discovery has taken it for gone, or, on shared memory,
    /// its process has died.
    Left,
}

/// Hears which subscribers of a publisher answer its heartbeats.
///
/// # Threads
///
/// Called on the request processor's thread, one call at a time. Do not block: request timeouts
/// wait. A panic is caught, counted and reported, and the next event is told.
pub trait ConnectionListener: Send + 'static {
    /// An instance that subscribes to the topic has answered: for the first time, or again after it
    /// was disconnected.
    fn on_connected(&mut self, topic: &str, subscriber: InstanceId) {
        let _ = (topic, subscriber);
    }

    /// A subscriber that was connected does not answer any more, or has left.
    fn on_disconnected(&mut self, topic: &str, subscriber: InstanceId, reason: DisconnectReason) {
        let _ = (topic, subscriber, reason);
    }
}

/// Hears nothing: for who asks [`Publisher::connected_subscribers`](crate::Publisher::connected_subscribers).
impl ConnectionListener for () {}

/// A listener, until heartbeats are deactivated or another one takes its place.
pub(crate) struct ConnectionSink {
    topic: Arc<str>,
    listener: Mutex<Box<dyn ConnectionListener>>,
    closed: AtomicBool,
}

impl ConnectionSink {
    pub(crate) fn new(topic: Arc<str>, listener: Box<dyn ConnectionListener>) -> Self {
        Self { topic, listener: Mutex::new(listener), closed: AtomicBool::new(false) }
    }

    /// Nothing that has not begun is told any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Only the request processor calls this: the lock is never waited for.
    pub(super) fn tell(&self, subscriber: InstanceId, disconnected: Option<DisconnectReason>) {
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        let mut listener = self.listener.lock();
        match disconnected {
            None => listener.on_connected(&self.topic, subscriber),
            Some(reason) => listener.on_disconnected(&self.topic, subscriber, reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_ranges_and_the_default_is_within() {
        let fine = HeartbeatParameters::default();
        assert_eq!(fine.check(), Ok(()));
        let millis = Duration::from_millis;
        for (parameters, message) in [
            (
                HeartbeatParameters { rate: millis(9), ..fine },
                "a heartbeat rate of 9ms is out of range (allowed: 10ms to 3600s)",
            ),
            (
                HeartbeatParameters { timeout: millis(1001), ..fine },
                "a heartbeat timeout of 1.001s is out of range (allowed: 5ms to the rate, 1s)",
            ),
            (
                HeartbeatParameters { timeout: Duration::ZERO, ..fine },
                "a heartbeat timeout of 0ns is out of range (allowed: 5ms to the rate, 1s)",
            ),
            (
                HeartbeatParameters { max_missed: 0, ..fine },
                "0 missed heartbeats are out of range (allowed: 1 to 1000)",
            ),
        ] {
            assert_eq!(parameters.check().unwrap_err().to_string(), message);
        }
    }
}
