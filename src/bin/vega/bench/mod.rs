//! `vega bench`: latency and throughput between processes, beside what the machine's sockets
//! and memory can do without an engine. Layer: bin.
//!
//! This process sends; another one, the [`peer`], echoes, responds or counts. Rounds of the engine
//! and rounds of the [`baseline`] alternate, so that whatever else happens on the machine happens
//! to both: their ratio is what counts.

mod baseline;
mod chart;
mod expiry;
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
mod schedule;
mod sender;
mod suite;
mod tally;
mod targets;
mod throughput;
mod thrower;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;

use crate::answer;
use crate::args::Common;
use crate::output::{Output, note};
use crate::signals;
use load::{Load, Spread};
use machine::Machine;
use measured::{OneWay, RoundTrips};
use round_trip::Kind;

/// How long two processes may take to find each other.
const DISCOVERY: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  vega bench all --report bench.html
  vega bench rtt --transport multicast --baseline
  vega bench request --transport unicast --count 100000 --hgrm request.hgrm
  vega bench throughput --transport ipc --size 256 --duration 10s --json
  vega bench throughput --transport unicast --rate 500k --idle block
  vega bench throughput --subscribers 3 --topics 100
  vega bench rtt --transport unicast --loss 1%
  vega bench expiry --open 1000000

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
    Rtt(RttArgs),
    /// From a request to its response: the request on the transport, the response by UDP unicast
    Request(LatencyArgs),
    /// Messages per second in one direction, as fast as possible or at a given rate, counted where
    /// they arrive. Exit code 1: the rate was missed
    Throughput(ThroughputArgs),
    /// Very many requests that nobody answers: processor time to open and to expire each, and how
    /// late their timeouts are
    Expiry(expiry::Args),
    /// Another process
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
    /// Write a page with table and percentile curves, which needs nothing else to be read
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct RttArgs {
    #[command(flatten)]
    latency: LatencyArgs,
    #[command(flatten)]
    spread: Spread,
    /// Wait so long before each ping, such as 200us, in the baseline as well: with --idle block each
    /// ping then comes to somebody who sleeps
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    pause: Option<Duration>,
}

#[derive(Debug, clap::Args)]
struct ThroughputArgs {
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    spread: Spread,
    /// Send so many messages per second, such as 500k or 2M, and measure how long each takes from
    /// the time at which it was to be sent until it arrives; the baseline, too
    #[arg(long, value_name = "R", value_parser = load::rate)]
    rate: Option<u64>,
    /// Write the distribution as an HdrHistogram percentile file, in microseconds
    #[arg(long, value_name = "FILE", requires = "rate")]
    hgrm: Option<PathBuf>,
    /// Write a page with the table and, with a rate, percentile curves, which needs nothing else to
    /// be read
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    match args.mode {
        Mode::All(args) => suite::run(common, &args),
        Mode::Rtt(RttArgs { latency, spread, pause }) => {
            let load = Load { pause, ..latency.load.over(spread) };
            round_trips(common, Kind::Echo, LatencyArgs { load, ..latency })
        }
        Mode::Request(args) => round_trips(common, Kind::Request, args),
        Mode::Throughput(args) => one_way(common, args),
        Mode::Expiry(args) => expiry::run(common, &args),
        Mode::Peer(args) => peer::run(common, &args).map(|()| ExitCode::SUCCESS),
    }
}

fn round_trips(common: &Common, kind: Kind, args: LatencyArgs) -> anyhow::Result<ExitCode> {
    // Before the measurement: a path that cannot be written is not worth waiting for.
    let hgrm = args.hgrm.as_deref().map(create).transpose()?;
    let page = args.report.as_deref().map(create).transpose()?;
    rounds::remark_on_cores(args.load.subscribers);
    let run = RoundTrips::measure(common, kind, args.load, signals::stop_flag()?)?;
    if let Some(file) = hgrm {
        hgrm::write(file, &run.engine).context("cannot write the distribution")?;
    }
    if let Some(file) = page {
        let machine = Machine::look();
        let page = report::round_trip_page(kind.name(), &run, &machine);
        page.write(file).context("cannot write the page")?;
    }
    report::round_trips(Output::new(common), &run)?;
    Ok(ExitCode::SUCCESS)
}

fn one_way(common: &Common, args: ThroughputArgs) -> anyhow::Result<ExitCode> {
    let hgrm = args.hgrm.as_deref().map(create).transpose()?;
    let page = args.report.as_deref().map(create).transpose()?;
    let load = Load { rate: args.rate, ..args.load.over(args.spread) };
    rounds::remark_on_cores(load.subscribers);
    let run = OneWay::measure(common, load, signals::stop_flag()?)?;
    if let (Some(file), Some(latency)) = (hgrm, &run.latency) {
        hgrm::write(file, latency).context("cannot write the distribution")?;
    }
    if let Some(file) = page {
        let machine = Machine::look();
        report::one_way_page(&run, &machine).write(file).context("cannot write the page")?;
    }
    report::one_way(Output::new(common), &run)?;
    let missed = run.pace().filter(|pace| !pace.is_kept);
    if let Some(pace) = missed {
        note(format_args!(
            "target rate missed: {:.0} of {} messages per second",
            pace.achieved, pace.wanted
        ));
    }
    Ok(answer(missed.is_none()))
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}
