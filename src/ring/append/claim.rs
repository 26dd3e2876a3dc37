//! Messages that are written in place: room in the open slot that readers stop before until it is resolved.
//! Layer: ring. A claim belongs to its publisher, which gives it back to the ring's `Appender`.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::{Appender, Full};
use crate::wire::frame::{
    FLAG_WHOLE, FRAME_HEADER_LENGTH, FrameHeader, FrameKind, SEQUENCE_AT, commit_word,
};

/// Room for a message that its publisher writes in place.
#[derive(Debug)]
pub(crate) struct Claimed {
    frame: NonNull<u8>,
    packet: u64,
    body_bytes: usize,
    publisher: u32,
    kind: FrameKind,
}

// SAFETY: the claimed bytes belong to the claim alone until it is committed or given up.
unsafe impl Send for Claimed {}

impl Claimed {
    /// The body to write.
    pub(crate) fn body_mut(&mut self) -> &mut [u8] {
        // SAFETY: `Appender::claim` reserved these bytes for this claim; nobody else reads or
        // writes them before the commit word is stored.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.frame.add(FRAME_HEADER_LENGTH).as_ptr(),
                self.body_bytes,
            )
        }
    }

    /// What has been written so far.
    pub(crate) fn body(&self) -> &[u8] {
        // SAFETY: as in `body_mut`.
        unsafe {
            std::slice::from_raw_parts(
                self.frame.add(FRAME_HEADER_LENGTH).as_ptr(),
                self.body_bytes,
            )
        }
    }
}

impl Appender {
    /// Reserves room for a message that is written in place. Readers stop before it until
    /// [`Appender::commit_claim`] or [`Appender::abandon_claim`].
    ///
    /// # Errors
    ///
    /// [`Full`]: nothing was reserved.
    pub(crate) fn claim(
        &mut self,
        header: &FrameHeader,
        body_bytes: usize,
    ) -> Result<Claimed, Full> {
        debug_assert!(body_bytes <= self.layout().whole_body_bytes());
        let place = self.reserve(FRAME_HEADER_LENGTH + body_bytes)?;
        self.write_header(place, header);
        self.step_over();
        self.claimed.push(self.open);
        Ok(Claimed {
            frame: self.slots.byte(place),
            packet: self.open,
            body_bytes,
            publisher: header.publisher,
            kind: header.kind,
        })
    }

    /// Makes a claimed message visible, with the sequence it gets now.
    pub(crate) fn commit_claim(&mut self, claim: Claimed, sequence: u64) {
        let at = self.place_of(&claim) + SEQUENCE_AT;
        self.slots.word(at).store(sequence.to_le(), Ordering::Relaxed);
        self.resolve_claim(claim, None);
    }

    /// Turns a claim into padding.
    pub(crate) fn abandon_claim(&mut self, claim: Claimed) {
        self.resolve_claim(claim, Some(FrameKind::Padding));
    }

    fn resolve_claim(&mut self, claim: Claimed, kind: Option<FrameKind>) {
        #[expect(clippy::cast_possible_truncation, reason = "fits into one packet")]
        let length = (FRAME_HEADER_LENGTH + claim.body_bytes) as u16;
        let word = commit_word(length, kind.unwrap_or(claim.kind), FLAG_WHOLE, claim.publisher);
        let at = self.place_of(&claim);
        self.slots.note_write(at + FRAME_HEADER_LENGTH, claim.body_bytes);
        // Release: pairs with the Acquire in `Reader::poll`.
        self.slots.word(at).store(word.to_le(), Ordering::Release);
        if let Some(at) = self.claimed.iter().position(|packet| *packet == claim.packet) {
            self.claimed.swap_remove(at);
        }
    }

    fn place_of(&self, claim: &Claimed) -> usize {
        // SAFETY: a claim lies inside the ring.
        unsafe { claim.frame.offset_from_unsigned(self.slots.byte(0)) }
    }
}
