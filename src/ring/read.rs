//! The reading side of a shared ring: frames are read where they lie. Layer: ring. Owned by the
//! poller that polls it.

use std::sync::atomic::Ordering;

use super::storage::Slots;
use crate::wire::frame::{FRAME_HEADER_LENGTH, align, committed_length, is_end};
use crate::wire::packet::PACKET_HEADER_LENGTH;

/// A position in a ring that another thread or process writes.
#[derive(Debug)]
pub(crate) struct Reader {
    slots: Slots,
    /// Packet being read.
    packet: u64,
    /// Where the next frame of it is expected.
    offset: usize,
}

/// The writer broke the rules of the ring: its frames can no longer be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

impl Reader {
    /// Reads from the beginning of `packet` on.
    pub(crate) const fn new(slots: Slots, packet: u64) -> Self {
        Self { slots, packet, offset: PACKET_HEADER_LENGTH }
    }

    /// Packet being read: all packets before it are done with.
    pub(crate) const fn packet(&self) -> u64 {
        self.packet
    }

    /// Passes what was committed so far in the current packet: a late joiner starts at the live
    /// edge. Bounded by one packet.
    pub(crate) fn skip_committed(&mut self) {
        while let Ok(Found::Frame(length)) = self.look() {
            self.offset += align(length);
        }
    }

    /// Hands out at most `limit` frames, as long as `on_frame` wants another, and returns how many
    /// there were.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] when a frame contradicts itself; reading cannot go on then.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        limit: usize,
        mut on_frame: impl FnMut(&[u8]) -> bool,
    ) -> Result<usize, Corrupt> {
        let mut count = 0;
        while count < limit {
            let length = match self.look()? {
                Found::Frame(length) => length,
                Found::End => {
                    self.packet += 1;
                    self.offset = PACKET_HEADER_LENGTH;
                    continue;
                }
                Found::Nothing => break,
            };
            self.slots.note_read(self.packet, self.offset + 8, length - 8);
            // SAFETY: `look` checked that the frame lies within the slot. The writer stored the
            // commit word after the frame's bytes and leaves them alone until this reader's
            // position is past the packet.
            let frame = unsafe {
                std::slice::from_raw_parts(
                    self.slots.slot(self.packet).add(self.offset).as_ptr(),
                    length,
                )
            };
            self.offset += align(length);
            count += 1;
            if !on_frame(frame) {
                break;
            }
        }
        Ok(count)
    }

    /// What is at the current offset. Looks at each word once: at the live edge, each look takes the
    /// cache line away from the writer.
    #[inline]
    fn look(&self) -> Result<Found, Corrupt> {
        let packet_bytes = self.slots.layout().packet_bytes;
        if self.offset + 8 > packet_bytes {
            return Ok(Found::End);
        }
        if self.offset == PACKET_HEADER_LENGTH && !self.opened() {
            return Ok(Found::Nothing);
        }
        // Acquire: pairs with the Release in `Appender::commit`, `Appender::resolve_claim` and
        // `Appender::close`.
        let word = self.slots.word(self.packet, self.offset).load(Ordering::Acquire);
        let word = u64::from_le(word);
        if word == 0 {
            return Ok(Found::Nothing);
        }
        if is_end(word) {
            return Ok(Found::End);
        }
        let length = committed_length(word);
        if length < FRAME_HEADER_LENGTH || self.offset + length > packet_bytes {
            return Err(Corrupt);
        }
        Ok(Found::Frame(length))
    }

    #[inline]
    fn opened(&self) -> bool {
        // Acquire: pairs with the Release in `Appender::open_slot`.
        let sequence = self.slots.sequence_field(self.packet).load(Ordering::Acquire);
        u64::from_le(sequence) == self.packet
    }
}

/// What a reader finds where it stands.
enum Found {
    /// A committed frame of this length, header included.
    Frame(usize),
    /// The packet is over.
    End,
    /// The writer has not come this far.
    Nothing,
}
