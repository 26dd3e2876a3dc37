//! The writing side of a ring: messages become frames in the open slot. Layer: ring. Owned by
//! whoever publishes: exactly one `Appender` writes a ring.

mod claim;

use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

pub(crate) use self::claim::Claimed;
use super::copy::{copy, copy_short};
use super::storage::Slots;
use super::{CACHE_LINE, Layout};
use crate::id::TopicHash;
use crate::wire::frame::{
    FLAG_BEGIN, FLAG_END, FLAG_WHOLE, FRAGMENT_LENGTH, FRAME_HEADER_LENGTH, Fragment, FrameHeader,
    FrameKind, SEQUENCE_AT, TOPIC_AT, commit_word,
};
use crate::wire::packet::{
    LENGTH_AT, PACKET_HEADER_LENGTH, PacketHeader, PacketKind, SEQUENCE_AT as PACKET_SEQUENCE_AT,
};

/// How much of the room for the next message is prepared: that of a KiB with its headers.
const MAX_AHEAD: usize = 1152;
/// At most this share of a slot is left unused for a shorter message that would have fitted.
const AHEAD_SHARE: usize = 16;

/// The ring has no free slot: the slowest reader still needs the oldest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A message to append: its body is `prefix` followed by `payload`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: FrameKind,
    pub(crate) publisher: u32,
    pub(crate) topic: TopicHash,
    pub(crate) sequence: u64,
    pub(crate) prefix: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl Entry<'_> {
    pub(crate) const fn body_bytes(&self) -> usize {
        self.prefix.len() + self.payload.len()
    }

    const fn header(&self, flags: u8) -> FrameHeader {
        FrameHeader {
            kind: self.kind,
            flags,
            publisher: self.publisher,
            topic: self.topic,
            sequence: self.sequence,
        }
    }
}

/// Writes frames into a ring.
#[derive(Debug)]
pub(crate) struct Appender {
    slots: Slots,
    /// What every slot begins with; the sequence and the length are filled in per packet.
    header: [u8; PACKET_HEADER_LENGTH],
    /// Packet sequence of the open slot.
    open: u64,
    /// Where that slot begins in the ring.
    start: usize,
    /// Where the next frame goes in the open slot; zero while the slot is not opened yet.
    offset: usize,
    /// Length of the frame before; zero when its slot was closed by hand.
    last: usize,
    /// Length of a frame that fits in at `offset`, with a commit word of zero behind it; zero when none is
    /// known to.
    fitted: usize,
    /// Where the frame behind that one begins.
    next: usize,
    /// Where lines begin between `offset` and here, commit words are zero already.
    zeroed: usize,
    /// First packet sequence whose slot may not be opened yet.
    limit: u64,
    /// Packets with a claim that is neither committed nor given up, in no order.
    claimed: Vec<u64>,
}

impl Appender {
    /// A ring whose packets carry `header`'s identity, starting with packet 0.
    pub(crate) fn new(slots: Slots, header: &PacketHeader) -> Self {
        let limit = slots.layout().slots as u64;
        Self {
            slots,
            header: header.encode(PacketKind::Data, 0),
            open: 0,
            start: 0,
            offset: 0,
            last: 0,
            fitted: 0,
            next: 0,
            zeroed: 0,
            limit,
            claimed: Vec::with_capacity(4),
        }
    }

    pub(crate) const fn layout(&self) -> Layout {
        self.slots.layout()
    }

    /// Packet sequence of the open slot: all packets before it are closed.
    #[inline]
    pub(crate) const fn open_packet(&self) -> u64 {
        self.open
    }

    /// The oldest packet whose slot has not been used again.
    pub(crate) const fn oldest_packet(&self) -> u64 {
        // A slot that is not opened yet still holds its packet of the lap before.
        let used = self.open + if self.offset > 0 { 1 } else { 0 };
        used.saturating_sub(self.layout().slots as u64)
    }

