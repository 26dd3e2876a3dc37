//! How others talk to a thread of its own that belongs to no instance: a discovery daemon, a sniffer.
//! Layer: engine. Held by whoever started the thread.
//!
//! What such a thread knows is behind a lock that it holds while it works, and never while it runs a
//! callback. So whoever asks looks for himself, and a callback may ask, too, without waiting for itself.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use mio::{Poll, Waker};
use parking_lot::Mutex;

use super::wakeups::WAKE;

/// Commands that may wait.
const MAX_COMMANDS: usize = 64;

/// A command that asks the thread to end.
pub(super) trait Stop {
    const STOP: Self;
}

/// The way to the thread, for everybody who tells it something.
pub(super) struct Link<C> {
    commands: SyncSender<C>,
    waker: Waker,
}

impl<C> Link<C> {
    pub(super) fn submit(&self, command: C) {
        if self.commands.send(command).is_ok() {
            // Fails only when the thread is gone.
            let _ = self.waker.wake();
        }
    }
}

/// What wakes the thread and what it is told, made before it is started.
pub(super) struct Mailbox<C> {
    pub(super) link: Arc<Link<C>>,
    pub(super) queue: Receiver<C>,
    pub(super) poll: Poll,
}

impl<C> Mailbox<C> {
    /// # Errors
    ///
    /// What the operating system says when it gives no poll instance.
    pub(super) fn open() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let (commands, queue) = sync_channel(MAX_COMMANDS);
        Ok(Self { link: Arc::new(Link { commands, waker }), queue, poll })
    }
}

/// A running thread.
pub(super) struct Service<C> {
    link: Arc<Link<C>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<C: Stop + Send + 'static> Service<C> {
    /// # Errors
    ///
    /// What the operating system says when it gives no thread.
    pub(super) fn start(
        name: &str,
        link: Arc<Link<C>>,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let own = Arc::clone(&link);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            run();
            // The kernel forgets that a waker was used with the last one to hold it: not before the end.
            drop(own);
        })?;
        Ok(Self { link, thread: Mutex::new(Some(thread)) })
    }

    /// Whether it has been stopped. It may be about to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.thread.lock().is_none()
    }

    /// Stops the thread, and returns when it has ended. Does nothing when that has happened before.
    pub(super) fn stop(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        self.link.submit(C::STOP);
        if thread.thread().id() == thread::current().id() {
            // A callback stops the thread that it runs on: nobody can wait for that.
            return;
        }
        super::join(thread);
    }
}
