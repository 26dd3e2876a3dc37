//! A message that its publisher writes in place. Layer: instance. Belongs to one thread at a time.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::Publisher;
use crate::engine::PublisherLink;
use crate::listener::SendStatus;
use crate::ring::append::Claimed;

/// Room for a message, written in place: dereferences to its bytes. What is not written has
/// arbitrary content.
#[must_use = "a claim that is dropped is given up"]
pub struct Claim<'a> {
    pub(super) publisher: &'a mut Publisher,
    /// Present until it is resolved.
    pub(super) claimed: Option<Claimed>,
}

impl Claim<'_> {
    /// Sends the message.
    pub fn commit(mut self) -> SendStatus {
        let (sequence, bytes) = (self.publisher.sequence + 1, self.len());
        if let Some(claimed) = self.claimed.take() {
            match &mut self.publisher.published.link {
                PublisherLink::Udp(publication) => publication.commit(claimed, sequence),
                PublisherLink::Ring(ring) => ring.commit(claimed, sequence),
            }
        }
        self.publisher.accepted(sequence, bytes)
    }

    /// Gives the room back without sending anything.
    pub fn abort(self) {}
}

impl Deref for Claim<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.claimed.as_ref().map_or(&[], Claimed::body)
    }
}

impl DerefMut for Claim<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.claimed.as_mut().map_or(&mut [], Claimed::body_mut)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(claimed) = self.claimed.take() {
            match &mut self.publisher.published.link {
                PublisherLink::Udp(publication) => publication.abandon(claimed),
                PublisherLink::Ring(ring) => ring.abandon(claimed),
            }
        }
    }
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("bytes", &self.len()).finish_non_exhaustive()
    }
}
