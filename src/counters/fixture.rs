//! What tests and fuzzing of counter files begin with. Layer: counters. No thread owns it.

use std::sync::Arc;
use std::time::Duration;

use super::layout;
use super::{Counter, Counters, Origin, PollerColumn, PublisherColumn, Words};
use crate::id::InstanceId;

/// Rows that the files have room for.
pub(super) const ROWS: usize = 16;

/// The counters of an instance of this name, and the memory that they are in.
pub(super) fn counters(name: &str) -> (Words, Arc<Counters>) {
    let origin = Origin {
        instance: InstanceId::from_bytes([7; 16]),
        name: Arc::from(name),
        process: 4711,
        started: Duration::from_secs(1_700_000_000),
    };
    let words = Words::heap(Counters::bytes(ROWS) / 8);
    (words.clone(), Arc::new(Counters::on(words, &origin)))
}

/// A file with something of everything in it.
pub(crate) fn file() -> Vec<u8> {
    let (words, counters) = counters("dealer");
    let mut publisher = counters.row::<PublisherColumn>("fx.\"EURUSD\"", "ipc");
    publisher.set(PublisherColumn::Messages, 5);
    let mut poller = counters.row::<PollerColumn>("default", "");
    poller.add(PollerColumn::BusyTime, 1_500_000_000);
    counters.add(Counter::Malformed, 3);
    layout::image(&words, ROWS)
}
