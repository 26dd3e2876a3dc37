//! The sending side of one (endpoint, stream) on UDP: messages become frames in its packet ring, and
//! lanes take them to receivers. Layer: engine. Callers frame and transmit on their own threads under
//! the publication's lock; the conductor looks after it while it is active.

mod outlet;
mod receivers;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use self::outlet::SocketOutlet;
use self::receivers::Receivers;
use super::conductor::TICK;
use super::latch::Latch;
use super::pacing::{Due, Pacing};
use super::send_socket::{Letters, Mailbox, SendSocket, Way};
use crate::counters::{Counters, PublicationColumn, Row};
use crate::id::{InstanceId, ReceiverId, SessionId, TopicHash};
use crate::listener::SendError;
use crate::protocol::fan_out::FanOut;
use crate::protocol::flow_control::FlowSettings;
use crate::protocol::lane::Progress;
use crate::protocol::timing::SHORTEST_TAIL;
use crate::ring::Layout;
use crate::ring::append::{Appender, Claimed, Entry};
use crate::ring::storage::Slots;
use crate::time::{Clock, Timestamp};
use crate::transport::cycles;
use crate::transport::udp::UdpSocket;
use crate::wire::frame::FrameHeader;
use crate::wire::packet::PacketHeader;

/// Pause of a caller that streams a message larger than the ring and has to wait for receivers.
pub(super) const STREAMING_PAUSE: Duration = Duration::from_micros(20);

/// A publication that streams asks for feedback with every so many transmissions, because nobody else
/// does; asking costs a fortieth of a full one.
const FEEDBACK_EVERY: u32 = 4;

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
    /// The group, for multicast; unicast has a lane for each receiver.
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
    /// Packets in one run.
    batch: u64,
    state: Latch<State>,
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
    /// Frames wait for those that follow, as they do again and again: whoever sends them looks after
    /// the publication meanwhile.
    Streaming = 3,
}

struct State {
    ring: Appender,
    fan_out: FanOut<Way>,
    receivers: Receivers,
    pacing: Pacing,
    /// Frames have been left for a later transmission since the publication was last looked after:
    /// somebody streams, and will do so again.
    has_deferred: bool,
    /// Transmissions of a stream since feedback was last read.
    unread: u32,
    /// Index of the next publisher.
    next_publisher: u32,
    letters: Letters,
    row: Row<PublicationColumn>,
}

