//! The processes that a command starts of itself, from their start to the collection of the last
//! one. Layer: bin. The commanding thread owns the [`Cast`]; two threads per process read what the
//! process prints.
//!
//! Commands go to a process as JSON lines on its standard input, reports come back on its standard
//! output. The end of its input tells a process to leave: also when this process is killed, its
//! cast does not stay behind.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use crossbeam_channel::{Receiver, Sender, select};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock;
use crate::signals::StopFlag;

/// How long a process that was told to leave may take before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// Pause between two looks at a process that is about to end.
const PAUSE: Duration = Duration::from_millis(2);
/// Of what a process wrote to standard error, this much of the end is kept for the report.
const KEPT_ERROR_BYTES: usize = 4096;
/// Reports that may wait to be read.
const MAX_WAITING: usize = 4096;

/// A process of the cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member(usize);

/// Processes of this program, started by it.
#[derive(Debug)]
pub(crate) struct Cast {
    members: Vec<Process>,
    reports: Receiver<Report>,
    reporter: Sender<Report>,
    stop: StopFlag,
}

#[derive(Debug)]
struct Process {
    name: String,
    child: Child,
    /// Taken to tell it to leave.
    commands: Option<ChildStdin>,
    errors: Option<JoinHandle<String>>,
}

#[derive(Debug)]
enum Report {
    Line(Member, String),
    /// Its standard output is closed: it has ended, or is about to.
    End(Member),
}

impl Cast {
    pub(crate) fn new(stop: StopFlag) -> Self {
        let (reporter, reports) = crossbeam_channel::bounded(MAX_WAITING);
        Self { members: Vec::new(), reports, reporter, stop }
    }

    /// Starts a process of this program with a configuration and arguments.
    ///
    /// # Errors
    ///
    /// When the operating system does not start it.
    pub(crate) fn start(
        &mut self,
        name: impl Into<String>,
        config: &Path,
        arguments: &[impl AsRef<OsStr>],
    ) -> anyhow::Result<Member> {
        let name = name.into();
        let program = std::env::current_exe().context("cannot find the program itself")?;
        let mut child = Command::new(program)
            .arg("--config")
            .arg(config)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for this process, which then ends the cast in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let member = Member(self.members.len());
        let (commands, reports, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // In the list before anything else can fail: whoever is in the list is collected.
        self.members.push(Process { name: name.clone(), child, commands, errors: None });
        let (Some(reports), Some(errors)) = (reports, errors) else {
            bail!("no pipes to {name}");
        };
        let reporter = self.reporter.clone();
        thread::Builder::new()
            .name(format!("reports-{name}"))
            .spawn(move || forward(member, reports, &reporter))?;
        let errors =
            thread::Builder::new().name(format!("errors-{name}")).spawn(move || tail(errors))?;
        self.members[member.0].errors = Some(errors);
        Ok(member)
    }

    pub(crate) fn name(&self, member: Member) -> &str {
        &self.members[member.0].name
    }

    pub(crate) fn process_id(&self, member: Member) -> u32 {
        self.members[member.0].child.id()
    }

    /// Gives a command.
    ///
    /// # Errors
    ///
    /// When the process is gone, with what it said.
    pub(crate) fn tell(&mut self, member: Member, command: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        let process = &mut self.members[member.0];
        match process.commands.as_mut().map(|commands| commands.write_all(&line)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => bail!(process.obituary()),
        }
    }

    /// Waits for the next report of any process.
    ///
    /// # Errors
    ///
    /// When a process ended, with what it said; when nothing was reported `within` that time, and
    /// when the user wants to stop.
    pub(crate) fn hear<T: DeserializeOwned>(
        &mut self,
        within: Duration,
    ) -> anyhow::Result<(Member, T)> {
        let report = select! {
            recv(self.reports) -> report => report?,
            recv(self.stop.raised()) -> _ => bail!("interrupted"),
            default(within) => bail!("nothing was reported for {within:?}"),
        };
        match report {
            Report::Line(member, line) => {
                let report = serde_json::from_str(&line)
                    .with_context(|| format!("{} reported {line:?}", self.name(member)))?;
                Ok((member, report))
            }
            Report::End(member) => bail!(self.members[member.0].obituary()),
        }
    }

    /// Waits for the next report of one process. To be called while no other one has to report.
    ///
    /// # Errors
    ///
    /// As [`Cast::hear`].
    pub(crate) fn hear_from<T: DeserializeOwned>(
        &mut self,
        member: Member,
        within: Duration,
    ) -> anyhow::Result<T> {
        let (reporter, report) = self.hear(within)?;
        if reporter != member {
            bail!("{} reported while {} should", self.name(reporter), self.name(member));
        }
        Ok(report)
    }

    /// Looks, without waiting, whether all processes are well. To be called while none has to
    /// report.
    ///
    /// # Errors
    ///
    /// When a process ended, with what it said, and when the user wants to stop.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if self.stop.is_raised() {
            bail!("interrupted");
        }
        match self.reports.try_recv() {
            Ok(Report::End(member)) => bail!(self.members[member.0].obituary()),
            Ok(Report::Line(member, line)) => bail!("{} reported {line:?}", self.name(member)),
            Err(_) => Ok(()),
        }
    }

    /// Tells all processes to leave, and waits until they have left.
    ///
    /// # Errors
    ///
    /// When one of them did not end well, with what it said.
    pub(crate) fn dismiss(mut self) -> anyhow::Result<()> {
        self.members.iter_mut().for_each(Process::release);
        let deadline = clock::now() + GRACE;
        let ends: Vec<_> =
            self.members.iter_mut().map(|process| process.collect(deadline)).collect();
        match ends.iter().position(|end| !matches!(end, Ok(Some(status)) if status.success())) {
            Some(at) => bail!(self.members[at].obituary()),
            None => Ok(()),
        }
    }
}

