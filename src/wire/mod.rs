//! Every byte layout that leaves the process. Layer: wire, above `id`, below everything that
//! sends or receives. Plain functions over byte slices; no thread owns anything here.
//!
//! All integers are little-endian. A `View` checks a datagram once and is safe to read afterwards;
//! the `encode_*` functions write what a view reads. `docs/wire-protocol.md` is normative and the
//! golden-byte tests of the submodules hold the code to it.

pub(crate) mod advert;
pub(crate) mod control;
pub(crate) mod frame;
pub(crate) mod locator;
pub(crate) mod packet;
pub(crate) mod roll;

use thiserror::Error;

/// Why bytes from outside were refused. Counted, then dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum WireError {
    /// Fewer bytes than the layout needs.
    #[error("truncated {what}")]
    Truncated {
        /// The layout that was being read.
        what: &'static str,
    },
    /// Not ours: the magic number is missing.
    #[error("not a vega packet")]
    Foreign,
    /// A version that this build does not speak.
    #[error("wire version {found} is not supported")]
    Version {
        /// The version byte of the packet.
        found: u8,
    },
    /// Of a later revision, or damaged.
    #[error("packet kind {found} is not known")]
    Kind {
        /// The kind byte of the packet.
        found: u8,
    },
    /// A field has a value that no sender writes.
    #[error("malformed {what}")]
    Malformed {
        /// The field.
        what: &'static str,
    },
}

/// Why a packet was refused, and where. Only those who show packets to people look at the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Where in the packet the field begins that is wrong or missing.
    pub(crate) at: usize,
    pub(crate) error: WireError,
}
