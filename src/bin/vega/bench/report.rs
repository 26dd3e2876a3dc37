//! What a measurement prints and writes. Layer: bin; runs on the commanding thread.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::Load;
use super::latency::Latency;
use super::tally::Tally;
use super::throughput::Rate;
use crate::output::{Output, Table};

/// Lines of a percentile file for each halving of the distance to 100 %, as is customary.
const TICKS_PER_HALF: u32 = 5;
const NS_PER_US: f64 = 1e3;

/// Nanoseconds; `baseline_p50_ns` and `ratio_p50` are null without a baseline, `loss` without one
/// that was asked for.
#[derive(Debug, Serialize)]
struct RoundTrips {
    transport: &'static str,
    size: usize,
    count: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    max_ns: u64,
    lost: u64,
    loss: Option<f64>,
    #[serde(flatten)]
    tally: Tally,
    baseline_p50_ns: Option<u64>,
    ratio_p50: Option<f64>,
}

/// Gigabits of payload; `baseline_gbit_per_sec` is null without a baseline, `loss` without one that
/// was asked for.
#[derive(Debug, Serialize)]
struct Throughput {
    transport: &'static str,
    size: usize,
    msgs_per_sec: f64,
    gbit_per_sec: f64,
    sent: u64,
    received: u64,
    lost: u64,
    back_pressured: u64,
    loss: Option<f64>,
    #[serde(flatten)]
    tally: Tally,
    baseline_gbit_per_sec: Option<f64>,
}

pub(super) fn round_trips(
    out: &mut Output,
    load: &Load,
    engine: &Latency,
    raw: Option<&Latency>,
    tally: Tally,
) -> anyhow::Result<()> {
    let baseline_p50_ns = raw.map(|raw| raw.quantile_ns(0.5));
    let document = RoundTrips {
        transport: load.transport.name(),
        size: load.size,
        count: engine.count(),
        p50_ns: engine.quantile_ns(0.5),
        p90_ns: engine.quantile_ns(0.9),
        p99_ns: engine.quantile_ns(0.99),
        p999_ns: engine.quantile_ns(0.999),
        max_ns: engine.max_ns(),
        lost: engine.lost(),
        loss: load.loss,
        tally,
        baseline_p50_ns,
        ratio_p50: baseline_p50_ns
            .map(|raw_ns| rounded(engine.quantile_ns(0.5) as f64 / raw_ns.max(1) as f64)),
    };
    let header = ["µs", "count", "lost", "p50", "p90", "p99", "p99.9", "max"];
    let mut table = Table::new(&header).right(&[1, 2, 3, 4, 5, 6, 7]);
    table.row(latency_row("vega", engine));
    if let Some(raw) = raw {
        table.row(latency_row("raw", raw));
    }
    let ratio =
        document.ratio_p50.map_or_else(String::new, |ratio| format!("\np50: {ratio} x raw"));
    let (transport, size) = (document.transport, document.size);
    out.result(
        &document,
        format_args!("{transport}, {size} bytes{}\n{table}{ratio}", lossy(load)),
    )?;
    Ok(out.flush()?)
}

fn latency_row(name: &str, latency: &Latency) -> Vec<String> {
    let us = |ns: u64| format!("{:.2}", ns as f64 / NS_PER_US);
    let quantiles = [0.5, 0.9, 0.99, 0.999].map(|quantile| us(latency.quantile_ns(quantile)));
    [name.to_owned(), latency.count().to_string(), latency.lost().to_string()]
        .into_iter()
        .chain(quantiles)
        .chain([us(latency.max_ns())])
        .collect()
}

