//! What an instance counts, and how others read it. Layer: counters, near the bottom. Every thread
//! adds; anybody reads.
//!
//! `counter` and `rows` name everything that is counted. `store` is where an instance counts, in
//! `words` of the heap or of a mapped file whose `layout` others read; a `snapshot` is what they get,
//! and `prometheus` renders it.

mod counter;
#[cfg(any(test, feature = "internals"))]
pub(crate) mod fixture;
mod layout;
pub(crate) mod prometheus;
mod rows;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;
mod words;

pub use counter::Counter;
pub use layout::CounterFileError;
pub(crate) use layout::{MAX_FILE_BYTES, MAX_ROWS, decode, is_same_edition};
pub use rows::{Column, RowKind, Shape};
pub(crate) use rows::{
    EndpointColumn, PollerColumn, PublicationColumn, PublisherColumn, SubscriptionColumn,
};
pub(crate) use snapshot::Origin;
pub use snapshot::{CounterRow, CounterSnapshot};
pub(crate) use store::{Counters, Level, Row, Totals};
pub(crate) use words::Words;