    /// Whether the open slot has frames that are not closed yet.
    #[inline]
    pub(crate) const fn has_open_frames(&self) -> bool {
        self.offset > self.layout().first_frame()
    }

    /// First packet that has an open claim, if any: it and all later ones must wait.
    #[inline]
    pub(crate) fn first_claimed(&self) -> Option<u64> {
        if self.claimed.is_empty() { None } else { self.claimed.iter().copied().min() }
    }

    /// Packets before `limit` may be opened.
    #[inline]
    pub(crate) const fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Free slots, the open one not counted.
    pub(crate) const fn free_packets(&self) -> u64 {
        self.limit.saturating_sub(self.open + if self.offset > 0 { 1 } else { 0 })
    }

    /// Appends a message that fits into one packet. Inlined for the reason given at
    /// `RingPublication::send`.
    ///
    /// # Errors
    ///
    /// [`Full`]: nothing was written.
    #[inline(always)]
    pub(crate) fn append(&mut self, entry: &Entry<'_>) -> Result<(), Full> {
        debug_assert!(entry.body_bytes() <= self.layout().whole_body_bytes());
        let place = self.reserve(FRAME_HEADER_LENGTH + entry.body_bytes())?;
        self.write_header(place, &entry.header(FLAG_WHOLE));
        // SAFETY: `reserve` made room for header and body.
        unsafe {
            let mut target = self.slots.byte(place).add(FRAME_HEADER_LENGTH);
            if !entry.prefix.is_empty() {
                copy(entry.prefix, target);
                target = target.add(entry.prefix.len());
            }
            copy_short(entry.payload, target);
        }
        self.commit(place, entry.kind, FLAG_WHOLE, entry.publisher);
        Ok(())
    }

    /// Appends the fragment of a message that begins at `offset` of its body, and returns how many
    /// bytes of the body it took. A fragment fills the rest of the open slot when that is worth
    /// it, else a new one.
    ///
    /// # Errors
    ///
    /// [`Full`]: nothing was written.
    pub(crate) fn append_fragment(
        &mut self,
        entry: &Entry<'_>,
        offset: usize,
    ) -> Result<usize, Full> {
        let total = entry.body_bytes();
        let part = (total - offset).min(self.layout().fragment_body_bytes());
        let length = FRAME_HEADER_LENGTH + FRAGMENT_LENGTH + part;
        let mut flags = 0;
        if offset == 0 {
            flags |= FLAG_BEGIN;
        }
        if offset + part == total {
            flags |= FLAG_END;
        }
        let place = self.reserve(length)?;
        #[expect(clippy::cast_possible_truncation, reason = "messages are limited to 1 GiB")]
        let position = Fragment { total: total as u32, offset: offset as u32 };
        self.write_header(place, &entry.header(flags));
        // SAFETY: `reserve` made room for header, extension and part.
        unsafe {
            let extension = self.slots.byte(place).add(FRAME_HEADER_LENGTH);
            copy(&position.total.to_le_bytes(), extension);
            copy(&position.offset.to_le_bytes(), extension.add(4));
            copy_body(entry, offset, part, extension.add(FRAGMENT_LENGTH));
        }
        self.commit(place, entry.kind, flags, entry.publisher);
        Ok(part)
    }

    /// Closes the open slot, if it has frames: its packet can be sent, the next frame goes to the
    /// next slot.
    pub(crate) fn close(&mut self) {
        if self.offset <= self.layout().first_frame() {
            return;
        }
        let slot = self.slots.byte(self.start);
        #[expect(clippy::cast_possible_truncation, reason = "packets are at most 65,472 bytes")]
        let length = self.offset as u16;
        // SAFETY: the length field is in the packet header of the open slot, which only the
        // appender writes; readers of shared rings do not use it.
        unsafe { copy(&length.to_le_bytes(), slot.add(LENGTH_AT)) };
        if self.offset + 8 <= self.layout().packet_bytes {
            let end = commit_word(8, FrameKind::End, 0, 0);
            // Release: pairs with the Acquire in `Reader::poll`.
            self.slots.word(self.start + self.offset).store(end.to_le(), Ordering::Release);
        }
        self.open += 1;
        self.start = self.slots.start(self.open);
        self.offset = 0;
        self.last = 0;
        self.fitted = 0;
    }

