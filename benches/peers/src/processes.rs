//! The processes of one exchange, from their start to the collection of the last one. Layer: peers.
//! The commanding thread owns them; a thread for each reads what it reports.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::clock;
use crate::console::{self, Report};
use crate::part::{Part, Role};

/// The hidden command of a process that plays a part.
pub(crate) const COMMAND: &str = "part";
/// How long a process that was told to leave may take before it is killed: more than it gives
/// itself.
const GRACE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);
/// Pause between two looks at whether the user wants to stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A process of this program that plays a part. It leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    role: Role,
    child: Child,
    /// Taken to tell it to leave.
    commands: Option<ChildStdin>,
    reports: Receiver<String>,
    errors: PathBuf,
    stop: Arc<AtomicBool>,
}

impl Process {
    /// Starts a process. `stop` says that the user wants no more.
    ///
    /// # Errors
    ///
    /// When the operating system does not start it.
    pub(crate) fn start(part: &Part, stop: &Arc<AtomicBool>) -> anyhow::Result<Self> {
        let role = part.role;
        let errors = part.place.directory.join(format!("{role:?}.err"));
        let program = std::env::current_exe().context("cannot find the program itself")?;
        let mut child = Command::new(program)
            .arg(COMMAND)
            .arg(serde_json::to_string(part)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors)?)
            // Ctrl-C is for this process, which then ends the others in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {role:?}"))?;
        let (sender, reports) = mpsc::channel();
        let (commands, out) = (child.stdin.take(), child.stdout.take());
        // Whoever is in here is collected, also when the rest fails.
        let process = Self { role, child, commands, reports, errors, stop: Arc::clone(stop) };
        let out = out.context("no pipe")?;
        thread::Builder::new().name(format!("reports-{role:?}")).spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        })?;
        Ok(process)
    }

    /// # Errors
    ///
    /// When the process is gone, with what it said.
    pub(crate) fn tell(&mut self, command: console::Command) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(&command)?;
        line.push(b'\n');
        match self.commands.as_mut().map(|commands| commands.write_all(&line)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => bail!(self.last_words()),
        }
    }

    /// Waits for the next report.
    ///
    /// # Errors
    ///
    /// When the process ended, with what it said; when it reported nothing `within` that time, and
    /// when the user wants to stop.
    pub(crate) fn hear(&mut self, within: Duration) -> anyhow::Result<Report> {
        let deadline = clock::now() + within;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            match self.reports.recv_timeout(LOOK_INTERVAL) {
                Ok(line) => {
                    return serde_json::from_str(&line)
                        .with_context(|| format!("{:?} reported {line:?}", self.role));
                }
                Err(RecvTimeoutError::Disconnected) => bail!(self.last_words()),
                Err(RecvTimeoutError::Timeout) if clock::now() > deadline => {
                    bail!("{:?} reported nothing for {within:?}", self.role)
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// What a process that has ended said last.
    fn last_words(&mut self) -> String {
        self.leave();
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let line = text.lines().rev().find(|line| !line.trim().is_empty());
        line.map_or_else(|| format!("{:?} ended without a word", self.role), str::to_owned)
    }

    /// Tells the process to leave, without waiting for it.
    pub(crate) fn dismiss(&mut self) {
        self.commands = None;
    }

    fn leave(&mut self) {
        self.dismiss();
        let deadline = clock::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if clock::now() > deadline {
                // It may have ended just now.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.leave();
    }
}
