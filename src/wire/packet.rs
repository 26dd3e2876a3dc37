//! The packet: what one datagram, or one slot of a ring, starts with. Layer: wire.
//!
//! Every packet begins with the same eight bytes ([`Prefix`]). What a sender sends in its session
//! goes on with a [`PacketHeader`]; that of data is written into the ring slot, so the slot *is* the datagram.

use std::fmt;

use super::WireError;
use crate::id::{InstanceId, SessionId};

/// Bytes every packet starts with.
pub(crate) const PREFIX_LENGTH: usize = 8;
/// Bytes before the first frame of a data packet.
pub(crate) const PACKET_HEADER_LENGTH: usize = 48;
/// The letters `VG`, read as a little-endian number.
pub(crate) const MAGIC: u16 = u16::from_le_bytes(*b"VG");
/// The only wire version there is so far.
pub(crate) const VERSION: u8 = 1;

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = 2;
const KIND_AT: usize = 3;
/// Where the length of the packet stands; the ring fills it in when it closes a slot.
pub(crate) const LENGTH_AT: usize = 4;
const FLAGS_AT: usize = 6;
pub(crate) const SESSION_AT: usize = 8;
/// Where the packet sequence stands: eight-byte aligned, because readers of a shared ring wait on
/// it with one atomic load.
pub(crate) const SEQUENCE_AT: usize = 16;
/// No session gets this far, so that receivers can add to what a packet claims without overflow.
pub(crate) const MAX_SEQUENCE: u64 = u64::MAX / 2;
const STREAM_AT: usize = 24;
const INSTANCE_AT: usize = 32;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum PacketKind {
    /// Messages, requests and responses of a session.
    Data = 1,
    /// A sender tells how far it has come.
    Heartbeat = 2,
    /// A receiver tells how far it has read.
    Status = 3,
    /// A status, and what the receiver misses.
    Nak = 4,
    /// A sender tells a receiver where the session begins for it.
    Welcome = 5,
    /// A sender tells what it cannot repeat any more.
    Gone = 6,
    /// An instance is there.
    Announce = 16,
    /// What an instance advertises, page by page.
    Changes = 17,
    /// An instance asks another one for its changes.
    Ask = 18,
    /// An instance leaves.
    Goodbye = 19,
    /// An instance asks a discovery daemon for a ticket.
    Register = 20,
    /// A discovery daemon gives one.
    Ticket = 21,
    /// A packet that a discovery daemon is to pass on.
    Relay = 22,
    /// The instances that a discovery daemon has heard.
    Heard = 23,
    /// An instance asks a discovery daemon about others.
    Who = 24,
    /// A publisher's instance calls subscribers.
    Call = 25,
    /// The answer to a call.
    Present = 26,
}

impl PacketKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::Data,
        Self::Heartbeat,
        Self::Status,
        Self::Nak,
        Self::Welcome,
        Self::Gone,
        Self::Announce,
        Self::Changes,
        Self::Ask,
        Self::Goodbye,
        Self::Register,
        Self::Ticket,
        Self::Relay,
        Self::Heard,
        Self::Who,
        Self::Call,
        Self::Present,
    ];

    /// As `docs/wire-protocol.md` and Wireshark call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Heartbeat => "heartbeat",
            Self::Status => "status",
            Self::Nak => "NAK",
            Self::Welcome => "welcome",
            Self::Gone => "gone",
            Self::Announce => "ANNOUNCE",
            Self::Changes => "CHANGES",
            Self::Ask => "ASK",
            Self::Goodbye => "GOODBYE",
            Self::Register => "REGISTER",
            Self::Ticket => "TICKET",
            Self::Relay => "RELAY",
            Self::Heard => "HEARD",
            Self::Who => "WHO",
            Self::Call => "CALL",
            Self::Present => "PRESENT",
        }
    }

    /// The number that travels.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Data,
            2 => Self::Heartbeat,
            3 => Self::Status,
            4 => Self::Nak,
            5 => Self::Welcome,
            6 => Self::Gone,
            16 => Self::Announce,
            17 => Self::Changes,
            18 => Self::Ask,
            19 => Self::Goodbye,
            20 => Self::Register,
            21 => Self::Ticket,
            22 => Self::Relay,
            23 => Self::Heard,
            24 => Self::Who,
            25 => Self::Call,
            26 => Self::Present,
            _ => return None,
        })
    }
}

