//! Control packets of a session: feedback of receivers, and what senders say beside data. Layer:
//! wire.

use super::WireError;
use super::packet::{
    MAX_SEQUENCE, PACKET_HEADER_LENGTH, PREFIX_LENGTH, PacketHeader, PacketKind, Prefix,
    SEQUENCE_AT, SESSION_AT, u16_at, u32_at, u64_at,
};
use crate::id::{InstanceId, ReceiverId, SessionId};

/// Bytes of a status, and of a NAK before its ranges.
pub(crate) const STATUS_LENGTH: usize = 56;
/// Bytes of a heartbeat.
pub(crate) const HEARTBEAT_LENGTH: usize = 64;
/// Bytes of a welcome.
pub(crate) const WELCOME_LENGTH: usize = 72;
/// Ranges of one NAK: enough for the gaps of a few round trips, and still a small packet.
pub(crate) const MAX_RANGES: usize = 64;

/// Bytes of one range of a NAK.
pub(crate) const RANGE_LENGTH: usize = 8;

const WINDOW_AT: usize = 24;
const ECHO_AT: usize = 28;
const RECEIVER_AT: usize = 32;
const TAG_AT: usize = 48;
const PORT_AT: usize = 52;

const RTT_AT: usize = PACKET_HEADER_LENGTH;
const RECEIVERS_AT: usize = 56;
const PROBE_AT: usize = 60;
const WELCOMED_AT: usize = PACKET_HEADER_LENGTH;
const WELCOMED_PORT_AT: usize = 64;

/// Heartbeat flag: the sender waits for a status of every receiver.
pub(crate) const FLAG_STATUS_WANTED: u16 = 1;
/// Status flag: the receiver does not know with which packet the session begins for it.
pub(crate) const FLAG_JOINING: u16 = 1;

/// A receiver tells how far it has read and how much more it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) session: SessionId,
    /// Every packet below this number has been consumed.
    pub(crate) consumed: u64,
    /// How many packets from `consumed` on the receiver can take.
    pub(crate) window_packets: u32,
    /// The probe of the heartbeat that this status answers; zero when it answers none.
    pub(crate) echo: u32,
    pub(crate) receiver: ReceiverId,
    /// The set of receivers that this one belongs to; zero is none.
    pub(crate) tag: u32,
    /// See [`FLAG_JOINING`].
    pub(crate) is_joining: bool,
}

/// Packets that a receiver misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Range {
    /// The first of them.
    pub first: u64,
    /// How many, at least 1.
    pub packets: u32,
}

impl Range {
    /// First packet after the range.
    #[must_use]
    pub fn end(self) -> u64 {
        self.first + u64::from(self.packets)
    }
}

/// What comes back to a sender: a status, and what is missing if it was a NAK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Feedback<'a> {
    pub(crate) status: Status,
    /// Empty for a status; else at most [`MAX_RANGES`].
    pub(crate) missing: &'a [Range],
}

impl Status {
    fn encode_as(&self, kind: PacketKind, length: usize) -> [u8; STATUS_LENGTH] {
        let mut bytes = [0; STATUS_LENGTH];
        let flags = if self.is_joining { FLAG_JOINING } else { 0 };
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_RANGES ranges")]
        let prefix = Prefix::encode(kind, flags, length as u16);
        bytes[..PREFIX_LENGTH].copy_from_slice(&prefix);
        bytes[SESSION_AT..SESSION_AT + 8].copy_from_slice(&self.session.0.to_le_bytes());
        bytes[SEQUENCE_AT..SEQUENCE_AT + 8].copy_from_slice(&self.consumed.to_le_bytes());
        bytes[WINDOW_AT..WINDOW_AT + 4].copy_from_slice(&self.window_packets.to_le_bytes());
        bytes[ECHO_AT..ECHO_AT + 4].copy_from_slice(&self.echo.to_le_bytes());
        bytes[RECEIVER_AT..RECEIVER_AT + 16].copy_from_slice(&self.receiver.instance.to_bytes());
        bytes[TAG_AT..TAG_AT + 4].copy_from_slice(&self.tag.to_le_bytes());
        bytes[PORT_AT..PORT_AT + 2].copy_from_slice(&self.receiver.port.to_le_bytes());
        bytes
    }

