//! Ctrl-C, SIGTERM and SIGHUP become a flag that commands wait on. Layer: bin. The signal thread
//! raises it; any thread may look.

use std::convert::Infallible;
use std::process;
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

/// What shells report for a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Raised once the user wants the command to end. Clones are the same flag.
#[derive(Clone, Debug)]
pub(crate) struct StopFlag {
    /// Nothing ever comes out; it is disconnected when the flag is raised.
    raised: Receiver<Infallible>,
}

/// Catches the signals that ask a process to end. A second signal ends it at once, in case the
/// clean end takes too long. To be called once.
///
/// # Errors
///
/// When the operating system refuses the handler.
pub(crate) fn stop_flag() -> anyhow::Result<StopFlag> {
    let (sender, raised) = crossbeam_channel::bounded(0);
    let mut sender = Some(sender);
    ctrlc::set_handler(move || {
        if sender.take().is_none() {
            process::exit(INTERRUPTED);
        }
    })
    .context("signals cannot be caught")?;
    Ok(StopFlag { raised })
}

impl StopFlag {
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits for at most `timeout`. Returns whether the flag is raised.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        self.raised.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }

    /// For `select!`: ready when the flag is raised.
    pub(crate) const fn raised(&self) -> &Receiver<Infallible> {
        &self.raised
    }
}