impl fmt::Display for PacketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The checked first eight bytes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) kind: PacketKind,
    /// Bytes of the packet, prefix included. At most the bytes that arrived.
    pub(crate) length: usize,
    pub(crate) flags: u16,
}

impl Prefix {
    /// Checks magic, version, kind and length against what arrived.
    ///
    /// # Errors
    ///
    /// Any [`WireError`]; the packet is to be counted and dropped.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Self::decode_captured(bytes, bytes.len())
    }

    /// The same for the first bytes of what arrived with `arrived` bytes. The packet's length is at
    /// most that.
    ///
    /// # Errors
    ///
    /// As [`Prefix::decode`].
    pub(crate) fn decode_captured(bytes: &[u8], arrived: usize) -> Result<Self, WireError> {
        let head: &[u8; PREFIX_LENGTH] =
            bytes.first_chunk().ok_or(WireError::Truncated { what: "packet prefix" })?;
        if u16_at(head, MAGIC_AT) != MAGIC {
            return Err(WireError::Foreign);
        }
        if head[VERSION_AT] != VERSION {
            return Err(WireError::Version { found: head[VERSION_AT] });
        }
        let found = head[KIND_AT];
        let kind = PacketKind::from_byte(found).ok_or(WireError::Kind { found })?;
        let length = usize::from(u16_at(head, LENGTH_AT));
        if length < PREFIX_LENGTH {
            return Err(WireError::Malformed { what: "packet length" });
        }
        if length > arrived {
            return Err(WireError::Truncated { what: "packet" });
        }
        Ok(Self { kind, length, flags: u16_at(head, FLAGS_AT) })
    }

    /// The kind and the length that a packet says it has, whether or not that can be right.
    pub(crate) fn claims(bytes: &[u8]) -> Option<(u8, usize)> {
        let head: &[u8; PREFIX_LENGTH] = bytes.first_chunk()?;
        Some((head[KIND_AT], usize::from(u16_at(head, LENGTH_AT))))
    }

    /// The field that [`Prefix::decode`] has refused.
    pub(crate) const fn refused_at(error: WireError) -> usize {
        match error {
            WireError::Foreign => MAGIC_AT,
            WireError::Version { .. } => VERSION_AT,
            WireError::Kind { .. } => KIND_AT,
            WireError::Truncated { .. } | WireError::Malformed { .. } => LENGTH_AT,
        }
    }

    /// The eight bytes. `length` is at most 65,507, the largest UDP payload.
    pub(crate) fn encode(kind: PacketKind, flags: u16, length: u16) -> [u8; PREFIX_LENGTH] {
        let mut bytes = [0; PREFIX_LENGTH];
        bytes[MAGIC_AT..2].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[VERSION_AT] = VERSION;
        bytes[KIND_AT] = kind as u8;
        bytes[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&length.to_le_bytes());
        bytes[FLAGS_AT..].copy_from_slice(&flags.to_le_bytes());
        bytes
    }
}

/// Header of every packet that a sender sends in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PacketHeader {
    pub(crate) session: SessionId,
    /// Data: the number of this packet. Heartbeat: that of the next packet to be sent. Welcome: that
    /// of the first packet for the receiver. Gone: that of the oldest packet that can be repeated.
    pub(crate) sequence: u64,
    pub(crate) stream: u32,
    pub(crate) instance: InstanceId,
}

impl PacketHeader {
    /// The header with the length of a packet that has nothing else yet.
    pub(crate) fn encode(&self, kind: PacketKind, flags: u16) -> [u8; PACKET_HEADER_LENGTH] {
        let mut bytes = [0; PACKET_HEADER_LENGTH];
        self.encode_into(kind, flags, &mut bytes);
        bytes
    }

