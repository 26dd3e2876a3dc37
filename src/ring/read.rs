//! The reading side of a shared ring: frames are read where they lie. Layer: ring. Owned by the
//! poller that polls it.
//!
//! # What a reader that was cut off can see
//!
//! The writer gives up a reader by a word in the table of readers, and only then uses the slots again
//! that the reader needs. The reader, which may have been stopped at any instruction, copies the
//! header of a frame word by word, with Acquire, and looks at its word in the table after that: if it
//! still has its place, what it has copied is the frame's. Otherwise it may be anything, and is
//! forgotten. The same goes for what is copied of the body. A body that is read where it lies is safe
//! only as long as the writer waits.

use std::sync::atomic::Ordering;

use super::storage::{Slot, Slots};
use crate::transport::{demote, fetch};
use crate::wire::frame::{
    FRAME_HEADER_LENGTH, HeaderWords, SEQUENCE_AT, TOPIC_AT, committed_length, is_end,
};
use crate::wire::packet::SEQUENCE_AT as PACKET_SEQUENCE_AT;

/// As much is moved out of the caches at once: messages that come one by one do not wait for it
/// each time.
const DEMOTED_BYTES: usize = 1024;

/// How many messages ahead the next header is fetched: a line takes as long to come from the writer's
/// core as several small messages take to be read.
const FETCHED_AHEAD: usize = 8;
/// The same of messages that take this many bytes of the ring and more.
const FETCHED_AHEAD_LONG: usize = 4;
const LONG_BYTES: usize = 384;
/// Still longer frames take their writer as long as the line takes: to fetch it would take it away from
/// there.
const MAX_FETCHED_BYTES: usize = 576;

/// A position in a ring that another thread or process writes.
#[derive(Debug)]
pub(crate) struct Reader {
    slots: Slots,
    /// Packet being read.
    packet: u64,
    /// Where its slot begins in the ring.
    start: usize,
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
        let start = slots.start(packet);
        let offset = slots.layout().first_frame();
        Self { slots, packet, start, offset, demotes: false, demoted: 0 }
    }

    /// Packet being read: all packets before it are done with.
    pub(crate) const fn packet(&self) -> u64 {
        self.packet
    }

    /// Whether the writer has not come further than this.
    #[inline]
    pub(crate) fn is_at_edge(&self) -> bool {
        matches!(self.look(), Ok(Found::Nothing))
    }

    /// Whether to move what has been read out of the caches, see [`trials`](super::trials).
    pub(crate) const fn set_demoting(&mut self, demotes: bool) {
        self.demotes = demotes;
    }

    /// Passes what was committed so far in the current packet: a late joiner starts at the live
    /// edge. Bounded by one packet. Returns the sequence that the last frame carries, if there is one.
    pub(crate) fn skip_committed(&mut self) -> Option<u64> {
        let mut last = None;
        while let Ok(Found::Frame(word)) = self.look() {
            let header = header(self.slots.slot(self.start), self.offset, word);
            last = header.decode().ok().map(|header| header.sequence);
            self.offset = self.slots.layout().next_frame(self.offset, committed_length(word));
        }
        last
    }

    /// Hands out at most `limit` frames, as long as `on_frame` wants another, and returns how many
    /// there were. `on_frame` gets a copy of the header and the rest where it lies; before it makes use
    /// of either it has to know that this reader still has its place, see above.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] when a frame contradicts itself; reading cannot go on then.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        limit: usize,
        mut on_frame: impl FnMut(HeaderWords, &[u8]) -> bool,
    ) -> Result<usize, Corrupt> {
        let mut count = 0;
        while self.read_packet(limit, &mut count, &mut on_frame)? == Stopped::AtEnd {
            if self.demotes {
                demote_read(self.slots.slot(self.start), self.demoted, self.offset);
            }
            self.packet += 1;
            self.start = self.slots.start(self.packet);
            self.offset = self.slots.layout().first_frame();
            self.demoted = 0;
        }
        Ok(count)
    }

    /// Hands out frames of the current packet, until `count` is `limit`. What changes with each frame is
    /// kept apart from the rest meanwhile: each look at the ring would have it stored and read again.
    #[inline(always)]
    fn read_packet(
        &mut self,
        limit: usize,
        count: &mut usize,
        on_frame: &mut impl FnMut(HeaderWords, &[u8]) -> bool,
    ) -> Result<Stopped, Corrupt> {
        let (layout, slot) = (self.slots.layout(), self.slots.slot(self.start));
        let mut offset = self.offset;
        if offset == layout.first_frame() && !is_opened(slot, self.packet) {
            return Ok(Stopped::Before);
        }
        let stopped = loop {
            if *count == limit {
                break Stopped::Before;
            }
            let word = match look_at(slot, offset)? {
                Found::Frame(word) => word,
                Found::End => break Stopped::AtEnd,
                Found::Nothing => break Stopped::Before,
            };
            let length = committed_length(word);
            let (body, body_bytes) = (offset + FRAME_HEADER_LENGTH, length - FRAME_HEADER_LENGTH);
            slot.note_read(body, body_bytes);
            // SAFETY: `look_at` checked that the frame lies within the slot. The writer stored the
            // commit word after the frame's bytes and leaves them alone until this reader's
            // position is past the packet, or the reader has been cut off: that is for `on_frame` to
            // find out.
            let rest = unsafe { std::slice::from_raw_parts(slot.byte(body).as_ptr(), body_bytes) };
            let header = header(slot, offset, word);
            *count += 1;
            if *count > FETCHED_AHEAD {
                fetch_ahead(slot, offset, layout.next_frame(offset, length) - offset);
            }
            let goes_on = on_frame(header, rest);
            offset = layout.next_frame(offset, length);
            if self.demotes && offset - self.demoted >= DEMOTED_BYTES {
                demote_read(slot, self.demoted, offset);
                self.demoted = offset;
            }
            if !goes_on {
                break Stopped::Before;
            }
        };
        self.offset = offset;
        Ok(stopped)
    }

    /// What is at the current offset.
    #[inline]
    fn look(&self) -> Result<Found, Corrupt> {
        let slot = self.slots.slot(self.start);
        let is_first = self.offset == self.slots.layout().first_frame();
        if is_first && !is_opened(slot, self.packet) {
            return Ok(Found::Nothing);
        }
        look_at(slot, self.offset)
    }
}

