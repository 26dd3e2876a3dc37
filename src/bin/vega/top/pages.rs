//! The pages of `vega top`: their columns, and what each says of an instance. Layer: bin.

use vega::{Counter, CounterRow, RowKind};

use super::figures::Cell;
use super::model::{Change, as_float};
use crate::stat::age;

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Instances,
    Topics,
    Sending,
    Receiving,
    Pollers,
}

/// A column: its title, and its width, which for instances is the least; 0 takes what the others leave.
pub(super) type Column = (&'static str, u16);

const INSTANCES: &[Column] = &[
    ("instance", 0),
    ("process", 7),
    ("up", 6),
    ("sent/s", 6),
    ("recv/s", 6),
    ("lost/s", 6),
    ("retx/s", 6),
    ("back/s", 6),
    ("open", 5),
    ("busy", 5),
];
const TOPICS: &[Column] = &[
    ("topic", 0),
    ("instance", 14),
    ("way", 4),
    ("by", 9),
    ("msg/s", 6),
    ("B/s", 6),
    ("lost/s", 6),
    ("peers", 5),
    ("rtt|call", 8),
];
const SENDING: &[Column] = &[
    ("to", 0),
    ("instance", 10),
    ("pkt/s", 6),
    ("B/s", 6),
    ("nak/s", 6),
    ("retx/s", 6),
    ("back/s", 6),
    ("peers", 5),
    ("rtt", 6),
];
const RECEIVING: &[Column] = &[
    ("at", 0),
    ("instance", 10),
    ("pkt/s", 6),
    ("B/s", 6),
    ("lost/s", 6),
    ("nak/s", 6),
    ("dup/s", 6),
    ("drop/s", 6),
    ("else/s", 6),
];
const POLLERS: &[Column] = &[
    ("poller", 0),
    ("instance", 20),
    ("rounds/s", 8),
    ("busy", 5),
    ("mean", 7),
    ("longest", 7),
    ("slow", 6),
];

impl Page {
    pub(super) const ALL: [Self; 5] =
        [Self::Instances, Self::Topics, Self::Sending, Self::Receiving, Self::Pollers];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Instances => "instances",
            Self::Topics => "topics",
            Self::Sending => "sending",
            Self::Receiving => "receiving",
            Self::Pollers => "pollers",
        }
    }

    pub(super) const fn columns(self) -> &'static [Column] {
        match self {
            Self::Instances => INSTANCES,
            Self::Topics => TOPICS,
            Self::Sending => SENDING,
            Self::Receiving => RECEIVING,
            Self::Pollers => POLLERS,
        }
    }

    /// The order at first: by name, except where names say little.
    pub(super) const fn order(self) -> (usize, bool) {
        match self {
            Self::Instances | Self::Pollers => (0, false),
            Self::Topics => (4, true),
            Self::Sending | Self::Receiving => (2, true),
        }
    }

    pub(super) const fn is_topic(row: &CounterRow) -> bool {
        matches!(row.kind(), RowKind::Publisher | RowKind::Subscription)
    }

    /// What the page says of an instance.
    pub(super) fn lines_of(self, change: &Change<'_>) -> Vec<Vec<Cell>> {
        if self == Self::Instances {
            return vec![instance(change)];
        }
        // Of the dead there are no rates.
        let rows = change.of.rows().iter().filter(|_| change.of.is_alive());
        let line = |row: &CounterRow| match (self, row.kind()) {
            (Self::Topics, RowKind::Publisher | RowKind::Subscription) => Some(topic(change, row)),
            (Self::Sending, RowKind::Publication) => Some(sending(change, row)),
            (Self::Receiving, RowKind::Endpoint) => Some(receiving(change, row)),
            (Self::Pollers, RowKind::Poller) => Some(poller(change, row)),
            _ => None,
        };
        rows.filter_map(line).collect()
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn level(value: Option<u64>) -> Cell {
    value.map_or(Cell::Nothing, |value| Cell::Number(as_float(value)))
}

fn time(value: Option<u64>) -> Cell {
    value.filter(|ns| *ns > 0).map_or(Cell::Nothing, |ns| Cell::Time(as_float(ns)))
}

fn instance(change: &Change<'_>) -> Vec<Cell> {
    let of = change.of;
    vec![
        text(of.name()),
        text(&of.process().to_string()),
        text(&age(of)),
        change.rate(Counter::MessagesSent),
        change.rate(Counter::MessagesReceived),
        change.rate(Counter::MessagesLost),
        change.rate(Counter::Retransmits),
        change.rate(Counter::BackPressured),
        level(Some(of.get(Counter::OpenRequests))),
        change.share(Counter::PollTime),
    ]
}

/// The transport that a place names, and the rest of it.
fn parts(place: &str) -> (&str, &str) {
    place.split_once(' ').unwrap_or((place, ""))
}

/// What is lost is lost at the subscriber. The time is the round trip to subscribers, as far as it is
/// measured, or what the callback takes.
fn topic(change: &Change<'_>, row: &CounterRow) -> Vec<Cell> {
    let is_publisher = row.kind() == RowKind::Publisher;
    let mut publications = change.of.rows_of(RowKind::Publication);
    let shared = publications.find(|publication| publication.place() == row.place());
    let (lost, peers, took) = if is_publisher {
        let round_trip = shared.and_then(|publication| publication.get("round_trip_ns"));
        (Cell::Nothing, row.get("subscribers"), time(round_trip))
    } else {
        let took = change.mean(row, "callback_ns", "callbacks_timed");
        (change.row_rate(row, "lost"), row.get("publishers"), took)
    };
    vec![
        text(row.name()),
        text(change.of.name()),
        text(if is_publisher { "pub" } else { "sub" }),
        text(parts(row.place()).0),
        change.row_rate(row, "messages"),
        change.row_rate(row, "bytes"),
        lost,
        level(peers),
        took,
    ]
}

fn sending(change: &Change<'_>, row: &CounterRow) -> Vec<Cell> {
    vec![
        text(parts(row.place()).1),
        text(change.of.name()),
        change.row_rate(row, "packets"),
        change.row_rate(row, "bytes"),
        change.row_rate(row, "naks_received"),
        change.row_rate(row, "retransmits"),
        change.row_rate(row, "back_pressured"),
        level(row.get("receivers")),
        time(row.get("round_trip_ns")),
    ]
}

fn receiving(change: &Change<'_>, row: &CounterRow) -> Vec<Cell> {
    vec![
        text(parts(row.place()).1),
        text(change.of.name()),
        change.row_rate(row, "packets"),
        change.row_rate(row, "bytes"),
        change.row_rate(row, "packets_lost"),
        change.row_rate(row, "naks_sent"),
        change.row_rate(row, "duplicates"),
        change.row_rate(row, "socket_drops"),
        change.row_rate(row, "foreign"),
    ]
}

fn poller(change: &Change<'_>, row: &CounterRow) -> Vec<Cell> {
    vec![
        text(row.name()),
        text(change.of.name()),
        change.row_rate(row, "cycles"),
        change.row_share(row, "busy_ns"),
        change.mean(row, "busy_ns", "cycles"),
        time(row.get("longest_cycle_ns")),
        level(row.get("slow_cycles")),
    ]
}
