//! The sending side of one (endpoint, stream) on UDP: a packet ring, its send session and the
//! socket. Layer: engine. Callers frame and transmit on their own threads under the publication's
//! lock; the conductor looks after it while it is active.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::pacing::Pacing;
use super::send_socket::{Mailbox, SendSocket};
use crate::counters::{Counter, Counters};
use crate::id::{InstanceId, ReceiverId, SessionId, TopicHash};
use crate::listener::SendError;
use crate::protocol::flow_control::FlowSettings;
use crate::protocol::retransmit::Repair;
use crate::protocol::sender::{Output, SendCounters, SendSession};
use crate::ring::Layout;
use crate::ring::append::{Appender, Claimed, Entry};
use crate::ring::storage::Slots;
use crate::time::{Clock, Timestamp};
use crate::transport::cycles;
use crate::transport::udp::{Destination, UdpSocket};
use crate::wire::control::{Feedback, encode_gone};
use crate::wire::frame::FrameHeader;
use crate::wire::packet::PacketHeader;

/// Pause of a caller that streams a message larger than the ring and has to wait for receivers.
pub(super) const STREAMING_PAUSE: Duration = Duration::from_micros(20);

/// What a session says in one go before others get their turn.
const MAX_OUTPUTS: usize = 64;

/// Wakes the conductor when a publication needs looking after.
pub(crate) trait Attention: Send + Sync {
    fn wake(&self);
}

/// What a publication is made of.
pub(crate) struct PublicationParts {
    pub(crate) socket: Arc<SendSocket>,
    pub(crate) instance: InstanceId,
    pub(crate) stream: u32,
    pub(crate) layout: Layout,
    pub(crate) flow: FlowSettings,
    /// The group, for multicast; unicast has a destination per receiver.
    pub(crate) group: Option<SocketAddr>,
    pub(crate) attention: Arc<dyn Attention>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
}

/// A packet ring on its way to a group or to a set of receivers.
pub(crate) struct Publication {
    parts: PublicationParts,
    session: SessionId,
    mailbox: Arc<Mailbox>,
    group: Option<Destination>,
    batch: u64,
    state: Mutex<State>,
    /// How soon the conductor has to look: see [`Urgency`].
    urgency: AtomicU8,
}

/// What a publication wants of the conductor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Urgency {
    /// Nothing: everything is sent and confirmed.
    Settled = 0,
    /// Heartbeats, should no more data follow.
    Unconfirmed = 1,
    /// Frames wait to be sent.
    Waiting = 2,
}

struct State {
    ring: Appender,
    send: SendSession,
    receivers: Vec<Receiver>,
    /// Destinations that have got the next run already, after one refused it.
    served: usize,
    pacing: Pacing,
    /// Index of the next publisher.
    next_publisher: u32,
    feedback: Vec<(SocketAddr, Feedback)>,
    counted: SendCounters,
}

struct Receiver {
    id: ReceiverId,
    /// Topics of this publication that it listens to.
    topics: Vec<TopicHash>,
    /// Set when the last of them is not published any more: the receiver is let go once it has
    /// everything before this packet.
    until: Option<u64>,
    /// Its own, on unicast.
    destination: Option<Destination>,
}

impl Publication {
    pub(crate) fn new(parts: PublicationParts) -> Self {
        let session = SessionId::random();
        let header =
            PacketHeader { session, sequence: 0, stream: parts.stream, instance: parts.instance };
        Self {
            session,
            mailbox: parts.socket.register(session),
            group: parts.group.map(Destination::from),
            batch: UdpSocket::max_run_segments(parts.layout.packet_bytes) as u64,
            state: Mutex::new(State {
                ring: Appender::new(Slots::heap(parts.layout), &header),
                send: SendSession::new(session, parts.flow, parts.group.is_some()),
                receivers: Vec::new(),
                served: 0,
                pacing: Pacing::default(),
                next_publisher: 0,
                feedback: Vec::new(),
                counted: SendCounters::default(),
            }),
            urgency: AtomicU8::new(Urgency::Settled as u8),
            parts,
        }
    }

    pub(crate) const fn session(&self) -> SessionId {
        self.session
    }

    /// Index for a new publisher on this publication.
    pub(crate) fn add_publisher(&self) -> u32 {
        let mut state = self.state.lock();
        let index = state.next_publisher;
        state.next_publisher = index.wrapping_add(1);
        index
    }

