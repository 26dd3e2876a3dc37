//! Where the packets of a datagram begin and end. Layer: inspect.
//!
//! A run of packets carries no word on where it is split. All packets of a run but the last have one length, that of
//! the sender's slots, which can be more than what they need; a receiver is told it by the kernel
//! (`UDP_SEGMENT`, `UDP_GRO`), and who reads a capture has to find it.

use std::ops::Range;

use crate::wire::WireError;
use crate::wire::packet::{PREFIX_LENGTH, PacketKind, Prefix, SESSION_AT};

/// The maximum length of a session's packets is a multiple of this.
const SLOT_UNIT: usize = 64;

/// The places of the packets in a payload that had `sent_bytes`, in order; none if it is not ours. Only the last
/// one can reach beyond what is there.
pub(super) fn packets(
    payload: &[u8],
    sent_bytes: usize,
) -> impl Iterator<Item = Range<usize>> + use<'_> {
    let run = Run { payload, sent_bytes };
    let segment = if run.is_packet(0) { run.segment_bytes() } else { sent_bytes };
    let mut at = 0;
    std::iter::from_fn(move || {
        // Another version is no part of a run: nothing is known of it but that.
        let is_one = run.is_packet(at) || at == 0 && run.has_other_version();
        is_one.then(|| {
            let start = at;
            at = start.saturating_add(segment).min(sent_bytes);
            start..at
        })
    })
}

struct Run<'a> {
    payload: &'a [u8],
    sent_bytes: usize,
}

impl Run<'_> {
    fn prefix(&self, at: usize) -> Option<Result<Prefix, WireError>> {
        let bytes = self.payload.get(at..)?;
        let is_there = bytes.len() >= PREFIX_LENGTH;
        // What a packet says of its length is judged later.
        is_there.then(|| Prefix::decode_captured(bytes, usize::from(u16::MAX)))
    }

    fn claims(&self, at: usize) -> Option<(u8, usize)> {
        Prefix::claims(self.payload.get(at..)?)
    }

    /// Whether a packet begins there: magic and version, and then a kind that there is, or the length of all
    /// the rest.
    fn is_packet(&self, at: usize) -> bool {
        match self.prefix(at) {
            None | Some(Err(WireError::Foreign | WireError::Version { .. })) => false,
            Some(Err(WireError::Kind { .. })) => {
                self.claims(at).is_some_and(|(_, length)| length == self.sent_bytes - at)
            }
            Some(_) => true,
        }
    }

    fn has_other_version(&self) -> bool {
        matches!(self.prefix(0), Some(Err(WireError::Version { .. })))
    }

    /// The length of all packets but the last.
    fn segment_bytes(&self) -> usize {
        let length = self.claims(0).map_or(0, |(_, length)| length).max(PREFIX_LENGTH);
        if self.is_packet(length) {
            return length;
        }
        let slots = (length.next_multiple_of(SLOT_UNIT)..self.payload.len()).step_by(SLOT_UNIT);
        let mut starts = slots.filter(|at| self.is_packet(*at) && self.is_same_session(*at));
        starts.next().unwrap_or(self.sent_bytes)
    }

    /// Whether the packet that begins there, which can be of any kind, is of the session of the first one.
    fn is_same_session(&self, at: usize) -> bool {
        let is_of_session =
            self.claims(at).is_some_and(|(kind, _)| kind < PacketKind::Announce.number());
        let session = |at: usize| self.payload.get(at + SESSION_AT..at + SESSION_AT + 8);
        is_of_session && session(at).is_some() && session(at) == session(0)
    }
}
