//! Where UDP data arrives: a socket, with the sessions heard there. Layer: engine. Owned by one
//! poller.

mod parted;
mod sessions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use self::parted::Parted;
use self::sessions::{Heard, Sessions};
use super::dispatch::{Dispatch, DispatchSink, Origin};
use super::request_processor::{RequestProcessor, ResponseSink};
use crate::counters::{Counter, Counters, EndpointColumn, Row};
use crate::id::{InstanceId, ReceiverId};
use crate::protocol::delivery::{Arrival, Loss, Sink};
use crate::protocol::receiver::{ReceiveCounters, ReceiveSession, ReceiveSettings};
use crate::time::Timestamp;
use crate::transport::udp::{ReceiveBuffer, UdpSocket};
use crate::wire::WireError;
use crate::wire::control::{Heartbeat, Range, Welcome};
use crate::wire::packet::{PACKET_HEADER_LENGTH, PacketHeader, PacketKind, Prefix};

/// Identity of an endpoint within one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointId(pub(crate) u32);

impl EndpointId {
    /// All shared rings together: a topic on shared memory has one ring per publisher.
    pub(crate) const SHARED_MEMORY: Self = Self(0);
    /// The response socket.
    pub(crate) const RESPONSES: Self = Self(1);
    /// First number for the sockets of topics.
    pub(crate) const FIRST_TOPIC: u32 = 2;
}

/// Datagrams read from one socket before others get their turn.
const BURST: usize = 16;
/// What was asked for may be among what waits to be read, so timeouts wait for that; on a socket that
/// is never read empty for this long at most, in which a full buffer of the default size is read.
const READ_FIRST: Duration = Duration::from_millis(2);
/// A socket is hot until it has been asked in vain this often: about a millisecond.
const HOT: u32 = 1024;
/// Packets that came alone, one after the other, after which the socket is read in the way that is
/// fastest for such.
const SPARSE: u32 = 1024;
/// Packets that are found together in a socket that is read like that: runs are better from then on.
const DENSE: usize = 4;

/// A socket and what it hears.
pub(crate) struct SocketEndpoint {
    pub(crate) id: EndpointId,
    pub(crate) socket: UdpSocket,
    /// Streams that somebody here listens to, with how many topics each.
    streams: Vec<(u32, usize)>,
    receiver: ReceiverId,
    /// Sends feedback where the socket cannot: one bound to a group has no address to send from.
    feedback: Option<Arc<UdpSocket>>,
    settings: ReceiveSettings,
    sessions: Sessions,
    /// Some session waits for a gap to close, or to be told where it begins.
    has_gaps: bool,
    /// Room for a NAK.
    missing: Vec<Range>,
    nak: Vec<u8>,
    /// Some session is to be forgotten.
    has_orphans: bool,
    parted: Parted,
    /// Times in a row that the socket was asked and had nothing.
    empty: u32,
    /// Packets in a row that came alone.
    alone: u32,
    /// Since when there has been more to read all the time.
    unread_since: Option<Timestamp>,
    row: Row<EndpointColumn>,
}

/// Where what a session delivers goes: to the listeners of topics, or to open requests.
enum EndpointSink<'a> {
    Topics(DispatchSink<'a>),
    Responses(ResponseSink<'a>),
}

impl Sink for EndpointSink<'_> {
    #[inline]
    fn deliver(&mut self, arrival: Arrival<'_>) {
        match self {
            Self::Topics(sink) => sink.deliver(arrival),
            Self::Responses(sink) => sink.deliver(arrival),
        }
    }

    fn lost(&mut self, loss: Loss) {
        match self {
            Self::Topics(sink) => sink.lost(loss),
            Self::Responses(sink) => sink.lost(loss),
        }
    }
}

/// Sockets and tables that a poller lends to its endpoints while they work.
pub(super) struct Context<'a> {
    pub(super) buffer: &'a mut ReceiveBuffer,
    pub(super) dispatch: &'a mut Dispatch,
    pub(super) requests: &'a Arc<RequestProcessor>,
    pub(super) counters: &'a Counters,
    pub(super) clock: &'a crate::time::Clock,
}

