//! What a measurement prints. Layer: bin; runs on the commanding thread.

use super::figures::{RoundTripFigures, StreamFigures, rounded};
use super::latency::Latency;
use super::load::Load;
use super::measured::{OneWay, RoundTrips};
use crate::output::{Output, Table};

const NS_PER_US: f64 = 1e3;

pub(super) fn round_trips(mut out: Output, run: &RoundTrips) -> anyhow::Result<()> {
    let figures = RoundTripFigures::of(run);
    let raw = run.raw.as_ref().map(|raw| ("raw", raw));
    let table = latencies([("vega", &run.engine)].into_iter().chain(raw));
    let ratio = figures.ratio_p50.map_or_else(String::new, |ratio| format!("\np50: {ratio} x raw"));
    let title = title(&run.load);
    out.result(&figures, format_args!("{title}\n{table}{ratio}"))?;
    Ok(out.flush()?)
}

fn latencies<'a>(rows: impl IntoIterator<Item = (&'a str, &'a Latency)>) -> Table {
    let header = ["µs", "count", "lost", "p50", "p90", "p99", "p99.9", "max"];
    let mut table = Table::new(&header).right(&[1, 2, 3, 4, 5, 6, 7]);
    rows.into_iter().for_each(|(name, latency)| table.row(latency_row(name, latency)));
    table
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

pub(super) fn one_way(mut out: Output, run: &OneWay) -> anyhow::Result<()> {
    let figures = StreamFigures::of(run);
    let header = ["", "sent", "received", "lost", "back-pressured", "messages/s", "Gbit/s"];
    let mut table = Table::new(&header).right(&[1, 2, 3, 4, 5, 6]);
    table.row([
        "vega".to_owned(),
        figures.sent.to_string(),
        figures.received.to_string(),
        figures.lost.to_string(),
        figures.back_pressured.to_string(),
        format!("{:.0}", figures.msgs_per_sec),
        format!("{:.2}", figures.gbit_per_sec),
    ]);
    if let Some(gbit) = figures.baseline_gbit_per_sec {
        let nothing = || String::from("-");
        let gbit = format!("{gbit:.2}");
        table.row(["raw".to_owned(), nothing(), nothing(), nothing(), nothing(), nothing(), gbit]);
    }
    let title = title(&run.load);
    let open_loop = match (&run.latency, run.pace()) {
        (Some(latency), Some(pace)) => format!(
            "\n\n{}\n{:.0} of {} messages/s",
            latencies([("vega", latency)]),
            pace.achieved,
            pace.wanted
        ),
        _ => String::new(),
    };
    out.result(&figures, format_args!("{title}\n{table}{open_loop}"))?;
    Ok(out.flush()?)
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
    let (transport, size) = (load.transport.name(), load.size);
    format!("{transport}, {size} bytes{subscribers}{topics}{lossy}")
}
