//! What a measurement prints, and what its page shows. Layer: bin; runs on the commanding thread.

use super::chart::Chart;
use super::figures::{RoundTripFigures, StreamFigures, rounded};
use super::latency::Latency;
use super::load::Load;
use super::machine::Machine;
use super::measured::{OneWay, RoundTrips};
use crate::output::{Output, Page, Rows};

/// What the figures of a measurement show.
pub(super) const PERCENTILES: &str = "Percentiles";

const NS_PER_US: f64 = 1e3;

pub(super) fn round_trips(mut out: Output, run: &RoundTrips) -> anyhow::Result<()> {
    let figures = RoundTripFigures::of(run);
    let (title, table, ratio) = (title(&run.load), round_trip_rows(run).table(), ratio(run));
    let ratio = ratio.map_or_else(String::new, |ratio| format!("\n{ratio}"));
    out.result(&figures, format_args!("{title}\n{table}{ratio}"))?;
    Ok(out.flush()?)
}

pub(super) fn one_way(mut out: Output, run: &OneWay) -> anyhow::Result<()> {
    let figures = StreamFigures::of(run);
    let (title, table) = (title(&run.load), stream_rows(run).table());
    let open_loop = match (open_loop_rows(run), pace(run)) {
        (Some(rows), Some(pace)) => format!("\n\n{}\n{pace}", rows.table()),
        _ => String::new(),
    };
    out.result(&figures, format_args!("{title}\n{table}{open_loop}"))?;
    Ok(out.flush()?)
}

/// The page of round trips. `mode` is the command that measured them.
pub(super) fn round_trip_page<'a>(
    mode: &str,
    run: &'a RoundTrips,
    machine: &Machine,
) -> Page<Chart<'a>> {
    Page {
        title: format!("{mode} {}", title(&run.load)),
        summary: ratio(run).unwrap_or_default(),
        origin: machine.to_string(),
        tables: vec![round_trip_rows(run)],
        heading: PERCENTILES,
        figures: vec![round_trip_chart(mode.to_owned(), run)],
    }
}

/// The page of a stream. Only an open loop has a distribution.
pub(super) fn one_way_page<'a>(run: &'a OneWay, machine: &Machine) -> Page<Chart<'a>> {
    let curves = open_loops(run).collect();
    let chart = Chart { title: "from the intended time to the arrival".to_owned(), curves };
    Page {
        title: format!("throughput {}", title(&run.load)),
        summary: pace(run).unwrap_or_default(),
        origin: machine.to_string(),
        tables: [stream_rows(run)].into_iter().chain(open_loop_rows(run)).collect(),
        heading: PERCENTILES,
        figures: run.latency.is_some().then_some(chart).into_iter().collect(),
    }
}

pub(super) fn round_trip_chart(title: String, run: &RoundTrips) -> Chart<'_> {
    let raw = run.raw.iter().map(|raw| ("raw", raw));
    Chart { title, curves: [("vega", &run.engine)].into_iter().chain(raw).collect() }
}

fn round_trip_rows(run: &RoundTrips) -> Rows {
    let raw = run.raw.as_ref().map(|raw| ("raw", raw));
    latency_rows("Round trips", [("vega", &run.engine)].into_iter().chain(raw))
}

fn open_loop_rows(run: &OneWay) -> Option<Rows> {
    run.latency.as_ref()?;
    Some(latency_rows("From the intended time to the arrival", open_loops(run)))
}

fn open_loops(run: &OneWay) -> impl Iterator<Item = (&'static str, &Latency)> {
    let raw = run.raw_latency.iter().map(|raw| ("raw", raw));
    run.latency.iter().map(|latency| ("vega", latency)).chain(raw)
}

fn latency_rows<'a>(
    title: &'static str,
    rows: impl IntoIterator<Item = (&'static str, &'a Latency)>,
) -> Rows {
    Rows {
        title,
        header: vec!["µs", "count", "lost", "p50", "p90", "p99", "p99.9", "max"],
        numbers: 1..8,
        rows: rows.into_iter().map(|(name, latency)| latency_row(name, latency)).collect(),
    }
}

fn latency_row(name: &str, latency: &Latency) -> Vec<String> {
    let quantiles = [0.5, 0.9, 0.99, 0.999].map(|quantile| us(latency.quantile_ns(quantile)));
    [name.to_owned(), latency.count().to_string(), latency.lost().to_string()]
        .into_iter()
        .chain(quantiles)
        .chain([us(latency.max_ns())])
        .collect()
}

/// Microseconds for people.
pub(super) fn us(ns: u64) -> String {
    format!("{:.2}", ns as f64 / NS_PER_US)
}

fn stream_rows(run: &OneWay) -> Rows {
    let OneWay { engine, raw, tally, .. } = run;
    let vega = vec![
        "vega".to_owned(),
        engine.sent.to_string(),
        engine.received.to_string(),
        engine.lost().to_string(),
        tally.retransmits.to_string(),
        engine.back_pressured.to_string(),
        format!("{:.0}", engine.messages_per_second()),
        format!("{:.2}", engine.gigabits_per_second()),
    ];
    let raw = raw.as_ref().map(|raw| {
        let nothing = std::iter::repeat_n("-".to_owned(), vega.len() - 2);
        let gigabits = format!("{:.2}", raw.gigabits_per_second());
        ["raw".to_owned()].into_iter().chain(nothing).chain([gigabits]).collect()
    });
    Rows {
        title: "One way",
        header: vec![
            "",
            "sent",
            "received",
            "lost",
            "resent",
            "back-pressured",
            "messages/s",
            "Gbit/s",
        ],
        numbers: 1..8,
        rows: [vega].into_iter().chain(raw).collect(),
    }
}

fn ratio(run: &RoundTrips) -> Option<String> {
    run.ratio_p50().map(|ratio| format!("p50: {} x raw", rounded(ratio)))
}

fn pace(run: &OneWay) -> Option<String> {
    run.pace().map(|pace| format!("{:.0} of {} messages/s", pace.achieved, pace.wanted))
}

/// What was measured.
fn title(load: &Load) -> String {
    let lossy = load
        .loss
        .map_or_else(String::new, |loss| format!(", {}% lost on purpose", rounded(100.0 * loss)));
    let several = |number: u32, things: &str| match number {
        1 => String::new(),
        _ => format!(", {number} {things}"),
    };
    let (subscribers, topics) =
        (several(load.subscribers, "subscribers"), several(load.topics, "topics"));
    let idle = load.idle.map_or_else(String::new, |idle| format!(", idle {}", idle.name()));
    let packets =
        load.packet_size.map_or_else(String::new, |bytes| format!(", packets of {bytes} bytes"));
    let (transport, size) = (load.transport.name(), load.size);
    format!("{transport}, {size} bytes{packets}{subscribers}{topics}{idle}{lossy}")
}
