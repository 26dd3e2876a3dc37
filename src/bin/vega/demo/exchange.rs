//! The exchange: market data and book snapshots out, orders in. Layer: bin; a process of its own.

use std::fmt::Write;
use std::time::Duration;

use super::script::{self, Act, BOOK, BOOK_BYTES, Counts, MARKET_DATA, ORDERS, Report};
use super::tally::{self, Tally};
use crate::args::Common;
use crate::stage::role::{self, Commands};

/// Price levels on each side of a snapshot.
const LEVELS: u32 = 100;
/// What one tick is worth.
const TICK: f64 = 0.0001;

pub(super) fn run(common: &Common, duration: Duration) -> anyhow::Result<()> {
    let commands = Commands::new()?;
    let instance = common.start_as("exchange")?;
    let orders = Tally::new(ORDERS.topic);
    let subscription = instance.subscribe(ORDERS.topic, orders.clone())?;
    let mut prices = instance.publisher(MARKET_DATA.topic)?;
    let mut books = instance.publisher(BOOK.topic)?;
    script::wait_for_subscribers(&prices, 1)?;
    script::wait_for_subscribers(&books, 1)?;
    role::report(&Report::Ready)?;
    script::wait_for_begin(&commands)?;
    let mut acts = [
        Act::every(MARKET_DATA.interval, |number| script::send(&mut prices, &price(number))),
        Act::every(BOOK.interval, |number| script::send(&mut books, &snapshot(number))),
    ];
    script::perform(&mut acts, duration, &commands)?;
    drop(acts);
    let sent = [(MARKET_DATA.topic, prices.sequence()), (BOOK.topic, books.sequence())];
    let sent: Counts = sent.map(|(topic, count)| (topic.to_owned(), count)).into();
    role::report(&Report::Sent(sent))?;
    tally::report_received(&[orders], &commands)?;
    commands.wait_for_end();
    subscription.unsubscribe();
    Ok(instance.close()?)
}

fn price(number: u64) -> String {
    let instrument = script::instrument(number);
    let mid = mid(number);
    format!("{instrument} {:.4}/{:.4}", mid - TICK, mid + TICK)
}

/// One line per level after the first line, filled up with blanks.
fn snapshot(number: u64) -> String {
    let instrument = script::instrument(number);
    let mut book = format!("{instrument} {LEVELS} levels\n");
    for level in 1..=LEVELS {
        let distance = f64::from(level) * TICK;
        let (bid, ask) = (mid(number) - distance, mid(number) + distance);
        // Writing to a string does not fail.
        let _ = writeln!(book, "{bid:.4} {ask:.4} {}", 1_000_000 * level);
    }
    format!("{book:BOOK_BYTES$}")
}

/// A price that goes up and down. All instruments are worth about the same.
fn mid(number: u64) -> f64 {
    1.08 + 0.01 * (number as f64 / 500.0).sin()
}