    /// Discovery matched one more topic of `instance`, which receives it at `address` on unicast.
    pub(crate) fn add_receiver(
        &self,
        instance: InstanceId,
        topic: TopicHash,
        address: Option<SocketAddr>,
        now: Timestamp,
    ) {
        let Some(at) = address.or(self.parts.group) else { return };
        let id = ReceiverId { instance, port: at.port() };
        let mut state = self.state.lock();
        if let Some(receiver) = state.receivers.iter_mut().find(|receiver| receiver.id == id) {
            receiver.topics.push(topic);
            receiver.until = None;
            return;
        }
        let destination = address.map(Destination::from);
        state.receivers.push(Receiver { id, topics: vec![topic], until: None, destination });
        // A unicast endpoint answers from where it receives.
        state.send.add_receiver(id, address, now);
        // Before its first message, so that it knows what is meant for it.
        self.tell(&mut state, now);
        self.raise(urgency_of(&state));
    }

    /// `instance` does not listen to a topic any more; a receiver without topics is not sent to.
    pub(crate) fn remove_receiver(&self, instance: InstanceId, topic: TopicHash) {
        let mut state = self.state.lock();
        let Some(at) = Self::drop_topic(&mut state, instance, topic) else { return };
        let removed = state.receivers.remove(at);
        state.send.remove_receiver(removed.id);
        state.served = 0;
        // What it held back can go now.
        self.transmit(&mut state);
    }

    /// A topic that `instance` listens to is not published any more. A receiver without topics is
    /// let go, but not before it has got what was accepted for it.
    pub(crate) fn release_receiver(&self, instance: InstanceId, topic: TopicHash) {
        let mut state = self.state.lock();
        let accepted = state.ring.open_packet() + u64::from(state.ring.has_open_frames());
        if let Some(at) = Self::drop_topic(&mut state, instance, topic) {
            state.receivers[at].until = Some(accepted);
            Self::let_go(&mut state);
        }
    }

    /// The receiver whose last topic this was.
    fn drop_topic(state: &mut State, instance: InstanceId, topic: TopicHash) -> Option<usize> {
        let listens = |one: &Receiver| one.id.instance == instance && one.topics.contains(&topic);
        let at = state.receivers.iter().position(listens)?;
        let topics = &mut state.receivers[at].topics;
        topics.retain(|known| *known != topic);
        topics.is_empty().then_some(at)
    }

    /// Drops the receivers that have got all that was meant for them.
    fn let_go(state: &mut State) {
        let State { receivers, send, served, .. } = state;
        let before = receivers.len();
        receivers.retain(|receiver| {
            let stays = receiver.until.is_none_or(|until| !send.has_consumed(receiver.id, until));
            if !stays {
                send.remove_receiver(receiver.id);
            }
            stays
        });
        if receivers.len() != before {
            *served = 0;
        }
    }

    pub(crate) const fn layout(&self) -> Layout {
        self.parts.layout
    }

    /// Frames a message, and transmits as the pacing says. A message larger than the ring waits for
    /// receivers as it goes, at most as long as a silent receiver is waited for.
    ///
    /// # Errors
    ///
    /// [`SendError::BackPressured`]; nothing was sent, or nothing that receivers would deliver.
    #[inline]
    pub(crate) fn send(&self, entry: &Entry<'_>) -> Result<(), SendError> {
        let layout = self.parts.layout;
        if entry.body_bytes() > layout.whole_body_bytes() {
            return self.send_fragments(entry);
        }
        let mut state = self.state.lock();
        if state.ring.append(entry).is_err() {
            self.make_room(&mut state);
            state.ring.append(entry).map_err(|_| self.back_pressured())?;
        }
        self.after_append(&mut state);
        Ok(())
    }

    /// Reserves room for a message of at most one packet.
    ///
    /// # Errors
    ///
    /// [`SendError::BackPressured`].
    pub(crate) fn claim(&self, header: &FrameHeader, bytes: usize) -> Result<Claimed, SendError> {
        let mut state = self.state.lock();
        if let Ok(claimed) = state.ring.claim(header, bytes) {
            return Ok(claimed);
        }
        self.make_room(&mut state);
        state.ring.claim(header, bytes).map_err(|_| self.back_pressured())
    }

