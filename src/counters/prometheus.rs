//! Counters in the text format of Prometheus, version 0.0.4. Layer: counters. Pure functions.
//!
//! A metric is called `vega_` and the label of the counter; totals end with `_total`. Times are in
//! seconds. Rows have the name of their kind before that of the column, and labels that say whose they
//! are. A format asks for one block per metric, so the instances of a host are rendered together.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use super::rows::{RowKind, Shape};
use super::{Counter, CounterRow, CounterSnapshot};

/// What the times of counters are in.
const NANOSECONDS: &str = "ns";

/// Renders the counters of any number of instances in the
/// [text format](https://prometheus.io/docs/instrumenting/exposition_formats/) of Prometheus.
#[must_use]
pub fn render(instances: &[CounterSnapshot]) -> String {
    let mut text = String::new();
    let owners: Vec<String> = instances
        .iter()
        .map(|of| {
            let name = escaped(of.name());
            format!("instance_id=\"{}\",instance_name=\"{name}\"", of.instance())
        })
        .collect();
    let up = Metric::named("vega_up", "Whether the process runs.", "instances", Shape::Level);
    up.block(
        &mut text,
        instances.iter().zip(&owners).map(|(of, by)| (by.clone(), of.is_alive().into())),
    );
    let started = Metric::named(
        "vega_start_time_seconds",
        "Start of the instance, in seconds since 1970.",
        "seconds",
        Shape::Level,
    );
    let since_1970 = |of: &CounterSnapshot| {
        of.started().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    };
    started.block(
        &mut text,
        instances.iter().zip(&owners).map(|(of, by)| (by.clone(), since_1970(of))),
    );
    for counter in Counter::ALL {
        let metric = Metric::named(
            &format!("vega_{}", counter.label()),
            counter.description(),
            counter.unit(),
            counter.shape(),
        );
        let values = instances.iter().zip(&owners);
        metric.block(&mut text, values.map(|(of, by)| (by.clone(), of.get(*counter))));
    }
    for kind in RowKind::ALL {
        rows(&mut text, *kind, instances.iter().zip(&owners));
    }
    text
}

fn rows<'a>(
    text: &mut String,
    kind: RowKind,
    instances: impl Iterator<Item = (&'a CounterSnapshot, &'a String)>,
) {
    // Rows that say the same of themselves become one: a series may be there only once.
    let mut series: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (of, owner) in instances {
        for row in of.rows_of(kind) {
            let values = series.entry(labels(row, owner)).or_default();
            values.resize(kind.columns().len(), 0);
            for (sum, (column, value)) in values.iter_mut().zip(row.iter()) {
                *sum = match column.shape() {
                    Shape::Total => sum.wrapping_add(value),
                    Shape::Level | Shape::Peak => value.max(*sum),
                };
            }
        }
    }
    for (at, column) in kind.columns().iter().enumerate() {
        let metric = Metric::named(
            &format!("vega_{}_{}", kind.label(), column.label()),
            column.description(),
            column.unit(),
            column.shape(),
        );
        metric.block(text, series.iter().map(|(labels, values)| (labels.clone(), values[at])));
    }
}

fn labels(row: &CounterRow, owner: &str) -> String {
    let (key, name) = (row.kind().named_by(), escaped(row.name()));
    let mut labels = format!("{owner},{key}=\"{name}\"");
    if !row.place().is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(labels, ",place=\"{}\"", escaped(row.place()));
    }
    labels
}

/// One metric: its name, what it says, and in what its values are.
struct Metric<'a> {
    name: String,
    help: &'a str,
    is_time: bool,
    kind: &'static str,
}

impl<'a> Metric<'a> {
    fn named(name: &str, help: &'a str, unit: &str, shape: Shape) -> Self {
        let is_time = unit == NANOSECONDS;
        let base = name.strip_suffix("_ns").filter(|_| is_time);
        let name = base.map_or_else(|| name.to_owned(), |base| format!("{base}_seconds"));
        match shape {
            Shape::Total => Self { name: format!("{name}_total"), help, is_time, kind: "counter" },
            Shape::Level | Shape::Peak => Self { name, help, is_time, kind: "gauge" },
        }
    }

    /// Writes the metric with all its values; nothing when there are none.
    fn block(&self, text: &mut String, values: impl Iterator<Item = (String, u64)>) {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return;
        }
        let Self { name, help, kind, .. } = self;
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", help.replace('\\', "\\\\"));
        for (labels, value) in values {
            let _ = if self.is_time {
                let (whole, part) = (value / 1_000_000_000, value % 1_000_000_000);
                writeln!(text, "{name}{{{labels}}} {whole}.{part:09}")
            } else {
                writeln!(text, "{name}{{{labels}}} {value}")
            };
        }
    }
}

/// A value of a label: backslashes, quotes and line ends have to be escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
