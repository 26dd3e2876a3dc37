//! How vega compares with others on this machine: the same messages between two processes, measured
//! the same way for everybody, in turns. Layer: a program of its own above vega's public API.

mod cases;
mod clock;
mod console;
mod contest;
mod exchange;
mod links;
mod machine;
mod part;
mod place;
mod polled;
mod processes;
mod round_trips;
mod rounds;
mod setups;
mod stream;
mod table;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use clap::{Parser, Subcommand};
use serde::Serialize;

use cases::Case;
use contest::Effort;
use exchange::Outcome;
use machine::Machine;
use part::Part;
use setups::{Peer, Setup};
use table::Row;

const EXAMPLES: &str = "\
Examples:
  vega-peers
  vega-peers --cases ipc-rtt,unicast-throughput --peers aeron --json
  vega-peers --cases multicast --duration 2s --rounds 5

Round trips are timed from the send to the echo. Streams are counted where they arrive, and held to
their order: one that loses anything is not compared. The figures are worth something on a machine
that does nothing else.";

#[derive(Debug, Parser)]
#[command(version, about = "Compare vega with its peers on this machine", after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Cases whose names begin like one of these, such as ipc, unicast-rtt or
    /// multicast-throughput-mtu8192-32 [default: all]
    #[arg(long, value_name = "BEGIN,...", value_delimiter = ',')]
    cases: Vec<String>,
    /// Who is compared with vega [default: everybody]
    #[arg(long, value_enum, value_name = "PEER,...", value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Time for each round of each contestant
    #[arg(long, value_name = "D", default_value = "400ms", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Rounds of each contestant; they take turns
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Time for each configuration of a peer that is tried before
    #[arg(long, value_name = "D", default_value = "100ms", value_parser = humantime::parse_duration)]
    trial: Duration,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
    /// Say what each exchange comes to, on standard error
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Another process
    #[command(name = processes::COMMAND, hide = true)]
    Part { part: String },
}

/// Everything, for machines.
#[derive(Debug, Serialize)]
struct Document {
    machine: Machine,
    rows: Vec<Row>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.mode {
        Some(Mode::Part { part }) => play(part),
        None => compare(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(part: &str) -> anyhow::Result<()> {
    let part: Part = serde_json::from_str(part)?;
    part.play()
}

fn compare(args: &Args) -> anyhow::Result<()> {
    let cases: Vec<_> = Case::all().into_iter().filter(|case| case.is_among(&args.cases)).collect();
    for begin in &args.cases {
        if !cases.iter().any(|case| case.is_among(std::slice::from_ref(begin))) {
            let names: Vec<_> = Case::all().iter().map(ToString::to_string).collect();
            bail!("no case begins with {begin:?}; there are {}", names.join(", "));
        }
    }
    let chosen =
        |peer: &Peer| *peer == Peer::Vega || args.peers.is_empty() || args.peers.contains(peer);
    let peers: Vec<_> = Peer::ALL.into_iter().filter(chosen).collect();
    let effort = Effort { duration: args.duration, rounds: args.rounds, trial: args.trial };
    let stop = stop_flag()?;
    let machine = Machine::look(&peers);
    let mut rows = Vec::new();
    for (number, case) in (1..).zip(&cases) {
        progress(&format!("{number} of {}: {case}", cases.len()));
        let results = contest::hold(*case, &peers, effort, &stop, |setup, outcome| {
            if args.verbose {
                remark(case, setup, outcome);
            }
        })?;
        rows.extend(Row::all(case, &results));
    }
    progress("");
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &Document { machine, rows })?;
        writeln!(out)?;
    } else {
        writeln!(out, "{machine}\n\n{}", table::table(&rows))?;
    }
    Ok(())
}

/// Raised when the user wants to stop.
fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    Ok(stop)
}

/// Overwrites a line of a terminal, and says nothing elsewhere.
fn progress(text: &str) {
    let mut out = std::io::stderr().lock();
    if out.is_terminal() {
        // Who does not see it misses nothing.
        let _ = write!(out, "\r\x1b[K{text}");
        let _ = out.flush();
    }
}

fn remark(case: &Case, setup: &Setup, outcome: &anyhow::Result<Outcome>) {
    let peer = setup.peer;
    match outcome {
        Ok(Outcome::RoundTrips(latency)) => {
            let us = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
            let (p50, p99) = (us(0.5), us(0.99));
            eprintln!("{case} {peer} p50 {p50:.2} p99 {p99:.2} us of {}: {setup}", latency.len());
        }
        Ok(Outcome::Stream(flow)) => {
            let rate = flow.messages_per_second() / 1e6;
            let (sent, received, astray) = (flow.sent, flow.received, flow.astray);
            eprintln!(
                "{case} {peer} {rate:.3} M/s, {received} of {sent}, {astray} astray: {setup}"
            );
        }
        Err(error) => eprintln!("{case} {peer}: {error:#}: {setup}"),
    }
}
