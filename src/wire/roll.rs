//! Calling the roll: a publisher's instance asks another one which of its topics it listens to, and
//! is answered. Layer: wire. Plain data and functions over byte slices.
//!
//! ```text
//! prefix     0 magic u16 | 2 version u8 | 3 kind u8 | 4 length u16 | 6 reserved u16 = 0
//!
//! CALL (25)     8 caller [16] | 24 called [16] | 40 entries
//! PRESENT (26)  8 called [16] | 24 caller [16] | 40 entries
//!
//! entry      0 topic hash u64 | 8 number of the call u64
//! ```
//!
//! Both have the same layout: who sends, whom it is for, and entries to the end of the packet, at
//! least one and at most [`MAX_ENTRIES`].

use super::WireError;
use super::packet::{LENGTH_AT, PREFIX_LENGTH, PacketKind, Prefix, u64_at};
use crate::id::{InstanceId, TopicHash};

const SENDER_AT: usize = PREFIX_LENGTH;
const TARGET_AT: usize = 24;
/// Where the entries begin.
pub(crate) const ENTRIES_AT: usize = 40;
const ENTRY_LENGTH: usize = 16;

/// Entries of one packet: what fits into an Ethernet frame with room for tunnels.
pub(crate) const MAX_ENTRIES: usize = 80;

/// One topic, and the number that the answer repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RollEntry {
    pub(crate) topic: TopicHash,
    pub(crate) number: u64,
}

/// A packet of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roll {
    pub(crate) is_answer: bool,
    pub(crate) sender: InstanceId,
    pub(crate) target: InstanceId,
    /// Never empty in a packet that was read.
    pub(crate) entries: Vec<RollEntry>,
}

impl Roll {
    /// Whether a datagram is to be read by [`Roll::decode`].
    pub(crate) fn is_one(bytes: &[u8]) -> bool {
        let kind = Prefix::decode(bytes).map(|prefix| prefix.kind);
        matches!(kind, Ok(PacketKind::Call | PacketKind::Present))
    }

    /// Reads one datagram. What it allocates is bounded by [`MAX_ENTRIES`].
    ///
    /// # Errors
    ///
    /// `Truncated` or `Malformed`; nothing of such a datagram may be used.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let prefix = Prefix::decode(bytes)?;
        let is_answer = match prefix.kind {
            PacketKind::Call => false,
            PacketKind::Present => true,
            _ => return Err(WireError::Malformed { what: "kind of a roll" }),
        };
        if prefix.length != bytes.len() {
            return Err(WireError::Malformed { what: "length of a roll" });
        }
        let (Some(sender), Some(target), Some(entries)) =
            (instance_at(bytes, SENDER_AT), instance_at(bytes, TARGET_AT), bytes.get(ENTRIES_AT..))
        else {
            return Err(WireError::Truncated { what: "roll" });
        };
        let count = entries.len() / ENTRY_LENGTH;
        if !entries.len().is_multiple_of(ENTRY_LENGTH) || count == 0 || count > MAX_ENTRIES {
            return Err(WireError::Malformed { what: "entries of a roll" });
        }
        let entries = entries.chunks_exact(ENTRY_LENGTH);
        let entries = entries.map(|entry| RollEntry {
            topic: TopicHash(u64_at(entry, 0)),
            number: u64_at(entry, 8),
        });
        Ok(Self { is_answer, sender, target, entries: entries.collect() })
    }

    /// Replaces the content of `buffer` with this packet. Entries beyond [`MAX_ENTRIES`] are left
    /// out.
    pub(crate) fn encode(&self, buffer: &mut Vec<u8>) {
        let kind = if self.is_answer { PacketKind::Present } else { PacketKind::Call };
        buffer.clear();
        buffer.extend_from_slice(&Prefix::encode(kind, 0, 0));
        buffer.extend_from_slice(&self.sender.to_bytes());
        buffer.extend_from_slice(&self.target.to_bytes());
        for entry in self.entries.iter().take(MAX_ENTRIES) {
            buffer.extend_from_slice(&entry.topic.0.to_le_bytes());
            buffer.extend_from_slice(&entry.number.to_le_bytes());
        }
        // At most 40 + 80 * 16 bytes.
        let length = u16::try_from(buffer.len()).unwrap_or(u16::MAX);
        buffer[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&length.to_le_bytes());
    }
}

fn instance_at(bytes: &[u8], at: usize) -> Option<InstanceId> {
    bytes.get(at..)?.first_chunk().map(|bytes| InstanceId::from_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::advert::MAX_DISCOVERY_BYTES;
    use proptest::prelude::*;

    fn roll(entries: usize) -> Roll {
        let entry = |number| RollEntry { topic: TopicHash(0x1112_1314_1516_1718), number };
        Roll {
            is_answer: false,
            sender: InstanceId::from_bytes(*b"0123456789abcdef"),
            target: InstanceId::from_bytes(*b"fedcba9876543210"),
            entries: (0..entries as u64).map(|number| entry(number + 5)).collect(),
        }
    }

    /// `docs/wire-protocol.md`, "CALL" and "PRESENT".
    #[test]
    fn golden_bytes_of_a_call_and_its_answer() {
        let mut bytes = Vec::new();
        roll(1).encode(&mut bytes);
        let mut expected = vec![b'V', b'G', 1, 25, 56, 0, 0, 0];
        expected.extend_from_slice(b"0123456789abcdef");
        expected.extend_from_slice(b"fedcba9876543210");
        expected.extend_from_slice(&[0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]);
        expected.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes, expected);
        assert_eq!(Roll::decode(&bytes), Ok(roll(1)));
        let answer = Roll { is_answer: true, ..roll(1) };
        answer.encode(&mut bytes);
        expected[3] = 26;
        assert_eq!(bytes, expected);
        assert_eq!(Roll::decode(&bytes), Ok(answer));
        assert!(Roll::is_one(&bytes) && !Roll::is_one(&bytes[..8]));
    }

    #[test]
    fn a_roll_has_entries_and_not_too_many() {
        let mut bytes = Vec::new();
        roll(0).encode(&mut bytes);
        assert_eq!(Roll::decode(&bytes), Err(WireError::Malformed { what: "entries of a roll" }));
        roll(MAX_ENTRIES + 1).encode(&mut bytes);
        assert!(bytes.len() <= MAX_DISCOVERY_BYTES);
        assert_eq!(Roll::decode(&bytes), Ok(roll(MAX_ENTRIES)));
        bytes.extend_from_slice(&[0; ENTRY_LENGTH]);
        assert_eq!(Roll::decode(&bytes), Err(WireError::Malformed { what: "length of a roll" }));
        let length = u16::try_from(bytes.len()).unwrap();
        bytes[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&length.to_le_bytes());
        assert_eq!(Roll::decode(&bytes), Err(WireError::Malformed { what: "entries of a roll" }));
    }

    proptest! {
        #[test]
        fn mutated_rolls_never_panic(
            entries in 0..3_usize,
            cut in 0..100_usize,
            at in 0..80_usize,
            byte in any::<u8>(),
        ) {
            let mut bytes = Vec::new();
            roll(entries).encode(&mut bytes);
            if let Some(altered) = bytes.get_mut(at) {
                *altered = byte;
            }
            let _ = Roll::decode(&bytes[..bytes.len().min(cut)]);
            if let Ok(read) = Roll::decode(&bytes) {
                let mut again = Vec::new();
                read.encode(&mut again);
                prop_assert_eq!(Roll::decode(&again), Ok(read));
            }
        }
    }
}
