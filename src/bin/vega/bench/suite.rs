//! `vega bench all`: every case of the target table in one run. Layer: bin; runs on the commanding
//! thread.
//!
//! A target that is missed is a result. A case that cannot be measured is a failure, and does not
//! keep the others from being measured.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use super::chart::Chart;
use super::create;
use super::expiry::{self, Expiry, ExpiryFigures};
use super::figures::{RoundTripFigures, StreamFigures, rounded};
use super::machine::Machine;
use super::measured::{OneWay, RoundTrips};
use super::report::{PERCENTILES, round_trip_chart, us};
use super::rounds::remark_on_cores;
use super::targets::{CASES, Case, CaseMode, Verdict};
use crate::answer;
use crate::args::Common;
use crate::clock;
use crate::output::{Output, Page, Rows, explain, note};
use crate::signals;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long each case, and its baseline, is measured
    #[arg(long, value_name = "D", default_value = "2s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Write a page with all tables and percentile curves, which needs nothing else to be read
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// What became of a case.
struct Outcome {
    case: &'static Case,
    run: anyhow::Result<Run>,
    verdicts: Vec<Verdict>,
}

enum Run {
    RoundTrips(RoundTrips),
    OneWay(OneWay),
    Expiry(Expiry),
}

pub(super) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    if common.config.is_some() {
        bail!("the targets are those of the built-in configuration: run without a file");
    }
    let page = args.report.as_deref().map(create).transpose()?;
    let stop = signals::stop_flag()?;
    remark_on_cores(1);
    let begin = clock::now();
    let mut outcomes = Vec::with_capacity(CASES.len());
    for case in CASES {
        let run = match case.mode {
            CaseMode::RoundTrips(kind) => {
                let load = case.load(args.duration);
                RoundTrips::measure(common, kind, load, stop.clone()).map(Run::RoundTrips)
            }
            CaseMode::OneWay => {
                OneWay::measure(common, case.load(args.duration), stop.clone()).map(Run::OneWay)
            }
            CaseMode::Expiry(open) => Expiry::measure(open, args.duration, &stop).map(Run::Expiry),
        };
        if stop.is_raised() {
            bail!("interrupted");
        }
        let verdicts = match &run {
            Ok(Run::RoundTrips(run)) => case.judge_round_trips(run),
            Ok(Run::OneWay(run)) => case.judge_one_way(run),
            Ok(Run::Expiry(run)) => case.judge_expiry(run),
            Err(error) => {
                note(format_args!("{case}: {}", explain(error)));
                case.judge_nothing()
            }
        };
        outcomes.push(Outcome { case, run, verdicts });
    }
    let machine = Machine::look();
    let document = Document::of(&machine, clock::now().duration_since(begin), &outcomes);
    let failed = document.failed;
    if let Some(file) = page {
        page_of(&document, &outcomes).write(file).context("cannot write the page")?;
    }
    Output::new(common).finish(&document, text(&document, &outcomes))?;
    Ok(answer(failed == 0))
}

/// What machines read.
#[derive(Debug, Serialize)]
struct Document<'a> {
    machine: &'a Machine,
    seconds: f64,
    targets: usize,
    held: usize,
    /// Cases that could not be measured.
    failed: usize,
    rows: Vec<Row<'a>>,
    cases: Vec<CaseDocument<'a>>,
}

/// One target. The long form is in `cases`.
#[derive(Debug, Serialize)]
struct Row<'a> {
    case: String,
    figure: &'a str,
    value: Option<f64>,
    target: f64,
    ratio: Option<f64>,
    met: bool,
}

/// Either `result` or `error` is null.
#[derive(Debug, Serialize)]
struct CaseDocument<'a> {
    case: String,
    mode: &'static str,
    result: Option<Figures>,
    error: Option<String>,
    targets: &'a [Verdict],
}

/// As the command that measures this alone prints them.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Figures {
    RoundTrips(RoundTripFigures),
    OneWay(StreamFigures),
    Expiry(ExpiryFigures),
}

impl<'a> Document<'a> {
    fn of(machine: &'a Machine, elapsed: Duration, outcomes: &'a [Outcome]) -> Self {
        let verdicts = || outcomes.iter().flat_map(|outcome| &outcome.verdicts);
        Self {
            machine,
            seconds: rounded(elapsed.as_secs_f64()),
            targets: verdicts().count(),
            held: verdicts().filter(|verdict| verdict.holds()).count(),
            failed: outcomes.iter().filter(|outcome| outcome.run.is_err()).count(),
            rows: outcomes.iter().flat_map(Row::of).collect(),
            cases: outcomes.iter().map(CaseDocument::of).collect(),
        }
    }
}

impl<'a> Row<'a> {
    fn of(outcome: &'a Outcome) -> impl Iterator<Item = Self> {
        outcome.verdicts.iter().map(|verdict| Self {
            case: outcome.case.to_string(),
            figure: verdict.figure(),
            value: verdict.measured(),
            target: verdict.target(),
            ratio: verdict.ratio(),
            met: verdict.holds(),
        })
    }
}