impl Drop for Cast {
    /// Collects everybody, whatever went wrong before.
    fn drop(&mut self) {
        self.members.iter_mut().for_each(Process::release);
        let deadline = clock::now() + GRACE;
        for process in &mut self.members {
            if let Err(error) = process.collect(deadline) {
                tracing::warn!(process = process.name, %error, "cannot be waited for");
            }
        }
    }
}

impl Process {
    /// Tells the process to leave.
    fn release(&mut self) {
        self.commands = None;
    }

    /// Waits until the process has ended; past the deadline it is killed, which gives `None`.
    fn collect(&mut self, deadline: std::time::Instant) -> std::io::Result<Option<ExitStatus>> {
        while clock::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(PAUSE);
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(None)
    }

    /// How and with which words the process ended. To be called when it has ended or is about to.
    fn obituary(&mut self) -> String {
        self.release();
        let end = match self.collect(clock::now() + GRACE) {
            Ok(Some(status)) => format!("ended: {status}"),
            Ok(None) => "did not end by itself and was killed".to_owned(),
            Err(error) => format!("cannot be waited for: {error}"),
        };
        let errors = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        let (name, id, errors) = (&self.name, self.child.id(), errors.trim_end());
        let separator = if errors.is_empty() { "" } else { "\n" };
        format!("{name} (process {id}) {end}{separator}{errors}")
    }
}

/// Passes on what a process reports, line by line.
fn forward(member: Member, reports: impl Read, reporter: &Sender<Report>) {
    for line in BufReader::new(reports).lines().map_while(Result::ok) {
        if reporter.send(Report::Line(member, line)).is_err() {
            return;
        }
    }
    // Nobody is left to hear of it when this fails.
    let _ = reporter.send(Report::End(member));
}

/// The last part of what a process wrote to standard error.
fn tail(mut errors: impl Read) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; KEPT_ERROR_BYTES];
    while let Ok(bytes @ 1..) = errors.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..bytes]);
        let excess = kept.len().saturating_sub(KEPT_ERROR_BYTES);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
