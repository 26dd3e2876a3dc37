//! The one place that runs user code: every callback is fenced against panics, and every thread
//! that runs callbacks is known. Layer: engine.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::counters::{Counter, Counters};
use crate::id::InstanceId;

/// A thread that runs callbacks of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallbackThread {
    Poller(usize),
    RequestProcessor,
    /// Drops listeners of patterns.
    Patterns,
}

thread_local! {
    /// Which instance's callbacks this thread runs. Set once when the thread starts: these threads
    /// run nothing of the user's but callbacks.
    static ROLE: RefCell<Option<(InstanceId, CallbackThread)>> = const { RefCell::new(None) };
}

/// Marks the current thread for the rest of its life.
pub(super) fn adopt_thread(instance: InstanceId, thread: CallbackThread) {
    ROLE.with_borrow_mut(|role| *role = Some((instance, thread)));
}

/// The role of the current thread, if it runs callbacks of `instance`.
pub(crate) fn current_thread(instance: InstanceId) -> Option<CallbackThread> {
    ROLE.with_borrow(|role| role.filter(|(id, _)| *id == instance).map(|(_, thread)| thread))
}

/// Runs user code. A panic is counted and reported; the thread lives on.
#[inline]
pub(super) fn run(counters: &Counters, what: &'static str, topic: &str, callback: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(callback)) {
        report(counters, what, topic, &*panic);
    }
}

/// Drops what users gave us: their destructors are user code as well.
pub(super) fn discard<T>(counters: &Counters, topic: &str, listener: T) {
    run(counters, "drop of a listener", topic, move || drop(listener));
}

#[cold]
fn report(counters: &Counters, what: &'static str, topic: &str, panic: &(dyn Any + Send)) {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)");
    counters.add(Counter::CallbackPanics, 1);
    tracing::error!(what, topic, panic = message, "a callback panicked");
}
