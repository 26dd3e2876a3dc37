//! The conversation of a started process with the one that started it, seen from below. Layer: bin.
//! One thread reads commands; any thread reports.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Commands that may wait to be carried out.
const MAX_WAITING: usize = 16;

/// What the starter wants.
#[derive(Debug)]
pub(crate) struct Commands<C> {
    queue: Receiver<C>,
}

impl<C: DeserializeOwned + Send + 'static> Commands<C> {
    /// Begins to read standard input. To be called once.
    ///
    /// # Errors
    ///
    /// When there is no thread to read with.
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, queue) = crossbeam_channel::bounded(MAX_WAITING);
        thread::Builder::new().name("commands".to_owned()).spawn(move || {
            for line in io::stdin().lines().map_while(Result::ok) {
                // Written by the same program: what does not parse ends the process, loudly.
                let command = match serde_json::from_str(&line) {
                    Ok(command) => command,
                    Err(error) => return tracing::error!(%error, line, "not a command"),
                };
                if sender.send(command).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { queue })
    }

    /// Waits for the next command. `None` when it is time to leave.
    pub(crate) fn next(&self) -> Option<C> {
        self.queue.recv().ok()
    }

    /// Waits for the next command for at most `timeout`.
    ///
    /// # Errors
    ///
    /// When it is time to leave.
    pub(crate) fn next_within(&self, timeout: Duration) -> anyhow::Result<Option<C>> {
        match self.queue.recv_timeout(timeout) {
            Ok(command) => Ok(Some(command)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("dismissed before the work was done"),
        }
    }

    /// Waits until it is time to leave.
    pub(crate) fn wait_for_end(&self) {
        while self.next().is_some() {}
    }
}

/// Reports to the starter.
///
/// # Errors
///
/// When the starter is gone.
pub(crate) fn report(report: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}
