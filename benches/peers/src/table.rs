//! Results as rows: for people, and for machines. Layer: peers. Plain data.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::cases::Case;
use crate::contest::{Result, Standing};
use crate::rounds::{Rounds, Spread, typical_ratio};
use crate::setups::Peer;

/// One contestant of one case: medians of its rounds, and what the rounds in the middle half came to.
/// What was not measured is null.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    case: String,
    peer: String,
    p50_us: Option<f64>,
    p50_us_quartiles: Option<[f64; 2]>,
    p99_us: Option<f64>,
    p99_us_quartiles: Option<[f64; 2]>,
    msgs_per_sec: Option<f64>,
    msgs_per_sec_quartiles: Option<[f64; 2]>,
    sent: Option<u64>,
    received: Option<u64>,
    /// Messages that were skipped, repeated, damaged or out of order.
    astray: Option<u64>,
    /// How many times as fast vega is, round by round: half the latency or twice the rate is 2.
    vega_ahead: Option<f64>,
    /// The same by the 99th percentile.
    vega_ahead_p99: Option<f64>,
    setup: Option<String>,
    setups_tried: Option<usize>,
    not_available: Option<String>,
}

impl Row {
    /// The rows of a case.
    pub(crate) fn all(case: &Case, results: &[Result]) -> Vec<Self> {
        let vega = results.iter().find_map(|result| match &result.standing {
            Standing::Measured { rounds, .. } if result.peer == Peer::Vega => Some(rounds),
            _ => None,
        });
        results.iter().map(|result| Self::of(case, result, vega)).collect()
    }

    fn of(case: &Case, result: &Result, vega: Option<&Rounds>) -> Self {
        let mut row = Self {
            case: case.to_string(),
            peer: result.peer.to_string(),
            p50_us: None,
            p50_us_quartiles: None,
            p99_us: None,
            p99_us_quartiles: None,
            msgs_per_sec: None,
            msgs_per_sec_quartiles: None,
            sent: None,
            received: None,
            astray: None,
            vega_ahead: None,
            vega_ahead_p99: None,
            setup: None,
            setups_tried: None,
            not_available: None,
        };
        match &result.standing {
            Standing::NotAvailable(reason) => row.not_available = Some(reason.clone()),
            Standing::Measured { setup, tried, rounds } => {
                row.setup = Some(setup.to_string());
                row.setups_tried = Some(*tried);
                row.measure(rounds);
                if let Some(vega) = vega.filter(|_| result.peer != Peer::Vega) {
                    row.compare(rounds, vega);
                }
            }
        }
        row
    }

    fn measure(&mut self, rounds: &Rounds) {
        let us = |quantile| {
            Spread::of(rounds.latencies_ns(quantile)).map(|ns| ns.map(|ns| rounded(ns / 1e3)))
        };
        (self.p50_us, self.p50_us_quartiles) = median_and_quartiles(us(0.5));
        (self.p99_us, self.p99_us_quartiles) = median_and_quartiles(us(0.99));
        let rate = Spread::of(rounds.rates()).map(|rate| rate.map(f64::round));
        (self.msgs_per_sec, self.msgs_per_sec_quartiles) = median_and_quartiles(rate);
        if let Some(flow) = rounds.flow() {
            self.sent = Some(flow.sent);
            self.received = Some(flow.received);
            self.astray = Some(flow.astray);
        }
    }

    /// Streams that lost something are not compared.
    fn compare(&mut self, other: &Rounds, vega: &Rounds) {
        let ratio = |ones: &[f64], others: &[f64]| typical_ratio(ones, others).map(rounded);
        let latency = |quantile| ratio(&other.latencies_ns(quantile), &vega.latencies_ns(quantile));
        self.vega_ahead = latency(0.5);
        self.vega_ahead_p99 = latency(0.99);
        if let (Some(others), Some(own)) = (other.flow(), vega.flow())
            && others.is_reliable()
            && own.is_reliable()
        {
            self.vega_ahead = ratio(&vega.rates(), &other.rates());
        }
    }

    fn cells(&self) -> [String; 7] {
        let ahead = match (self.vega_ahead, self.vega_ahead_p99) {
            (Some(ratio), Some(p99)) => format!("{ratio:.2} (p99 {p99:.2})"),
            (Some(ratio), None) => format!("{ratio:.2}"),
            (None, _) => String::new(),
        };
        [
            self.case.clone(),
            self.peer.clone(),
            spread_cell(self.p50_us, self.p50_us_quartiles, 1.0),
            spread_cell(self.p99_us, self.p99_us_quartiles, 1.0),
            spread_cell(self.msgs_per_sec, self.msgs_per_sec_quartiles, 1e6),
            ahead,
            self.remark(),
        ]
    }

