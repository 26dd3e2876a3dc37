//! What the demo comes to: a table for people, a document for machines, and whether anything is
//! missing. Layer: bin; owned by the commanding thread.

use serde::Serialize;

use super::script::{
    BOOK, Counts, DEALERS, MARKET_DATA, ORDERS, QUOTES, Quantiles, Received, Requests, Stream,
};
use crate::output::{Output, Table};

/// What has been reported so far.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    sent: Counts,
    received: Vec<Received>,
    requests: Requests,
    faults: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    ok: bool,
    multicast: StreamDocument,
    unicast: StreamDocument,
    ipc: StreamDocument,
    request: RequestDocument,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [String],
}

#[derive(Debug, Default, Serialize)]
struct StreamDocument {
    sent: u64,
    received: u64,
    lost: u64,
    p50_us: f64,
    p99_us: f64,
    #[serde(skip)]
    max_us: f64,
}

#[derive(Debug, Serialize)]
struct RequestDocument {
    sent: u64,
    responses: u64,
    timeouts: u64,
    p50_us: f64,
}

impl Verdict {
    pub(super) fn sent(&mut self, counts: &Counts) {
        self.sent.extend(counts.iter().map(|(topic, count)| (topic.clone(), *count)));
    }

    pub(super) fn received(&mut self, results: Vec<Received>) {
        self.received.extend(results);
    }

    pub(super) fn requested(&mut self, requests: Requests) {
        self.requests = requests;
    }

    /// The play came to a bad end.
    pub(super) fn fault(&mut self, error: &anyhow::Error) {
        self.faults.push(format!("{error:#}"));
    }

    pub(super) fn is_ok(&self) -> bool {
        self.problems().is_empty()
    }

    pub(super) fn print(&self, out: &mut Output) -> anyhow::Result<()> {
        let problems = self.problems();
        if out.is_json() {
            out.json(&self.document(&problems))?;
        } else {
            out.text(self.table())?;
            for problem in &problems {
                out.text(format_args!("missing: {problem}"))?;
            }
        }
        Ok(out.flush()?)
    }

    /// Everything that is not as it has to be. What is missing because of a bad end is not listed
    /// apart from it.
    fn problems(&self) -> Vec<String> {
        if !self.faults.is_empty() {
            return self.faults.clone();
        }
        let streams = [&MARKET_DATA, &ORDERS, &BOOK].into_iter().filter_map(|stream| {
            let StreamDocument { sent, received, lost, .. } = self.stream(stream);
            let is_complete = sent > 0 && received == sent && lost == 0;
            let topic = stream.topic;
            (!is_complete).then(|| {
                format!("{topic}: {received} of {sent} messages arrived, {lost} were lost")
            })
        });
        let Requests { sent, responses, timeouts, .. } = self.requests;
        let expected = sent * u64::from(DEALERS * QUOTES);
        let is_complete = sent > 0 && responses == expected && timeouts == sent;
        let requests = (!is_complete).then(|| {
            format!(
                "{responses} of {expected} quotes and {timeouts} of {sent} timeouts of requests came"
            )
        });
        streams.chain(requests).collect()
    }

    fn stream(&self, stream: &Stream) -> StreamDocument {
        let sent = self.sent.get(stream.topic).copied().unwrap_or_default();
        let received = self.received.iter().find(|received| received.topic == stream.topic);
        let Some(Received { received, lost, latency, .. }) = received else {
            return StreamDocument { sent, ..StreamDocument::default() };
        };
        let Quantiles { p50_us, p99_us, max_us } = *latency;
        StreamDocument { sent, received: *received, lost: *lost, p50_us, p99_us, max_us }
    }

    fn document<'a>(&self, problems: &'a [String]) -> Document<'a> {
        let Requests { sent, responses, timeouts, latency } = self.requests;
        Document {
            ok: problems.is_empty(),
            multicast: self.stream(&MARKET_DATA),
            unicast: self.stream(&ORDERS),
            ipc: self.stream(&BOOK),
            request: RequestDocument { sent, responses, timeouts, p50_us: latency.p50_us },
            problems,
        }
    }

    fn table(&self) -> Table {
        let header =
            ["", "sent", "received", "lost", "timeouts", "p50 µs", "p99 µs", "max µs", "latency"];
        let mut table = Table::new(&header).right(&[1, 2, 3, 4, 5, 6, 7]);
        let nothing = || String::from("-");
        let us = |value: f64| format!("{value:.1}");
        for (name, stream) in [("multicast", &MARKET_DATA), ("unicast", &ORDERS), ("ipc", &BOOK)] {
            let StreamDocument { sent, received, lost, p50_us, p99_us, max_us } =
                self.stream(stream);
            table.row([
                name.to_owned(),
                sent.to_string(),
                received.to_string(),
                lost.to_string(),
                nothing(),
                us(p50_us),
                us(p99_us),
                us(max_us),
                "one way".to_owned(),
            ]);
        }
        let Requests { sent, responses, timeouts, latency } = &self.requests;
        table.row([
            "request".to_owned(),
            sent.to_string(),
            responses.to_string(),
            nothing(),
            timeouts.to_string(),
            us(latency.p50_us),
            us(latency.p99_us),
            us(latency.max_us),
            "to a dealer's first quote".to_owned(),
        ]);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Verdict {
        let mut verdict = Verdict::default();
        for stream in [&MARKET_DATA, &ORDERS, &BOOK] {
            let topic = stream.topic.to_owned();
            verdict.sent(&Counts::from([(topic.clone(), 10)]));
            let latency = Quantiles::default();
            verdict.received(vec![Received { topic, received: 10, lost: 0, latency }]);
        }
        let responses = 2 * u64::from(DEALERS * QUOTES);
        verdict.requested(Requests { sent: 2, responses, timeouts: 2, ..Requests::default() });
        verdict
    }

    #[test]
    fn anything_that_is_missing_is_a_problem() {
        assert!(complete().is_ok());
        assert!(!Verdict::default().is_ok());
        let spoilers: [fn(&mut Verdict); 6] = [
            |verdict| verdict.received[0].received -= 1,
            |verdict| verdict.received[1].lost += 1,
            |verdict| drop(verdict.received.pop()),
            |verdict| verdict.requests.responses -= 1,
            |verdict| verdict.requests.timeouts -= 1,
            |verdict| verdict.fault(&anyhow::anyhow!("a process died")),
        ];
        for (number, spoil) in spoilers.into_iter().enumerate() {
            let mut verdict = complete();
            spoil(&mut verdict);
            assert_eq!(verdict.problems().len(), 1, "{number}");
        }
    }
}
