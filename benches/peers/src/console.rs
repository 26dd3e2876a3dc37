//! The conversation of a process with the one that started it: commands on standard input, reports
//! on standard output, a JSON line each. Layer: peers. A thread of its own reads the commands.
//!
//! The end of the input tells a process to leave, also when the other one was killed.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::stream::Counted;

/// How long a process that was told to leave may take to do so in order.
const GRACE: Duration = Duration::from_secs(3);

/// What a process says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Whatever is sent from now on is received.
    Ready,
    /// Nanoseconds, and how often they were recorded.
    RoundTrips(Vec<(u64, u64)>),
    /// Messages sent after the warm-up.
    Sent(u64),
    Counted(Counted),
}

/// What a process is told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// So many messages were sent after the warm-up: report when they have come.
    Sent(u64),
}

/// This process's end of the conversation.
#[derive(Debug)]
pub(crate) struct Console {
    commands: Receiver<Command>,
    is_over: Arc<AtomicBool>,
}

impl Console {
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let (sender, commands) = mpsc::channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        thread::Builder::new().name("console".to_owned()).spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let command = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                let Some(command) = command else { break };
                if sender.send(command).is_err() {
                    break;
                }
            }
            drop(sender);
            flag.store(true, Ordering::Relaxed);
            // Whoever hangs in a peer's code is not to stay behind.
            thread::sleep(GRACE);
            std::process::exit(1);
        })?;
        Ok(Self { commands, is_over })
    }

    /// Whether it is time to leave.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// # Errors
    ///
    /// When nobody listens.
    pub(crate) fn report(&self, report: &Report) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        Ok(out.flush()?)
    }

    /// A command, if there is one within this time.
    pub(crate) fn command(&self, within: Duration) -> Option<Command> {
        self.commands.recv_timeout(within).ok()
    }

    /// Waits until it is time to leave.
    pub(crate) fn wait_for_the_end(&self) {
        while self.commands.recv().is_ok() {}
    }
}
