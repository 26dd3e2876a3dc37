//! `vega sim`: simulated sessions, and simulated crowds. Layer: bin.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use vega::sim::{self, Costs, Report, Size};

use crate::answer;
use crate::args::Common;
use crate::output::{Output, Table, milliseconds, note};

const EXAMPLES: &str = "\
Examples:
  vega sim --seeds 10000                     ten thousand scenarios
  vega sim --seeds 1 --start 4711            one of them again
  vega sim --table                           throughput and latency in virtual time
  vega sim --discovery                       what discovery costs many instances
  vega sim --discovery --topics 1000 --instances 2000

Nothing is sent: clock, network and processes are virtual, and a seed decides all of it.
Exit code 1: a scenario has failed.";

/// The arguments of `vega sim`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many scenarios
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    seeds: u64,
    /// The first seed; the others follow
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    start: u64,
    /// Print throughput and latency over loss, round trip and window instead
    #[arg(long, conflicts_with_all = ["seeds", "start"])]
    table: bool,
    /// Print what discovery costs instead: at a start of all at once, in steady state, when one joins,
    /// and when two halves of a network meet again
    #[arg(long, conflicts_with_all = ["seeds", "start", "table"])]
    discovery: bool,
    /// Topics, each with one publisher and two subscribers
    #[arg(long, value_name = "COUNT", requires = "discovery", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    topics: u32,
    /// Instances, each on a host of its own
    #[arg(long, value_name = "COUNT", requires = "discovery", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(2..=10_000))]
    instances: u32,
}

/// Runs `vega sim`.
///
/// # Errors
///
/// When standard output cannot be written.
pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    if args.table {
        return table(common);
    }
    if args.discovery {
        return discovery(common, args);
    }
    let mut summaries = BTreeMap::new();
    let mut failures = Vec::new();
    for seed in (args.start..).take(usize::try_from(args.seeds)?) {
        match sim::run(seed) {
            Ok(report) => summaries
                .entry(report.kind.clone())
                .or_insert_with(|| Summary::new(&report.kind))
                .add(&report),
            Err(failure) => {
                note(&failure);
                failures.push(failure.seed);
            }
        }
    }
    let is_good = failures.is_empty();
    let mut output = Output::new(common);
    if output.is_json() {
        let scenarios: Vec<_> = summaries.into_values().collect();
        output.json(&Document { scenarios, failures })?;
    } else {
        output.text(rows(summaries.values()))?;
        output.text(format_args!("{} of {} scenarios failed", failures.len(), args.seeds))?;
    }
    output.flush()?;
    Ok(answer(is_good))
}

fn table(common: &Common) -> anyhow::Result<ExitCode> {
    let table = sim::table().map_err(anyhow::Error::msg)?;
    let rows: Vec<_> = table.rows.iter().map(RowJson::from).collect();
    Output::new(common).finish(&rows, &table)?;
    Ok(ExitCode::SUCCESS)
}

fn discovery(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let size = Size::new(usize::try_from(args.topics)?, usize::try_from(args.instances)?);
    let costs = sim::discovery(size).map_err(anyhow::Error::msg)?;
    let document = CostsJson::from(&costs);
    Output::new(common).finish(&document, format_args!("{}\n{costs}", Costs::HEADER))?;
    Ok(ExitCode::SUCCESS)
}

fn rows<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Table {
    let header = [
        "scenario",
        "runs",
        "messages",
        "packets",
        "dropped",
        "lost",
        "naks",
        "repairs",
        "requests",
        "slowest ms",
        "recovery ms",
    ];
    let mut table = Table::new(&header).right(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    for it in summaries {
        table.row([
            it.scenario.clone(),
            it.runs.to_string(),
            it.messages.to_string(),
            it.packets.to_string(),
            it.dropped.to_string(),
            it.lost.to_string(),
            it.naks.to_string(),
            it.repairs.to_string(),
            it.requests.to_string(),
            it.slowest_ms.to_string(),
            it.recovery_ms.to_string(),
        ]);
    }
    table
}

/// All runs of one kind.
#[derive(Debug, Default, Serialize)]
struct Summary {
    scenario: String,
    runs: u64,
    messages: u64,
    delivered: u64,
    packets: u64,
    /// Packets that the network or a full buffer dropped.
    dropped: u64,
    /// Packets that receivers gave up.
    lost: u64,
    naks: u64,
    repairs: u64,
    requests: u64,
    slowest_ms: f64,
    recovery_ms: f64,
}

impl Summary {
    fn new(kind: &str) -> Self {
        Self { scenario: kind.to_owned(), ..Self::default() }
    }

    fn add(&mut self, report: &Report) {
        let longest = |known: f64, new: Duration| known.max(milliseconds(new));
        self.runs += 1;
        self.messages += report.messages;
        self.delivered += report.delivered;
        self.packets += report.packets;
        self.dropped += report.injected_losses + report.overflows;
        self.lost += report.packets_lost;
        self.naks += report.naks;
        self.repairs += report.repairs;
        self.requests += report.requests;
        self.slowest_ms = longest(self.slowest_ms, report.slowest);
        self.recovery_ms = longest(self.recovery_ms, report.recovery);
    }
}

#[derive(Debug, Serialize)]
struct Document {
    scenarios: Vec<Summary>,
    /// Seeds of scenarios that failed.
    failures: Vec<u64>,
}

/// One row of the table in JSON.
#[derive(Debug, Serialize)]
struct RowJson {
    loss_ppm: u32,
    round_trip_ms: f64,
    window_packets: usize,
    messages_per_second: u64,
    p50_ms: f64,
    p99_ms: f64,
}

impl From<&sim::Row> for RowJson {
    fn from(row: &sim::Row) -> Self {
        Self {
            loss_ppm: row.loss_ppm,
            round_trip_ms: milliseconds(row.round_trip),
            window_packets: row.window_packets,
            messages_per_second: row.messages_per_second,
            p50_ms: milliseconds(row.p50),
            p99_ms: milliseconds(row.p99),
        }
    }
}

/// What discovery costs, in JSON.
#[derive(Debug, Serialize)]
struct CostsJson {
    topics: usize,
    instances: usize,
    memory_bytes: usize,
    events: Vec<CostJson>,
}

#[derive(Debug, Serialize)]
struct CostJson {
    event: String,
    ms: f64,
    datagrams: u64,
    bytes: u64,
    peak_datagrams: u64,
    peak_bytes: u64,
    dropped: u64,
}

impl From<&Costs> for CostsJson {
    fn from(costs: &Costs) -> Self {
        let event = |cost: &sim::Cost| CostJson {
            event: cost.event.to_string(),
            ms: milliseconds(cost.time),
            datagrams: cost.datagrams,
            bytes: cost.bytes,
            peak_datagrams: cost.peak_datagrams,
            peak_bytes: cost.peak_bytes,
            dropped: cost.dropped,
        };
        Self {
            topics: costs.size.topics,
            instances: costs.size.instances,
            memory_bytes: costs.memory,
            events: costs.costs.iter().map(event).collect(),
        }
    }
}
