//! `vega bench`: latency and throughput between processes, beside what the machine's sockets
//! and memory can do without an engine. Layer: bin.
//!
//! This process sends; a second one, the [`peer`], echoes, responds or counts. Rounds of the engine
//! and rounds of the [`baseline`] alternate, so that whatever else happens on the machine happens
//! to both: their ratio is what counts.

mod baseline;
mod figures;
mod goal;
mod hgrm;
mod latency;
mod load;
mod machine;
mod measured;
mod peer;
mod recorder;
mod report;
mod round_trip;
mod rounds;
mod suite;
mod tally;
mod targets;
mod throughput;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;

use crate::args::Common;
use crate::output::Output;
use crate::signals;
use load::Load;
use measured::{OneWay, RoundTrips};
use round_trip::Kind;

/// How long two processes may take to find each other.
const DISCOVERY: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  vega bench all
  vega bench rtt --transport multicast --baseline
  vega bench request --transport unicast --count 100000 --hgrm request.hgrm
  vega bench throughput --transport ipc --size 256 --duration 10s --json
  vega bench rtt --transport unicast --loss 1%

Both processes are pinned to a core each, and receive by spinning. The result is worth something on
a machine that does nothing else.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Everything that there is a target for, in one run, and which targets hold. Exit code 1: a
    /// case could not be measured
    All(suite::Args),
    /// Round trip of a message: sent on one topic, echoed on another in the peer's callback
    Rtt(LatencyArgs),
    /// From a request to its response: the request on the transport, the response by UDP unicast
    Request(LatencyArgs),
    /// Messages per second in one direction, as fast as possible, counted where they arrive
    Throughput(ThroughputArgs),
    /// The second process
    #[command(hide = true)]
    Peer(peer::Args),
}

#[derive(Debug, clap::Args)]
struct LatencyArgs {
    #[command(flatten)]
    load: Load,
    /// Write the distribution as an HdrHistogram percentile file, in microseconds
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct ThroughputArgs {
    #[command(flatten)]
    load: Load,
}

pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    match args.mode {
        Mode::All(args) => suite::run(common, &args),
        Mode::Rtt(args) => round_trips(common, Kind::Echo, args),
        Mode::Request(args) => round_trips(common, Kind::Request, args),
        Mode::Throughput(args) => one_way(common, args),
        Mode::Peer(args) => peer::run(common, &args).map(|()| ExitCode::SUCCESS),
    }
}

fn round_trips(common: &Common, kind: Kind, args: LatencyArgs) -> anyhow::Result<ExitCode> {
    // Before the measurement: a path that cannot be written is not worth waiting for.
    let hgrm = args.hgrm.as_deref().map(create).transpose()?;
    rounds::remark_on_cores();
    let run = RoundTrips::measure(common, kind, args.load, signals::stop_flag()?)?;
    if let Some(file) = hgrm {
        hgrm::write(file, &run.engine).context("cannot write the distribution")?;
    }
    report::round_trips(Output::new(common), &run)?;
    Ok(ExitCode::SUCCESS)
}

fn one_way(common: &Common, args: ThroughputArgs) -> anyhow::Result<ExitCode> {
    rounds::remark_on_cores();
    let run = OneWay::measure(common, args.load, signals::stop_flag()?)?;
    report::one_way(Output::new(common), &run)?;
    Ok(ExitCode::SUCCESS)
}

fn create(path: impl AsRef<std::path::Path>) -> anyhow::Result<File> {
    let path = path.as_ref();
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}
