//! The report of lost messages. Layer: listener.

use crate::id::{InstanceId, PublisherId};

/// Messages of one publisher that will never be delivered. Reported before the next message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageLoss<'a> {
    pub(crate) topic: &'a str,
    pub(crate) sender: InstanceId,
    pub(crate) publisher: PublisherId,
    pub(crate) messages: u64,
}

impl MessageLoss<'_> {
    /// The topic.
    #[must_use]
    pub const fn topic(&self) -> &str {
        self.topic
    }

    /// The instance that sent the lost messages.
    #[must_use]
    pub const fn sender(&self) -> InstanceId {
        self.sender
    }

    /// The publisher that sent them.
    #[must_use]
    pub const fn publisher_id(&self) -> PublisherId {
        self.publisher
    }

    /// Exactly how many messages are missing.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages
    }
}
