//! `vega stat`: what the instances of this host have counted. Layer: bin. Reads their counter files and
//! starts no instance.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::ensure;
use indicatif::HumanCount;
use serde::Serialize;
use serde_json::{Map, Value};
use vega::{Counter, CounterRow, CounterSnapshot, HostCounters, RowKind};

use crate::answer;
use crate::args::Common;
use crate::output::{Output, Table, count, note, one_line};

const EXAMPLES: &str = "\
Examples:
  vega stat                      the instances of this host
  vega stat dealer               all counters of those that are called so
  vega stat 3f2a --json          of one, by the beginning of its id
  vega stat --prometheus         for a scraper

Shows instances of the same user whose configuration names the same [ipc] directory, and whose
[counters] file is not \"off\". Exit code 1: there is none, or none that was asked for.";

/// Digits of an instance's id that tell it apart on one host.
const ID_DIGITS: usize = 8;

/// The arguments of `vega stat`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Instances by name, or by the beginning of their id [default: all]
    #[arg(value_name = "INSTANCE")]
    instances: Vec<String>,
    /// Print the text format of Prometheus
    #[arg(long)]
    prometheus: bool,
    /// Show what killed processes have left, too
    #[arg(long)]
    dead: bool,
    /// Remove what killed processes have left, as the next instance to start would, and end
    #[arg(long)]
    remove_dead: bool,
}

impl Args {
    fn wants(&self, counters: &CounterSnapshot) -> bool {
        (self.dead || counters.is_alive())
            && (self.instances.is_empty()
                || self.instances.iter().any(|wanted| is(counters, wanted)))
    }
}

/// Whether an instance is meant by what somebody typed.
fn is(counters: &CounterSnapshot, wanted: &str) -> bool {
    counters.name() == wanted || counters.instance().to_string().starts_with(wanted)
}

/// Runs `vega stat`.
///
/// # Errors
///
/// When the configuration has problems, the directory of the files cannot be used, or standard output
/// cannot be written.
pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    ensure!(!(args.prometheus && common.json), "--prometheus and --json exclude each other");
    let config = common.load()?;
    if args.remove_dead {
        let removed = HostCounters::remove_dead(&config)?;
        note(format_args!("{} removed", count(removed as u64, "file")));
        return Ok(ExitCode::SUCCESS);
    }
    let host = HostCounters::read(&config)?;
    for (name, reason) in host.unreadable() {
        note(format_args!("{}: {reason}", name.display()));
    }
    let mut shown = host.into_instances();
    shown.retain(|counters| args.wants(counters));
    let mut output = Output::new(common);
    if common.json {
        for counters in &shown {
            output.json(&Document::new(counters))?;
        }
    } else if args.prometheus {
        output.line(vega::prometheus(&shown).trim_end().as_bytes())?;
    } else if args.instances.is_empty() && !shown.is_empty() {
        output.text(overview(&shown))?;
    } else {
        for counters in &shown {
            output.text(details(counters).trim_end())?;
        }
    }
    output.flush()?;
    if shown.is_empty() {
        note("no such instance; it has to be of this user, and to share [ipc] directory with -c");
    }
    Ok(answer(!shown.is_empty()))
}

fn overview(instances: &[CounterSnapshot]) -> Table {
    let header = [
        "name",
        "instance",
        "process",
        "up",
        "sent",
        "received",
        "lost",
        "back pressured",
        "peers",
    ];
    let mut table = Table::new(&header).right(&[2, 3, 4, 5, 6, 7, 8]).spare(&[1]);
    for counters in instances {
        let figures = [
            Counter::MessagesSent,
            Counter::MessagesReceived,
            Counter::MessagesLost,
            Counter::BackPressured,
            Counter::Peers,
        ];
        let figures = figures.map(|counter| HumanCount(counters.get(counter)).to_string());
        let who = [
            one_line(counters.name().as_bytes()),
            short_id(counters),
            counters.process().to_string(),
            age(counters),
        ];
        table.row(who.into_iter().chain(figures));
    }
    table
}

