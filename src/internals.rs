//! What the benchmarks measure: the hot parts of single layers, each behind a handle of its own.
//! Beside `lib.rs`, above all layers; only with the feature `internals`, and no part of the public
//! API. Each handle belongs to the thread that measures.

use std::sync::Arc;
use std::time::Duration;

pub use crate::engine::probe::{DispatchProbe, RequestProbe};

use crate::counters::{Counter, Counters, Row, SubscriptionColumn};
use crate::id::{InstanceId, SessionId, TopicHash};
use crate::random::SplitMix64;
use crate::request::RequestTable;
use crate::ring::Layout;
use crate::ring::append::{Appender, Entry};
use crate::ring::read::Reader;
use crate::ring::storage::Slots;
use crate::time::Timestamp;
use crate::wire::frame::{FrameKind, Frames};
use crate::wire::packet::{PACKET_HEADER_LENGTH, PacketHeader};

/// As in the built-in configuration.
const PACKET_BYTES: usize = 1408;
const WINDOW_BYTES: usize = 1 << 20;

/// A packet ring with its writer.
#[derive(Debug)]
pub struct RingProbe {
    slots: Slots,
    appender: Appender,
    sequence: u64,
}

impl RingProbe {
    /// A ring of the built-in configuration's size, with all its pages touched.
    #[must_use]
    pub fn new() -> Self {
        let slots = Slots::heap(Layout::for_window(PACKET_BYTES, WINDOW_BYTES));
        let header = PacketHeader {
            session: SessionId(1),
            sequence: 0,
            stream: 1,
            instance: InstanceId::from_bytes([1; 16]),
        };
        let appender = Appender::new(slots.clone(), &header);
        let mut probe = Self { slots, appender, sequence: 0 };
        probe.fill(&[0; PACKET_BYTES / 2]);
        probe
    }

    /// Appends a message. A ring that is full is taken to have been read.
    #[inline]
    pub fn append(&mut self, payload: &[u8]) {
        if !self.try_append(payload) {
            self.empty();
            let appended = self.try_append(payload);
            assert!(appended, "an empty ring takes every message");
        }
    }

    /// Empties the ring, then appends messages until it is full. Returns how many.
    pub fn fill(&mut self, payload: &[u8]) -> usize {
        self.appender.close();
        self.empty();
        let mut count = 0;
        while self.try_append(payload) {
            count += 1;
        }
        count
    }

    /// Reads what [`RingProbe::fill`] has left, as a process does that maps the ring. Returns how
    /// many frames there were, and the sum of their lengths.
    #[must_use]
    pub fn read(&self) -> (usize, usize) {
        let open = self.appender.open_packet();
        let first = open + 1 - self.slots.layout().slots as u64;
        let mut reader = Reader::new(self.slots.clone(), first);
        let mut bytes = 0;
        let frames = reader.poll(usize::MAX, |header, rest| {
            bytes += header.len() + rest.len();
            true
        });
        // Only a writer that breaks the rules corrupts a ring, and this one does not.
        (frames.unwrap_or_default(), bytes)
    }

    /// A closed packet full of messages, as it arrives in a datagram.
    #[must_use]
    pub fn packet(payload: &[u8]) -> Vec<u8> {
        let mut probe = Self::new();
        probe.fill(payload);
        let last_closed = probe.appender.open_packet() - 1;
        probe.appender.closed_run(last_closed, 1).0.to_vec()
    }

    #[inline]
    fn try_append(&mut self, payload: &[u8]) -> bool {
        self.sequence += 1;
        let entry = Entry {
            kind: FrameKind::Message,
            publisher: 0,
            topic: TopicHash(7),
            sequence: self.sequence,
            prefix: &[],
            payload,
        };
        self.appender.append(&entry).is_ok()
    }

    fn empty(&mut self) {
        let limit = self.appender.open_packet() + self.slots.layout().slots as u64;
        self.appender.set_limit(limit);
    }
}

impl Default for RingProbe {
    fn default() -> Self {
        Self::new()
    }
}

