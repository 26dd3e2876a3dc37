//! A subscription as a channel: owned messages for threads of the user's own. Layer: listener.
//! The poller is the only sender; it never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::{Listener, Message, MessageLoss, OwnedMessage, OwnedRequest, Request};
use crate::id::{InstanceId, PublisherId};

/// What comes out of a channel subscription.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Delivery {
    /// A message.
    Message(OwnedMessage),
    /// A request, to be answered from any thread.
    Request(OwnedRequest),
    /// Messages of one publisher that were lost on the way here.
    Lost {
        /// The topic.
        topic: Arc<str>,
        /// The instance that sent them.
        sender: InstanceId,
        /// The publisher that sent them.
        publisher: PublisherId,
        /// How many.
        messages: u64,
    },
}

/// The receiving end of a channel subscription. Dereferences to the channel.
#[derive(Clone, Debug)]
pub struct TopicReceiver {
    receiver: Receiver<Delivery>,
    overflow: Arc<AtomicU64>,
}

impl TopicReceiver {
    /// Deliveries that were discarded because the channel was full.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }
}

impl std::ops::Deref for TopicReceiver {
    type Target = Receiver<Delivery>;

    fn deref(&self) -> &Self::Target {
        &self.receiver
    }
}

/// Copies what arrives into a bounded channel. A full channel discards and counts: the poller
/// serves others, too.
#[derive(Debug)]
pub(crate) struct ChannelListener {
    sender: Sender<Delivery>,
    overflow: Arc<AtomicU64>,
}

impl ChannelListener {
    pub(crate) fn new(capacity: usize) -> (Self, TopicReceiver) {
        let (sender, receiver) = crossbeam_channel::bounded(capacity.max(1));
        let overflow = Arc::new(AtomicU64::new(0));
        (Self { sender, overflow: Arc::clone(&overflow) }, TopicReceiver { receiver, overflow })
    }

    fn push(&self, make: impl FnOnce() -> Delivery) {
        if self.sender.is_full()
            || matches!(self.sender.try_send(make()), Err(TrySendError::Full(_)))
        {
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Listener for ChannelListener {
    fn on_message(&mut self, message: &Message<'_>) {
        self.push(|| Delivery::Message(message.to_owned()));
    }

    fn on_request(&mut self, request: &Request<'_>) {
        self.push(|| Delivery::Request(request.to_owned()));
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.push(|| Delivery::Lost {
            topic: Arc::from(loss.topic),
            sender: loss.sender,
            publisher: loss.publisher,
            messages: loss.messages,
        });
    }
}
