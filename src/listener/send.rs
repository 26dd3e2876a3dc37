//! What became of a send. Layer: listener.

use thiserror::Error;

/// A message was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendStatus {
    /// Handed to the transport, or about to be within the documented coalescing bound.
    Sent,
    /// As [`SendStatus::Sent`], but discovery knows nobody who listens. Information, not failure: a
    /// subscriber that has not been discovered yet may still receive it on multicast.
    NoSubscribers,
}

/// A message was not accepted. Nothing was sent, and no sequence number was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The slowest receiver or the socket cannot take more now. Try again later.
    #[error("back-pressured: receivers or the socket cannot take more now")]
    BackPressured,
    /// The message is larger than `[limits] max_message_bytes`, or a claim is larger than a packet.
    #[error("message of {bytes} bytes is too large (allowed: 0..={limit_bytes})")]
    TooLarge {
        /// Size of the refused message.
        bytes: usize,
        /// The largest size that is accepted.
        limit_bytes: usize,
    },
    /// The instance was closed.
    #[error("the instance is closed")]
    Closed,
}