impl Publication {
    pub(crate) fn new(parts: PublicationParts, row: Row<PublicationColumn>) -> Self {
        let session = SessionId::random();
        let header =
            PacketHeader { session, sequence: 0, stream: parts.stream, instance: parts.instance };
        let batch = UdpSocket::max_run_segments(parts.layout.packet_bytes) as u64;
        let fan_out = match parts.group {
            Some(group) => {
                FanOut::to_group(header, parts.flow, batch, parts.socket.way_to_group(group))
            }
            None => FanOut::to_each(header, parts.flow, batch),
        };
        Self {
            session,
            mailbox: parts.socket.register(session),
            batch,
            state: Latch::new(State {
                ring: Appender::new(Slots::heap(parts.layout), &header),
                fan_out,
                receivers: Receivers::default(),
                pacing: Pacing::default(),
                has_deferred: false,
                unread: 0,
                next_publisher: 0,
                letters: Letters::default(),
                row,
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

    /// Where receivers see its packets come from.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.parts.socket.socket.local_address()
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
        if !state.receivers.add(id, topic) {
            return;
        }
        let State { ring, fan_out, .. } = &mut *state;
        // A unicast endpoint answers from where it receives.
        let way = || self.parts.socket.way_to(at);
        fan_out.add_receiver(id, (way, address), ring, now);
        // Before its first message, so that it knows what is meant for it.
        self.tell(&mut state, now);
        self.raise(urgency_of(&state));
    }

    /// `instance` does not listen to a topic any more, published or not; a receiver without topics is
    /// not sent to.
    pub(crate) fn remove_receiver(&self, instance: InstanceId, topic: TopicHash) {
        let mut state = self.state.lock();
        let Some(id) = state.receivers.withdraw(instance, topic) else { return };
        state.fan_out.remove_receiver(id);
        // What it held back can go now.
        self.transmit(&mut state);
        count(&mut state);
    }

    /// A topic that `instance` listens to is not published any more. A receiver without topics is
    /// let go, but not before it has got what was accepted for it, unless it stops listening.
    pub(crate) fn release_receiver(&self, instance: InstanceId, topic: TopicHash) {
        let mut state = self.state.lock();
        let accepted = state.ring.open_packet() + u64::from(state.ring.has_open_frames());
        state.receivers.release(instance, topic, accepted);
        Self::let_go(&mut state);
    }

    /// Drops the receivers that have got all that was meant for them.
    fn let_go(state: &mut State) {
        let State { receivers, fan_out, .. } = state;
        while let Some(id) = receivers.let_go(|id, until| fan_out.has_consumed(id, until)) {
            fan_out.remove_receiver(id);
        }
        state.row.set(PublicationColumn::Receivers, state.receivers.count() as u64);
    }

    pub(crate) const fn layout(&self) -> Layout {
        self.parts.layout
    }

    /// Frames a message, and transmits as the pacing says. A message larger than the ring waits for
    /// receivers as it goes, until then at most, and no longer than a silent receiver is waited for.
    ///
    /// # Errors
    ///
    /// [`SendError::BackPressured`]; nothing was sent, or nothing that receivers would deliver.
    // Not inlined: beside it, publishing to a ring would need a larger frame.
    #[inline(never)]
    pub(crate) fn send(&self, entry: &Entry<'_>, until: Timestamp) -> Result<(), SendError> {
        let layout = self.parts.layout;
        if entry.body_bytes() > layout.whole_body_bytes() {
            return self.send_fragments(entry, until);
        }
        let mut state = self.state.lock();
        if state.ring.append(entry).is_err() {
            self.make_room(&mut state);
            if state.ring.append(entry).is_err() {
                return Err(back_pressured(&mut state));
            }
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
        state.ring.claim(header, bytes).map_err(|_| back_pressured(&mut state))
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
        !state.fan_out.has_waiting(&state.ring)
    }

    /// Looks after tails, repairs, heartbeats and silent receivers; called by the conductor while
    /// the publication is active. Never waits for whoever is sending. Returns when to come back,
    /// should nothing else happen.
    pub(super) fn service(&self, now: Timestamp) -> Timestamp {
        self.look_after(now, |state| state.fan_out.has_waiting(&state.ring))
    }

    /// The same, but sends only what receivers take again: for pollers, who come by very often, and
    /// leave to others what waits for more.
    pub(super) fn attend(&self, now: Timestamp) -> Timestamp {
        self.look_after(now, |_| false)
    }

    fn look_after(&self, now: Timestamp, transmits: impl Fn(&State) -> bool) -> Timestamp {
        if self.urgency() == Urgency::Settled && !self.mailbox.is_waiting() {
            return Timestamp::NEVER;
        }
        let Some(mut state) = self.state.try_lock() else {
            return now + if self.urgency() == Urgency::Streaming { TICK } else { SHORTEST_TAIL };
        };
        let transmits = transmits(&state);
        self.take_feedback(&mut state);
        if transmits || state.fan_out.is_released() {
            self.transmit(&mut state);
        }
        self.tell(&mut state, now);
        Self::let_go(&mut state);
        // Who streams leaves frames again at once, and would only wake the conductor.
        let urgency = match std::mem::take(&mut state.has_deferred) {
            true => Urgency::Streaming,
            false => urgency_of(&state),
        };
        // Stored under the lock, like every raise, so that none is lost.
        self.urgency.store(urgency as u8, Ordering::Release);
        state.fan_out.next_deadline()
    }

    /// Whether something was accepted that a known receiver has not confirmed.
    pub(super) fn owes(&self) -> bool {
        let state = self.state.lock();
        let State { ring, fan_out, receivers, .. } = &*state;
        !receivers.is_empty() && (fan_out.has_waiting(ring) || !fan_out.is_complete())
    }

    /// The instance is not sent to any more, whatever it listens to.
    pub(super) fn forget_receiver(&self, instance: InstanceId) {
        let mut state = self.state.lock();
        let State { receivers, fan_out, .. } = &mut *state;
        while let Some(id) = receivers.forget(instance) {
            fan_out.remove_receiver(id);
        }
    }

    pub(super) fn urgency(&self) -> Urgency {
        match self.urgency.load(Ordering::Acquire) {
            0 => Urgency::Settled,
            1 => Urgency::Unconfirmed,
            2 => Urgency::Waiting,
            _ => Urgency::Streaming,
        }
    }

    fn send_fragments(&self, entry: &Entry<'_>, until: Timestamp) -> Result<(), SendError> {
        let layout = self.parts.layout;
        let packets = layout.packets_for(entry.body_bytes()) as u64;
        let streams = packets > layout.slots as u64;
        let mut state = self.state.lock();
        if !streams && state.ring.free_packets() < packets {
            self.make_room(&mut state);
            if state.ring.free_packets() < packets {
                return Err(back_pressured(&mut state));
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
            if now >= until || now.since(progress) > self.parts.flow.timeout {
                return Err(back_pressured(&mut state));
            }
            drop(state);
            std::thread::sleep(STREAMING_PAUSE);
            state = self.state.lock();
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
            if state.ring.open_packet() - state.fan_out.front() >= self.batch {
                self.transmit_closed(state);
            }
        }
        offset
    }

    #[inline]
    fn after_append(&self, state: &mut State) {
        let full = state.ring.open_packet() - state.fan_out.front();
        let start = cycles();
        match state.pacing.due(start, full, self.batch) {
            Due::Everything => {
                self.transmit(state);
                state.pacing.transmitted(start, cycles());
                return;
            }
            // The open packet goes with the next run: alone it would cost a call of its own.
            Due::ClosedPackets => {
                self.transmit_closed(state);
                state.pacing.transmitted(start, cycles());
            }
            Due::Nothing => {}
        }
        state.has_deferred = true;
        self.raise(Urgency::Streaming);
    }

    /// Wakes the conductor when it does not know yet that it has to look this soon.
    #[inline]
    fn raise(&self, urgency: Urgency) {
        let known = self.urgency.load(Ordering::Relaxed);
        if known < urgency as u8 {
            self.urgency.store(urgency as u8, Ordering::Release);
            // It looks as often for one as for the other.
            if known < Urgency::Waiting as u8 {
                self.parts.attention.wake();
            }
        }
    }

    /// Does all that can make room. A caller that tries again and again keeps everybody else from
    /// looking after the publication, so it does that, too.
    #[cold]
    fn make_room(&self, state: &mut State) {
        self.parts.socket.read_feedback();
        self.take_feedback(state);
        self.transmit(state);
        self.tell(state, self.parts.clock.now());
    }

    /// Hands over what lanes have got back, and when; `None` when that was nothing.
    fn take_feedback(&self, state: &mut State) -> Option<Timestamp> {
        self.mailbox.take(&mut state.letters);
        if state.letters.is_empty() {
            return None;
        }
        let now = self.parts.clock.now();
        let State { letters, fan_out, .. } = state;
        letters.read(|source, feedback| fan_out.handle_feedback(now, source, feedback));
        state.fan_out.keep_what_is_needed(&mut state.ring);
        count(state);
        Some(now)
    }

    /// Sends closed packets, and the open one, as far as receivers and the socket take them.
    fn transmit(&self, state: &mut State) {
        self.answer(state);
        let progress = state.fan_out.transmit(&mut state.ring, &mut self.outlet());
        self.finish(state, progress);
    }

    /// Sends closed packets as far as receivers and the socket take them.
    fn transmit_closed(&self, state: &mut State) {
        self.answer(state);
        let progress = state.fan_out.transmit_closed(&mut state.ring, &mut self.outlet());
        self.finish(state, progress);
    }

    fn finish(&self, state: &mut State, progress: Progress) {
        if progress.packets > 0 {
            state.row.add(PublicationColumn::Packets, progress.packets);
            state.row.add(PublicationColumn::Bytes, progress.bytes);
        }
        self.raise(urgency_of(state));
    }

    /// Takes note of what receivers say before more is sent. Repairs go first: under load nobody else
    /// finds the publication unlocked, and behind a full window they would come late.
    #[inline]
    fn answer(&self, state: &mut State) {
        state.unread += u32::from(self.urgency() == Urgency::Streaming);
        if state.unread >= FEEDBACK_EVERY || state.fan_out.is_near_limit() {
            state.unread = 0;
            self.parts.socket.read_feedback();
        }
        if !self.mailbox.is_waiting() {
            return;
        }
        if let Some(now) = self.take_feedback(state)
            && state.fan_out.next_deadline() <= now
        {
            self.tell(state, now);
        }
    }

    /// Sends what lanes have to say beside data: repairs, heartbeats, and who is left out.
    fn tell(&self, state: &mut State, now: Timestamp) {
        state.fan_out.tell(now, &mut state.ring, &mut self.outlet());
        count(state);
    }

    fn outlet(&self) -> SocketOutlet<'_> {
        SocketOutlet {
            socket: &self.parts.socket.socket,
            packet_bytes: self.parts.layout.packet_bytes,
            counters: &self.parts.counters,
        }
    }
}

fn count(state: &mut State) {
    let State { fan_out, receivers, row, .. } = state;
    let now = fan_out.counters();
    row.set(PublicationColumn::StatusesReceived, now.statuses);
    row.set(PublicationColumn::StatusesRefused, now.statuses_refused);
    row.set(PublicationColumn::ReceiversDropped, now.receivers_dropped);
    row.set(PublicationColumn::NaksReceived, now.naks);
    row.set(PublicationColumn::Retransmits, now.retransmits);
    row.set(PublicationColumn::RepairsGone, now.gone);
    row.set(PublicationColumn::Receivers, receivers.count() as u64);
    let round_trip_ns = u64::try_from(fan_out.round_trip().as_nanos()).unwrap_or(u64::MAX);
    row.set(PublicationColumn::RoundTrip, round_trip_ns);
}

#[cold]
fn back_pressured(state: &mut State) -> SendError {
    state.row.add(PublicationColumn::BackPressured, 1);
    SendError::BackPressured
}

fn urgency_of(state: &State) -> Urgency {
    if state.fan_out.has_waiting(&state.ring) {
        Urgency::Waiting
    } else if state.fan_out.is_settled() {
        Urgency::Settled
    } else {
        Urgency::Unconfirmed
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.parts.socket.unregister(self.session);
    }
}
