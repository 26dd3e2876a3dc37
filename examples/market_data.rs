//! Market data by multicast: one feed, two readers, each update sent once. Layer: examples.
//!
//! `cargo run --release --example market_data [CONFIG]`. Shows messages that are written in place
//! (`try_claim`), back pressure, a listener with state, and how a reader knows that it has missed
//! nothing.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;
use std::{env, thread};

use vega::{Config, Instance, Listener, Message, MessageLoss, Publisher, SendError, Subscription};

const SYMBOLS: [&str; 3] = ["EURUSD", "GBPUSD", "USDJPY"];
const UPDATES: u64 = 20_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// What the feed publishes: a fixed layout, so that it costs nothing to write and to read.
#[derive(Clone, Copy)]
struct Quote {
    number: u64,
    bid_micros: i64,
    ask_micros: i64,
}

impl Quote {
    const BYTES: usize = 24;

    fn write(self, bytes: &mut [u8]) {
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.bid_micros.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.ask_micros.to_le_bytes());
    }

    /// `None` for a payload that is no quote: topics are open to everybody on the network.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<8>() else { return None };
        let [number, bid, ask] = words else { return None };
        Some(Self {
            number: u64::from_le_bytes(*number),
            bid_micros: i64::from_le_bytes(*bid),
            ask_micros: i64::from_le_bytes(*ask),
        })
    }
}

/// What a reader has seen of one symbol.
#[derive(Clone)]
struct Summary {
    reader: &'static str,
    symbol: &'static str,
    received: u64,
    lost: u64,
    last: Quote,
}

/// One reader's view of one symbol. It lives on the poller's thread and shares nothing: the result
/// leaves by a channel.
struct Book {
    summary: Summary,
    done: Sender<Summary>,
}

impl Listener for Book {
    fn on_message(&mut self, message: &Message<'_>) {
        let Some(quote) = Quote::read(message.payload()) else { return };
        self.summary.received += 1;
        self.summary.last = quote;
        if quote.number == UPDATES {
            let _ = self.done.send(self.summary.clone());
        }
    }

    /// Exact, and told before the next message: a reader of real books would now ask for a
    /// snapshot.
    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.summary.lost += loss.messages();
    }
}

fn read(
    instance: &Instance,
    reader: &'static str,
    done: &Sender<Summary>,
) -> Result<Vec<Subscription>, Box<dyn Error>> {
    let books = SYMBOLS.map(|symbol| {
        let last = Quote { number: 0, bid_micros: 0, ask_micros: 0 };
        let summary = Summary { reader, symbol, received: 0, lost: 0, last };
        instance.subscribe(&topic(symbol), Book { summary, done: done.clone() })
    });
    Ok(books.into_iter().collect::<Result<_, _>>()?)
}

/// Publishes all updates of one symbol.
fn publish(publisher: &mut Publisher) -> Result<(), SendError> {
    for number in 1..=UPDATES {
        let bid_micros = 1_084_000 + i64::try_from(number % 200).unwrap_or_default();
        let quote = Quote { number, bid_micros, ask_micros: bid_micros + 20 };
        loop {
            match publisher.try_claim(Quote::BYTES) {
                Ok(mut claim) => {
                    quote.write(&mut claim);
                    claim.commit();
                    break;
                }
                // The slowest reader is a full window behind. A feed could also skip the update:
                // the next one is better. Here every update counts.
                Err(SendError::BackPressured) => thread::yield_now(),
                Err(error) => return Err(error),
            }
        }
    }
    publisher.flush().or_else(|error| match error {
        // Not all of it is out yet; the rest follows by itself.
        SendError::BackPressured => Ok(()),
        error => Err(error),
    })
}

fn topic(symbol: &str) -> String {
    format!("market.{symbol}")
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = env::args().nth(1).map(Config::from_file).transpose()?.unwrap_or_default();
    let start = |name| Instance::builder().name(name).config(config.clone()).start();
    let (feed, trading, risk) = (start("feed")?, start("trading")?, start("risk")?);

    let (done, summaries) = mpsc::channel();
    let _trading = read(&trading, "trading", &done)?;
    let _risk = read(&risk, "risk", &done)?;

    let mut publishers = Vec::new();
    for symbol in SYMBOLS {
        let publisher = feed.publisher(&topic(symbol))?;
        if !publisher.wait_for_subscribers(2, PATIENCE) {
            return Err(format!("the readers of {symbol} did not turn up").into());
        }
        publishers.push(publisher);
    }
    for publisher in &mut publishers {
        publish(publisher)?;
    }

    let mut table = BTreeMap::new();
    while table.len() < 2 * SYMBOLS.len() {
        let summary = summaries.recv_timeout(PATIENCE)?;
        table.insert((summary.reader, summary.symbol), summary);
    }
    println!("{:<8} {:<7} {:>8} {:>5}  last bid/ask", "reader", "symbol", "received", "lost");
    for summary in table.values() {
        let Summary { reader, symbol, received, lost, last } = summary;
        let (bid, ask) = (price(last.bid_micros), price(last.ask_micros));
        println!("{reader:<8} {symbol:<7} {received:>8} {lost:>5}  {bid}/{ask}");
    }
    for instance in [feed, trading, risk] {
        instance.close()?;
    }
    Ok(())
}

fn price(micros: i64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}
