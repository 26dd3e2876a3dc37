//! What `vega sub` hears, on its way from the pollers to the main thread. Layer: bin.

use std::sync::Arc;
use std::time::Duration;

use vega::{InstanceId, Listener, Message, MessageLoss, PublisherId, Request, RequestId};

use crate::inbox::Inlet;

/// Something that happened on a topic.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) topic: Arc<str>,
    pub(super) sender: InstanceId,
    pub(super) publisher: PublisherId,
    pub(super) event: Event,
}

#[derive(Debug)]
pub(super) enum Event {
    Message { sequence: u64, payload: Vec<u8> },
    Request { sequence: u64, payload: Vec<u8>, request: RequestId, timeout: Duration },
    Lost { messages: u64 },
}

/// Puts everything that arrives into the inbox.
#[derive(Debug)]
pub(super) struct Reporter {
    /// Of the arrival before: mostly that of the next one, too.
    topic: Arc<str>,
    inlet: Inlet<Arrival>,
}

impl Reporter {
    pub(super) fn new(inlet: Inlet<Arrival>) -> Self {
        Self { topic: Arc::from(""), inlet }
    }

    fn report(
        &mut self,
        topic: &str,
        sender: InstanceId,
        publisher: PublisherId,
        event: impl FnOnce() -> Event,
    ) {
        if *self.topic != *topic {
            self.topic = Arc::from(topic);
        }
        self.inlet.push(|| Arrival {
            topic: Arc::clone(&self.topic),
            sender,
            publisher,
            event: event(),
        });
    }
}

impl Listener for Reporter {
    fn on_message(&mut self, message: &Message<'_>) {
        self.report(message.topic(), message.sender(), message.publisher_id(), || Event::Message {
            sequence: message.sequence(),
            payload: message.payload().to_vec(),
        });
    }

    fn on_request(&mut self, request: &Request<'_>) {
        self.report(request.topic(), request.sender(), request.publisher_id(), || Event::Request {
            sequence: request.sequence(),
            payload: request.payload().to_vec(),
            request: request.request_id(),
            timeout: request.timeout(),
        });
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.report(loss.topic(), loss.sender(), loss.publisher_id(), || Event::Lost {
            messages: loss.messages(),
        });
    }
}
