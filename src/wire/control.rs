//! Feedback of receivers to a sender. Layer: wire.

use super::WireError;
use super::packet::{PREFIX_LENGTH, PacketKind, Prefix, SEQUENCE_AT, SESSION_AT, u32_at, u64_at};
use crate::id::{InstanceId, SessionId};

/// Bytes of a status packet.
pub(crate) const STATUS_LENGTH: usize = 48;

const WINDOW_AT: usize = 24;
const RECEIVER_AT: usize = 32;

/// A receiver tells how far it has read and how much more it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) session: SessionId,
    /// Every packet below this number has been consumed.
    pub(crate) consumed: u64,
    /// How many packets from `consumed` on the receiver can take.
    pub(crate) window_packets: u32,
    pub(crate) receiver: InstanceId,
}

impl Status {
    pub(crate) fn encode(&self) -> [u8; STATUS_LENGTH] {
        let mut bytes = [0; STATUS_LENGTH];
        #[expect(clippy::cast_possible_truncation, reason = "48 fits")]
        let prefix = Prefix::encode(PacketKind::Status, 0, STATUS_LENGTH as u16);
        bytes[..PREFIX_LENGTH].copy_from_slice(&prefix);
        bytes[SESSION_AT..SESSION_AT + 8].copy_from_slice(&self.session.0.to_le_bytes());
        bytes[SEQUENCE_AT..SEQUENCE_AT + 8].copy_from_slice(&self.consumed.to_le_bytes());
        bytes[WINDOW_AT..WINDOW_AT + 4].copy_from_slice(&self.window_packets.to_le_bytes());
        bytes[RECEIVER_AT..].copy_from_slice(&self.receiver.to_bytes());
        bytes
    }

    /// Reads a packet whose prefix said `Status`.
    ///
    /// # Errors
    ///
    /// `Truncated` when the packet is too short.
    pub(crate) fn decode(packet: &[u8]) -> Result<Self, WireError> {
        let bytes: &[u8; STATUS_LENGTH] =
            packet.first_chunk().ok_or(WireError::Truncated { what: "status" })?;
        let mut receiver = [0; 16];
        receiver.copy_from_slice(&bytes[RECEIVER_AT..]);
        Ok(Self {
            session: SessionId(u64_at(bytes, SESSION_AT)),
            consumed: u64_at(bytes, SEQUENCE_AT),
            window_packets: u32_at(bytes, WINDOW_AT),
            receiver: InstanceId::from_bytes(receiver),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/wire-protocol.md`, "Status".
    #[test]
    fn golden_bytes_of_a_status() {
        let status = Status {
            session: SessionId(1),
            consumed: 2,
            window_packets: 3,
            receiver: InstanceId::from_bytes(*b"0123456789abcdef"),
        };
        let mut expected = vec![b'V', b'G', 1, 3, 48, 0, 0, 0];
        expected.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(b"0123456789abcdef");
        assert_eq!(status.encode().to_vec(), expected);
        assert_eq!(Status::decode(&expected), Ok(status));
        assert!(Status::decode(&expected[..47]).is_err());
    }
}
