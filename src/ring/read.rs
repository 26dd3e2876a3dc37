//! The reading side of a shared ring: frames are read where they lie. Layer: ring. Owned by the
//! poller that polls it.

use std::sync::atomic::Ordering;

use super::storage::Slots;
use crate::transport::demote;
use crate::wire::frame::{FRAME_HEADER_LENGTH, align, committed_length, is_end};
use crate::wire::packet::PACKET_HEADER_LENGTH;

/// As much is moved out of the caches at once: messages that come one by one do not wait for it
/// each time.
const DEMOTED_BYTES: usize = 1024;

/// A position in a ring that another thread or process writes.
#[derive(Debug)]
pub(crate) struct Reader {
    slots: Slots,
    /// Packet being read.
    packet: u64,
    /// Where the next frame of it is expected.
    offset: usize,
    /// What has been read is moved out of the caches.
    demotes: bool,
    /// How far that was done in this packet.
    demoted: usize,
}

/// The writer broke the rules of the ring: its frames can no longer be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

impl Reader {
    /// Reads from the beginning of `packet` on.
    pub(crate) const fn new(slots: Slots, packet: u64) -> Self {
        Self { slots, packet, offset: PACKET_HEADER_LENGTH, demotes: false, demoted: 0 }
    }

    /// Packet being read: all packets before it are done with.
    pub(crate) const fn packet(&self) -> u64 {
        self.packet
    }

    /// Whether to move what has been read out of the caches, see [`demotion`](super::demotion).
    pub(crate) const fn set_demoting(&mut self, demotes: bool) {
        self.demotes = demotes;
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
                    if self.demotes {
                        self.demote();
                    }
                    self.packet += 1;
                    self.offset = PACKET_HEADER_LENGTH;
                    self.demoted = 0;
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
            let goes_on = on_frame(frame);
            if self.demotes && self.offset - self.demoted >= DEMOTED_BYTES {
                self.demote();
            }
            if !goes_on {
                break;
            }
        }
        Ok(count)
    }

    /// Moves what has been read of this packet out of the caches, but for the line at the current
    /// offset.
    #[inline]
    fn demote(&mut self) {
        let length = self.offset - self.demoted;
        // SAFETY: the offset lies within the slot, and the writer leaves what is before it alone
        // until this reader's position is past the packet.
        let read = unsafe {
            let start = self.slots.slot(self.packet).add(self.demoted);
            std::slice::from_raw_parts(start.as_ptr(), length)
        };
        demote(read);
        self.demoted = self.offset;
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
