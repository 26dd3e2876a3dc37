//! A publisher that is shared only where it has to be. Layer: bin; used in callbacks.

use vega::{Instance, Publisher, SendError, SendStatus, SharedPublisher};

use super::DISCOVERY;

/// Shared only where somebody else sends as well, because a lock shows in the figures of shared
/// memory.
pub(super) enum Thrower {
    Own(Publisher),
    Shared(SharedPublisher),
}

impl Thrower {
    /// # Errors
    ///
    /// When the instance refuses the publisher.
    pub(super) fn open(instance: &Instance, topic: &str, is_shared: bool) -> anyhow::Result<Self> {
        Ok(match is_shared {
            true => Self::Shared(instance.shared_publisher(topic)?),
            false => Self::Own(instance.publisher(topic)?),
        })
    }

    #[inline]
    pub(super) fn send(&mut self, payload: &[u8]) -> Result<SendStatus, SendError> {
        match self {
            Self::Own(publisher) => publisher.send(payload),
            Self::Shared(publisher) => publisher.send(payload),
        }
    }

    /// Whether so many subscribers were discovered in time.
    pub(super) fn wait_for(&self, subscribers: usize) -> bool {
        match self {
            Self::Own(publisher) => publisher.wait_for_subscribers(subscribers, DISCOVERY),
            Self::Shared(publisher) => publisher.wait_for_subscribers(subscribers, DISCOVERY),
        }
    }
}