impl SocketEndpoint {
    /// `receiver` is what senders know this endpoint as: its port is the one that they are told.
    pub(crate) fn new(
        id: EndpointId,
        socket: UdpSocket,
        feedback: Option<Arc<UdpSocket>>,
        receiver: ReceiverId,
        settings: ReceiveSettings,
        row: Row<EndpointColumn>,
    ) -> Self {
        Self {
            id,
            receiver,
            socket,
            feedback,
            streams: Vec::new(),
            settings,
            sessions: Sessions::default(),
            has_gaps: false,
            missing: Vec::new(),
            nak: Vec::new(),
            has_orphans: false,
            parted: Parted::default(),
            empty: 0,
            alone: 0,
            unread_since: None,
            row,
        }
    }

    pub(crate) fn add_stream(&mut self, stream: u32) {
        match self.streams.iter_mut().find(|(known, _)| *known == stream) {
            Some((_, topics)) => *topics += 1,
            None => self.streams.push((stream, 1)),
        }
    }

    /// Forgets a stream, and its sessions, with its last topic.
    pub(crate) fn remove_stream(&mut self, stream: u32) {
        let Some(at) = self.streams.iter().position(|(known, _)| *known == stream) else { return };
        self.streams[at].1 -= 1;
        if self.streams[at].1 == 0 {
            self.streams.swap_remove(at);
            self.sessions.forget(|heard| heard.origin.stream == stream);
            self.count_sessions();
            self.parted.forget_stream(stream);
        }
    }

    /// Drops the sessions of an instance that is gone, after what it has sent: its goodbye comes
    /// another way and may be faster. True when there are any: they go when the socket is next read.
    pub(super) fn forget_instance(&mut self, instance: InstanceId) -> bool {
        for heard in self.sessions.iter_mut().filter(|heard| heard.origin.instance == instance) {
            heard.is_orphan = true;
            self.has_orphans = true;
            // Nothing may come any more that would have it read.
            self.empty = 0;
        }
        self.has_orphans
    }

    /// The socket is empty: nothing more comes for orphans but what they hold after a gap.
    #[cold]
    fn forget_orphans(&mut self, context: &mut Context<'_>) {
        let now = context.clock.now();
        for heard in self.sessions.iter_mut().filter(|heard| heard.is_orphan) {
            let mut sink = Self::sink(self.id, &heard.origin, context.dispatch, context.requests);
            heard.session.handle_goodbye(now, &mut sink);
            self.has_gaps |= heard.session.next_deadline() != Timestamp::NEVER;
        }
        let is_over =
            |heard: &Heard| heard.is_orphan && heard.session.next_deadline() == Timestamp::NEVER;
        self.sessions.take(is_over, |heard| {
            let Origin { session, instance, stream, .. } = heard.origin;
            self.parted.keep(session, instance, stream, heard.session.into_delivery());
        });
        self.count_sessions();
        self.has_orphans = self.sessions.iter().any(|heard| heard.is_orphan);
    }

    fn count_sessions(&mut self) {
        self.row.set(EndpointColumn::Sessions, self.sessions.len() as u64);
    }

    pub(super) const fn has_gaps(&self) -> bool {
        self.has_gaps
    }

    /// Whether the socket has something that the kernel will not announce.
    pub(super) fn is_holding(&self) -> bool {
        self.socket.is_holding()
    }

    /// The kernel says that something is there.
    pub(super) const fn heat(&mut self) {
        self.empty = 0;
    }

    /// Whether data has arrived lately.
    #[inline]
    pub(super) const fn is_hot(&self) -> bool {
        self.empty < HOT
    }

