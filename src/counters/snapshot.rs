//! The values of all counters at one moment, for people and programs to read. Layer: counters. Plain
//! data; no thread owns it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::rows::{Column, RowKind};
use super::{Counter, prometheus};
use crate::id::InstanceId;

/// Whose counters they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) instance: InstanceId,
    pub(crate) name: Arc<str>,
    pub(crate) process: u32,
    /// Since 1970.
    pub(crate) started: Duration,
}

impl Origin {
    pub(super) fn nobody() -> Self {
        let (instance, name) = (InstanceId::from_bytes([0; 16]), Arc::from(""));
        Self { instance, name, process: 0, started: Duration::ZERO }
    }
}

/// The values of all counters of one instance at one moment.
#[derive(Clone, PartialEq, Eq)]
pub struct CounterSnapshot {
    origin: Origin,
    values: Vec<u64>,
    rows: Vec<CounterRow>,
    is_alive: bool,
}

impl CounterSnapshot {
    pub(super) const fn new(origin: Origin, values: Vec<u64>, rows: Vec<CounterRow>) -> Self {
        Self { origin, values, rows, is_alive: true }
    }

    /// Of an instance that nothing is known of.
    pub(super) fn empty() -> Self {
        Self::new(Origin::nobody(), vec![0; Counter::ALL.len()], Vec::new())
    }

    /// What a process has left behind.
    pub(crate) const fn mark_dead(mut self) -> Self {
        self.is_alive = false;
        self
    }

    /// The value of one counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// All counters with their values.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.iter().copied().zip(self.values.iter().copied())
    }

    /// The same for each topic, publication, socket and poller that there is now.
    #[must_use]
    pub fn rows(&self) -> &[CounterRow] {
        &self.rows
    }

    /// The rows of one kind.
    pub fn rows_of(&self, kind: RowKind) -> impl Iterator<Item = &CounterRow> {
        self.rows.iter().filter(move |row| row.kind == kind)
    }

    /// The instance that counted.
    #[must_use]
    pub const fn instance(&self) -> InstanceId {
        self.origin.instance
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.origin.name
    }

    /// Its process, by the number that the operating system gave it where it runs: in a container
    /// that may be another one than outside.
    #[must_use]
    pub const fn process(&self) -> u32 {
        self.origin.process
    }

    /// When it started, by the wall clock.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(self.origin.started).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether its process still runs. What a killed process leaves behind stays readable until the
    /// next instance starts.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// The counters in the text format of Prometheus. [`prometheus`](crate::prometheus) does the same
    /// for several instances.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        prometheus::render(std::slice::from_ref(self))
    }
}

impl fmt::Debug for CounterSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.iter().filter(|(_, value)| *value > 0).map(|(c, value)| (c.label(), value)),
            )
            .finish()
    }
}

/// What has been counted for one topic, publication, socket or poller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterRow {
    kind: RowKind,
    name: String,
    place: String,
    values: Vec<u64>,
}

impl CounterRow {
    pub(super) const fn new(kind: RowKind, name: String, place: String, values: Vec<u64>) -> Self {
        Self { kind, name, place, values }
    }

    /// What it is about.
    #[must_use]
    pub const fn kind(&self) -> RowKind {
        self.kind
    }

    /// Its topic, template or poller: see [`RowKind::named_by`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is on the network, for instance `multicast 239.255.0.9:35006/3`; the number after the
    /// slash is the stream. Empty for pollers.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// All columns with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Column, u64)> + '_ {
        self.kind.columns().iter().zip(self.values.iter().copied())
    }

    /// The value of the column with this label.
    #[must_use]
    pub fn get(&self, label: &str) -> Option<u64> {
        self.iter().find(|(column, _)| column.label() == label).map(|(_, value)| value)
    }
}