    /// The bytes of closed packets from `first` on, as many as `most`, as far as they lie in one
    /// piece, and how many they are. All but the last are `packet_bytes` long.
    ///
    /// # Panics
    ///
    /// When `first` is not closed or not held any more, which is a mistake of the caller.
    pub(crate) fn closed_run(&self, first: u64, most: u64) -> (&[u8], u64) {
        assert!(first >= self.oldest_packet(), "the packet has been overwritten");
        let count =
            self.open.saturating_sub(first).min(most).min(self.slots.contiguous_from(first));
        assert!(count > 0, "no closed packet to send");
        let packet_bytes = self.layout().packet_bytes;
        let last = first + count - 1;
        // SAFETY: closed slots in [first, last] are not written any more: the appender opens a slot
        // again only past `limit`, which needs `&mut self`, and claims in them are resolved (the
        // caller stops at `first_claimed`). The count keeps the range inside the allocation.
        let bytes = unsafe {
            let start = self.slots.byte(self.slots.start(first));
            #[expect(clippy::cast_possible_truncation, reason = "at most the ring's slots")]
            let whole = (count - 1) as usize * packet_bytes;
            let tail = self.slots.byte(self.slots.start(last) + LENGTH_AT).cast::<[u8; 2]>().read();
            std::slice::from_raw_parts(
                start.as_ptr(),
                whole + usize::from(u16::from_le_bytes(tail)),
            )
        };
        (bytes, count)
    }

    /// Whether the next message can be written at once, if its body has so many bytes.
    #[inline]
    pub(crate) const fn is_prepared_for(&self, body_bytes: usize) -> bool {
        self.fitted == FRAME_HEADER_LENGTH + body_bytes
    }

    /// Room for a frame of `length` bytes in the open slot, or in the next one: where it begins in the ring.
    #[inline]
    fn reserve(&mut self, length: usize) -> Result<usize, Full> {
        if self.fitted != length {
            if self.offset == 0 || self.offset + length > self.layout().packet_bytes {
                self.open_slot()?;
            }
            self.fit(length, self.layout().next_frame(self.offset, length));
        }
        let frame = self.start + self.offset;
        self.slots.note_write(frame + FRAME_HEADER_LENGTH, length - FRAME_HEADER_LENGTH);
        Ok(frame)
    }

    /// Takes the room at `offset` for a frame of `length` bytes and zeroes the commit word at `next`, behind
    /// it, unless that is done: the frame could not be seen before its reader has let go of that line.
    #[inline]
    fn fit(&mut self, length: usize, next: usize) {
        let is_zero = next < self.zeroed && next.is_multiple_of(CACHE_LINE);
        if !is_zero && next + 8 <= self.layout().packet_bytes {
            self.slots.word(self.start + next).store(0, Ordering::Relaxed);
        }
        self.fitted = length;
        self.next = next;
    }

    #[cold]
    fn open_slot(&mut self) -> Result<(), Full> {
        let next = if self.offset == 0 { self.open } else { self.open + 1 };
        if next >= self.limit {
            return Err(Full);
        }
        self.close();
        let slot = self.slots.byte(self.start);
        self.slots.note_write(self.start, 16);
        self.slots.note_write(self.start + 24, PACKET_HEADER_LENGTH - 24);
        // SAFETY: nobody reads this slot before its sequence says `next`; readers of the previous
        // lap are done with it, that is what `limit` says.
        unsafe {
            ptr::copy_nonoverlapping(self.header.as_ptr(), slot.as_ptr(), 16);
            ptr::copy_nonoverlapping(
                self.header.as_ptr().add(24),
                slot.as_ptr().add(24),
                PACKET_HEADER_LENGTH - 24,
            );
        }
        let first = self.layout().first_frame();
        self.slots.word(self.start + first).store(0, Ordering::Relaxed);
        // Release: pairs with the Acquire in `Reader::poll`; the zeroed commit word comes first.
        self.slots.word(self.start + PACKET_SEQUENCE_AT).store(next.to_le(), Ordering::Release);
        self.offset = first;
        self.fitted = 0;
        self.zeroed = 0;
        Ok(())
    }

