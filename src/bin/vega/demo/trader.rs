//! The trader: receives market data and books, sends orders, asks for quotes. Layer: bin; a process
//! of its own. Quotes come on the poller, timeouts on the request processor's thread.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use parking_lot::Mutex;
use vega::{InstanceId, Publisher, Response, ResponseListener, SentRequest};

use super::script::{
    self, Act, BOOK, Command, Counts, DEALERS, MARKET_DATA, ORDERS, QUOTE_INTERVAL, QUOTE_TIMEOUT,
    QUOTES, RFQ, Report, Requests,
};
use super::tally::{self, Latency, Tally, show};
use crate::args::Common;
use crate::clock;
use crate::output::one_line;
use crate::stage::role::{self, Commands};

/// Pause between two looks at whether all requests have ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Within this time a request has ended, also on a busy machine.
const LONGEST_REQUEST: Duration = Duration::from_secs(10);
const _: () = assert!(
    QUOTE_INTERVAL.as_millis() * QUOTES as u128 + QUOTE_TIMEOUT.as_millis()
        < LONGEST_REQUEST.as_millis()
);

pub(super) fn run(common: &Common, duration: Duration) -> anyhow::Result<()> {
    let commands = Commands::new()?;
    let instance = common.start_as("trader")?;
    let tallies = [Tally::new(MARKET_DATA.topic), Tally::new(BOOK.topic)];
    let [prices, books] = &tallies;
    let subscriptions = [
        instance.subscribe(MARKET_DATA.topic, prices.clone())?,
        instance.subscribe(BOOK.topic, books.clone())?,
    ];
    let mut orders = instance.publisher(ORDERS.topic)?;
    let mut rfq = instance.publisher(RFQ.topic)?;
    script::wait_for_subscribers(&orders, 1)?;
    script::wait_for_subscribers(&rfq, DEALERS as usize)?;
    role::report(&Report::Ready)?;
    script::wait_for_begin(&commands)?;
    let quotes = Quotes::default();
    let mut acts = [
        Act::every(ORDERS.interval, |number| script::send(&mut orders, &order(number))),
        Act::every(RFQ.interval, |number| quotes.ask(&mut rfq, number)),
    ];
    script::perform(&mut acts, duration, &commands)?;
    drop(acts);
    role::report(&Report::Requested(quotes.wait_for_timeouts(rfq.sequence(), &commands)?))?;
    role::report(&Report::Sent(Counts::from([(ORDERS.topic.to_owned(), orders.sequence())])))?;
    tally::report_received(&tallies, &commands)?;
    commands.wait_for_end();
    drop(subscriptions);
    Ok(instance.close()?)
}

fn order(number: u64) -> String {
    let instrument = script::instrument(number);
    let side = if number.is_multiple_of(3) { "sell" } else { "buy" };
    format!("{side} {instrument} {}", 100_000 * (1 + number % 7))
}

/// What came back on all requests. Clones share it.
#[derive(Clone, Default)]
struct Quotes(Arc<Mutex<Seen>>);

struct Seen {
    responses: u64,
    timeouts: u64,
    latency: Latency,
}

impl Default for Seen {
    fn default() -> Self {
        Self { responses: 0, timeouts: 0, latency: Latency::new() }
    }
}

impl Quotes {
    fn ask(&self, rfq: &mut Publisher, number: u64) -> anyhow::Result<()> {
        let instrument = script::instrument(number);
        let text = format!("quote {instrument} please");
        show(format!("{:<15} request {number}: {text}", RFQ.topic));
        let question = Question {
            number,
            asked_ns: clock::shared_ns(),
            heard: Mutex::default(),
            quotes: self.clone(),
        };
        rfq.request(text.as_bytes(), QUOTE_TIMEOUT, question)?;
        Ok(())
    }

    /// Every request ends with a timeout: none of them is closed.
    fn wait_for_timeouts(
        &self,
        sent: u64,
        commands: &Commands<Command>,
    ) -> anyhow::Result<Requests> {
        let deadline = clock::now() + LONGEST_REQUEST;
        while self.0.lock().timeouts < sent && clock::now() < deadline {
            if commands.next_within(LOOK_INTERVAL)?.is_some() {
                bail!("interrupted by a command");
            }
        }
        let Seen { responses, timeouts, latency } = &*self.0.lock();
        let (responses, timeouts) = (*responses, *timeouts);
        Ok(Requests { sent, responses, timeouts, latency: latency.quantiles() })
    }
}

/// One request.
struct Question {
    number: u64,
    asked_ns: u64,
    /// Dealers that have answered.
    heard: Mutex<HashSet<InstanceId>>,
    quotes: Quotes,
}

impl ResponseListener for Question {
    fn on_response(&self, request: &SentRequest, response: &Response<'_>) {
        let mut seen = self.quotes.0.lock();
        seen.responses += 1;
        // Dealers take their time for further quotes; the first one shows what the way takes.
        let delay = match self.heard.lock().insert(response.responder()) {
            true => format!(", {} µs", seen.latency.record_since(self.asked_ns).as_micros()),
            false => String::new(),
        };
        drop(seen);
        request.reset_expiration(QUOTE_TIMEOUT);
        let quote = one_line(response.payload());
        show(format!("{:<15} request {}: {quote}{delay}", RFQ.topic, self.number));
    }

    fn on_timeout(&self, request: &SentRequest) {
        let ms = clock::shared_ns().saturating_sub(self.asked_ns) / 1_000_000;
        show(format!(
            "{:<15} request {}: {} quotes, then none for {QUOTE_TIMEOUT:?}: expired after {ms} ms",
            RFQ.topic,
            self.number,
            request.number_of_responses(),
        ));
        // Last: whoever sees the count may end the process.
        self.quotes.0.lock().timeouts += 1;
    }
}
