//! What is simulated: drawn from a seed, from a table of kinds with weights. Layer: sim.

use std::fmt;
use std::time::Duration;

use super::dice::{Dice, MILLION};
use super::network::{Burst, Conditions};
use crate::protocol::flow_control::Strategy;

/// What a scenario is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Nothing befalls anything.
    Calm,
    /// One of several receivers by unicast stops, or is slow: the others do not notice.
    Straggler,
    /// Packets are lost, each on its own.
    Lossy,
    /// Packets are lost in a row.
    Bursty,
    /// Packets overtake each other and come twice.
    Disordered,
    /// Packets are damaged: dropped by the checksum, or cut off.
    Damaged,
    /// Lines are narrow, sockets small and receivers slow.
    Narrow,
    /// Lines are cut, one direction at a time.
    Cut,
    /// Processes stop for a while and go on.
    Paused,
    /// Publishers die and come back as new sessions.
    PublisherRestarts,
    /// Receivers die and come back as new ones.
    ReceiverRestarts,
    /// Receivers come while data flows.
    Late,
    /// Slow receivers are left out.
    Dropped,
    /// Not every receiver sets the pace.
    Paced,
    /// Requests, answered by all receivers.
    Requests,
    /// All of it.
    Storm,
}

/// Kinds and how often each is drawn.
const KINDS: &[(Kind, u64)] = &[
    (Kind::Calm, 2),
    (Kind::Straggler, 6),
    (Kind::Lossy, 10),
    (Kind::Bursty, 10),
    (Kind::Disordered, 10),
    (Kind::Damaged, 6),
    (Kind::Narrow, 8),
    (Kind::Cut, 8),
    (Kind::Paused, 8),
    (Kind::PublisherRestarts, 6),
    (Kind::ReceiverRestarts, 6),
    (Kind::Late, 6),
    (Kind::Dropped, 6),
    (Kind::Paced, 5),
    (Kind::Requests, 10),
    (Kind::Storm, 13),
];

/// Something that happens to hosts at a time. Times count from the start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Cut {
        from: usize,
        to: usize,
        is_cut: bool,
    },
    Pause {
        host: usize,
        lasts: Duration,
    },
    /// A publisher's process dies and comes back.
    RestartPublisher {
        host: usize,
    },
    RestartReceiver {
        host: usize,
    },
}

/// Everything that a seed decides before the first packet.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) kind: Kind,
    pub(super) publishers: usize,
    pub(super) receivers: usize,
    /// Users' publishers on each publication.
    pub(super) indices: usize,
    pub(super) is_group: bool,
    pub(super) packet_bytes: usize,
    pub(super) window_bytes: usize,
    pub(super) batch: u64,
    pub(super) messages: u64,
    /// Most messages have no more bytes than the first, some as many as the second.
    pub(super) sizes: (usize, usize),
    /// Longest pause between two messages of a publication.
    pub(super) gap: Duration,
    pub(super) eager: u32,
    pub(super) refuses: u32,
    pub(super) poll_interval: Duration,
    pub(super) strategy: Strategy,
    pub(super) drops_slow: bool,
    pub(super) receiver_timeout: Duration,
    pub(super) repair_timeout: Duration,
    pub(super) conditions: Conditions,
    /// Bytes that a socket's buffer holds.
    pub(super) buffer_bytes: usize,
    /// What a receiver needs for a packet.
    pub(super) packet_cost: Duration,
    /// The receiver's host that alone is disturbed, and what it needs for a packet.
    pub(super) straggler: Option<(usize, Duration)>,
    /// Longest time until discovery tells one host of another.
    pub(super) discovery: Duration,
    /// Receivers start at random within this.
    pub(super) lateness: Duration,
    /// Chance in millionths that a message is a request.
    pub(super) requests: u32,
    pub(super) request_timeout: Duration,
    pub(super) faults: Vec<(Duration, Fault)>,
    /// When the network gets well and no more faults follow.
    pub(super) heals_at: Duration,
}

/// The tag of receivers that set the pace where others do not.
pub(super) const TAG: u32 = 7;