    /// Writes what follows the commit word in the header of the frame that was reserved: words, because a
    /// reader that was cut off may look at them meanwhile.
    #[inline]
    fn write_header(&self, frame: usize, header: &FrameHeader) {
        self.slots.word(frame + TOPIC_AT).store(header.topic.0.to_le(), Ordering::Relaxed);
        self.slots.word(frame + SEQUENCE_AT).store(header.sequence.to_le(), Ordering::Relaxed);
    }

    /// Moves past the frame that was fitted in.
    #[inline]
    const fn step_over(&mut self) {
        self.offset = self.next;
        self.last = self.fitted;
        self.fitted = 0;
    }

    /// Does what can be done for the next message before it comes, if it is as long as the last one: then
    /// all that is left is to write it. Takes its cache lines, by a store to each: a commit waits for the
    /// stores before it, and a line that a reader has read a lap ago takes as long to come as the message
    /// takes to be seen. For rings that others read.
    #[inline]
    pub(crate) fn prepare_next(&mut self) {
        let length = self.last;
        if self.offset + length > self.layout().packet_bytes && !self.open_ahead() {
            return;
        }
        let next = self.layout().next_frame(self.offset, length);
        // A reader may be looking at the line at `offset`.
        let mut at = (self.offset & !(CACHE_LINE - 1)) + CACHE_LINE;
        let end = (next.min(self.offset + MAX_AHEAD) + 8).min(self.layout().packet_bytes);
        while at < end {
            self.slots.note_write(self.start + at, 8);
            self.slots.word(self.start + at).store(0, Ordering::Relaxed);
            at += CACHE_LINE;
        }
        self.zeroed = at;
        if length > 0 {
            self.fit(length, next);
        }
    }

    /// Opens the next slot before there is a message for it, which then goes as fast as the others: its
    /// reader has found the end of this slot meanwhile. Not where that would leave much of it unused,
    /// and not while the next one is still read.
    #[cold]
    fn open_ahead(&mut self) -> bool {
        let last = self.last;
        // When the ring is full, it is opened once a message comes.
        let is_open = last <= self.layout().packet_bytes / AHEAD_SHARE && self.open_slot().is_ok();
        if is_open {
            self.last = last;
        }
        is_open
    }

    /// Makes the frame that was reserved visible.
    #[inline]
    fn commit(&mut self, frame: usize, kind: FrameKind, flags: u8, publisher: u32) {
        #[expect(clippy::cast_possible_truncation, reason = "fits into one packet")]
        let word = commit_word(self.fitted as u16, kind, flags, publisher);
        // Release: pairs with the Acquire in `Reader::poll`.
        self.slots.word(frame).store(word.to_le(), Ordering::Release);
        self.step_over();
    }
}

/// Copies `length` bytes from `offset` of the body, which lies in two pieces.
///
/// # Safety
///
/// `target` is valid for writes of `length` bytes, and `offset + length` is within the body.
unsafe fn copy_body(entry: &Entry<'_>, offset: usize, length: usize, target: NonNull<u8>) {
    let split = entry.prefix.len();
    let from_prefix = split.saturating_sub(offset).min(length);
    // SAFETY: by contract.
    unsafe {
        copy(&entry.prefix[split.min(offset)..][..from_prefix], target);
        let start = (offset + from_prefix) - split.min(offset + from_prefix);
        copy(&entry.payload[start..][..length - from_prefix], target.add(from_prefix));
    }
}
