//! The packet ring: fixed-size slots, each one packet; the slot index is the packet sequence
//! modulo the number of slots. Layer: ring, above `transport` (which maps the memory) and `wire`
//! (which says what a slot contains).
//!
//! One writer ([`append::Appender`]) frames messages into the open slot. Everything else reads:
//! the UDP socket takes runs of closed slots, and readers in other processes map the same memory
//! and read frames in place ([`read::Reader`]). [`shared`] adds what processes need to agree on: a
//! file header and a table of readers with their positions.
//!
//! # How a reader knows that a slot and a frame are complete
//!
//! * A slot belongs to packet *p* once its sequence field, stored last when the slot is opened,
//!   says *p*.
//! * A frame is complete once its commit word is not zero. The writer zeroes the following commit
//!   word before it stores this one, if it has not done so before, so what an earlier lap left behind
//!   is never taken for a frame.
//! * A packet is over when an `End` frame says so, or when too little room for a frame is left.

#![allow(unsafe_code, reason = "shared memory is read and written through raw pointers here")]

pub(crate) mod append;
#[cfg(all(test, loom))]
mod checked;
mod copy;
#[cfg(test)]
mod fixture;
mod joining;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod read;
pub(crate) mod shared;
pub(crate) mod storage;
pub(crate) mod trials;

use std::ops::Range;

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU64, fence};
#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU64, fence};

use crate::wire::frame::{FRAGMENT_LENGTH, FRAME_ALIGNMENT, FRAME_HEADER_LENGTH};
use crate::wire::packet::PACKET_HEADER_LENGTH;

/// Bytes that travel between processor cores together.
const CACHE_LINE: usize = 64;

/// Lengths of frames that the next one follows closely in any ring. To begin each of these with a line makes a
/// stream of them longer by up to two fifths, and their round trips no shorter. Shorter ones have one line, or two,
/// to themselves; longer ones lose little room.
const PACKED_FRAMES: Range<usize> = 129..512;

/// Sizes of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bytes of a slot, and of the largest packet: a multiple of 64, so that slots do not share
    /// cache lines.
    pub(crate) packet_bytes: usize,
    /// Number of slots: a power of two.
    pub(crate) slots: usize,
    /// Frames begin at multiples of this, but for those behind [`PACKED_FRAMES`].
    frame_alignment: usize,
    /// Where the first frame of a slot begins.
    first_frame: usize,
}

impl Layout {
    /// Slots that are sent as they are: frames follow each other as they do on the network.
    pub(crate) const fn packets(packet_bytes: usize, slots: usize) -> Self {
        Self::aligned(packet_bytes, slots, FRAME_ALIGNMENT)
    }

    /// Slots that are read where they are: frames begin with a cache line, so that their writer and
    /// the reader that waits for them have no more than the lines of one message to do with, where that is
    /// worth the room.
    pub(crate) const fn lines(packet_bytes: usize, slots: usize) -> Self {
        Self::aligned(packet_bytes, slots, CACHE_LINE)
    }

    const fn aligned(packet_bytes: usize, slots: usize, frame_alignment: usize) -> Self {
        let first_frame = PACKET_HEADER_LENGTH.next_multiple_of(frame_alignment);
        Self { packet_bytes, slots, frame_alignment, first_frame }
    }

    /// The smallest ring that holds `window_bytes` of packets, twice: once in flight, once being
    /// filled.
    pub(crate) fn for_window(packet_bytes: usize, window_bytes: usize) -> Self {
        debug_assert!(packet_bytes.is_multiple_of(CACHE_LINE), "validated by the configuration");
        let window_packets = window_bytes.div_ceil(packet_bytes).max(1);
        Self::packets(packet_bytes, (2 * window_packets).next_power_of_two())
    }

    /// The same for a ring that is read where it is.
    pub(crate) fn for_shared_window(packet_bytes: usize, window_bytes: usize) -> Self {
        let Self { slots, .. } = Self::for_window(packet_bytes, window_bytes);
        Self::lines(packet_bytes, slots)
    }

    /// Where the first frame of a slot begins.
    #[inline]
    pub(crate) const fn first_frame(self) -> usize {
        self.first_frame
    }

    /// Where the frame begins that follows one of `length` bytes at `offset`.
    #[inline]
    pub(crate) const fn next_frame(self, offset: usize, length: usize) -> usize {
        let is_packed = PACKED_FRAMES.start <= length && length < PACKED_FRAMES.end;
        let alignment = if is_packed { FRAME_ALIGNMENT } else { self.frame_alignment };
        (offset + length + alignment - 1) & !(alignment - 1)
    }

    pub(crate) const fn bytes(self) -> usize {
        self.packet_bytes * self.slots
    }

    /// Largest body that fits into one packet.
    pub(crate) const fn whole_body_bytes(self) -> usize {
        self.packet_bytes - self.first_frame - FRAME_HEADER_LENGTH
    }

    /// Largest part of a body that one fragment carries.
    pub(crate) const fn fragment_body_bytes(self) -> usize {
        self.whole_body_bytes() - FRAGMENT_LENGTH
    }

    /// Packets that may be on the way: half of the ring at most, the other half is being filled.
    pub(crate) fn window_packets(self, window_bytes: usize) -> u32 {
        let packets = (window_bytes / self.packet_bytes).clamp(1, self.slots / 2);
        u32::try_from(packets).unwrap_or(u32::MAX)
    }

    /// Packets that a body of `bytes` takes.
    pub(crate) const fn packets_for(self, bytes: usize) -> usize {
        if bytes <= self.whole_body_bytes() {
            1
        } else {
            bytes.div_ceil(self.fragment_body_bytes())
        }
    }
}

#[cfg(test)]
mod tests;