/// Everything that is not zero.
fn details(counters: &CounterSnapshot) -> String {
    let (name, id, process) =
        (one_line(counters.name().as_bytes()), counters.instance(), counters.process());
    let mut text = format!("{name} {id}, process {process}, {}\n\n", age(counters));
    let mut table = Table::new(&["counter", "value", ""]).right(&[1]).prose(2);
    for (counter, value) in counters.iter().filter(|(_, value)| *value > 0) {
        table.row([
            counter.label().to_owned(),
            HumanCount(value).to_string(),
            counter.description().to_owned(),
        ]);
    }
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{table}");
    for kind in RowKind::ALL {
        let rows: Vec<_> = counters.rows_of(*kind).collect();
        if !rows.is_empty() {
            let _ = writeln!(text, "\n{}", rows_table(*kind, &rows));
        }
    }
    text
}

/// The rows of a kind, without columns that are zero in all of them.
fn rows_table(kind: RowKind, rows: &[&CounterRow]) -> Table {
    let used: Vec<_> = (0..kind.columns().len())
        .filter(|at| rows.iter().any(|row| row.iter().nth(*at).is_some_and(|(_, it)| it > 0)))
        .collect();
    let has_place = rows.iter().any(|row| !row.place().is_empty());
    let mut header = vec![kind.label()];
    header.extend(has_place.then_some("place"));
    let fixed = header.len();
    header.extend(used.iter().map(|at| kind.columns()[*at].label()));
    let numbers: Vec<_> = (fixed..header.len()).collect();
    let mut table = Table::new(&header).right(&numbers);
    for row in rows {
        let values: Vec<_> = row.iter().map(|(_, value)| value).collect();
        let mut cells = vec![one_line(row.name().as_bytes())];
        cells.extend(has_place.then(|| row.place().to_owned()));
        cells.extend(used.iter().map(|at| HumanCount(values[*at]).to_string()));
        table.row(cells);
    }
    table
}

fn short_id(counters: &CounterSnapshot) -> String {
    counters.instance().to_string().chars().take(ID_DIGITS).collect()
}

/// For how long an instance has been up, in its two largest units.
pub(crate) fn age(counters: &CounterSnapshot) -> String {
    if !counters.is_alive() {
        return "dead".to_owned();
    }
    // A clock that was set back makes it young.
    let up = counters.started().elapsed().unwrap_or_default().as_secs();
    match up {
        ..60 => format!("{up}s"),
        60..3600 => format!("{}m{}s", up / 60, up % 60),
        3600..86_400 => format!("{}h{}m", up / 3600, up % 3600 / 60),
        _ => format!("{}d{}h", up / 86_400, up % 86_400 / 3600),
    }
}

/// One instance in JSON.
#[derive(Debug, Serialize)]
struct Document<'a> {
    name: &'a str,
    instance: String,
    process: u32,
    /// Seconds since 1970.
    started: f64,
    alive: bool,
    counters: Map<String, Value>,
    rows: Vec<RowDocument<'a>>,
}

#[derive(Debug, Serialize)]
struct RowDocument<'a> {
    kind: &'static str,
    name: &'a str,
    place: &'a str,
    values: Map<String, Value>,
}

impl<'a> Document<'a> {
    fn new(counters: &'a CounterSnapshot) -> Self {
        let since = counters.started().duration_since(SystemTime::UNIX_EPOCH);
        let rows = counters.rows().iter().map(|row| RowDocument {
            kind: row.kind().label(),
            name: row.name(),
            place: row.place(),
            values: map(row.iter().map(|(column, value)| (column.label(), value))),
        });
        Self {
            name: counters.name(),
            instance: counters.instance().to_string(),
            process: counters.process(),
            started: since.as_ref().map_or(0.0, Duration::as_secs_f64),
            alive: counters.is_alive(),
            counters: map(counters.iter().map(|(counter, value)| (counter.label(), value))),
            rows: rows.collect(),
        }
    }
}

fn map<'a>(values: impl Iterator<Item = (&'a str, u64)>) -> Map<String, Value> {
    values.map(|(label, value)| (label.to_owned(), value.into())).collect()
}