/// What is at an offset of a slot that is open. Looks at each word once: at the live edge, each look
/// takes the cache line away from the writer.
#[inline]
fn look_at(slot: Slot<'_>, offset: usize) -> Result<Found, Corrupt> {
    if offset + 8 > slot.bytes() {
        return Ok(Found::End);
    }
    // Acquire: pairs with the Release in `Appender::commit`, `Appender::resolve_claim` and
    // `Appender::close`.
    let word = u64::from_le(slot.word(offset).load(Ordering::Acquire));
    if word == 0 {
        return Ok(Found::Nothing);
    }
    if is_end(word) {
        return Ok(Found::End);
    }
    let length = committed_length(word);
    if length < FRAME_HEADER_LENGTH || offset + length > slot.bytes() {
        return Err(Corrupt);
    }
    Ok(Found::Frame(word))
}

/// The header of the frame at an offset, whose commit word this is.
#[inline]
fn header(slot: Slot<'_>, offset: usize, commit: u64) -> HeaderWords {
    // Acquire: these come before the look at this reader's own word that says whether they count.
    let at = |field| u64::from_le(slot.word(offset + field).load(Ordering::Acquire));
    HeaderWords { commit, topic: at(TOPIC_AT), sequence: at(SEQUENCE_AT) }
}

/// Whether a slot belongs to this packet.
#[inline]
fn is_opened(slot: Slot<'_>, packet: u64) -> bool {
    // Acquire: pairs with the Release in `Appender::open_slot`.
    u64::from_le(slot.word(PACKET_SEQUENCE_AT).load(Ordering::Acquire)) == packet
}

/// Has the header of a message to come brought here meanwhile, in a stream of frames that are so far apart.
/// Only behind others: the writer is that far ahead then.
#[inline]
fn fetch_ahead(slot: Slot<'_>, offset: usize, stride: usize) {
    let messages = if stride < LONG_BYTES { FETCHED_AHEAD } else { FETCHED_AHEAD_LONG };
    let ahead = offset + (messages + 1) * stride;
    if stride <= MAX_FETCHED_BYTES && ahead < slot.bytes() {
        fetch(slot.byte(ahead));
    }
}

/// Moves what has been read between two offsets out of the caches, but for the line of the second.
#[inline]
fn demote_read(slot: Slot<'_>, from: usize, to: usize) {
    // SAFETY: both lie within the slot, and the writer leaves what is before the current offset alone
    // until this reader's position is past the packet.
    demote(unsafe { std::slice::from_raw_parts(slot.byte(from).as_ptr(), to - from) });
}

/// The sequence that the last frame of a closed packet carries, unless the writer has begun to use its
/// slot again.
pub(super) fn last_sequence(slots: Slots, packet: u64) -> Option<u64> {
    let mut reader = Reader::new(slots, packet);
    let last = reader.skip_committed();
    // What was read came before, with Acquire; the writer stores the sequence of a slot before frames.
    is_opened(reader.slots.slot(reader.start), packet).then_some(last)?
}

/// Why a reader goes no further.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// The packet is over.
    AtEnd,
    /// Before the frame at the current offset, which is not there yet or not wanted.
    Before,
}

/// What a reader finds where it stands.
enum Found {
    /// A committed frame with this commit word, whose length is plausible.
    Frame(u64),
    /// The packet is over.
    End,
    /// The writer has not come this far.
    Nothing,
}