    pub(crate) fn commit(&self, claimed: Claimed, sequence: u64) {
        let mut state = self.state.lock();
        state.ring.commit_claim(claimed, sequence);
        self.after_append(&mut state);
    }

    pub(crate) fn abandon(&self, claimed: Claimed) {
        let mut state = self.state.lock();
        state.ring.abandon_claim(claimed);
        self.after_append(&mut state);
    }

    /// Transmits what is waiting, as far as receivers and the socket take it. True when nothing is
    /// left.
    pub(crate) fn flush(&self) -> bool {
        let mut state = self.state.lock();
        self.make_room(&mut state);
        !has_waiting(&state)
    }

    /// Looks after tails, repairs, heartbeats and silent receivers; called by the conductor while
    /// the publication is active. Never waits: whoever holds the lock is sending, and looks after
    /// it. Returns when to come back, should nothing else happen.
    pub(super) fn service(&self, now: Timestamp) -> Timestamp {
        self.look_after(now, has_waiting)
    }

    /// The same, but for frames that wait for more: for pollers, who come by very often.
    pub(super) fn attend(&self, now: Timestamp) -> Timestamp {
        self.look_after(now, is_blocked)
    }

    fn look_after(&self, now: Timestamp, transmits: impl Fn(&State) -> bool) -> Timestamp {
        if self.urgency() == Urgency::Settled && !self.mailbox.is_waiting() {
            return Timestamp::NEVER;
        }
        let Some(mut state) = self.state.try_lock() else { return Timestamp::NEVER };
        let transmits = transmits(&state);
        self.take_feedback(&mut state);
        if transmits {
            self.transmit(&mut state);
        }
        self.wait_for_receivers(&mut state, now);
        Self::let_go(&mut state);
        // Stored under the lock, like every raise, so that none is lost.
        self.urgency.store(urgency_of(&state) as u8, Ordering::Release);
        state.send.next_deadline()
    }

    /// Whether something was accepted that a known receiver has not confirmed.
    pub(super) fn owes(&self) -> bool {
        let state = self.state.lock();
        !state.receivers.is_empty() && (has_waiting(&state) || !state.send.is_complete())
    }

    /// The instance is not sent to any more, whatever it listens to.
    pub(super) fn forget_receiver(&self, instance: InstanceId) {
        let mut state = self.state.lock();
        let State { receivers, send, .. } = &mut *state;
        for receiver in receivers.extract_if(.., |receiver| receiver.id.instance == instance) {
            send.remove_receiver(receiver.id);
        }
        state.served = 0;
    }

    pub(super) fn urgency(&self) -> Urgency {
        match self.urgency.load(Ordering::Acquire) {
            0 => Urgency::Settled,
            1 => Urgency::Unconfirmed,
            _ => Urgency::Waiting,
        }
    }

    fn send_fragments(&self, entry: &Entry<'_>) -> Result<(), SendError> {
        let layout = self.parts.layout;
        let packets = layout.packets_for(entry.body_bytes()) as u64;
        let streams = packets > layout.slots as u64;
        let mut state = self.state.lock();
        if !streams && state.ring.free_packets() < packets {
            self.make_room(&mut state);
            if state.ring.free_packets() < packets {
                return Err(self.back_pressured());
            }
        }
        let mut offset = self.append_fragments(&mut state, entry, 0);
        let mut progress = self.parts.clock.now();
        while offset < entry.body_bytes() {
            self.make_room(&mut state);
            let now = self.parts.clock.now();
            let next = self.append_fragments(&mut state, entry, offset);
            if next > offset {
                (offset, progress) = (next, now);
                continue;
            }
            if now.since(progress) > self.parts.flow.timeout {
                return Err(self.back_pressured());
            }
            MutexGuard::unlocked(&mut state, || std::thread::sleep(STREAMING_PAUSE));
        }
        self.transmit(&mut state);
        Ok(())
    }

    /// Appends fragments from `offset` on until the ring is full; returns how far it came.
    fn append_fragments(&self, state: &mut State, entry: &Entry<'_>, mut offset: usize) -> usize {
        while offset < entry.body_bytes() {
            match state.ring.append_fragment(entry, offset) {
                Ok(part) => offset += part,
                Err(_) => break,
            }
            if state.ring.open_packet() - state.send.next() >= self.batch {
                self.transmit(state);
            }
        }
        offset
    }