impl<'a> CaseDocument<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let (result, error) = match &outcome.run {
            Ok(Run::RoundTrips(run)) => {
                (Some(Figures::RoundTrips(RoundTripFigures::of(run))), None)
            }
            Ok(Run::OneWay(run)) => (Some(Figures::OneWay(StreamFigures::of(run))), None),
            Ok(Run::Expiry(run)) => (Some(Figures::Expiry(ExpiryFigures::of(run))), None),
            Err(error) => (None, Some(explain(error))),
        };
        Self {
            case: outcome.case.to_string(),
            mode: outcome.case.mode_name(),
            result,
            error,
            targets: &outcome.verdicts,
        }
    }
}

/// What people read.
fn text(document: &Document<'_>, outcomes: &[Outcome]) -> String {
    let (machine, summary) = (document.machine, summary(document));
    let [round_trips, streams, expiry] = tables(outcomes).map(|rows| rows.table());
    format!("{machine}\n\n{round_trips}\n\n{streams}\n\n{expiry}\n\n{summary}")
}

fn summary(document: &Document<'_>) -> String {
    let Document { seconds, targets, held, failed, .. } = document;
    let failures =
        if *failed == 0 { String::new() } else { format!(", {failed} cases not measured") };
    format!("{held} of {targets} targets hold{failures} ({seconds:.0} s)")
}

fn page_of<'a>(document: &Document<'_>, outcomes: &'a [Outcome]) -> Page<Chart<'a>> {
    let charts = outcomes.iter().filter_map(|outcome| match &outcome.run {
        Ok(Run::RoundTrips(run)) => Some(round_trip_chart(outcome.case.to_string(), run)),
        Ok(Run::Expiry(run)) => Some(run.chart(outcome.case.to_string())),
        Ok(Run::OneWay(_)) | Err(_) => None,
    });
    Page {
        title: "vega bench all".to_owned(),
        summary: summary(document),
        origin: document.machine.to_string(),
        tables: tables(outcomes).into(),
        heading: PERCENTILES,
        figures: charts.collect(),
    }
}

/// Cases that could not be measured are not in them: standard error says why.
fn tables(outcomes: &[Outcome]) -> [Rows; 3] {
    let rows = |title, header: [&'static str; 9]| Rows {
        title,
        header: header.into(),
        numbers: 1..7,
        rows: Vec::new(),
    };
    let header = ["µs", "p50", "p99", "raw p50", "ratio", "lost", "resent", "target", "holds"];
    let mut round_trips = rows("Round trips", header);
    let header =
        ["", "M/s", "Gbit/s", "raw Gbit/s", "lost", "resent", "back-pressured", "target", "holds"];
    let mut streams = rows("One way", header);
    let [open, expire, p50, p99, p999, max] = expiry::HEADER;
    let header = ["", open, expire, p50, p99, p999, max, "target", "holds"];
    let mut expiry = rows("Requests that expire", header);
    for outcome in outcomes {
        let (rows, cells) = match &outcome.run {
            Ok(Run::RoundTrips(run)) => (&mut round_trips, round_trip_cells(run)),
            Ok(Run::OneWay(run)) => (&mut streams, stream_cells(run)),
            Ok(Run::Expiry(run)) => (&mut expiry, run.cells()),
            Err(_) => continue,
        };
        let case = [outcome.case.to_string()].into_iter();
        rows.rows.push(case.chain(cells).chain(judged(&outcome.verdicts)).collect());
    }
    [round_trips, streams, expiry]
}

fn round_trip_cells(run: &RoundTrips) -> [String; 6] {
    let RoundTrips { engine, raw, tally, .. } = run;
    [
        us(engine.quantile_ns(0.5)),
        us(engine.quantile_ns(0.99)),
        or_dash(raw.as_ref().map(|raw| us(raw.quantile_ns(0.5)))),
        or_dash(run.ratio_p50().map(|ratio| format!("{ratio:.2}"))),
        engine.lost().to_string(),
        tally.retransmits.to_string(),
    ]
}

fn stream_cells(run: &OneWay) -> [String; 6] {
    let OneWay { engine, raw, tally, .. } = run;
    [
        format!("{:.2}", engine.messages_per_second() / 1e6),
        format!("{:.2}", engine.gigabits_per_second()),
        or_dash(raw.as_ref().map(|raw| format!("{:.2}", raw.gigabits_per_second()))),
        engine.lost().to_string(),
        tally.retransmits.to_string(),
        engine.back_pressured.to_string(),
    ]
}

fn judged(verdicts: &[Verdict]) -> [String; 2] {
    let wanted: Vec<_> = verdicts.iter().map(Verdict::wanted).collect();
    let holds: Vec<_> =
        verdicts.iter().map(|verdict| if verdict.holds() { "yes" } else { "no" }).collect();
    [wanted.join(", "), holds.join(", ")]
}

fn or_dash(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| "-".to_owned())
}
