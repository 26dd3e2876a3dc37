//! The sending side of one publication: the ring and the lanes of production, driven as
//! `engine::publication` drives them, with a virtual socket. Layer: sim. Owned by one world.

use std::net::SocketAddr;
use std::time::Duration;

use super::dice::Dice;
use super::network::Packet;
use crate::id::{ReceiverId, TopicHash};
use crate::protocol::fan_out::FanOut;
use crate::protocol::flow_control::FlowSettings;
use crate::protocol::lane::Outlet;
use crate::protocol::retransmit::REFILL;
use crate::ring::Layout;
use crate::ring::append::{Appender, Entry};
use crate::ring::storage::Slots;
use crate::time::Timestamp;
use crate::wire::control::Feedback;
use crate::wire::frame::FrameKind;
use crate::wire::packet::PacketHeader;

/// The conductor looks at an active publication this often when nothing else makes it.
const TICK: Duration = Duration::from_millis(1);

/// What a station is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct StationParts {
    pub(super) header: PacketHeader,
    /// Where it sends from.
    pub(super) host: usize,
    pub(super) layout: Layout,
    pub(super) flow: FlowSettings,
    pub(super) is_group: bool,
    /// Packets in one run.
    pub(super) batch: u64,
    /// Chance in millionths that a message is sent at once and does not wait for the next tick.
    pub(super) eager: u32,
    /// Chance in millionths that the socket takes no run.
    pub(super) refuses: u32,
    /// How often somebody comes by while the station is active.
    pub(super) poll_interval: Duration,
}

/// A run on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The host that it goes to; `None` is the group.
    pub(super) to: Option<usize>,
    pub(super) run: Vec<Packet>,
}

/// A message that was accepted, as far as receivers can tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// The packet in which it begins.
    pub(super) packet: u64,
    pub(super) bytes: usize,
    pub(super) digest: u64,
    pub(super) at: Timestamp,
}

/// A receiver that discovery has found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) id: ReceiverId,
    pub(super) host: usize,
    /// The session begins for it with this packet.
    pub(super) start: u64,
    /// It was left out at some time, and may miss what the ring no longer holds.
    pub(super) was_dropped: bool,
}

/// A packet ring on its way to a group or to a set of receivers.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) parts: StationParts,
    ring: Appender,
    fan_out: FanOut<Option<usize>>,
    pub(super) receivers: Vec<Known>,
    /// Receivers that there are or were: each may have had a lane, with repairs of its own.
    introduced: u64,
    /// What was sent, by publisher: message 1 is the first one.
    pub(super) books: Vec<Vec<Sent>>,
    pub(super) outbox: Vec<Outgoing>,
    /// Its process is gone.
    pub(super) is_dead: bool,
    started: Timestamp,
    /// The next event that looks after it.
    pub(super) tend_at: Timestamp,
    pub(super) messages_left: u64,
    pub(super) accepted_at: Timestamp,
}

impl Station {
    pub(super) fn new(now: Timestamp, parts: StationParts, publishers: usize) -> Self {
        let fan_out = if parts.is_group {
            FanOut::to_group(parts.header, parts.flow, parts.batch, None)
        } else {
            FanOut::to_each(parts.header, parts.flow, parts.batch)
        };
        Self {
            ring: Appender::new(Slots::heap(parts.layout), &parts.header),
            fan_out,
            parts,
            receivers: Vec::new(),
            introduced: 0,
            books: vec![Vec::new(); publishers],
            outbox: Vec::new(),
            is_dead: false,
            started: now,
            tend_at: Timestamp::NEVER,
            messages_left: 0,
            accepted_at: now,
        }
    }

    pub(super) fn add_receiver(
        &mut self,
        now: Timestamp,
        id: ReceiverId,
        (host, address): (usize, SocketAddr),
        dice: &mut Dice,
    ) {
        if self.receivers.iter().any(|known| known.id == id) {
            return;
        }
        // On a group what is meant for it begins with what has not left yet; a lane begins here.
        let start =
            if self.parts.is_group { self.fan_out.front() } else { self.ring.open_packet() };
        self.receivers.push(Known { id, host, start, was_dropped: false });
        self.introduced += 1;
        let source = (!self.parts.is_group).then_some(address);
        self.fan_out.add_receiver(id, (|| Some(host), source), &self.ring, now);
        self.tell(now, dice);
    }

    pub(super) fn remove_receiver(&mut self, id: ReceiverId, dice: &mut Dice) {
        self.receivers.retain(|known| known.id != id);
        self.fan_out.remove_receiver(id);
        self.transmit(dice);
    }