/// What counting costs: with each message in its row, with each batch in the totals.
#[derive(Debug)]
pub struct CounterProbe {
    counters: Arc<Counters>,
    row: Row<SubscriptionColumn>,
}

impl CounterProbe {
    /// Counters of an instance, and the row of a subscription.
    #[must_use]
    pub fn new() -> Self {
        let counters = Arc::new(Counters::new());
        let row = counters.row("market.data", "");
        Self { counters, row }
    }

    /// As for each message that is delivered.
    #[inline]
    pub fn count_message(&mut self, bytes: u64) {
        self.row.add(SubscriptionColumn::Messages, 1);
        self.row.add(SubscriptionColumn::Bytes, bytes);
    }

    /// As for what several threads count, once per batch.
    #[inline]
    pub fn count_batch(&self, amount: u64) {
        self.counters.add(Counter::Foreign, amount);
    }
}

impl Default for CounterProbe {
    fn default() -> Self {
        Self::new()
    }
}

/// Checks and reads all frames of a packet. Returns how many there were, and the sum of their
/// bodies' lengths.
#[must_use]
pub fn parse(packet: &[u8]) -> (usize, usize) {
    let frames = packet.get(PACKET_HEADER_LENGTH..).unwrap_or_default();
    Frames::new(frames)
        .flatten()
        .fold((0, 0), |(count, bytes), frame| (count + 1, bytes + frame.body.len()))
}

/// Open requests whose deadlines pass one after the other, in virtual time.
#[derive(Debug)]
pub struct ExpiryProbe {
    table: RequestTable<Arc<()>>,
    request: Arc<()>,
    now: Timestamp,
    /// From one deadline to the next, on average.
    step: Duration,
    /// Of timeouts; `None` where all are the same.
    random: Option<SplitMix64>,
    expired: Vec<Arc<()>>,
}

impl ExpiryProbe {
    /// Time from registration to expiry, in virtual time, on average.
    const TIMEOUT: Duration = Duration::from_nanos(Self::TIMEOUT_NANOS);
    const TIMEOUT_NANOS: u64 = 1_000_000_000;

    /// `open` requests whose deadlines are evenly spread and in the order of registration:
    /// neighbours in time are neighbours in memory.
    #[must_use]
    pub fn in_order(open: u32) -> Self {
        let mut probe = Self::new(open, None);
        for nth in 1..=open {
            probe.register(probe.step * nth);
        }
        probe
    }

    /// `open` requests with random timeouts: neighbours in time are anywhere in memory.
    #[must_use]
    pub fn scattered(open: u32) -> Self {
        let mut probe = Self::new(open, Some(SplitMix64::new(1)));
        for _ in 0..open {
            probe.register_again();
        }
        probe
    }

    fn new(open: u32, random: Option<SplitMix64>) -> Self {
        let now = Timestamp::default();
        Self {
            table: RequestTable::new(open as usize, now),
            request: Arc::new(()),
            now,
            step: Self::TIMEOUT / open.max(1),
            random,
            expired: Vec::with_capacity(open as usize),
        }
    }

    /// Goes on to the next deadline, expires what is due, and opens as many requests again. One
    /// request per call on average: the wheel expires those of a tick together.
    pub fn expire_next(&mut self) -> usize {
        self.now = self.now + self.step;
        while self.table.expire(self.now, usize::MAX, &mut self.expired) {}
        let count = self.expired.len();
        self.expired.clear();
        for _ in 0..count {
            self.register_again();
        }
        count
    }

    fn register_again(&mut self) {
        let timeout = match &mut self.random {
            Some(random) => Duration::from_nanos(1 + random.below(2 * Self::TIMEOUT_NANOS)),
            None => Self::TIMEOUT,
        };
        self.register(timeout);
    }

    fn register(&mut self, timeout: Duration) {
        let registered = self.table.register(self.now, timeout, |_| Arc::clone(&self.request));
        assert!(registered.is_ok(), "the table has room for all of them");
    }
}
