//! One packet, described with the views of `wire`. Layer: inspect.

use std::time::Duration;

use super::body::Described;
use super::{
    Advert, Announce, Ask, Body, BodyPrefix, Change, Changes, Fault, Frame, Heard, PacketKind,
    Roll, RollEntry, Sender, SessionId, Status,
};
use crate::id::InstanceId;
use crate::listener::Side;
use crate::wire::advert::daemon::{self, DaemonView};
use crate::wire::advert::{self, AdvertKind, ChangesView, DiscoveryView, Entry};
use crate::wire::control::{self, Feedback, Heartbeat, Welcome};
use crate::wire::frame::{self, FrameHeader, FrameKind, Frames, RequestPrefix, ResponsePrefix};
use crate::wire::packet::{LENGTH_AT, PACKET_HEADER_LENGTH, PacketHeader, Prefix, SEQUENCE_AT};
use crate::wire::{WireError, roll};

/// A packet as a receiver would read it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packet<'a> {
    /// Where it begins in the datagram.
    pub offset: usize,
    /// Version of the protocol. Of another version than [`Packet::VERSION`], nothing else is known.
    pub version: u8,
    /// What it is; `None` if this build does not know.
    pub kind: Option<PacketKind>,
    /// Bytes that it says it has, prefix included.
    pub length: usize,
    /// By kind; the body has their meaning.
    pub flags: u16,
    /// What it says, if it can be read. Beside a fault, it is what stands before that.
    pub body: Option<Body<'a>>,
    /// What is behind it in the datagram: in the midst of a run, the rest of a slot.
    pub ignored: &'a [u8],
    /// Why a receiver does not use it, or not all of it.
    pub fault: Option<Fault>,
}

impl Packet<'_> {
    /// The version that this build reads.
    pub const VERSION: u8 = crate::wire::packet::VERSION;

    /// The session that it is of, or about.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self.body.as_ref()? {
            Body::Data { sender, .. }
            | Body::Heartbeat { sender, .. }
            | Body::Welcome { sender, .. }
            | Body::Gone { sender, .. } => Some(sender.session),
            Body::Status(status) | Body::Nak { status, .. } => Some(status.session),
            _ => None,
        }
    }

    /// The instance, or the discovery daemon, that has sent it. Nobody is named in a WHO.
    #[must_use]
    pub fn instance(&self) -> Option<InstanceId> {
        Some(match self.body.as_ref()? {
            Body::Data { sender, .. }
            | Body::Heartbeat { sender, .. }
            | Body::Welcome { sender, .. }
            | Body::Gone { sender, .. } => sender.instance,
            Body::Status(status) | Body::Nak { status, .. } => status.instance,
            Body::Announce(announce) => announce.instance,
            Body::Changes(changes) => changes.instance,
            Body::Ask(ask) => ask.instance,
            Body::Goodbye { instance } | Body::Register { instance } => *instance,
            Body::Ticket { daemon, .. } | Body::Heard { daemon, .. } => *daemon,
            Body::Relay { packet, .. } => return packet.instance(),
            Body::Call(roll) | Body::Present(roll) => roll.instance,
            Body::Who { .. } => return None,
        })
    }
}

/// Describes the packet at a place of a payload, which can end before the place does.
pub(super) fn describe(payload: &[u8], place: std::ops::Range<usize>) -> Packet<'_> {
    let bytes = &payload[place.start..place.end.min(payload.len())];
    let packet = describe_alone(bytes, place.len());
    Packet { offset: place.start, ..packet }
}

fn describe_alone(bytes: &[u8], sent_bytes: usize) -> Packet<'_> {
    let mut packet = Packet {
        offset: 0,
        version: Packet::VERSION,
        kind: None,
        length: sent_bytes,
        flags: 0,
        body: None,
        ignored: &[],
        fault: None,
    };
    let (kind, length) = Prefix::claims(bytes).unwrap_or_default();
    match Prefix::decode_captured(bytes, sent_bytes) {
        Ok(prefix) => {
            (packet.kind, packet.length) = (Some(prefix.kind), prefix.length);
            packet.flags = prefix.flags;
            packet.ignored = bytes.get(prefix.length..).unwrap_or_default();
            (packet.body, packet.fault) = body(&prefix, bytes);
        }
        Err(error) => {
            packet.fault = Some(Fault::of(Prefix::refused_at(error), error));
            match error {
                WireError::Version { found } => packet.version = found,
                WireError::Foreign => {}
                _ => (packet.kind, packet.length) = (PacketKind::from_byte(kind), length),
            }
        }
    }
    packet
}