    pub(crate) fn encode(&self) -> [u8; STATUS_LENGTH] {
        self.encode_as(PacketKind::Status, STATUS_LENGTH)
    }

    /// The status as a NAK: with what is missing, at most [`MAX_RANGES`] ranges, none of them
    /// below `consumed`.
    pub(crate) fn encode_nak(&self, missing: &[Range], out: &mut Vec<u8>) {
        debug_assert!(!missing.is_empty() && missing.len() <= MAX_RANGES);
        let length = STATUS_LENGTH + missing.len() * RANGE_LENGTH;
        out.extend_from_slice(&self.encode_as(PacketKind::Nak, length));
        for range in missing {
            let distance = u32::try_from(range.first - self.consumed).unwrap_or(u32::MAX);
            out.extend_from_slice(&distance.to_le_bytes());
            out.extend_from_slice(&range.packets.to_le_bytes());
        }
    }
}

impl<'a> Feedback<'a> {
    /// Reads a packet whose prefix said `Status` or `Nak`; `packet` has the length that it said. What
    /// is missing goes into `missing`, whatever was there before.
    ///
    /// # Errors
    ///
    /// `Truncated` when the packet is too short, `Malformed` when its numbers are beyond what a
    /// session can reach or its ranges are none, too many, or empty.
    pub(crate) fn decode(
        prefix: &Prefix,
        packet: &[u8],
        missing: &'a mut Vec<Range>,
    ) -> Result<Self, WireError> {
        missing.clear();
        let bytes: &[u8; STATUS_LENGTH] =
            packet.first_chunk().ok_or(WireError::Truncated { what: "status" })?;
        let status = Status {
            session: SessionId(u64_at(bytes, SESSION_AT)),
            consumed: u64_at(bytes, SEQUENCE_AT),
            window_packets: u32_at(bytes, WINDOW_AT),
            echo: u32_at(bytes, ECHO_AT),
            receiver: receiver_at(bytes, RECEIVER_AT, PORT_AT),
            tag: u32_at(bytes, TAG_AT),
            is_joining: prefix.flags & FLAG_JOINING != 0,
        };
        if status.consumed > MAX_SEQUENCE {
            return Err(WireError::Malformed { what: "packet sequence" });
        }
        if prefix.kind == PacketKind::Status {
            return Ok(Self { status, missing });
        }
        let (ranges, rest) = packet[STATUS_LENGTH..].as_chunks::<RANGE_LENGTH>();
        if ranges.is_empty() || ranges.len() > MAX_RANGES || !rest.is_empty() {
            return Err(WireError::Malformed { what: "number of ranges" });
        }
        let range = |bytes: &[u8; RANGE_LENGTH]| Range {
            first: status.consumed + u64::from(u32_at(bytes, 0)),
            packets: u32_at(bytes, 4),
        };
        missing.extend(ranges.iter().map(range));
        if missing.iter().any(|range| range.packets == 0) {
            return Err(WireError::Malformed { what: "range" });
        }
        Ok(Self { status, missing })
    }
}

/// A sender tells how far it has come, and what receivers need to know to time their feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    /// Number of the next packet: all before it have been sent.
    pub(crate) next: u64,
    /// See [`FLAG_STATUS_WANTED`].
    pub(crate) status_wanted: bool,
    /// The longest round trip to a receiver, in nanoseconds; zero when none has been measured.
    pub(crate) rtt_ns: u64,
    /// How many receivers there are.
    pub(crate) receivers: u32,
    /// To be echoed in the status that answers this heartbeat; zero is not echoed.
    pub(crate) probe: u32,
}

impl Heartbeat {
    /// The packet; `header` says whose, its sequence is not used.
    pub(crate) fn encode(&self, header: PacketHeader) -> [u8; HEARTBEAT_LENGTH] {
        let mut bytes = [0; HEARTBEAT_LENGTH];
        let flags = if self.status_wanted { FLAG_STATUS_WANTED } else { 0 };
        let header = PacketHeader { sequence: self.next, ..header };
        header.encode_into(PacketKind::Heartbeat, flags, &mut bytes);
        bytes[RTT_AT..RTT_AT + 8].copy_from_slice(&self.rtt_ns.to_le_bytes());
        bytes[RECEIVERS_AT..RECEIVERS_AT + 4].copy_from_slice(&self.receivers.to_le_bytes());
        bytes[PROBE_AT..PROBE_AT + 4].copy_from_slice(&self.probe.to_le_bytes());
        bytes
    }

