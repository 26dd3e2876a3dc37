//! What callbacks hand to the thread that prints. Layer: bin. Pollers put in and never wait; the
//! main thread takes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};

/// A few milliseconds of the fastest stream, or hours of one that people read.
const CAPACITY: usize = 64 * 1024;

/// Where callbacks put things.
#[derive(Debug)]
pub(crate) struct Inlet<T> {
    sender: Sender<T>,
    skipped: Arc<AtomicU64>,
}

impl<T> Clone for Inlet<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), skipped: Arc::clone(&self.skipped) }
    }
}

impl<T> Inlet<T> {
    /// Puts in what `make` returns. When there is no room, it is skipped and counted: a terminal
    /// that is slow must not hold back the publishers.
    pub(crate) fn push(&self, make: impl FnOnce() -> T) {
        if self.sender.is_full() || self.sender.try_send(make()).is_err() {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where the main thread takes them out.
#[derive(Debug)]
pub(crate) struct Outlet<T> {
    pub(crate) receiver: Receiver<T>,
    skipped: Arc<AtomicU64>,
}

impl<T> Outlet<T> {
    /// How many were skipped since this was last asked.
    pub(crate) fn take_skipped(&self) -> u64 {
        // Asked for every message: a plain load costs a fraction of a swap.
        if self.skipped.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.skipped.swap(0, Ordering::Relaxed)
    }
}

/// Makes both ends.
pub(crate) fn inbox<T>() -> (Inlet<T>, Outlet<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
    let skipped = Arc::new(AtomicU64::new(0));
    (Inlet { sender, skipped: Arc::clone(&skipped) }, Outlet { receiver, skipped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_once() {
        let (inlet, outlet) = inbox();
        for number in 0..CAPACITY + 3 {
            inlet.push(|| number);
        }
        assert_eq!(outlet.take_skipped(), 3);
        assert_eq!(outlet.take_skipped(), 0);
        assert!(outlet.receiver.try_iter().eq(0..CAPACITY));
    }
}
