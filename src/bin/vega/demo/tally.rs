//! What arrived on one topic: how many messages, how late, and a few of them to look at. Layer:
//! bin. The poller counts; the main thread of the process looks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use vega::{Listener, Message, MessageLoss};

use super::script::{Command, Counts, Quantiles, Received, Report, unstamped};
use crate::clock;
use crate::stage::role::{self, Commands};

/// Time between two messages of a topic that are shown.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(2);
/// Pause between two looks at whether everything has arrived.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Without a message for so long, what is missing will not come any more.
const QUIET: Duration = Duration::from_secs(3);
/// The longest delay that is told apart from longer ones.
const LONGEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;
const NS_PER_US: f64 = 1e3;

/// Delays.
#[derive(Debug)]
pub(super) struct Latency(Histogram<u64>);

impl Latency {
    pub(super) fn new() -> Self {
        // Refused only for bounds that are out of order and digits beyond five.
        Self(Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("constant bounds are valid"))
    }

    pub(super) fn record_since(&mut self, sent_ns: u64) -> Duration {
        let delay_ns = clock::shared_ns().saturating_sub(sent_ns);
        self.0.saturating_record(delay_ns);
        Duration::from_nanos(delay_ns)
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        let us = |ns: u64| (ns as f64 / NS_PER_US * 10.0).round() / 10.0;
        Quantiles {
            p50_us: us(self.0.value_at_quantile(0.5)),
            p99_us: us(self.0.value_at_quantile(0.99)),
            max_us: us(self.0.max()),
        }
    }
}

/// Counts a topic. Clones share the count.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    topic: &'static str,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug)]
struct Seen {
    received: u64,
    lost: u64,
    latency: Latency,
    next_sample: Instant,
}

impl Tally {
    pub(super) fn new(topic: &'static str) -> Self {
        let seen =
            Seen { received: 0, lost: 0, latency: Latency::new(), next_sample: clock::now() };
        Self { topic, seen: Arc::new(Mutex::new(seen)) }
    }

    fn accounted(&self) -> u64 {
        let seen = self.seen.lock();
        seen.received + seen.lost
    }

    fn result(&self) -> Received {
        let seen = self.seen.lock();
        Received {
            topic: self.topic.to_owned(),
            received: seen.received,
            lost: seen.lost,
            latency: seen.latency.quantiles(),
        }
    }
}

impl Listener for Tally {
    fn on_message(&mut self, message: &Message<'_>) {
        let Some((sent_ns, text)) = unstamped(message.payload()) else {
            return tracing::error!(topic = self.topic, "a message that nobody here sends");
        };
        let mut seen = self.seen.lock();
        let delay = seen.latency.record_since(sent_ns);
        seen.received += 1;
        let now = clock::now();
        if now < seen.next_sample {
            return;
        }
        seen.next_sample = now + SAMPLE_INTERVAL;
        drop(seen);
        let (topic, number, us) = (self.topic, message.sequence(), delay.as_nanos() / 1000);
        let (text, bytes) = (text.lines().next().unwrap_or_default(), message.payload().len());
        show(format!("{topic:<15} {text:<24} no. {number}, {bytes} bytes, {us} µs"));
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.seen.lock().lost += loss.messages();
        show(format!("{:<15} {} messages were lost", self.topic, loss.messages()));
    }
}

/// Has the director show a line.
pub(super) fn show(text: String) {
    if let Err(error) = role::report(&Report::Arrived(text)) {
        tracing::debug!(%error, "nobody sees this");
    }
}

/// Waits until everything that was sent has arrived or is lost, or nothing comes any more; reports
/// what did.
///
/// # Errors
///
/// When the process is dismissed meanwhile.
pub(super) fn report_received(
    tallies: &[Tally],
    commands: &Commands<Command>,
) -> anyhow::Result<()> {
    let Some(Command::Expect(sent)) = commands.next() else {
        anyhow::bail!("dismissed before it was known what to expect");
    };
    let mut last = (0, clock::now());
    while !has_all(tallies, &sent) {
        commands.next_within(LOOK_INTERVAL)?;
        let accounted = tallies.iter().map(Tally::accounted).sum();
        let now = clock::now();
        if accounted != last.0 {
            last = (accounted, now);
        } else if now.duration_since(last.1) > QUIET {
            break;
        }
    }
    role::report(&Report::Received(tallies.iter().map(Tally::result).collect()))
}

fn has_all(tallies: &[Tally], sent: &Counts) -> bool {
    tallies
        .iter()
        .all(|tally| tally.accounted() >= sent.get(tally.topic).copied().unwrap_or_default())
}