/// Reads a packet whose prefix is right; `arrived` is all that came with it.
fn body<'a>(prefix: &Prefix, arrived: &'a [u8]) -> Described<'a> {
    let packet = &arrived[..prefix.length.min(arrived.len())];
    let is_cut = packet.len() < prefix.length;
    let (body, fault) = match prefix.kind {
        PacketKind::Data | PacketKind::Heartbeat | PacketKind::Welcome | PacketKind::Gone => {
            session_packet(prefix, packet)
        }
        PacketKind::Status | PacketKind::Nak => feedback(prefix, packet),
        // The views of discovery want a datagram, no less and no more.
        _ if is_cut => (None, None),
        PacketKind::Announce | PacketKind::Changes | PacketKind::Ask | PacketKind::Goodbye => {
            discovery(arrived)
        }
        PacketKind::Register
        | PacketKind::Ticket
        | PacketKind::Relay
        | PacketKind::Heard
        | PacketKind::Who => daemon_packet(arrived),
        PacketKind::Call | PacketKind::Present => roll_packet(prefix, arrived),
    };
    let fault = match fault {
        // What ends too early may be there and not captured.
        Some(Fault { offset, cause: super::Cause::Truncated { .. } }) if is_cut => {
            Some(Fault::cut(offset))
        }
        None if is_cut => Some(Fault::cut(packet.len())),
        fault => fault,
    };
    (body, fault)
}

/// The body of a packet that is right as a whole, or the fault.
fn whole<'a>(read: Result<Body<'a>, Fault>) -> Described<'a> {
    match read {
        Ok(body) => (Some(body), None),
        Err(fault) => (None, Some(fault)),
    }
}

/// What is missing is missing at the end.
fn located(packet: &[u8], error: WireError, at: usize) -> Fault {
    let is_short = matches!(error, WireError::Truncated { .. });
    Fault::of(if is_short { packet.len() } else { at }, error)
}

fn session_packet<'a>(prefix: &Prefix, packet: &'a [u8]) -> Described<'a> {
    let header = match PacketHeader::decode(packet) {
        Ok(header) => header,
        Err(error) => return (None, Some(located(packet, error, SEQUENCE_AT))),
    };
    let PacketHeader { session, sequence, stream, instance } = header;
    let sender = Sender { session, stream, instance };
    let located = |error| located(packet, error, PACKET_HEADER_LENGTH);
    match prefix.kind {
        PacketKind::Heartbeat => {
            let read = Heartbeat::decode(prefix, &header, packet).map_err(located);
            whole(read.map(|heartbeat| Body::Heartbeat {
                sender,
                next: heartbeat.next,
                status_wanted: heartbeat.status_wanted,
                round_trip: Duration::from_nanos(heartbeat.rtt_ns),
                receivers: heartbeat.receivers,
                probe: heartbeat.probe,
            }))
        }
        PacketKind::Welcome => {
            let read = Welcome::decode(&header, packet).map_err(located);
            whole(read.map(|Welcome { receiver, start }| Body::Welcome {
                sender,
                start,
                receiver: receiver.instance,
                port: receiver.port,
            }))
        }
        PacketKind::Gone => (Some(Body::Gone { sender, oldest: sequence }), None),
        _ => {
            let (frames, fault) = frames(packet, packet.len() < prefix.length);
            (Some(Body::Data { sender, sequence, frames }), fault)
        }
    }
}

/// The frames up to the first that cannot be read.
fn frames(packet: &[u8], is_cut: bool) -> (Vec<Frame<'_>>, Option<Fault>) {
    let mut described = Vec::new();
    let mut fault = None;
    let mut frames = Frames::new(&packet[PACKET_HEADER_LENGTH..]);
    loop {
        let rest = frames.rest();
        let offset = packet.len() - rest.len();
        match frames.next() {
            None => break,
            Some(Ok(frame)) => {
                let (frame, of_prefix) = whole_frame(offset, &frame);
                fault = fault.or(of_prefix);
                described.push(frame);
            }
            Some(Err(_)) if is_cut => {
                described.extend(cut_frame(offset, rest));
                fault = Some(Fault::cut(offset));
            }
            Some(Err(error)) => fault = fault.or_else(|| Some(Fault::of(offset, error))),
        }
    }
    (described, fault)
}

