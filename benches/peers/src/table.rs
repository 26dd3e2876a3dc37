//! Results as rows: for people, and for machines. Layer: peers. Plain data.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::cases::Case;
use crate::contest::{Result, Standing};
use crate::exchange::Outcome;
use crate::setups::Peer;

/// One contestant of one case. What was not measured is null.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    case: String,
    peer: String,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    msgs_per_sec: Option<f64>,
    sent: Option<u64>,
    received: Option<u64>,
    /// Messages that were skipped, repeated, damaged or out of order.
    astray: Option<u64>,
    /// How many times as fast vega is: half the latency or twice the rate is 2.
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
            Standing::Measured { outcome, .. } if result.peer == Peer::Vega => Some(outcome),
            _ => None,
        });
        results.iter().map(|result| Self::of(case, result, vega)).collect()
    }

    fn of(case: &Case, result: &Result, vega: Option<&Outcome>) -> Self {
        let mut row = Self {
            case: case.to_string(),
            peer: result.peer.to_string(),
            p50_us: None,
            p99_us: None,
            msgs_per_sec: None,
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
            Standing::Measured { setup, tried, outcome } => {
                row.setup = Some(setup.to_string());
                row.setups_tried = Some(*tried);
                row.measure(outcome);
                if let Some(vega) = vega.filter(|_| result.peer != Peer::Vega) {
                    row.compare(outcome, vega);
                }
            }
        }
        row
    }

    fn measure(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::RoundTrips(latency) => {
                let us = |quantile| rounded(latency.value_at_quantile(quantile) as f64 / 1e3);
                (self.p50_us, self.p99_us) = (Some(us(0.5)), Some(us(0.99)));
            }
            Outcome::Stream(flow) => {
                self.msgs_per_sec = Some(flow.messages_per_second().round());
                self.sent = Some(flow.sent);
                self.received = Some(flow.received);
                self.astray = Some(flow.astray);
            }
        }
    }

    /// Streams that lost something are not compared.
    fn compare(&mut self, outcome: &Outcome, vega: &Outcome) {
        match (outcome, vega) {
            (Outcome::RoundTrips(other), Outcome::RoundTrips(vega)) => {
                let ratio = |quantile| {
                    let vega = vega.value_at_quantile(quantile).max(1);
                    rounded(other.value_at_quantile(quantile) as f64 / vega as f64)
                };
                (self.vega_ahead, self.vega_ahead_p99) = (Some(ratio(0.5)), Some(ratio(0.99)));
            }
            (Outcome::Stream(other), Outcome::Stream(vega))
                if other.is_reliable() && vega.is_reliable() && other.timed > 0 =>
            {
                let ratio = vega.messages_per_second() / other.messages_per_second();
                self.vega_ahead = Some(rounded(ratio));
            }
            _ => {}
        }
    }

    fn cells(&self) -> [String; 7] {
        let number = |value: Option<f64>, decimals: usize| {
            value.map_or_else(String::new, |value| format!("{value:.decimals$}"))
        };
        let ahead = match (self.vega_ahead, self.vega_ahead_p99) {
            (Some(ratio), Some(p99)) => format!("{ratio:.2} (p99 {p99:.2})"),
            (ratio, _) => number(ratio, 2),
        };
        [
            self.case.clone(),
            self.peer.clone(),
            number(self.p50_us, 2),
            number(self.p99_us, 2),
            number(self.msgs_per_sec.map(|rate| rate / 1e6), 3),
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
    use crate::exchange::Flow;
    use crate::round_trips::histogram;

    fn case(measure: Measure) -> Case {
        Case::all().into_iter().find(|case| case.measure == measure).unwrap()
    }

    fn measured(peer: Peer, case: &Case, outcome: Outcome) -> Result {
        let setup = peer.setups(case)[0];
        Result { peer, standing: Standing::Measured { setup, tried: 1, outcome } }
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
