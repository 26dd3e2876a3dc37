//! The sending side of one publication: the ring and the send session of production, driven as
//! `engine::publication` drives them, with a virtual socket. Layer: sim. Owned by one world.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::dice::Dice;
use super::network::Packet;
use crate::id::{ReceiverId, TopicHash};
use crate::protocol::flow_control::FlowSettings;
use crate::protocol::retransmit::{REFILL, Repair};
use crate::protocol::sender::{Output, SendSession};
use crate::ring::Layout;
use crate::ring::append::{Appender, Entry};
use crate::ring::storage::Slots;
use crate::time::Timestamp;
use crate::wire::control::{Feedback, encode_gone};
use crate::wire::frame::FrameKind;
use crate::wire::packet::PacketHeader;

/// What a session says in one go, as in production.
const MAX_OUTPUTS: usize = 64;
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
    send: SendSession,
    pub(super) receivers: Vec<Known>,
    served: usize,
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
        Self {
            ring: Appender::new(Slots::heap(parts.layout), &parts.header),
            send: SendSession::new(parts.header.session, parts.flow, parts.is_group),
            parts,
            receivers: Vec::new(),
            served: 0,
            books: vec![Vec::new(); publishers],
            outbox: Vec::new(),
            is_dead: false,
            started: now,
            tend_at: Timestamp::NEVER,
            messages_left: 0,
            accepted_at: now,
        }
    }

    pub(super) fn add_receiver(&mut self, now: Timestamp, id: ReceiverId, host: usize) {
        if self.receivers.iter().any(|known| known.id == id) {
            return;
        }
        let start = self.send.next();
        self.receivers.push(Known { id, host, start, was_dropped: false });
        self.send.add_receiver(id, None, now);
        self.tell(now);
    }

    pub(super) fn remove_receiver(&mut self, id: ReceiverId, dice: &mut Dice) {
        self.receivers.retain(|known| known.id != id);
        self.send.remove_receiver(id);
        self.served = 0;
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
        let full = self.ring.open_packet() - self.send.next();
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
            if self.ring.open_packet() - self.send.next() >= self.parts.batch {
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
    pub(super) fn handle_feedback(&mut self, now: Timestamp, source: SocketAddr, it: &Feedback) {
        self.send.handle_feedback(now, source, it);
        self.keep_what_is_needed();
    }

    /// As `Publication::look_after`. Returns when to come back, `NEVER` when it is settled.
    pub(super) fn look_after(&mut self, now: Timestamp, dice: &mut Dice) -> Timestamp {
        if self.has_waiting() {
            self.transmit(dice);
        }
        if self.is_blocked() {
            self.send.handle_blocked(now);
        }
        self.tell(now);
        for known in &mut self.receivers {
            // Nobody confirms what will never be sent: such a receiver is left out.
            known.was_dropped |= self.send.has_consumed(known.id, u64::MAX);
        }
        if !self.has_waiting() && self.send.is_settled() {
            return Timestamp::NEVER;
        }
        self.send.next_deadline().max(now + self.parts.poll_interval).min(now + TICK)
    }

    fn transmit(&mut self, dice: &mut Dice) {
        let first = self.send.next();
        let limit = self.send.limit();
        if self.ring.has_open_frames() && self.ring.open_packet() < limit {
            self.ring.close();
        }
        let end = limit.min(self.ring.open_packet());
        let mut next = first;
        while next < end {
            let (run, count) = self.ring.closed_run(next, (end - next).min(self.parts.batch));
            let run = packets(run, self.parts.layout.packet_bytes);
            if !self.send_run(&run, dice) {
                break;
            }
            next += count;
        }
        if next > first {
            self.send.handle_sent(next);
            self.keep_what_is_needed();
        }
    }

    /// One run to every destination; who has got it does not get it again after a refusal.
    fn send_run(&mut self, run: &[Packet], dice: &mut Dice) -> bool {
        let destinations: Vec<Option<usize>> = self.destinations().skip(self.served).collect();
        for to in destinations {
            if dice.chance(self.parts.refuses) {
                return false;
            }
            self.outbox.push(Outgoing { to, run: run.iter().map(Rc::clone).collect() });
            self.served += 1;
        }
        self.served = 0;
        true
    }

    fn destinations(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        let unicast = self.receivers.iter().filter(|_| !self.parts.is_group);
        let group = self.parts.is_group.then_some(None);
        group.into_iter().chain(unicast.map(|known| Some(known.host)))
    }

    fn keep_what_is_needed(&mut self) {
        let needed = self.send.confirmed().min(self.send.next());
        self.ring.set_limit(needed + self.parts.layout.slots as u64);
    }

    fn tell(&mut self, now: Timestamp) {
        self.send.handle_timeout(now);
        self.keep_what_is_needed();
        let header = self.parts.header;
        for _ in 0..MAX_OUTPUTS {
            let oldest = self.ring.oldest_packet();
            let Some(output) = self.send.poll_transmit(now, oldest, self.parts.batch) else {
                break;
            };
            match output {
                Output::Heartbeat(heartbeat) => self.announce(&heartbeat.encode(header)),
                Output::Gone { oldest } => self.announce(&encode_gone(header, oldest)),
                Output::Welcome(welcome) => {
                    if let Some(to) = self.destination_of(welcome.receiver) {
                        let run = vec![welcome.encode(header).as_slice().into()];
                        self.outbox.push(Outgoing { to, run });
                    }
                }
                Output::Repair(repair) => self.repair(repair),
            }
        }
    }

    fn destination_of(&self, receiver: ReceiverId) -> Option<Option<usize>> {
        if self.parts.is_group {
            return Some(None);
        }
        let found = self.receivers.iter().find(|known| known.id == receiver)?;
        Some(Some(found.host))
    }

    fn announce(&mut self, packet: &[u8]) {
        let all: Vec<_> = self.destinations().collect();
        let packet: Packet = packet.into();
        self.outbox
            .extend(all.into_iter().map(|to| Outgoing { to, run: vec![Rc::clone(&packet)] }));
    }

    fn repair(&mut self, repair: Repair) {
        let Repair { mut first, packets: mut left, receiver } = repair;
        let to = self.destination_of(receiver);
        while left > 0 {
            let (run, count) = self.ring.closed_run(first, left);
            if let Some(to) = to {
                let run = packets(run, self.parts.layout.packet_bytes);
                self.outbox.push(Outgoing { to, run });
            }
            (first, left) = (first + count, left - count);
        }
    }

    fn is_blocked(&self) -> bool {
        let next = self.send.next();
        next < self.ring.open_packet() && next >= self.send.limit()
    }

    fn has_waiting(&self) -> bool {
        self.ring.has_open_frames() || self.send.next() < self.ring.open_packet()
    }

    pub(super) fn is_settled(&self) -> bool {
        !self.has_waiting() && self.send.is_settled()
    }

    pub(super) const fn session(&self) -> &SendSession {
        &self.send
    }

    /// What receivers can trigger is bounded, in traffic and in memory.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), String> {
        let window = u64::from(self.parts.flow.window_packets);
        let refills = now.since(self.started).as_nanos() / REFILL.as_nanos() + 2;
        let refills = u64::try_from(refills).unwrap_or(u64::MAX);
        let copies = if self.parts.is_group { 1 } else { self.receivers.len().max(1) as u64 };
        let (sent, repeated) = (self.send.next(), self.send.counters().retransmits);
        if repeated > sent * copies + window.saturating_mul(refills) {
            return Err(format!("{repeated} repairs for {sent} packets of window {window}"));
        }
        self.send.check_bounds()
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