    /// Writes the header of a packet that is `packet.len()` long.
    ///
    /// # Panics
    ///
    /// When the packet is shorter than the header, a mistake of the caller.
    pub(super) fn encode_into(&self, kind: PacketKind, flags: u16, packet: &mut [u8]) {
        let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        let bytes = &mut packet[..PACKET_HEADER_LENGTH];
        bytes[..PREFIX_LENGTH].copy_from_slice(&Prefix::encode(kind, flags, length));
        bytes[SESSION_AT..SESSION_AT + 8].copy_from_slice(&self.session.0.to_le_bytes());
        bytes[SEQUENCE_AT..SEQUENCE_AT + 8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[STREAM_AT..STREAM_AT + 4].copy_from_slice(&self.stream.to_le_bytes());
        bytes[INSTANCE_AT..].copy_from_slice(&self.instance.to_bytes());
    }

    /// Reads the header of a packet that a sender sent in its session, whatever its kind.
    ///
    /// # Errors
    ///
    /// `Truncated` when the packet is shorter than the header, `Malformed` when its number is beyond
    /// what a session can reach.
    pub(crate) fn decode(packet: &[u8]) -> Result<Self, WireError> {
        let bytes: &[u8; PACKET_HEADER_LENGTH] =
            packet.first_chunk().ok_or(WireError::Truncated { what: "packet header" })?;
        let mut instance = [0; 16];
        instance.copy_from_slice(&bytes[INSTANCE_AT..]);
        let sequence = u64_at(bytes, SEQUENCE_AT);
        if sequence > MAX_SEQUENCE {
            return Err(WireError::Malformed { what: "packet sequence" });
        }
        Ok(Self {
            session: SessionId(u64_at(bytes, SESSION_AT)),
            sequence,
            stream: u32_at(bytes, STREAM_AT),
            instance: InstanceId::from_bytes(instance),
        })
    }
}

/// Reads a little-endian integer at a constant offset; the caller has checked the length once.
#[inline]
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

#[inline]
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/wire-protocol.md`, "Data packet".
    #[test]
    fn golden_bytes_of_a_data_packet_header() {
        let header = PacketHeader {
            session: SessionId(0x1122_3344_5566_7788),
            sequence: 0x0102_0304_0506_0708,
            stream: 9,
            instance: InstanceId::from_bytes(*b"0123456789abcdef"),
        };
        let bytes = header.encode(PacketKind::Data, 0);
        let expected: [u8; PACKET_HEADER_LENGTH] = [
            b'V', b'G', 1, 1, 48, 0, 0, 0, // prefix
            0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // session
            8, 7, 6, 5, 4, 3, 2, 1, // packet sequence
            9, 0, 0, 0, 0, 0, 0, 0, // stream, reserved
            b'0', b'1', b'2', b'3', b'4', b'5', b'6', b'7', // instance
            b'8', b'9', b'a', b'b', b'c', b'd', b'e', b'f',
        ];
        assert_eq!(bytes, expected);
        assert_eq!(PacketHeader::decode(&bytes), Ok(header));
        let prefix = Prefix::decode(&bytes).unwrap();
        assert_eq!(prefix, Prefix { kind: PacketKind::Data, length: 48, flags: 0 });
    }

    #[test]
    fn numbers_that_no_session_reaches_are_refused() {
        let header = PacketHeader {
            session: SessionId(1),
            sequence: MAX_SEQUENCE,
            stream: 1,
            instance: InstanceId::from_bytes([0; 16]),
        };
        let last = header.encode(PacketKind::Heartbeat, 0);
        assert_eq!(PacketHeader::decode(&last), Ok(header));
        let beyond = PacketHeader { sequence: MAX_SEQUENCE + 1, ..header };
        let beyond = beyond.encode(PacketKind::Data, 0);
        let refusal = WireError::Malformed { what: "packet sequence" };
        assert_eq!(PacketHeader::decode(&beyond), Err(refusal));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let good = Prefix::encode(PacketKind::Goodbye, 0, 8);
        assert!(Prefix::decode(&good).is_ok());
        assert_eq!(Prefix::decode(&good[..7]), Err(WireError::Truncated { what: "packet prefix" }));
        let mut foreign = good;
        foreign[0] = b'v';
        assert_eq!(Prefix::decode(&foreign), Err(WireError::Foreign));
        let mut newer = good;
        newer[2] = 2;
        assert_eq!(Prefix::decode(&newer), Err(WireError::Version { found: 2 }));
        let mut unknown = good;
        unknown[3] = 99;
        assert_eq!(Prefix::decode(&unknown), Err(WireError::Kind { found: 99 }));
        let longer = Prefix::encode(PacketKind::Goodbye, 0, 9);
        assert_eq!(Prefix::decode(&longer), Err(WireError::Truncated { what: "packet" }));
        let shorter = Prefix::encode(PacketKind::Goodbye, 0, 7);
        assert_eq!(Prefix::decode(&shorter), Err(WireError::Malformed { what: "packet length" }));
    }
}
