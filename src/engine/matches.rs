//! Who is matched with a local publisher or subscription. Layer: engine. Written by the conductor,
//! read and waited for by user threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::counters::Level;
use crate::id::InstanceId;

/// The instances on the other side of one topic.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    /// For the send path, which only wants to know whether there is anybody.
    count: AtomicUsize,
    instances: Mutex<Vec<InstanceId>>,
    changed: Condvar,
    counted: Option<Level>,
}

impl Matches {
    /// Whose number is among the counters.
    pub(super) fn counted(level: Level) -> Self {
        Self { counted: Some(level), ..Self::default() }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn instances(&self) -> Vec<InstanceId> {
        self.instances.lock().clone()
    }

    pub(super) fn contains(&self, instance: InstanceId) -> bool {
        self.instances.lock().contains(&instance)
    }

    /// An instance that is matched and not `among` these.
    pub(super) fn other_than(&self, among: &[InstanceId]) -> Option<InstanceId> {
        self.instances.lock().iter().find(|instance| !among.contains(instance)).copied()
    }

    /// True when the instance was not matched before.
    pub(super) fn add(&self, instance: InstanceId) -> bool {
        let mut instances = self.instances.lock();
        if instances.contains(&instance) {
            return false;
        }
        instances.push(instance);
        self.set_count(instances.len());
        true
    }

    /// True when the instance was matched.
    pub(super) fn remove(&self, instance: InstanceId) -> bool {
        let mut instances = self.instances.lock();
        let Some(at) = instances.iter().position(|known| *known == instance) else { return false };
        instances.swap_remove(at);
        self.set_count(instances.len());
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

    /// Waits until at least `wanted` instances are matched. False when the time is over first.
    pub(crate) fn wait_for(&self, wanted: usize, timeout: Duration) -> bool {
        let deadline = deadline_after(timeout);
        let mut instances = self.instances.lock();
        while instances.len() < wanted {
            match deadline {
                Some(deadline) => {
                    if self.changed.wait_until(&mut instances, deadline).timed_out() {
                        return instances.len() >= wanted;
                    }
                }
                None => self.changed.wait(&mut instances),
            }
        }
        true
    }
}

#[expect(clippy::disallowed_methods, reason = "condition variables want the system's clock")]
fn deadline_after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