    /// Reads what a packet says whose prefix said `Heartbeat` and whose header has been read.
    ///
    /// # Errors
    ///
    /// `Truncated` when the packet is too short.
    pub(crate) fn decode(
        prefix: &Prefix,
        header: &PacketHeader,
        packet: &[u8],
    ) -> Result<Self, WireError> {
        let bytes: &[u8; HEARTBEAT_LENGTH] =
            packet.first_chunk().ok_or(WireError::Truncated { what: "heartbeat" })?;
        Ok(Self {
            next: header.sequence,
            status_wanted: prefix.flags & FLAG_STATUS_WANTED != 0,
            rtt_ns: u64_at(bytes, RTT_AT),
            receivers: u32_at(bytes, RECEIVERS_AT),
            probe: u32_at(bytes, PROBE_AT),
        })
    }
}

/// A sender tells one receiver with which packet the session begins for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub(crate) receiver: ReceiverId,
    pub(crate) start: u64,
}

impl Welcome {
    /// The packet; `header` says whose, its sequence is not used.
    pub(crate) fn encode(&self, header: PacketHeader) -> [u8; WELCOME_LENGTH] {
        let mut bytes = [0; WELCOME_LENGTH];
        let header = PacketHeader { sequence: self.start, ..header };
        header.encode_into(PacketKind::Welcome, 0, &mut bytes);
        bytes[WELCOMED_AT..WELCOMED_AT + 16].copy_from_slice(&self.receiver.instance.to_bytes());
        bytes[WELCOMED_PORT_AT..WELCOMED_PORT_AT + 2]
            .copy_from_slice(&self.receiver.port.to_le_bytes());
        bytes
    }

    /// Reads what a packet says whose prefix said `Welcome` and whose header has been read.
    ///
    /// # Errors
    ///
    /// `Truncated` when the packet is too short.
    pub(crate) fn decode(header: &PacketHeader, packet: &[u8]) -> Result<Self, WireError> {
        let bytes: &[u8; WELCOME_LENGTH] =
            packet.first_chunk().ok_or(WireError::Truncated { what: "welcome" })?;
        let receiver = receiver_at(bytes, WELCOMED_AT, WELCOMED_PORT_AT);
        Ok(Self { receiver, start: header.sequence })
    }
}

/// Reads a receiver from places that are within the bytes.
fn receiver_at(bytes: &[u8], instance_at: usize, port_at: usize) -> ReceiverId {
    let mut instance = [0; 16];
    instance.copy_from_slice(&bytes[instance_at..instance_at + 16]);
    ReceiverId { instance: InstanceId::from_bytes(instance), port: u16_at(bytes, port_at) }
}

