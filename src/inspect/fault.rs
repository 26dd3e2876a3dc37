//! What is wrong with a packet, and where. Layer: inspect.

use std::fmt;

use crate::wire::{Refusal, WireError};

/// Why a receiver does not use a packet, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Where in the packet the part begins that is wrong, missing or not known; in what a RELAY carries, counted
    /// from the beginning of that.
    pub offset: usize,
    /// What is the matter with it.
    pub cause: Cause,
}

/// What can be the matter with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The packet is of a version that this build does not read.
    Version {
        /// The version of the packet.
        found: u8,
    },
    /// The packet is of a kind that this build does not know. A later revision may have assigned it.
    Kind {
        /// The kind of the packet.
        found: u8,
    },
    /// The bytes end before the part does.
    Truncated {
        /// The part.
        what: &'static str,
    },
    /// The part has a value that no sender writes.
    Malformed {
        /// The part.
        what: &'static str,
    },
    /// The capture has not all of the packet. What is there is right.
    Cut,
}

impl Fault {
    pub(super) const fn cut(offset: usize) -> Self {
        Self { offset, cause: Cause::Cut }
    }

    pub(super) const fn of(offset: usize, error: WireError) -> Self {
        let cause = match error {
            WireError::Truncated { what } => Cause::Truncated { what },
            WireError::Foreign => Cause::Malformed { what: "magic" },
            WireError::Version { found } => Cause::Version { found },
            WireError::Kind { found } => Cause::Kind { found },
            WireError::Malformed { what } => Cause::Malformed { what },
        };
        Self { offset, cause }
    }

    /// Whether a receiver of this version refuses the packet, or some of it, for what its sender wrote.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self.cause, Cause::Truncated { .. } | Cause::Malformed { .. })
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::of(refusal.at, refusal.error)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { found } => write!(f, "version {found} is not read"),
            Self::Kind { found } => write!(f, "kind {found} is not known"),
            Self::Truncated { what } => write!(f, "truncated {what}"),
            Self::Malformed { what } => write!(f, "malformed {what}"),
            Self::Cut => f.write_str("cut by the capture"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at byte {}", self.cause, self.offset)
    }
}
