//! Bytes read as a program: the operands of the steps that drive a session. Beside `lib.rs`, above
//! all layers.

use std::time::Duration;

use crate::wire::packet::MAX_SEQUENCE;

/// What is left of the program.
#[derive(Debug)]
pub(super) struct Program<'a> {
    rest: &'a [u8],
}

impl<'a> Program<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next byte; `None` at the end.
    pub(super) fn step(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    /// An operand: what is missing at the end reads as zero.
    pub(super) fn byte(&mut self) -> u8 {
        self.step().unwrap_or_default()
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A packet number as decoders let them through: mostly one near `around`, which takes one
    /// byte, sometimes any.
    pub(super) fn sequence(&mut self, around: u64) -> u64 {
        match self.byte() {
            u8::MAX => self.u64() & MAX_SEQUENCE,
            near => (around + u64::from(near)).saturating_sub(64).min(MAX_SEQUENCE),
        }
    }

    /// From a microsecond to half a minute, in powers of two and their halves.
    pub(super) fn pause(&mut self) -> Duration {
        let byte = self.byte();
        let micros = 1_u64 << (byte % 25);
        Duration::from_micros(micros + if byte >= 128 { micros / 2 } else { 0 })
    }

    /// At most `most` bytes of the program itself.
    pub(super) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(most.min(self.rest.len()));
        self.rest = rest;
        bytes
    }
}