    #[inline]
    fn after_append(&self, state: &mut State) {
        let full = state.ring.open_packet() - state.send.next();
        let start = cycles();
        if state.pacing.is_due(start, full, self.batch) {
            self.transmit(state);
            state.pacing.transmitted(start, cycles());
        } else {
            self.raise(Urgency::Waiting);
        }
    }

    /// Wakes the conductor when it does not know yet that it has to look this soon.
    #[inline]
    fn raise(&self, urgency: Urgency) {
        if self.urgency.load(Ordering::Relaxed) < urgency as u8 {
            self.urgency.store(urgency as u8, Ordering::Release);
            self.parts.attention.wake();
        }
    }

    /// Does all that can make room. A caller that tries again and again keeps everybody else from
    /// looking after the publication, so it does that, too.
    #[cold]
    fn make_room(&self, state: &mut State) {
        self.parts.socket.read_feedback();
        self.take_feedback(state);
        self.transmit(state);
        self.wait_for_receivers(state, self.parts.clock.now());
    }

    /// Repairs, heartbeats, and who holds back whom.
    fn wait_for_receivers(&self, state: &mut State, now: Timestamp) {
        if is_blocked(state) {
            state.send.handle_blocked(now);
        }
        self.tell(state, now);
    }

    #[cold]
    fn back_pressured(&self) -> SendError {
        self.parts.counters.add(Counter::BackPressured, 1);
        SendError::BackPressured
    }

    /// Hands over what the session has got back.
    fn take_feedback(&self, state: &mut State) {
        self.mailbox.take(&mut state.feedback);
        if state.feedback.is_empty() {
            return;
        }
        let now = self.parts.clock.now();
        let feedback = std::mem::take(&mut state.feedback);
        for (source, feedback) in &feedback {
            state.send.handle_feedback(now, *source, feedback);
        }
        state.feedback = feedback;
        state.feedback.clear();
        self.keep_what_is_needed(state);
        self.count(state);
    }

    /// Sends closed packets, and the open one, as far as receivers and the socket take them.
    fn transmit(&self, state: &mut State) {
        let first = state.send.next();
        if self.is_near_limit(state, first) {
            self.parts.socket.read_feedback();
            self.take_feedback(state);
        }
        let mut end = state.send.limit().min(state.ring.first_claimed().unwrap_or(u64::MAX));
        if state.ring.has_open_frames() && state.ring.open_packet() < end {
            state.ring.close();
        }
        end = end.min(state.ring.open_packet());
        let (mut next, mut bytes_sent) = (first, 0);
        while next < end {
            let (run, count) = state.ring.closed_run(next, (end - next).min(self.batch));
            bytes_sent += run.len() as u64;
            if !self.send_run(run, &state.receivers, &mut state.served) {
                break;
            }
            next += count;
        }
        if next > first {
            state.send.handle_sent(next);
            self.keep_what_is_needed(state);
            self.parts.counters.add(Counter::PacketsSent, next - first);
            self.parts.counters.add(Counter::BytesSent, bytes_sent);
        }
        self.raise(urgency_of(state));
    }

    /// Sends one run to every destination. False when the socket takes no more; who got the run
    /// already does not get it again.
    fn send_run(&self, run: &[u8], receivers: &[Receiver], served: &mut usize) -> bool {
        let unicast = receivers.iter().filter_map(|receiver| receiver.destination.as_ref());
        for destination in self.group.iter().chain(unicast).skip(*served) {
            if !self.send_all(destination, run) {
                return false;
            }
            *served += 1;
        }
        *served = 0;
        true
    }

