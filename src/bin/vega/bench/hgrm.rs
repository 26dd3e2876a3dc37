//! A distribution as a file that HdrHistogram's own tools plot. Layer: bin; runs on the commanding
//! thread.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::latency::Latency;

/// Lines of a percentile file for each halving of the distance to 100 %, as is customary.
const TICKS_PER_HALF: u32 = 5;
const NS_PER_US: f64 = 1e3;

/// Writes a distribution in the text format that HdrHistogram's own tools plot, in microseconds.
///
/// # Errors
///
/// When the file cannot be written.
pub(super) fn write(file: File, latency: &Latency) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    print(&mut file, latency)?;
    file.flush()
}

fn print(out: &mut impl Write, latency: &Latency) -> io::Result<()> {
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
        print(&mut text, &latency).unwrap();
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
