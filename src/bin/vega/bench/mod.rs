//! `vega bench`: latency and throughput between two processes, beside what the machine's sockets
//! and memory can do without an engine. Layer: bin.
//!
//! This process sends; a second one, the [`peer`], echoes, responds or counts. Rounds of the engine
//! and rounds of the [`baseline`] alternate, so that whatever else happens on the machine happens
//! to both: their ratio is what counts.

mod baseline;
mod goal;
mod latency;
mod peer;
mod recorder;
mod report;
mod round_trip;
mod tally;
mod throughput;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use vega::{Config, Instance, Transport};

use crate::args::Common;
use crate::output::{Output, note, progress};
use crate::signals::{self, StopFlag};
use crate::stage::{PollerSpec, Stage};
use goal::Goal;
use latency::Latency;
use tally::Tally;
use throughput::Rate;

/// Rounds of the engine, and as many of the baseline. Enough for a disturbance of a second to hit
/// both, few enough for the start of processes not to matter.
const ROUNDS: u32 = 5;
/// What is measured when neither a count nor a duration is asked for.
const DEFAULT_DURATION: Duration = Duration::from_secs(5);
/// How long two processes may take to find each other.
const DISCOVERY: Duration = Duration::from_secs(10);
/// The largest payload of a UDP datagram, which is what the baseline sends.
const MAX_DATAGRAM_BYTES: usize = 65_507;

const EXAMPLES: &str = "\
Examples:
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

/// What is measured, of whatever kind it is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Load {
    /// What carries the topics
    #[arg(long, value_enum, default_value = "multicast")]
    transport: TransportArg,
    /// Bytes per message
    #[arg(long, value_name = "N", default_value_t = 32)]
    size: usize,
    /// Stop after this many round trips or messages
    #[arg(long, value_name = "N", conflicts_with = "duration",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop after this time, such as 500ms or 10s [default: 5s]
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Alternate with plain sockets, or plain shared memory for ipc, and print how both compare
    #[arg(long)]
    baseline: bool,
    /// Let both processes lose this share of what they receive, such as 1% or 0.01. Not for ipc,
    /// nor with a configuration file, which has [fault] for that
    #[arg(long, value_name = "P", value_parser = share)]
    loss: Option<f64>,
}

impl Load {
    fn payload(&self) -> Vec<u8> {
        vec![0x55; self.size]
    }
}

/// A fraction, or per cent, between 0 and 1.
///
/// # Errors
///
/// What is allowed instead.
fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.parse::<f64>().ok().map(|number| number / whole);
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "allowed: 0 to 1, or 0% to 100%".to_owned())
}

/// [`Transport`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportArg {
    Multicast,
    Unicast,
    Ipc,
}

impl TransportArg {
    const fn name(self) -> &'static str {
        match self {
            Self::Multicast => "multicast",
            Self::Unicast => "unicast",
            Self::Ipc => "ipc",
        }
    }

    /// The name of a topic that this transport carries, as the built-in patterns have it.
    fn topic(self, name: &str) -> String {
        format!("{}.bench.{name}", self.name())
    }

    const fn matches(self, transport: Transport) -> bool {
        matches!(
            (self, transport),
            (Self::Multicast, Transport::Multicast)
                | (Self::Unicast, Transport::Unicast)
                | (Self::Ipc, Transport::Ipc)
        )
    }
}

pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    match args.mode {
        Mode::Rtt(args) => round_trips(common, round_trip::Kind::Echo, &args)?,
        Mode::Request(args) => round_trips(common, round_trip::Kind::Request, &args)?,
        Mode::Throughput(args) => one_way(common, args.load)?,
        Mode::Peer(args) => peer::run(common, &args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn round_trips(common: &Common, kind: round_trip::Kind, args: &LatencyArgs) -> anyhow::Result<()> {
    let bench = Bench::prepare(common, args.load.clone(), round_trip::pollers(kind))?;
    // Before the measurement: a path that cannot be written is not worth waiting for.
    let hgrm = args.hgrm.as_ref().map(|path| (path, File::create(path)));
    let hgrm = match hgrm {
        Some((path, file)) => {
            Some(file.with_context(|| format!("cannot write {}", path.display()))?)
        }
        None => None,
    };
    let mut engine = Latency::new();
    let mut raw = bench.load.baseline.then(Latency::new);
    let mut tally = Tally::default();
    bench.rounds(|goal| {
        engine.add(&round_trip::round(&bench, kind, goal, &mut tally)?);
        if let Some(raw) = &mut raw {
            raw.add(&baseline::ping_pong::round(&bench, kind, goal)?);
        }
        Ok(())
    })?;
    if let Some(file) = hgrm {
        report::write_hgrm(file, &engine).context("cannot write the distribution")?;
    }
    report::round_trips(&mut Output::new(common), &bench.load, &engine, raw.as_ref(), tally)
}

fn one_way(common: &Common, load: Load) -> anyhow::Result<()> {
    let bench = Bench::prepare(common, load, throughput::pollers())?;
    let mut engine = Rate::default();
    let mut raw = bench.load.baseline.then(Rate::default);
    let mut tally = Tally::default();
    bench.rounds(|goal| {
        engine.add(&throughput::round(&bench, goal, &mut tally)?);
        if let Some(raw) = &mut raw {
            raw.add(&baseline::one_way::round(&bench, goal)?);
        }
        Ok(())
    })?;
    report::throughput(&mut Output::new(common), &bench.load, &engine, raw.as_ref(), tally)
}

/// What all rounds of a run share.
pub(crate) struct Bench {
    load: Load,
    cores: Option<Cores>,
    stop: StopFlag,
    /// The configuration of this process.
    own: Config,
    /// The configuration file of the peer.
    peer: PathBuf,
    /// Absent when the user's own configuration is measured.
    _stage: Option<Stage>,
}

/// A core for each process.
#[derive(Clone, Copy, Debug)]
struct Cores {
    own: usize,
    peer: usize,
}

impl Bench {
    /// `pollers` says how this process and the peer poll, given the core that each of them has.
    fn prepare(
        common: &Common,
        load: Load,
        pollers: [fn(Option<usize>) -> PollerSpec; 2],
    ) -> anyhow::Result<Self> {
        let stop = signals::stop_flag()?;
        if load.baseline && load.transport != TransportArg::Ipc && load.size > MAX_DATAGRAM_BYTES {
            bail!("a baseline sends single datagrams: at most {MAX_DATAGRAM_BYTES} bytes");
        }
        if load.loss.is_some() && load.transport == TransportArg::Ipc {
            bail!("shared memory loses nothing: --loss is for multicast and unicast");
        }
        if load.loss.is_some() && common.config.is_some() {
            bail!("with a configuration file, [fault] loss in the file says what --loss would");
        }
        let cores = two_cores();
        if cores.is_none() {
            note("fewer than two cores: nothing is pinned, and the figures say little");
        }
        let (own, peer, stage) = match &common.config {
            Some(path) => (common.load()?, path.clone(), None),
            None => {
                let stage = Stage::new("bench")?;
                let [own, peer] = pollers;
                let fault = load.loss.map_or_else(String::new, |p| format!("[fault]\nloss = {p}"));
                let own = stage.configure("own", own(cores.map(|cores| cores.own)), &fault)?;
                let peer = stage.configure("peer", peer(cores.map(|cores| cores.peer)), &fault)?;
                (Config::from_file(&own)?, peer, Some(stage))
            }
        };
        let topic = load.transport.topic("ping");
        let route = own.route(&topic)?;
        if !load.transport.matches(route.transport()) {
            let (wanted, template) = (load.transport.name(), route.template());
            bail!("the configuration carries {topic} by template {template:?}, not by {wanted}");
        }
        Ok(Self { load, cores, stop, own, peer, _stage: stage })
    }

    /// Starts the instance of this process.
    fn start(&self) -> anyhow::Result<Instance> {
        Instance::builder()
            .name("vega-bench")
            .config(self.own.clone())
            .start()
            .context("cannot start")
    }

    /// Splits what is to be measured into rounds: one, or several when they alternate with those
    /// of a baseline.
    fn rounds(&self, mut round: impl FnMut(Goal) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let rounds = if self.load.baseline { ROUNDS } else { 1 };
        let whole = match (self.load.count, self.load.duration) {
            (Some(count), _) => Goal::Count(count),
            (None, duration) => Goal::Duration(duration.unwrap_or(DEFAULT_DURATION)),
        };
        let bar = progress("rounds", Some(rounds.into()));
        let result = whole.split(rounds).try_for_each(|goal| {
            round(goal)?;
            bar.inc(1);
            Ok(())
        });
        bar.finish_and_clear();
        result
    }
}

/// The first two cores that this process may use.
fn two_cores() -> Option<Cores> {
    let ids = core_affinity::get_core_ids()?;
    let [own, peer, ..] = ids.as_slice() else { return None };
    Some(Cores { own: own.id, peer: peer.id })
}

/// Keeps the current thread on its core, if it has one.
fn pin(core: Option<usize>) {
    if let Some(id) = core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        tracing::warn!(core = id, "cannot pin a measuring thread to this core");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_fractions_or_per_cent() {
        for (text, value) in [("1%", 0.01), ("0.01", 0.01), ("0", 0.0), ("100%", 1.0), ("1", 1.0)] {
            assert_eq!(share(text), Ok(value), "{text}");
        }
        for text in ["", "%", "2", "101%", "-1%", "nan", "one"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