    /// Sends a message of one of its publishers. False when it is back-pressured.
    pub(super) fn publish(
        &mut self,
        now: Timestamp,
        dice: &mut Dice,
        publisher: usize,
        kind: FrameKind,
        (prefix, payload): (&[u8], &[u8]),
    ) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "a handful of publishers")]
        let entry = Entry {
            kind,
            publisher: publisher as u32,
            topic: TopicHash(publisher as u64),
            sequence: self.books[publisher].len() as u64 + 1,
            prefix,
            payload,
        };
        if !self.has_room(&entry) {
            self.transmit(dice);
            if !self.has_room(&entry) {
                return false;
            }
        }
        let packet = self.append(&entry, dice);
        let body = [prefix, payload].concat();
        let sent = Sent { packet, bytes: body.len(), digest: digest(&body), at: now };
        self.books[publisher].push(sent);
        self.accepted_at = now;
        let full = self.ring.open_packet() - self.fan_out.front();
        if full >= self.parts.batch || dice.chance(self.parts.eager) {
            self.transmit(dice);
        }
        true
    }

    fn has_room(&self, entry: &Entry<'_>) -> bool {
        let layout = self.parts.layout;
        // One more than needed: whether a small message fits into the open slot, only the ring
        // knows, and it says so by taking it.
        self.ring.free_packets() >= layout.packets_for(entry.body_bytes()) as u64
    }

    /// Frames a message for which there is room. Returns the packet in which it begins.
    fn append(&mut self, entry: &Entry<'_>, dice: &mut Dice) -> u64 {
        let bytes = entry.body_bytes();
        if bytes <= self.parts.layout.whole_body_bytes() {
            let taken = self.ring.append(entry);
            debug_assert!(taken.is_ok(), "there is room");
            return self.ring.open_packet();
        }
        let (mut offset, mut packet) = (0, None);
        while let Ok(part) = self.ring.append_fragment(entry, offset) {
            packet.get_or_insert_with(|| self.ring.open_packet());
            offset += part;
            if self.ring.open_packet() - self.fan_out.front() >= self.parts.batch {
                self.transmit(dice);
            }
            if offset == bytes {
                break;
            }
        }
        assert!(offset == bytes, "the ring has promised room for {bytes} bytes, took {offset}");
        packet.unwrap_or_default()
    }

    /// What came back from a receiver.
    pub(super) fn handle_feedback(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        it: &Feedback<'_>,
    ) {
        self.fan_out.handle_feedback(now, source, it);
        self.fan_out.keep_what_is_needed(&mut self.ring);
    }

    /// As `Publication::look_after`. Returns when to come back, `NEVER` when it is settled.
    pub(super) fn look_after(&mut self, now: Timestamp, dice: &mut Dice) -> Timestamp {
        if self.has_waiting() {
            self.transmit(dice);
        }
        self.tell(now, dice);
        for known in &mut self.receivers {
            // Nobody confirms what will never be sent: such a receiver is left out.
            known.was_dropped |= self.fan_out.has_consumed(known.id, u64::MAX);
        }
        if self.is_settled() {
            return Timestamp::NEVER;
        }
        self.fan_out.next_deadline().max(now + self.parts.poll_interval).min(now + TICK)
    }

    fn transmit(&mut self, dice: &mut Dice) {
        let Self { ring, fan_out, outbox, parts, .. } = self;
        fan_out.transmit(ring, &mut VirtualOutlet { outbox, dice, parts });
    }

    fn tell(&mut self, now: Timestamp, dice: &mut Dice) {
        let Self { ring, fan_out, outbox, parts, .. } = self;
        fan_out.tell(now, ring, &mut VirtualOutlet { outbox, dice, parts });
    }

    fn has_waiting(&self) -> bool {
        self.fan_out.has_waiting(&self.ring)
    }

    pub(super) fn is_settled(&self) -> bool {
        !self.has_waiting() && self.fan_out.is_settled()
    }

    pub(super) const fn fan_out(&self) -> &FanOut<Option<usize>> {
        &self.fan_out
    }

    /// What receivers can trigger is bounded, in traffic and in memory.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), String> {
        let window = u64::from(self.parts.flow.window_packets);
        let refills = now.since(self.started).as_nanos() / REFILL.as_nanos() + 2;
        let refills = u64::try_from(refills).unwrap_or(u64::MAX);
        let lanes = if self.parts.is_group { 1 } else { self.introduced };
        let (sent, repeated) = (self.fan_out.sent(), self.fan_out.counters().retransmits);
        if repeated > lanes * (sent + window.saturating_mul(refills)) {
            return Err(format!("{repeated} repairs for {sent} packets of window {window}"));
        }
        self.fan_out.check_bounds()
    }
}

/// A socket that now and then takes nothing.
struct VirtualOutlet<'a> {
    outbox: &'a mut Vec<Outgoing>,
    dice: &'a mut Dice,
    parts: &'a StationParts,
}

impl Outlet<Option<usize>> for VirtualOutlet<'_> {
    fn send(&mut self, to: &Option<usize>, run: &[u8]) -> bool {
        if self.dice.chance(self.parts.refuses) {
            return false;
        }
        self.outbox.push(Outgoing { to: *to, run: packets(run, self.parts.layout.packet_bytes) });
        true
    }
}

/// The packets of a run.
fn packets(run: &[u8], packet_bytes: usize) -> Vec<Packet> {
    run.chunks(packet_bytes).map(Packet::from).collect()
}

/// What a body is compared by.
pub(super) fn digest(body: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(body)
}
