//! What is played: topics, rates, how many quotes are to be expected; and what the processes and
//! their director say to each other. Layer: bin; plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use vega::{Publisher, SendError, Transport};

use crate::clock;
use crate::stage::role::Commands;

/// A topic, what carries it, and the time between two of its messages.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) topic: &'static str,
    pub(super) transport: Transport,
    pub(super) interval: Duration,
}

/// Prices, from the exchange to whoever listens.
pub(super) const MARKET_DATA: Stream = Stream {
    topic: "market.data",
    transport: Transport::Multicast,
    interval: Duration::from_millis(1),
};
/// Orders, from the trader to the exchange.
pub(super) const ORDERS: Stream = Stream {
    topic: "unicast.orders",
    transport: Transport::Unicast,
    interval: Duration::from_millis(5),
};
/// Snapshots of the book, from the exchange to processes of the same machine.
pub(super) const BOOK: Stream =
    Stream { topic: "ipc.book", transport: Transport::Ipc, interval: Duration::from_millis(20) };
/// Requests for quotes, from the trader to all dealers.
pub(super) const RFQ: Stream = Stream {
    topic: "market.rfq",
    transport: Transport::Multicast,
    interval: Duration::from_secs(2),
};
pub(super) const STREAMS: [&Stream; 4] = [&MARKET_DATA, &ORDERS, &BOOK, &RFQ];

/// Several packets each.
pub(super) const BOOK_BYTES: usize = 8 * 1024;
pub(super) const DEALERS: u32 = 3;
/// Quotes of each dealer to each request.
pub(super) const QUOTES: u32 = 4;
pub(super) const QUOTE_INTERVAL: Duration = Duration::from_millis(300);
/// Silence that ends a request. The last quote comes later than this after the request: only the
/// quotes before it keep the request open that long.
pub(super) const QUOTE_TIMEOUT: Duration = Duration::from_millis(800);
const _: () =
    assert!(QUOTE_INTERVAL.as_millis() * (QUOTES as u128 - 1) > QUOTE_TIMEOUT.as_millis());
const INSTRUMENTS: [&str; 4] = ["EURUSD", "EURCHF", "EURGBP", "GBPUSD"];

/// How long processes may take to find each other.
pub(super) const DISCOVERY: Duration = Duration::from_secs(15);
/// How long receivers may hold back a sender.
const BACK_PRESSURE: Duration = Duration::from_secs(5);
/// Pause of a sender that is held back.
const BACK_PRESSURE_PAUSE: Duration = Duration::from_micros(200);

/// What the director says to a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Command {
    Begin,
    /// This is what was sent: report what has arrived of it.
    Expect(Counts),
}

/// Messages by topic.
pub(super) type Counts = BTreeMap<String, u64>;

/// What a process says to the director.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// Everybody this process talks to was found.
    Ready,
    /// Something for people to see.
    Arrived(String),
    Sent(Counts),
    Requested(Requests),
    Received(Vec<Received>),
}

/// What became of one topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Received {
    pub(super) topic: String,
    pub(super) received: u64,
    pub(super) lost: u64,
    /// From the call of the sender to the callback of the receiver.
    pub(super) latency: Quantiles,
}

/// What became of all requests.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Requests {
    pub(super) sent: u64,
    pub(super) responses: u64,
    pub(super) timeouts: u64,
    /// From the request to the first quote of each dealer.
    pub(super) latency: Quantiles,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Quantiles {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) max_us: f64,
}

/// What the message of this number is about: all instruments take turns.
pub(super) fn instrument(number: u64) -> &'static str {
    let turn = number % INSTRUMENTS.len() as u64;
    #[expect(clippy::cast_possible_truncation, reason = "less than the number of instruments")]
    INSTRUMENTS[turn as usize]
}

/// A message: when it was sent, and a text.
pub(super) fn stamped(text: &str) -> Vec<u8> {
    let mut payload = clock::shared_ns().to_le_bytes().to_vec();
    payload.extend_from_slice(text.as_bytes());
    payload
}

/// The time and the text of a message; `None` for one that is not ours.
pub(super) fn unstamped(payload: &[u8]) -> Option<(u64, &str)> {
    let (stamp, text) = payload.split_first_chunk()?;
    Some((u64::from_le_bytes(*stamp), str::from_utf8(text).ok()?))
}

/// Waits for the signal to begin.
///
/// # Errors
///
/// When it does not come.
pub(super) fn wait_for_begin(commands: &Commands<Command>) -> anyhow::Result<()> {
    match commands.next().context("dismissed before the beginning")? {
        Command::Begin => Ok(()),
        Command::Expect(_) => bail!("expected to receive before the beginning"),
    }
}

/// Something to be done again and again.
pub(super) struct Act<'a> {
    interval: Duration,
    done: u64,
    act: Box<dyn FnMut(u64) -> anyhow::Result<()> + 'a>,
}

impl<'a> Act<'a> {
    /// `act` gets its number, from 1.
    pub(super) fn every(
        interval: Duration,
        act: impl FnMut(u64) -> anyhow::Result<()> + 'a,
    ) -> Self {
        Self { interval, done: 0, act: Box::new(act) }
    }
}

/// Does what is due until `duration` has passed. A process that was held up catches up.
///
/// # Errors
///
/// Those of the acts, and when the process is dismissed.
pub(super) fn perform(
    acts: &mut [Act<'_>],
    duration: Duration,
    commands: &Commands<Command>,
) -> anyhow::Result<()> {
    let begin = clock::now();
    loop {
        let passed = clock::now().duration_since(begin);
        if passed >= duration {
            return Ok(());
        }
        let mut next = duration;
        for Act { interval, done, act } in &mut *acts {
            let mut due = interval.mul_f64(*done as f64);
            while due <= passed {
                *done += 1;
                act(*done)?;
                due += *interval;
            }
            next = next.min(due);
        }
        // The wait for a command that is not to come is the pause until the next act is due.
        let pause = next.saturating_sub(clock::now().duration_since(begin));
        if commands.next_within(pause)?.is_some() {
            bail!("interrupted by a command");
        }
    }
}

/// Sends a message, however long receivers take to make room.
///
/// # Errors
///
/// When they make none.
pub(super) fn send(publisher: &mut Publisher, text: &str) -> anyhow::Result<()> {
    let deadline = clock::now() + BACK_PRESSURE;
    loop {
        // Stamped anew with each attempt: what is shown is the way of the message, not the wait.
        match publisher.send(&stamped(text)) {
            Err(SendError::BackPressured) if clock::now() < deadline => {
                std::thread::sleep(BACK_PRESSURE_PAUSE);
            }
            result => {
                result.with_context(|| publisher.topic().to_owned())?;
                return Ok(());
            }
        }
    }
}

/// Waits until somebody listens to what is published.
///
/// # Errors
///
/// When nobody does.
pub(super) fn wait_for_subscribers(publisher: &Publisher, count: usize) -> anyhow::Result<()> {
    if publisher.wait_for_subscribers(count, DISCOVERY) {
        return Ok(());
    }
    let (topic, found) = (publisher.topic(), publisher.subscribers());
    bail!("{found} of {count} subscribers of {topic} were found within {DISCOVERY:?}")
}
