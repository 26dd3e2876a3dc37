//! Who or what is matched, with a local publisher, a subscription or a pattern. Layer: engine.
//! Written by one thread, that of the conductor or of patterns, read and waited for by user threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::counters::Level;
use crate::id::InstanceId;

/// What is on the other side: the instances of one topic, or the topics of a pattern.
#[derive(Debug)]
pub(crate) struct Matches<T = InstanceId> {
    /// For the send path, which only wants to know whether there is anybody.
    count: AtomicUsize,
    matched: Mutex<Vec<T>>,
    changed: Condvar,
    counted: Option<Level>,
}

impl<T> Default for Matches<T> {
    fn default() -> Self {
        Self {
            count: AtomicUsize::new(0),
            matched: Mutex::default(),
            changed: Condvar::new(),
            counted: None,
        }
    }
}

impl<T: Clone + PartialEq> Matches<T> {
    /// Whose number is among the counters.
    pub(super) fn counted(level: Level) -> Self {
        Self { counted: Some(level), ..Self::default() }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.matched.lock().clone()
    }

    /// True when it was not matched before.
    pub(super) fn add(&self, new: T) -> bool {
        let mut matched = self.matched.lock();
        if matched.contains(&new) {
            return false;
        }
        matched.push(new);
        self.set_count(matched.len());
        true
    }

    /// True when it was matched.
    pub(super) fn remove(&self, old: &T) -> bool {
        let mut matched = self.matched.lock();
        let Some(at) = matched.iter().position(|known| known == old) else { return false };
        matched.swap_remove(at);
        self.set_count(matched.len());
        true
    }

    fn set_count(&self, count: usize) {
        // Release: pairs with the Acquire in `count`.
        self.count.store(count, Ordering::Release);
        if let Some(level) = &self.counted {
            level.set(count);
        }
        self.changed.notify_all();
    }

    /// Waits until at least `wanted` are matched. False when the time is over first.
    pub(crate) fn wait_for(&self, wanted: usize, timeout: Duration) -> bool {
        let deadline = deadline_after(timeout);
        let mut matched = self.matched.lock();
        while matched.len() < wanted {
            match deadline {
                Some(deadline) => {
                    if self.changed.wait_until(&mut matched, deadline).timed_out() {
                        return matched.len() >= wanted;
                    }
                }
                None => self.changed.wait(&mut matched),
            }
        }
        true
    }
}

impl Matches {
    pub(super) fn contains(&self, instance: InstanceId) -> bool {
        self.matched.lock().contains(&instance)
    }

    /// An instance that is matched and not `among` these.
    pub(super) fn other_than(&self, among: &[InstanceId]) -> Option<InstanceId> {
        self.matched.lock().iter().find(|instance| !among.contains(instance)).copied()
    }
}

#[expect(clippy::disallowed_methods, reason = "condition variables want the system's clock")]
fn deadline_after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