/// A frame, and what is wrong with what stands before its payload.
fn whole_frame<'a>(offset: usize, frame: &frame::Frame<'a>) -> (Frame<'a>, Option<Fault>) {
    let header = frame.header;
    let head = frame::FRAME_HEADER_LENGTH + frame.fragment.map_or(0, |_| frame::FRAGMENT_LENGTH);
    // Fragments divide the body as a whole: only the first has the prefix, if it has all of it.
    let has_prefix =
        |length| frame.fragment.is_none_or(|part| part.offset == 0 && frame.body.len() >= length);
    let (prefix, payload, fault) = match header.kind {
        FrameKind::Request if has_prefix(frame::REQUEST_PREFIX_LENGTH) => {
            prefix_of(RequestPrefix::decode(frame.body), frame.body, |prefix| BodyPrefix::Request {
                request: prefix.request,
                timeout: Duration::from_nanos(prefix.timeout_ns),
                reply_to: prefix.reply_to,
            })
        }
        FrameKind::Response if has_prefix(frame::RESPONSE_PREFIX_LENGTH) => {
            prefix_of(ResponsePrefix::decode(frame.body), frame.body, |prefix| {
                BodyPrefix::Response { request: prefix.request, requester: prefix.requester }
            })
        }
        _ => (None, frame.body, None),
    };
    let length = head + frame.body.len();
    let described =
        Frame { fragment: frame.fragment, prefix, payload, ..frame_of(offset, length, header) };
    (described, fault.map(|error| Fault::of(offset + head, error)))
}

fn prefix_of<'a, P>(
    read: Result<(P, &'a [u8]), WireError>,
    body: &'a [u8],
    describe: impl FnOnce(P) -> BodyPrefix,
) -> (Option<BodyPrefix>, &'a [u8], Option<WireError>) {
    match read {
        Ok((prefix, payload)) => (Some(describe(prefix)), payload, None),
        Err(error) => (None, body, Some(error)),
    }
}

/// The frame that the capture ends in, if its header is there.
fn cut_frame(offset: usize, rest: &[u8]) -> Option<Frame<'_>> {
    let header = FrameHeader::decode(rest).ok()?;
    let word = rest.first_chunk().map(|word| u64::from_le_bytes(*word))?;
    Some(frame_of(offset, frame::committed_length(word), header))
}

fn frame_of<'a>(offset: usize, length: usize, header: FrameHeader) -> Frame<'a> {
    Frame {
        offset,
        length,
        kind: header.kind,
        flags: header.flags,
        publisher: header.publisher,
        topic: header.topic,
        sequence: header.sequence,
        fragment: None,
        prefix: None,
        payload: &[],
    }
}

fn feedback<'a>(prefix: &Prefix, packet: &'a [u8]) -> Described<'a> {
    let mut missing = Vec::new();
    let (kind, packet) = captured_feedback(prefix, packet);
    let status = match Feedback::decode(&Prefix { kind, ..*prefix }, packet, &mut missing) {
        Ok(feedback) => feedback.status,
        Err(error) => {
            // A status with such a number is none; what else can be wrong are the ranges.
            let is_status = packet.len() < control::STATUS_LENGTH
                || error == WireError::Malformed { what: "packet sequence" };
            let at = if is_status { SEQUENCE_AT } else { control::STATUS_LENGTH };
            return (None, Some(located(packet, error, at)));
        }
    };
    let status = Status {
        session: status.session,
        consumed: status.consumed,
        window_packets: status.window_packets,
        echo: status.echo,
        instance: status.receiver.instance,
        tag: status.tag,
        port: status.receiver.port,
        is_joining: status.is_joining,
    };
    let body = match prefix.kind {
        PacketKind::Nak => Body::Nak { status, missing },
        _ => Body::Status(status),
    };
    (Some(body), None)
}

/// What can be read of a packet that may be cut: of a NAK, the ranges that are whole, or the status alone.
fn captured_feedback<'a>(prefix: &Prefix, packet: &'a [u8]) -> (PacketKind, &'a [u8]) {
    let ranges = packet.len().saturating_sub(control::STATUS_LENGTH);
    if packet.len() >= prefix.length || packet.len() < control::STATUS_LENGTH {
        return (prefix.kind, packet);
    }
    match packet.len() - ranges % control::RANGE_LENGTH {
        control::STATUS_LENGTH => (PacketKind::Status, packet),
        whole => (prefix.kind, &packet[..whole]),
    }
}