    fn remark(&self) -> String {
        if let Some(reason) = &self.not_available {
            return format!("not available: {reason}");
        }
        let setup = self.setup.clone().unwrap_or_default();
        match (self.sent, self.received, self.astray) {
            (Some(sent), Some(received), Some(astray)) if sent != received || astray > 0 => {
                format!("{setup}; NOT RELIABLE: {received} of {sent} came, {astray} astray")
            }
            _ => setup,
        }
    }
}

fn median_and_quartiles(spread: Option<Spread>) -> (Option<f64>, Option<[f64; 2]>) {
    spread.map(|Spread { low, median, high }| (median, [low, high])).unzip()
}

/// The median, and in brackets the quartiles.
fn spread_cell(median: Option<f64>, quartiles: Option<[f64; 2]>, unit: f64) -> String {
    let (Some(median), Some([low, high])) = (median, quartiles) else { return String::new() };
    format!("{:.2} ({:.2} to {:.2})", median / unit, low / unit, high / unit)
}

/// To as many decimals as repeated measurements agree on.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Rows in Markdown, for terminals and documents alike.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["case", "who", "p50 µs", "p99 µs", "M msg/s", "vega ahead x", "best setup"]);
    rows.iter().for_each(|row| {
        table.add_row(row.cells());
    });
    for column in 2..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Measure;
    use crate::exchange::{Flow, Outcome};
    use crate::round_trips::histogram;

    fn case(measure: Measure) -> Case {
        Case::all().into_iter().find(|case| case.measure == measure).unwrap()
    }

    fn measured(peer: Peer, case: &Case, outcome: Outcome) -> Result {
        let setup = peer.setups(case)[0];
        let mut rounds = Rounds::default();
        rounds.push(outcome);
        Result { peer, standing: Standing::Measured { setup, tried: 1, rounds } }
    }

    fn stream(received: u64, elapsed_ns: u64) -> Outcome {
        let sent = 1_000_000;
        Outcome::Stream(Flow {
            sent,
            received,
            astray: sent - received,
            timed: received,
            elapsed_ns,
        })
    }

    #[test]
    fn twice_the_rate_is_ahead_by_two_unless_messages_were_lost() {
        let case = case(Measure::Throughput);
        let results = [
            measured(Peer::Aeron, &case, stream(1_000_000, 2_000_000)),
            measured(Peer::Iceoryx2, &case, stream(999_999, 1_000_000)),
            measured(Peer::Vega, &case, stream(1_000_000, 1_000_000)),
        ];
        let rows = Row::all(&case, &results);
        assert_eq!([0, 1, 2].map(|row: usize| rows[row].vega_ahead), [Some(2.0), None, None]);
        assert!(rows[1].remark().contains("NOT RELIABLE: 999999 of 1000000 came, 1 astray"));
        assert_eq!(rows[2].msgs_per_sec, Some(1e9));
    }

    #[test]
    fn half_the_latency_is_ahead_by_two() {
        let case = case(Measure::Rtt);
        let latency = |p50: u64, p99: u64| {
            let mut latency = histogram().unwrap();
            latency.record_n(p50, 98).unwrap();
            latency.record_n(p99, 2).unwrap();
            Outcome::RoundTrips(latency)
        };
        let results = [
            measured(Peer::Vega, &case, latency(1_000, 2_000)),
            measured(Peer::Raw, &case, latency(500, 3_000)),
        ];
        let rows = Row::all(&case, &results);
        // A histogram has three digits.
        let ratios = (rows[1].vega_ahead.unwrap(), rows[1].vega_ahead_p99.unwrap());
        assert!((ratios.0 - 0.5).abs() < 0.01 && (ratios.1 - 1.5).abs() < 0.01, "{ratios:?}");
    }

    #[test]
    fn who_is_not_there_is_listed_with_the_reason() {
        let case = case(Measure::Rtt);
        let absent = Standing::NotAvailable("no nats-server in the path".to_owned());
        let rows = Row::all(&case, &[Result { peer: Peer::Nats, standing: absent }]);
        let table = table(&rows);
        assert!(table.contains("not available: no nats-server in the path"), "{table}");
        let json = serde_json::to_value(&rows).unwrap();
        assert_eq!(json[0]["not_available"], "no nats-server in the path");
        assert!(json[0]["p50_us"].is_null());
    }
}