    fn send_all(&self, destination: &Destination, run: &[u8]) -> bool {
        let packet_bytes = self.parts.layout.packet_bytes;
        let mut rest = run;
        while !rest.is_empty() {
            match self.parts.socket.socket.send_run(Some(destination), rest, packet_bytes) {
                Ok(sent) => rest = rest.get(sent * packet_bytes..).unwrap_or_default(),
                // A part of a run may have gone; sending it again makes duplicates, not loss.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    // The destination cannot be reached now: to its receiver this is loss.
                    self.parts.counters.add(Counter::SendErrors, 1);
                    tracing::debug!(%error, "a run was not sent");
                    return true;
                }
            }
        }
        true
    }

    /// Whether it is worth a system call to learn how far receivers have come.
    #[inline]
    fn is_near_limit(&self, state: &State, next: u64) -> bool {
        let limit = state.send.limit();
        limit != u64::MAX && limit < next + 2 * self.batch
    }

    /// Slots may be used again once nobody can ask for their packets any more.
    fn keep_what_is_needed(&self, state: &mut State) {
        let State { ring, send, .. } = state;
        ring.set_limit(send.confirmed().min(send.next()) + self.parts.layout.slots as u64);
    }

    /// Sends what the session has to say beside data.
    fn tell(&self, state: &mut State, now: Timestamp) {
        state.send.handle_timeout(now);
        self.keep_what_is_needed(state);
        let header = PacketHeader {
            session: self.session,
            sequence: 0,
            stream: self.parts.stream,
            instance: self.parts.instance,
        };
        for _ in 0..MAX_OUTPUTS {
            let oldest = state.ring.oldest_packet();
            let Some(output) = state.send.poll_transmit(now, oldest, self.batch) else { break };
            match output {
                Output::Heartbeat(heartbeat) => self.announce(state, &heartbeat.encode(header)),
                Output::Gone { oldest } => self.announce(state, &encode_gone(header, oldest)),
                Output::Welcome(welcome) => {
                    if let Some(to) = self.destination_of(state, welcome.receiver) {
                        self.send_all(to, &welcome.encode(header));
                    }
                }
                Output::Repair(repair) => {
                    if !self.repair(state, repair) {
                        break;
                    }
                }
            }
        }
        self.count(state);
    }

    /// Where packets for one receiver go: to its group, if there is one.
    fn destination_of<'a>(
        &'a self,
        state: &'a State,
        receiver: ReceiverId,
    ) -> Option<&'a Destination> {
        let unicast = || {
            let found = state.receivers.iter().find(|known| known.id == receiver)?;
            found.destination.as_ref()
        };
        self.group.as_ref().or_else(unicast)
    }

    /// To everybody, also when one destination takes nothing: what is not sent comes again.
    fn announce(&self, state: &State, packet: &[u8]) {
        let unicast = state.receivers.iter().filter_map(|receiver| receiver.destination.as_ref());
        for destination in self.group.iter().chain(unicast) {
            self.send_all(destination, packet);
        }
    }

    /// Sends packets again, straight from the ring, as far as the socket takes them.
    fn repair(&self, state: &mut State, repair: Repair) -> bool {
        let Repair { mut first, mut packets, receiver } = repair;
        while packets > 0 {
            let (run, count) = state.ring.closed_run(first, packets);
            match self.destination_of(state, receiver) {
                Some(to) if !self.send_all(to, run) => {
                    state.send.put_back(Repair { first, packets, receiver });
                    return false;
                }
                _ => (first, packets) = (first + count, packets - count),
            }
        }
        true
    }

    fn count(&self, state: &mut State) {
        let (now, before) = (*state.send.counters(), state.counted);
        state.counted = now;
        let counters = &self.parts.counters;
        counters.add(Counter::StatusesReceived, now.statuses - before.statuses);
        counters.add(Counter::StatusesRefused, now.statuses_refused - before.statuses_refused);
        counters.add(Counter::ReceiversDropped, now.receivers_dropped - before.receivers_dropped);
        counters.add(Counter::NaksReceived, now.naks - before.naks);
        counters.add(Counter::Retransmits, now.retransmits - before.retransmits);
        counters.add(Counter::RepairsGone, now.gone - before.gone);
    }
}

fn urgency_of(state: &State) -> Urgency {
    if has_waiting(state) {
        Urgency::Waiting
    } else if state.send.is_settled() {
        Urgency::Settled
    } else {
        Urgency::Unconfirmed
    }
}

/// Receivers, not the sender, are what closed packets wait for.
fn is_blocked(state: &State) -> bool {
    let next = state.send.next();
    next < state.ring.open_packet() && next >= state.send.limit()
}

fn has_waiting(state: &State) -> bool {
    state.ring.has_open_frames() || state.send.next() < state.ring.open_packet()
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.parts.socket.unregister(self.session);
    }
}

#[cfg(test)]
mod tests;