fn discovery(packet: &[u8]) -> Described<'_> {
    whole(advert::parse_located(packet).map_err(Fault::from).map(|view| match view {
        DiscoveryView::Announce(it) => Body::Announce(Announce {
            instance: it.instance,
            control: it.control,
            responses: it.responses,
            host: it.host,
            head: it.head,
            digest: it.digest,
            interval: Duration::from_millis(it.interval_ms.into()),
            timeout: Duration::from_millis(it.timeout_ms.into()),
            is_direct: it.direct,
            name: it.name,
        }),
        DiscoveryView::Changes(view) => Body::Changes(changes(&view)),
        DiscoveryView::Ask(it) => Body::Ask(Ask {
            instance: it.asker,
            control: it.control,
            target: it.target,
            have: it.have,
            horizon: it.horizon,
        }),
        DiscoveryView::Goodbye(instance) => Body::Goodbye { instance },
    }))
}

fn changes<'a>(view: &ChangesView<'a>) -> Changes<'a> {
    let entry = |entry| match entry {
        Entry::Add { add, .. } => Change::Add(Advert {
            key: add.key,
            side: match add.kind {
                AdvertKind::Publisher => Side::Publisher,
                AdvertKind::Subscriber => Side::Subscriber,
            },
            transport: add.transport,
            topic_hash: add.hash,
            topic: add.topic,
            locator: add.locator,
            session: add.session,
        }),
        Entry::Remove { key } => Change::Remove { key },
    };
    Changes {
        instance: view.instance,
        from: view.from,
        to: view.to,
        head: view.head,
        is_reset: view.reset,
        is_end: view.end,
        entries: view.entries().map(entry).collect(),
    }
}

fn daemon_packet(packet: &[u8]) -> Described<'_> {
    let view = match daemon::parse_located(packet) {
        Ok(view) => view,
        Err(refusal) => return (None, Some(refusal.into())),
    };
    let heard =
        |it: daemon::Heard| Heard { instance: it.instance, head: it.head, digest: it.digest };
    let body = match view {
        DaemonView::Register { instance } => Body::Register { instance },
        DaemonView::Ticket { daemon, ticket } => Body::Ticket { daemon, ticket: ticket.0 },
        DaemonView::Relay { ticket, packet } => {
            let inside = relayed(packet);
            let fault = inside.fault;
            return (Some(Body::Relay { ticket: ticket.0, packet: Box::new(inside) }), fault);
        }
        DaemonView::Heard(view) => {
            Body::Heard { daemon: view.daemon, entries: view.entries().map(heard).collect() }
        }
        DaemonView::Who(view) => {
            Body::Who { ticket: view.ticket.0, instances: view.instances().collect() }
        }
    };
    (Some(body), None)
}

/// What a RELAY carries: a packet of three kinds, none of which has another one inside.
fn relayed(bytes: &[u8]) -> Packet<'_> {
    match Prefix::decode(bytes) {
        Ok(Prefix {
            kind: PacketKind::Announce | PacketKind::Changes | PacketKind::Goodbye,
            ..
        })
        | Err(_) => describe_alone(bytes, bytes.len()),
        Ok(prefix) => {
            let error = WireError::Malformed { what: "kind of a relayed packet" };
            Packet {
                offset: 0,
                version: Packet::VERSION,
                kind: Some(prefix.kind),
                length: prefix.length,
                flags: prefix.flags,
                body: None,
                ignored: &[],
                fault: Some(Fault::of(Prefix::refused_at(WireError::Kind { found: 0 }), error)),
            }
        }
    }
}

fn roll_packet<'a>(prefix: &Prefix, packet: &'a [u8]) -> Described<'a> {
    let at = if prefix.length == packet.len() { roll::ENTRIES_AT } else { LENGTH_AT };
    let entry = |it: roll::RollEntry| RollEntry { topic: it.topic, number: it.number };
    whole(roll::Roll::decode(packet).map_err(|error| located(packet, error, at)).map(|it| {
        let roll = Roll {
            instance: it.sender,
            target: it.target,
            entries: it.entries.into_iter().map(entry).collect(),
        };
        if it.is_answer { Body::Present(roll) } else { Body::Call(roll) }
    }))
}
