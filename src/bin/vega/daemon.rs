//! `vega daemon`: a discovery daemon for networks without multicast. Layer: bin. The daemon's thread
//! tells what happens; the main thread prints it.

use std::process::ExitCode;

use anyhow::Context;
use crossbeam_channel::select;
use serde::Serialize;
use vega::{DaemonClient, DaemonCounters, DaemonEvent, DaemonTrouble, DiscoveryDaemon, DownReason};

use crate::args::Common;
use crate::inbox::inbox;
use crate::output::{Output, count, note, one_line};
use crate::signals;

const EXAMPLES: &str = "\
Examples:
  vega daemon --interface 10.1.0.0/16
  vega daemon -c vega.toml --port 40301
  vega daemon --json | jq 'select(.type == \"client_up\").name'

Instances use it when their configuration says so:
  [discovery]
  kind = \"daemon\"
  daemons = [\"10.1.0.7\", \"10.1.0.8\"]

What clients do is printed as it happens, with --json as one object per line: daemon_up,
client_up, client_down, full, trouble, daemon_down. Ctrl-C ends it.";

/// The arguments of `vega daemon`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// UDP port, instead of [daemon] port [default: 40300]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Interface, instead of [daemon] interface [default: loopback]
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// Silence after which a client counts as gone, instead of [daemon] client_timeout [default: 10s]
    #[arg(long, value_name = "DURATION")]
    client_timeout: Option<humantime::Duration>,
    /// Clients at a time, instead of [daemon] max_clients [default: 4096]
    #[arg(long, value_name = "N")]
    max_clients: Option<usize>,
}

/// Runs `vega daemon`.
///
/// # Errors
///
/// When the daemon cannot start, or standard output cannot be written.
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let stop = signals::stop_flag()?;
    let (inlet, outlet) = inbox();
    let mut builder = DiscoveryDaemon::builder().config(common.load()?);
    if let Some(port) = args.port {
        builder = builder.port(port);
    }
    if let Some(interface) = args.interface {
        builder = builder.interface(interface);
    }
    if let Some(timeout) = args.client_timeout {
        builder = builder.client_timeout(*timeout);
    }
    if let Some(limit) = args.max_clients {
        builder = builder.max_clients(limit);
    }
    let listener = move |event: &DaemonEvent| inlet.push(|| event.clone());
    let daemon = builder.on_event(listener).start().context("cannot start")?;

    let mut log = Log { output: Output::new(common), clients: 0 };
    log.daemon_up(&daemon)?;
    loop {
        log.output.flush()?;
        select! {
            recv(outlet.receiver) -> event => match event {
                Ok(event) => log.event(&event)?,
                Err(_) => break,
            },
            recv(stop.raised()) -> _ => break,
        }
        let skipped = outlet.take_skipped();
        if skipped > 0 {
            note(format_args!("{} not shown: the output is too slow", count(skipped, "event")));
        }
    }
    let counters = daemon.counters();
    daemon.close();
    // What had happened before the end.
    for event in outlet.receiver.try_iter() {
        log.event(&event)?;
    }
    log.daemon_down(&counters)?;
    log.output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What is printed, and how many clients there are by that.
struct Log {
    output: Output,
    clients: usize,
}

impl Log {
    fn daemon_up(&mut self, daemon: &DiscoveryDaemon) -> std::io::Result<()> {
        let (id, address) = (daemon.id().to_string(), daemon.address().to_string());
        let text = format!("discovery daemon {id} at {address}");
        self.output.result(&Line::DaemonUp { id, address }, text)
    }