impl Scenario {
    pub(super) fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let total: u64 = KINDS.iter().map(|(_, weight)| weight).sum();
        let mut at = dice.between(0, total - 1);
        let kind = KINDS.iter().find(|(_, weight)| {
            let is_it = at < *weight;
            at = at.saturating_sub(*weight);
            is_it
        });
        let kind = kind.map_or(Kind::Calm, |(kind, _)| *kind);
        let mut scenario = Self::calm(kind, &mut dice);
        if kind == Kind::Storm {
            for part in [Kind::Lossy, Kind::Bursty, Kind::Disordered, Kind::Damaged, Kind::Narrow]
                .into_iter()
                .chain([Kind::Cut, Kind::Paused, Kind::PublisherRestarts, Kind::ReceiverRestarts])
                .chain([Kind::Late, Kind::Dropped, Kind::Requests])
            {
                if dice.chance(400_000) {
                    scenario.add(part, &mut dice);
                }
            }
        } else {
            scenario.add(kind, &mut dice);
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    fn calm(kind: Kind, dice: &mut Dice) -> Self {
        let packet_bytes = dice.pick(&[256, 512, 1408]);
        let window_packets = dice.pick(&[4, 8, 16, 32, 64, 128]);
        let is_group = dice.chance(600_000);
        let large = packet_bytes * (window_packets / 2).min(12);
        let delay = dice.pick(&[8, 30, 100, 500, 2_000]);
        Self {
            kind,
            publishers: dice.index(3) + 1,
            receivers: dice.index(4) + 1,
            indices: dice.index(3) + 1,
            is_group,
            packet_bytes,
            window_bytes: packet_bytes * window_packets,
            batch: dice.pick(&[1, 4, 16, 44]),
            messages: dice.pick(&[20, 100, 300, 800]),
            sizes: (dice.pick(&[16, 100, 400]), large),
            gap: dice.pick(&[2, 20, 200, 2_000].map(Duration::from_micros)),
            eager: dice.pick(&[0, 100_000, 500_000, 1_000_000]),
            refuses: 0,
            poll_interval: dice.pick(&[10, 50, 1_000].map(Duration::from_micros)),
            strategy: Strategy::Min,
            drops_slow: false,
            receiver_timeout: Duration::from_secs(5),
            repair_timeout: Duration::from_secs(5),
            conditions: Conditions {
                delay: Duration::from_micros(delay),
                jitter: Duration::ZERO,
                ..Conditions::default()
            },
            buffer_bytes: 4 << 20,
            packet_cost: Duration::from_nanos(500),
            straggler: None,
            discovery: Duration::from_millis(1),
            lateness: Duration::ZERO,
            requests: 0,
            request_timeout: Duration::from_secs(20),
            faults: Vec::new(),
            heals_at: Duration::from_millis(300),
        }
    }

    /// One publisher and three receivers of a group, that lose packets until the end.
    pub(super) fn measured(loss: u32, delay: Duration, window: usize, messages: u64) -> Self {
        let calm = Self::calm(Kind::Lossy, &mut Dice::new(0));
        Self {
            publishers: 1,
            receivers: 3,
            indices: 1,
            is_group: true,
            packet_bytes: 1408,
            window_bytes: 1408 * window,
            batch: 44,
            messages,
            sizes: (400, 400),
            gap: Duration::from_micros(1),
            eager: MILLION,
            poll_interval: Duration::from_micros(10),
            conditions: Conditions { delay, loss, ..Conditions::default() },
            heals_at: Duration::from_secs(60),
            ..calm
        }
    }

    /// Adds what a kind is about.
    fn add(&mut self, kind: Kind, dice: &mut Dice) {
        let conditions = &mut self.conditions;
        match kind {
            Kind::Calm | Kind::Storm => {}
            Kind::Straggler => self.add_straggler(dice),
            Kind::Lossy => conditions.loss = dice.pick(&[1_000, 10_000, 50_000, 200_000]),
            Kind::Bursty => {
                let ends = dice.pick(&[20_000, 100_000, 300_000]);
                let loss = dice.pick(&[500_000, 1_000_000]);
                conditions.burst = Burst { begins: dice.pick(&[2_000, 10_000]), ends, loss };
            }
            Kind::Disordered => {
                conditions.reorder = dice.pick(&[0, 10_000, 100_000]);
                conditions.duplicate = dice.pick(&[0, 10_000, 100_000]);
                conditions.jitter = conditions.delay * dice.pick(&[0, 1, 5]);
            }
            Kind::Damaged => {
                conditions.corrupt = dice.pick(&[1_000, 20_000]);
                conditions.truncate = dice.pick(&[1_000, 20_000]);
            }
            Kind::Narrow => {
                conditions.bytes_per_second = dice.pick(&[2_000_000, 20_000_000]);
                self.buffer_bytes = self.window_bytes * dice.index(3) / 2 + 4 * self.packet_bytes;
                self.packet_cost = dice.pick(&[1, 10, 50].map(Duration::from_micros));
                self.refuses = dice.pick(&[0, 20_000]);
            }
            Kind::Cut => self.add_cuts(dice),
            Kind::Paused => self.add_pauses(dice),
            Kind::PublisherRestarts | Kind::ReceiverRestarts => self.add_restarts(kind, dice),
            Kind::Late => {
                self.lateness = Duration::from_millis(200);
                self.discovery = dice.pick(&[1, 20, 300].map(Duration::from_millis));
            }
            Kind::Dropped => {
                self.drops_slow = true;
                self.add_pauses(dice);
            }
            Kind::Paced => {
                self.strategy = dice.pick(&[Strategy::Max, Strategy::Tagged(TAG)]);
                self.add(Kind::Narrow, dice);
            }
            Kind::Requests => {
                self.requests = dice.pick(&[50_000, 500_000]);
                self.messages = self.messages.min(100);
                self.request_timeout = dice.pick(&[1, 20].map(Duration::from_secs));
                self.conditions.loss = dice.pick(&[0, 10_000, 50_000]);
            }
        }
    }

    fn hosts(&self) -> usize {
        self.publishers + self.receivers
    }

    fn add_cuts(&mut self, dice: &mut Dice) {
        self.repair_timeout = dice.pick(&[200, 1_000, 5_000].map(Duration::from_millis));
        self.receiver_timeout = dice.pick(&[300, 2_000, 5_000].map(Duration::from_millis));
        for _ in 0..=dice.index(3) {
            let publisher = dice.index(self.publishers);
            let receiver = self.publishers + dice.index(self.receivers);
            let (from, to) =
                if dice.chance(500_000) { (publisher, receiver) } else { (receiver, publisher) };
            let begins = dice.micros(0, 100_000);
            let lasts = dice.pick(&[5_000, 50_000, 400_000, 3_000_000]);
            let ends = begins + dice.micros(lasts / 2, lasts);
            self.faults.push((begins, Fault::Cut { from, to, is_cut: true }));
            self.faults.push((ends, Fault::Cut { from, to, is_cut: false }));
            self.heals_at = self.heals_at.max(ends);
        }
    }

    fn add_straggler(&mut self, dice: &mut Dice) {
        self.is_group = false;
        self.receivers = self.receivers.max(2);
        self.drops_slow = dice.chance(300_000);
        self.receiver_timeout = dice.pick(&[300, 5_000].map(Duration::from_millis));
        let host = self.publishers + dice.index(self.receivers);
        if dice.chance(500_000) {
            let lasts = dice.pick(&[20_000, 400_000, 2_000_000]);
            let (begins, lasts) = (dice.micros(0, 50_000), dice.micros(lasts / 2, lasts));
            self.faults.push((begins, Fault::Pause { host, lasts }));
            self.heals_at = self.heals_at.max(begins + lasts);
            self.straggler = Some((host, self.packet_cost));
        } else {
            let cost = dice.pick(&[50, 200, 1_000].map(Duration::from_micros));
            self.straggler = Some((host, cost));
        }
    }

    fn add_pauses(&mut self, dice: &mut Dice) {
        self.receiver_timeout = dice.pick(&[300, 5_000].map(Duration::from_millis));
        for _ in 0..=dice.index(3) {
            let host = dice.index(self.hosts());
            let begins = dice.micros(0, 100_000);
            let lasts = dice.pick(&[1_000, 20_000, 400_000, 2_000_000]);
            let lasts = dice.micros(lasts / 2, lasts);
            self.faults.push((begins, Fault::Pause { host, lasts }));
            self.heals_at = self.heals_at.max(begins + lasts);
        }
        self.buffer_bytes = self.buffer_bytes.min(4 * self.window_bytes);
    }

    fn add_restarts(&mut self, kind: Kind, dice: &mut Dice) {
        for _ in 0..=dice.index(2) {
            let fault = if kind == Kind::PublisherRestarts {
                Fault::RestartPublisher { host: dice.index(self.publishers) }
            } else {
                Fault::RestartReceiver { host: self.publishers + dice.index(self.receivers) }
            };
            self.faults.push((dice.micros(1_000, 100_000), fault));
        }
        self.discovery = dice.pick(&[1, 20].map(Duration::from_millis));
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, publishers, receivers, messages, packet_bytes, window_bytes, .. } = self;
        let how = if self.is_group { "a group" } else { "unicast" };
        let window = window_bytes / packet_bytes;
        write!(
            f,
            "{kind:?}: {publishers} publishers, {receivers} receivers on {how}, {messages} messages \
             each, window of {window} packets of {packet_bytes} bytes, {:?}",
            self.conditions
        )
    }
}
