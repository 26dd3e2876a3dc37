//! Another process with a discovery daemon inside. Tests. It prints where it is, what it has counted
//! for each line of its standard input, and ends with that.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use vega::{Config, DaemonCounters, DiscoveryDaemon};

use super::Place;
use super::role::OK;

/// The test that is the daemon.
const TEST: &str = "daemon";
/// The configuration, as text; present only in children.
const CONFIG: &str = "VEGA_ACCEPTANCE_DAEMON";

/// A child process with one daemon.
pub(crate) struct DaemonProcess {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

/// How a daemon is doing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DaemonReport {
    pub(crate) clients: u64,
    pub(crate) packets_received: u64,
    pub(crate) packets_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) malformed: u64,
    pub(crate) refused: u64,
    pub(crate) dropped: u64,
    pub(crate) failed: u64,
    /// The most memory that its process has had.
    pub(crate) peak_kib: u64,
}

impl DaemonProcess {
    /// Starts a process, and a daemon in it, at an address.
    pub(crate) fn start(address: SocketAddr) -> Self {
        Self::start_by(Command::new(std::env::current_exe().unwrap()), address)
    }

    /// As [`DaemonProcess::start`], by a command that runs this very program, wherever it does.
    pub(crate) fn start_by(mut command: Command, address: SocketAddr) -> Self {
        let (ip, port) = (address.ip(), address.port());
        let config = format!("[daemon]\ninterface = '{ip}'\nport = {port}\n");
        let mut child = command
            .args(["--exact", TEST, "--nocapture"])
            .env(CONFIG, config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = reply(&mut output).parse().unwrap();
        Self { child, input, output, address }
    }

    /// What it has counted so far.
    pub(crate) fn report(&mut self) -> DaemonReport {
        writeln!(self.input, "report").unwrap();
        let told = reply(&mut self.output);
        let numbers: Vec<u64> = told.split(' ').map(|number| number.parse().unwrap()).collect();
        let [clients, packets_received, packets_sent, bytes_sent, rest @ ..] = &numbers[..] else {
            panic!("{told}")
        };
        let &[malformed, refused, dropped, failed, peak_kib] = rest else { panic!("{told}") };
        DaemonReport {
            clients: *clients,
            packets_received: *packets_received,
            packets_sent: *packets_sent,
            bytes_sent: *bytes_sent,
            malformed,
            refused,
            dropped,
            failed,
            peak_kib,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the process without another instruction of its own.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The configuration of a place, without multicast.
pub(crate) fn through_daemons(place: &Place, daemons: &[SocketAddr]) -> String {
    let daemons: Vec<_> = daemons.iter().map(|at| format!("'{at}'")).collect();
    let keys = format!("[discovery]\nkind = 'daemon'\ndaemons = [{}]\n", daemons.join(", "));
    place.config_text().replace("[discovery]\n", &keys)
}

/// What comes behind the mark of the next line that has it.
fn reply(output: &mut Lines<BufReader<ChildStdout>>) -> String {
    let mut told =
        output.filter_map(|line| Some(line.unwrap().strip_prefix(OK)?.trim().to_owned()));
    told.next().expect("the daemon answers")
}

/// What a child does; nothing in any other process.
pub(crate) fn play() {
    let Ok(config) = std::env::var(CONFIG) else { return };
    let daemon = DiscoveryDaemon::builder().config(Config::parse(&config).unwrap()).start();
    let daemon = daemon.unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{OK} {}", daemon.address()).unwrap();
    out.flush().unwrap();
    for _ in std::io::stdin().lines() {
        let (clients, counters) = (daemon.clients().len(), daemon.counters());
        let DaemonCounters { packets_received, packets_sent, bytes_sent, .. } = counters;
        let DaemonCounters { malformed, refused, dropped, failed, .. } = counters;
        writeln!(
            out,
            "{OK} {clients} {packets_received} {packets_sent} {bytes_sent} {malformed} {refused} \
             {dropped} {failed} {}",
            peak_kib()
        )
        .unwrap();
        out.flush().unwrap();
    }
}

/// The most memory that this process has had; zero where the system does not say.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