/// The packet that tells receivers that everything before `oldest` cannot be sent again.
pub(crate) fn encode_gone(header: PacketHeader, oldest: u64) -> [u8; PACKET_HEADER_LENGTH] {
    PacketHeader { sequence: oldest, ..header }.encode(PacketKind::Gone, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver() -> ReceiverId {
        ReceiverId { instance: InstanceId::from_bytes(*b"0123456789abcdef"), port: 6 }
    }

    fn status() -> Status {
        Status {
            session: SessionId(1),
            consumed: 2,
            window_packets: 3,
            echo: 4,
            receiver: receiver(),
            tag: 5,
            is_joining: true,
        }
    }

    fn header() -> PacketHeader {
        PacketHeader {
            session: SessionId(1),
            sequence: 99,
            stream: 9,
            instance: InstanceId::from_bytes(*b"0123456789abcdef"),
        }
    }

    fn decode(packet: &[u8]) -> Result<(Status, Vec<Range>), WireError> {
        // What was read before does not count.
        let mut missing = vec![Range { first: 1, packets: 1 }];
        let status = Feedback::decode(&Prefix::decode(packet)?, packet, &mut missing)?.status;
        Ok((status, missing))
    }

    /// `docs/wire-protocol.md`, "Status".
    #[test]
    fn golden_bytes_of_a_status() {
        let mut expected = vec![b'V', b'G', 1, 3, 56, 0, 1, 0];
        expected.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(&[3, 0, 0, 0, 4, 0, 0, 0]);
        expected.extend_from_slice(b"0123456789abcdef");
        expected.extend_from_slice(&[5, 0, 0, 0, 6, 0, 0, 0]);
        assert_eq!(status().encode().to_vec(), expected);
        assert_eq!(decode(&expected), Ok((status(), Vec::new())));
        assert!(decode(&expected[..55]).is_err());
    }

    /// `docs/wire-protocol.md`, "NAK".
    #[test]
    fn golden_bytes_of_a_nak() {
        let missing = vec![Range { first: 2, packets: 1 }, Range { first: 12, packets: 0x0102 }];
        let mut packet = Vec::new();
        status().encode_nak(&missing, &mut packet);
        let mut expected = status().encode().to_vec();
        expected[3..5].copy_from_slice(&[4, 72]);
        expected.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 10, 0, 0, 0, 2, 1, 0, 0]);
        assert_eq!(packet, expected);
        assert_eq!(decode(&packet), Ok((status(), missing)));
    }

    #[test]
    fn ranges_that_no_receiver_asks_for_are_refused() {
        let mut packet = Vec::new();
        status().encode_nak(&[Range { first: 2, packets: 1 }], &mut packet);
        let mut empty = packet.clone();
        empty[60..].fill(0);
        assert_eq!(decode(&empty), Err(WireError::Malformed { what: "range" }));
        let mut none = packet.clone();
        none.truncate(STATUS_LENGTH);
        none[4] = 56;
        assert_eq!(decode(&none), Err(WireError::Malformed { what: "number of ranges" }));
        let mut many = packet[..STATUS_LENGTH].to_vec();
        many.extend_from_slice(&[1; (MAX_RANGES + 1) * RANGE_LENGTH]);
        let length = u16::try_from(many.len()).unwrap();
        many[4..6].copy_from_slice(&length.to_le_bytes());
        assert_eq!(decode(&many), Err(WireError::Malformed { what: "number of ranges" }));
        let mut far = packet;
        far[SEQUENCE_AT..SEQUENCE_AT + 8].fill(0xff);
        assert_eq!(decode(&far), Err(WireError::Malformed { what: "packet sequence" }));
    }

    /// `docs/wire-protocol.md`, "Heartbeat".
    #[test]
    fn golden_bytes_of_a_heartbeat() {
        let heartbeat =
            Heartbeat { next: 7, status_wanted: true, rtt_ns: 8, receivers: 9, probe: 10 };
        let packet = heartbeat.encode(header());
        let mut expected = PacketHeader { sequence: 7, ..header() }
            .encode(PacketKind::Heartbeat, FLAG_STATUS_WANTED)
            .to_vec();
        expected[4] = 64;
        expected.extend_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 10, 0, 0, 0]);
        assert_eq!(packet.to_vec(), expected);
        let prefix = Prefix::decode(&packet).unwrap();
        let read = PacketHeader::decode(&packet).unwrap();
        assert_eq!(Heartbeat::decode(&prefix, &read, &packet), Ok(heartbeat));
        assert!(Heartbeat::decode(&prefix, &read, &packet[..63]).is_err());
    }

    /// `docs/wire-protocol.md`, "Welcome" and "Gone".
    #[test]
    fn golden_bytes_of_welcome_and_gone() {
        let welcome = Welcome { receiver: receiver(), start: 7 };
        let packet = welcome.encode(header());
        let mut expected =
            PacketHeader { sequence: 7, ..header() }.encode(PacketKind::Welcome, 0).to_vec();
        expected[4] = 72;
        expected.extend_from_slice(b"0123456789abcdef");
        expected.extend_from_slice(&[6, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(packet.to_vec(), expected);
        let read = PacketHeader::decode(&packet).unwrap();
        assert_eq!(Welcome::decode(&read, &packet), Ok(welcome));
        assert!(Welcome::decode(&read, &packet[..71]).is_err());
        let gone = encode_gone(header(), 7);
        assert_eq!((gone[3], PacketHeader::decode(&gone).unwrap().sequence), (6, 7));
    }
}