    fn event(&mut self, event: &DaemonEvent) -> std::io::Result<()> {
        match event {
            DaemonEvent::ClientUp(client) => {
                self.clients += 1;
                let text = self.line('+', client, "");
                let line = Line::ClientUp { client: client.into(), clients: self.clients };
                self.output.result(&line, text)
            }
            DaemonEvent::ClientDown(client, reason) => {
                self.clients = self.clients.saturating_sub(1);
                let reason = match reason {
                    DownReason::Goodbye => "goodbye",
                    DownReason::Expired => "silent",
                    _ => "gone",
                };
                let text = self.line('-', client, reason);
                let line =
                    Line::ClientDown { client: client.into(), reason, clients: self.clients };
                self.output.result(&line, text)
            }
            DaemonEvent::Full { limit } => {
                let text = format!("! no room for more than {}", count(*limit as u64, "client"));
                self.output.result(&Line::Full { limit: *limit }, text)
            }
            DaemonEvent::Trouble(trouble) => {
                self.output.result(&Line::trouble(trouble), trouble_text(trouble))
            }
            // Later versions may have more to tell.
            _ => Ok(()),
        }
    }

    /// `+ 10.1.0.9:35049      pricer                   3 clients`
    fn line(&self, sign: char, client: &DaemonClient, reason: &str) -> String {
        let (address, name) = (client.address().to_string(), one_line(client.name().as_bytes()));
        let clients = count(self.clients as u64, "client");
        let line = format!("{sign} {address:<22} {name:<32} {clients:<16} {reason}");
        line.trim_end().to_owned()
    }

    fn daemon_down(&mut self, counters: &DaemonCounters) -> std::io::Result<()> {
        let text = format!(
            "ended: {} received, {} sent, {} refused, {} malformed, {} of other versions",
            count(counters.packets_received, "packet"),
            count(counters.packets_sent, "packet"),
            counters.refused,
            counters.malformed,
            counters.other_versions,
        );
        self.output.result(&Line::daemon_down(counters), text)
    }
}

/// `! 100 packets malformed, 1 refused`: what there was of each kind.
fn trouble_text(trouble: &DaemonTrouble) -> String {
    let kinds = [
        (trouble.malformed, "malformed"),
        (trouble.other_versions, "of other versions"),
        (trouble.refused, "refused: no good ticket, as after a restart"),
        (trouble.dropped, "dropped: more than is passed on"),
        (trouble.failed, "not sent or received"),
    ];
    let said = kinds.into_iter().filter(|(number, _)| *number > 0);
    let said = said.map(|(number, what)| format!("{} {what}", count(number, "packet")));
    format!("! {}", said.collect::<Vec<_>>().join("; "))
}

/// One line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    DaemonUp {
        id: String,
        address: String,
    },
    ClientUp {
        #[serde(flatten)]
        client: ClientJson,
        clients: usize,
    },
    ClientDown {
        #[serde(flatten)]
        client: ClientJson,
        reason: &'static str,
        clients: usize,
    },
    Full {
        limit: usize,
    },
    Trouble {
        malformed: u64,
        other_versions: u64,
        refused: u64,
        dropped: u64,
        failed: u64,
    },
    DaemonDown {
        packets_received: u64,
        packets_sent: u64,
        bytes_sent: u64,
        malformed: u64,
        other_versions: u64,
        refused: u64,
        dropped: u64,
        expired: u64,
        failed: u64,
    },
}

impl Line {
    const fn trouble(trouble: &DaemonTrouble) -> Self {
        let DaemonTrouble { malformed, other_versions, refused, dropped, failed, .. } = *trouble;
        Self::Trouble { malformed, other_versions, refused, dropped, failed }
    }

    const fn daemon_down(counters: &DaemonCounters) -> Self {
        Self::DaemonDown {
            packets_received: counters.packets_received,
            packets_sent: counters.packets_sent,
            bytes_sent: counters.bytes_sent,
            malformed: counters.malformed,
            other_versions: counters.other_versions,
            refused: counters.refused,
            dropped: counters.dropped,
            expired: counters.expired,
            failed: counters.failed,
        }
    }
}

#[derive(Debug, Serialize)]
struct ClientJson {
    id: String,
    name: String,
    address: String,
}

impl From<&DaemonClient> for ClientJson {
    fn from(client: &DaemonClient) -> Self {
        Self {
            id: client.id().to_string(),
            name: client.name().to_owned(),
            address: client.address().to_string(),
        }
    }
}
