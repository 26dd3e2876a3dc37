//! What the benchmarks measure: the hot parts of single layers, each behind a handle of its own.
//! Beside `lib.rs`, above all layers; only with the feature `internals`, and no part of the public
//! API. Each handle belongs to the thread that measures.

use std::sync::Arc;
use std::time::Duration;

pub use crate::engine::probe::{DispatchProbe, RequestProbe};

use crate::config::{Config, Template, Transport};
use crate::counters::{Counter, Counters, Row, SubscriptionColumn};
use crate::id::{InstanceId, ReceiverId, SessionId, TopicHash};
use crate::protocol::receiver::{ReceiveSession, ReceiveSettings};
use crate::random::SplitMix64;
use crate::request::RequestTable;
use crate::ring::Layout;
use crate::ring::append::{Appender, Entry};
use crate::ring::read::Reader;
use crate::ring::storage::Slots;
use crate::time::Timestamp;
use crate::wire::frame::{FrameKind, Frames};
use crate::wire::packet::{PACKET_HEADER_LENGTH, PacketHeader};

/// The built-in template of a transport.
fn built_in(transport: Transport) -> Template {
    let templates = Config::default().templates;
    match templates.into_iter().find(|template| template.transport() == transport) {
        Some(template) => template,
        None => unreachable!("each transport has a built-in template"),
    }
}

/// A ring with its writer.
#[derive(Debug)]
pub struct RingProbe {
    slots: Slots,
    appender: Appender,
    topic: TopicHash,
    sequence: u64,
}

impl RingProbe {
    /// A ring of packets for the network, of the built-in configuration's size.
    #[must_use]
    pub fn packets() -> Self {
        let Template { packet_bytes, window_bytes, .. } = built_in(Transport::Multicast);
        Self::new(Layout::for_window(packet_bytes, window_bytes), TopicHash(7)).touched()
    }

    /// A ring that others map, the same.
    #[must_use]
    pub fn shared() -> Self {
        let Template { packet_bytes, window_bytes, .. } = built_in(Transport::Ipc);
        Self::new(Layout::for_shared_window(packet_bytes, window_bytes), TopicHash(7)).touched()
    }

    fn new(layout: Layout, topic: TopicHash) -> Self {
        let slots = Slots::heap(layout);
        let header = PacketHeader {
            session: SessionId(1),
            sequence: 0,
            stream: 1,
            instance: InstanceId::from_bytes([1; 16]),
        };
        let appender = Appender::new(slots.clone(), &header);
        Self { slots, appender, topic, sequence: 0 }
    }

    /// With all its pages there.
    fn touched(mut self) -> Self {
        self.fill(&[0; 1024]);
        self
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

    /// Reads what [`RingProbe::fill`] has left, as a process does that maps the ring, and looks at each
    /// cache line of it. Returns how many frames there were, and the sum of the bytes that were looked at.
    #[must_use]
    pub fn read(&self) -> (usize, u64) {
        let open = self.appender.open_packet();
        let first = open + 1 - self.slots.layout().slots as u64;
        let mut reader = Reader::new(self.slots.clone(), first);
        let mut sum = 0;
        let frames = reader.poll(usize::MAX, |_, payload| {
            sum += payload.iter().step_by(64).copied().map(u64::from).sum::<u64>();
            true
        });
        // Only a writer that breaks the rules corrupts a ring, and this one does not.
        (frames.unwrap_or_default(), sum)
    }

    /// A closed packet full of messages, as it arrives in a datagram.
    #[must_use]
    pub fn packet(payload: &[u8]) -> Vec<u8> {
        let mut probe = Self::packets();
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
            topic: self.topic,
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

/// A stream of full packets, on its way from the socket to the listener of its topic.
#[derive(Debug)]
pub struct ReceiveProbe {
    dispatch: DispatchProbe,
    packets: Vec<Box<[u8]>>,
}

impl ReceiveProbe {
    /// Packets of messages of this payload, as many as a ring of the built-in configuration holds.
    #[must_use]
    pub fn new(payload: &[u8]) -> Self {
        let dispatch = DispatchProbe::new(1);
        let Template { packet_bytes, window_bytes, .. } = built_in(Transport::Multicast);
        let layout = Layout::for_window(packet_bytes, window_bytes);
        let mut ring = RingProbe::new(layout, dispatch.topic(0));
        while ring.try_append(payload) {}
        let closed = 0..ring.appender.open_packet();
        let packets = closed.map(|packet| ring.appender.closed_run(packet, 1).0.into()).collect();
        Self { dispatch, packets }
    }

    /// Messages in all packets.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.packets.iter().map(|packet| parse(packet).0).sum()
    }

    /// Receives all of them, in order and without a gap, by a session of their own. Returns how many
    /// packets it has taken.
    pub fn receive(&mut self) -> u64 {
        let instance = InstanceId::from_bytes([3; 16]);
        let settings = ReceiveSettings {
            window_packets: u32::MAX,
            max_message_bytes: 1 << 20,
            repair_timeout: Duration::from_secs(1),
            is_group: true,
            tag: 0,
        };
        let receiver = ReceiverId { instance, port: 1 };
        let mut session = ReceiveSession::new(SessionId(1), receiver, settings);
        let mut sink = self.dispatch.sink();
        for (packet, sequence) in self.packets.iter().zip(0..) {
            let frames = &packet[PACKET_HEADER_LENGTH..];
            session.handle_packet(Timestamp::default(), sequence, frames, &mut sink);
        }
        session.counters().packets
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