    /// Reads what has arrived. Returns how many datagrams there were, and whether more may wait.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> (usize, bool) {
        let mut now = None;
        let mut packets = 0;
        for count in 0..BURST {
            let received = match self.socket.recv(context.buffer) {
                Ok(Some(received)) => received,
                Ok(None) => {
                    self.unread_since = None;
                    let is_holding = self.socket.is_holding();
                    if count > 0 {
                        self.finish_batch(context);
                        self.choose_way_to_read(count, packets);
                    }
                    // A socket that holds something has to be asked as often as a hot one.
                    self.empty =
                        if count > 0 || is_holding { 0 } else { self.empty.saturating_add(1) };
                    if self.has_orphans && !is_holding {
                        self.forget_orphans(context);
                    }
                    return (count, is_holding);
                }
                Err(error) => {
                    context.counters.add(Counter::ReceiveErrors, 1);
                    tracing::debug!(%error, endpoint = self.id.0, "receive failed");
                    return (count, false);
                }
            };
            let now = *now.get_or_insert_with(|| context.clock.now());
            self.row.add(EndpointColumn::Bytes, received.bytes().len() as u64);
            if received.bytes().is_empty() {
                self.row.add(EndpointColumn::Malformed, 1);
            }
            let source = received.source();
            let mut known = 0;
            for packet in received.segments() {
                packets += 1;
                known += u64::from(self.handle_packet(
                    now,
                    source,
                    packet,
                    context.dispatch,
                    context.requests,
                    context.counters,
                ));
                self.send_feedback(now, context.counters);
            }
            self.row.add(EndpointColumn::Packets, known);
        }
        self.finish_batch(context);
        self.choose_way_to_read(BURST, packets);
        self.empty = 0;
        self.unread_since = self.unread_since.or(now);
        (BURST, true)
    }

    /// So many calls have found so many packets before the socket was empty.
    #[inline]
    fn choose_way_to_read(&mut self, calls: usize, packets: usize) {
        let singly = self.socket.receives_singly();
        if packets > calls || packets >= DENSE {
            self.alone = 0;
            if singly {
                self.socket.receive_singly(false);
            }
        } else if !singly {
            self.alone += 1;
            if self.alone >= SPARSE {
                self.alone = 0;
                self.socket.receive_singly(true);
            }
        }
    }

    /// True when the packet belongs to a stream that somebody here listens to.
    #[inline]
    fn handle_packet(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        packet: &[u8],
        dispatch: &mut Dispatch,
        requests: &Arc<RequestProcessor>,
        counters: &Counters,
    ) -> bool {
        let (prefix, header) = match read_header(packet) {
            Ok(read) => read,
            Err(reason) => {
                self.row.add(reason, 1);
                return false;
            }
        };
        if !self.select(now, source, &header, counters) {
            return false;
        }
        let Some(heard) = self.sessions.current() else { return false };
        heard.last_heard = now;
        let mut sink = Self::sink(self.id, &heard.origin, dispatch, requests);
        let packet = &packet[..prefix.length];
        match prefix.kind {
            PacketKind::Data => {
                let frames = &packet[PACKET_HEADER_LENGTH..];
                heard.session.handle_packet(now, header.sequence, frames, &mut sink);
            }
            PacketKind::Heartbeat => match Heartbeat::decode(&prefix, &header, packet) {
                Ok(heartbeat) => heard.session.handle_heartbeat(now, &heartbeat),
                Err(_) => self.row.add(EndpointColumn::Malformed, 1),
            },
            PacketKind::Welcome => match Welcome::decode(&header, packet) {
                Ok(welcome) => heard.session.handle_welcome(now, &welcome, &mut sink),
                Err(_) => self.row.add(EndpointColumn::Malformed, 1),
            },
            _ => heard.session.handle_gone(now, header.sequence, &mut sink),
        }
        self.has_gaps |= heard.session.next_deadline() != Timestamp::NEVER;
        true
    }

    /// Where the messages of a session go.
    #[inline]
    fn sink<'a>(
        id: EndpointId,
        origin: &'a Origin,
        dispatch: &'a mut Dispatch,
        requests: &'a Arc<RequestProcessor>,
    ) -> EndpointSink<'a> {
        if id == EndpointId::RESPONSES {
            EndpointSink::Responses(requests.sink(origin.instance))
        } else {
            EndpointSink::Topics(dispatch.sink(origin))
        }
    }

    /// Makes the session that a packet belongs to the current one; it starts with its first packet.
    /// False when the packet is none of ours.
    #[inline]
    fn select(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        header: &PacketHeader,
        counters: &Counters,
    ) -> bool {
        if !self.sessions.is_current(header.session) {
            self.publish_counts();
            let is_known = self.sessions.select(header.session);
            if !is_known && !self.open_session(now, source, header, counters) {
                return false;
            }
        }
        let is_its_own = self.sessions.current().is_some_and(|heard| heard.is_from(source, header));
        if !is_its_own {
            self.row.add(EndpointColumn::Foreign, 1);
        }
        is_its_own
    }

    /// Begins to follow a session, if somebody here listens to its stream.
    #[cold]
    fn open_session(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        header: &PacketHeader,
        counters: &Counters,
    ) -> bool {
        if !self.streams.iter().any(|(stream, _)| *stream == header.stream) {
            self.row.add(EndpointColumn::Foreign, 1);
            return false;
        }
        if self.sessions.make_room() {
            counters.add(Counter::SessionsForgotten, 1);
        }
        let mut session = ReceiveSession::new(header.session, self.receiver, self.settings);
        if let Some(delivery) = self.parted.take(header.session, header.instance) {
            session.resume(delivery);
        }
        self.sessions.open(Heard {
            session,
            origin: Origin {
                endpoint: self.id,
                stream: header.stream,
                instance: header.instance,
                session: header.session,
                source: Some(source.ip()),
            },
            source,
            feedback_to: self.socket.destination(source),
            last_heard: now,
            counted: ReceiveCounters::default(),
            is_orphan: false,
        });
        self.count_sessions();
        true
    }

    /// Sends what the current session has to say to its sender.
    #[inline]
    fn send_feedback(&mut self, now: Timestamp, counters: &Counters) {
        let feedback = self.feedback.as_deref().unwrap_or(&self.socket);
        let Some(heard) = self.sessions.current() else { return };
        if let Some(status) = heard.session.poll_status() {
            heard.send(feedback, &status.encode(), counters);
        }
        if let Some(status) = heard.session.poll_nak(now, &mut self.missing) {
            self.nak.clear();
            status.encode_nak(&self.missing, &mut self.nak);
            heard.send(feedback, &self.nak, counters);
        }
    }

    /// When [`SocketEndpoint::handle_timeouts`] has something to do. Looks at every session: for
    /// when there are gaps.
    pub(super) fn next_deadline(&self) -> Timestamp {
        let deadlines = self.sessions.iter().map(|heard| heard.session.next_deadline());
        deadlines.min().unwrap_or(Timestamp::NEVER)
    }

    /// Asks again for what is missing, and gives up what has been for too long. True when gaps are
    /// still open.
    pub(super) fn handle_timeouts(&mut self, now: Timestamp, context: &mut Context<'_>) -> bool {
        if !self.has_gaps {
            return false;
        }
        if self.unread_since.is_some_and(|since| now.since(since) < READ_FIRST) {
            return true;
        }
        for at in 0..self.sessions.len() {
            let Some(heard) = self.sessions.select_at(at) else { break };
            if heard.session.next_deadline() <= now {
                let mut sink =
                    Self::sink(self.id, &heard.origin, context.dispatch, context.requests);
                heard.session.handle_timeout(now, &mut sink);
                self.send_feedback(now, context.counters);
                self.publish_counts();
            }
        }
        self.has_gaps = self.next_deadline() != Timestamp::NEVER;
        self.finish_batch(context);
        self.has_gaps
    }

    /// Publishes what the batch has counted.
    fn finish_batch(&mut self, context: &mut Context<'_>) {
        context.dispatch.flush_counts();
        let drops = self.socket.kernel_drops();
        self.row.set(EndpointColumn::SocketDrops, drops);
        self.publish_counts();
    }

    /// Publishes what the current session has counted.
    fn publish_counts(&mut self) {
        let Some(heard) = self.sessions.current() else { return };
        let (now, before) = (*heard.session.counters(), heard.counted);
        heard.counted = now;
        let row = &mut self.row;
        row.add(EndpointColumn::PacketsLost, now.packets_lost - before.packets_lost);
        row.add(EndpointColumn::Duplicates, now.duplicates - before.duplicates);
        row.add(EndpointColumn::Overruns, now.overruns - before.overruns);
        row.add(EndpointColumn::NaksSent, now.naks - before.naks);
        row.add(EndpointColumn::FramesRefused, now.refused - before.refused);
        row.add(EndpointColumn::Malformed, now.malformed - before.malformed);
    }
}

/// Checks a datagram; the error is what to count.
#[inline]
fn read_header(packet: &[u8]) -> Result<(Prefix, PacketHeader), EndpointColumn> {
    let prefix = Prefix::decode(packet).map_err(|error| match error {
        WireError::Version { .. } => EndpointColumn::OtherVersions,
        _ => EndpointColumn::Malformed,
    })?;
    let is_of_session = matches!(
        prefix.kind,
        PacketKind::Data | PacketKind::Heartbeat | PacketKind::Welcome | PacketKind::Gone
    );
    if !is_of_session {
        return Err(EndpointColumn::Foreign);
    }
    let header =
        PacketHeader::decode(&packet[..prefix.length]).map_err(|_| EndpointColumn::Malformed)?;
    Ok((prefix, header))
}

#[cfg(test)]
pub(super) mod tests;
