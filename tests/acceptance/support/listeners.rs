//! What a [`Host`](super::Host) does with what arrives: one listener per
//! [`Behaviour`](super::Behaviour). Tests. Runs on the pollers of a child process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use vega::{
    Listener, Message, MessageLoss, OwnedRequest, PublisherId, Request, RequestId, RespondError,
};

use super::Journal;

/// How long to wait before another attempt to send or to answer.
pub(super) const RETRY_PAUSE: Duration = Duration::from_micros(50);

/// A journal for each topic, from the first time that somebody asks for it. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Journals(Arc<Mutex<HashMap<String, Journal>>>);

impl Journals {
    pub(super) fn of(&self, topic: &str) -> Journal {
        let mut journals = self.0.lock();
        journals.entry(topic.to_owned()).or_insert_with(|| Journal::new(topic)).clone()
    }
}

/// Writes down what comes on any number of topics, each in its own journal.
pub(super) struct Collector(pub(super) Journals);

impl Listener for Collector {
    fn on_message(&mut self, message: &Message<'_>) {
        self.0.of(message.topic()).write(message);
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.0.of(loss.topic()).write_loss(loss);
    }
}

/// Takes its time.
pub(super) struct Slow {
    pub(super) journal: Journal,
    pub(super) pause: Duration,
}

impl Listener for Slow {
    fn on_message(&mut self, message: &Message<'_>) {
        std::thread::sleep(self.pause);
        self.journal.write(message);
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.journal.write_loss(loss);
    }
}

/// Answers in the callback when there is no pause, and from a thread of its own otherwise.
pub(super) struct Responder {
    pub(super) journal: Journal,
    pub(super) name: String,
    pub(super) answers: usize,
    pub(super) pause: Duration,
}

impl Listener for Responder {
    fn on_message(&mut self, message: &Message<'_>) {
        self.journal.write(message);
    }

    fn on_request(&mut self, request: &Request<'_>) {
        let (name, answers, pause) = (self.name.clone(), self.answers, self.pause);
        let request = request.to_owned();
        let answer = move || {
            for index in 0..answers {
                std::thread::sleep(pause);
                respond(&request, format!("{name}/{index}").as_bytes());
            }
        };
        if pause.is_zero() {
            answer();
        } else {
            std::thread::Builder::new().name("answers".to_owned()).spawn(answer).unwrap();
        }
    }
}

/// Writes requests down, and answers each once with a payload that proves itself.
pub(super) struct Prover {
    pub(super) journal: Journal,
    pub(super) answer: Vec<u8>,
}

impl Listener for Prover {
    fn on_message(&mut self, message: &Message<'_>) {
        self.journal.write(message);
    }

    fn on_request(&mut self, request: &Request<'_>) {
        self.journal.write_request(request);
        respond(&request.to_owned(), &self.answer);
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.journal.write_loss(loss);
    }
}

pub(super) fn respond(request: &OwnedRequest, body: &[u8]) {
    while request.respond(body) == Err(RespondError::BackPressured) {
        std::thread::sleep(RETRY_PAUSE);
    }
}

/// What a description of a request says.
pub(crate) fn description(
    topic: &str,
    payload: &[u8],
    sender: impl std::fmt::Display,
    id: RequestId,
    timeout: Duration,
) -> String {
    format!("{topic} {} {sender} {id} {timeout:?}", String::from_utf8_lossy(payload))
}

pub(super) fn describe(request: &Request<'_>) {
    let answer = description(
        request.topic(),
        request.payload(),
        request.sender(),
        request.request_id(),
        request.timeout(),
    );
    respond(&request.to_owned(), answer.as_bytes());
}

/// A forger who makes up a session of his own is heard as a publisher of his own: there is no
/// authentication. What counts is that the true one is not disturbed.
pub(super) struct FirstOnly {
    pub(super) journal: Journal,
    pub(super) first: Option<PublisherId>,
}

impl Listener for FirstOnly {
    fn on_message(&mut self, message: &Message<'_>) {
        let publisher = message.publisher_id();
        if *self.first.get_or_insert(publisher) == publisher {
            self.journal.write(message);
        }
    }
}
