//! Another process with a discovery daemon inside. Tests. It prints where it is, and ends with its
//! standard input.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};

use vega::{Config, DiscoveryDaemon};

use super::role::OK;

/// The test that is the daemon.
const TEST: &str = "daemon";
/// The configuration, as text; present only in children.
const CONFIG: &str = "VEGA_ACCEPTANCE_DAEMON";

/// A child process with one daemon.
pub(crate) struct DaemonProcess {
    child: Child,
    _input: ChildStdin,
    address: SocketAddr,
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
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let told = lines.filter_map(|line| Some(line.strip_prefix(OK)?.trim().to_owned())).next();
        let address = told.expect("the daemon starts").parse().unwrap();
        Self { child, _input: input, address }
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

/// What a child does; nothing in any other process.
pub(crate) fn play() {
    let Ok(config) = std::env::var(CONFIG) else { return };
    let daemon = DiscoveryDaemon::builder().config(Config::parse(&config).unwrap()).start();
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{OK} {}", daemon.as_ref().unwrap().address()).unwrap();
    out.flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