pub(super) fn throughput(
    out: &mut Output,
    load: &Load,
    engine: &Rate,
    raw: Option<&Rate>,
    tally: Tally,
) -> anyhow::Result<()> {
    let document = Throughput {
        transport: load.transport.name(),
        size: load.size,
        msgs_per_sec: engine.messages_per_second().round(),
        gbit_per_sec: rounded(engine.gigabits_per_second()),
        sent: engine.sent,
        received: engine.received,
        lost: engine.lost(),
        back_pressured: engine.back_pressured,
        loss: load.loss,
        tally,
        baseline_gbit_per_sec: raw.map(|raw| rounded(raw.gigabits_per_second())),
    };
    let header = ["", "sent", "received", "lost", "back-pressured", "messages/s", "Gbit/s"];
    let mut table = Table::new(&header).right(&[1, 2, 3, 4, 5, 6]);
    table.row([
        "vega".to_owned(),
        document.sent.to_string(),
        document.received.to_string(),
        document.lost.to_string(),
        document.back_pressured.to_string(),
        format!("{:.0}", document.msgs_per_sec),
        format!("{:.2}", document.gbit_per_sec),
    ]);
    if let Some(gbit) = document.baseline_gbit_per_sec {
        let nothing = || String::from("-");
        let gbit = format!("{gbit:.2}");
        table.row(["raw".to_owned(), nothing(), nothing(), nothing(), nothing(), nothing(), gbit]);
    }
    let (transport, size) = (document.transport, document.size);
    out.result(&document, format_args!("{transport}, {size} bytes{}\n{table}", lossy(load)))?;
    Ok(out.flush()?)
}

fn lossy(load: &Load) -> String {
    load.loss
        .map_or_else(String::new, |loss| format!(", {}% lost on purpose", rounded(100.0 * loss)))
}

/// To as many decimals as repeated measurements agree on.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Writes a distribution in the text format that HdrHistogram's own tools plot, in microseconds.
///
/// # Errors
///
/// When the file cannot be written.
pub(super) fn write_hgrm(file: File, latency: &Latency) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    hgrm(&mut file, latency)?;
    file.flush()
}

fn hgrm(out: &mut impl Write, latency: &Latency) -> io::Result<()> {
    let histogram = latency.histogram();
    let us = |ns: u64| ns as f64 / NS_PER_US;
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        write!(out, "{:12.3} {quantile:2.12} {total:10}", us(step.value_iterated_to()))?;
        match 1.0 - quantile {
            rest if rest > 0.0 => writeln!(out, " {:14.2}", 1.0 / rest)?,
            _ => writeln!(out)?,
        }
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_US, histogram.stdev() / NS_PER_US);
    writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    let (max, count) = (us(histogram.max()), histogram.len());
    writeln!(out, "#[Max     = {max:12.3}, Total count    = {count:12}]")?;
    // Twice the values that have to be told apart, rounded up to a power of two.
    let sub_buckets = (2 * 10_u64.pow(histogram.sigfig().into())).next_power_of_two();
    writeln!(out, "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]", histogram.buckets())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_file_rises_to_the_whole() {
        let mut latency = Latency::new();
        (1..=1000).for_each(|us| latency.record(us * 1000));
        let mut text = Vec::new();
        hgrm(&mut text, &latency).unwrap();
        let text = String::from_utf8(text).unwrap();
        let mut lines = text.lines();
        assert_eq!(
            lines.next().unwrap().split_whitespace().collect::<Vec<_>>(),
            ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
        );
        assert_eq!(lines.next(), Some(""));
        let rows: Vec<Vec<f64>> = lines
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|cell| cell.parse().unwrap()).collect())
            .collect();
        assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] < b[1] && a[2] <= b[2]));
        let median = rows.iter().find(|row| row[1] == 0.5).unwrap();
        assert!((median[0] - 500.0).abs() < 1.0, "{median:?}");
        assert_eq!((median[2], median[3]), (500.0, 2.0));
        let last = rows.last().unwrap();
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 1000.0));
        assert!(text.contains("#[Max     =     1000."), "{text}");
        assert!(text.ends_with("SubBuckets     =         2048]\n"));
    }
}
