//! A listener that trusts nothing: what arrives proves itself, is in order, and comes to those only who
//! still listen. Tests. Called by pollers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use vega::{Listener, Message, MessageLoss, OwnedRequest, PublisherId, Request, RespondError};

use crate::support::payload;

/// The number of a payload begins with that of its topic.
pub(crate) const TOPIC_BITS: u32 = 16;
/// Requests that wait to be answered by another thread, at most.
const MOST_WAITING: usize = 100;

/// What all listeners and threads of a process report to.
#[derive(Default)]
pub(crate) struct Findings {
    errors: Mutex<Vec<String>>,
    pub(crate) received: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) waiting: Mutex<Vec<OwnedRequest>>,
}

impl Findings {
    /// Notes what must not be. The first ones say enough.
    pub(crate) fn report(&self, error: impl FnOnce() -> String) {
        let mut errors = self.errors.lock();
        if errors.len() < 20 {
            errors.push(error());
        }
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.errors.lock())
    }
}

/// What a listener does with requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    None,
    AtOnce,
    Twice,
    Later,
}

/// What is known of one publisher.
#[derive(Default)]
struct Heard {
    last: u64,
    lost: u64,
}

/// The listener, for one subscription or pattern.
pub(crate) struct Recorder {
    pub(crate) findings: Arc<Findings>,
    pub(crate) answers: Answers,
    /// Set when `unsubscribe` has returned.
    pub(crate) ended: Arc<AtomicBool>,
    heard: HashMap<PublisherId, Heard>,
    /// Now and then something is done from within a callback.
    meddle: Box<dyn FnMut(u64) + Send>,
}

impl Recorder {
    pub(crate) fn new(
        findings: &Arc<Findings>,
        answers: Answers,
        meddle: impl FnMut(u64) + Send + 'static,
    ) -> Self {
        Self {
            findings: Arc::clone(findings),
            answers,
            ended: Arc::default(),
            heard: HashMap::new(),
            meddle: Box::new(meddle),
        }
    }

    fn note(&mut self, topic: &str, from: PublisherId, sequence: u64, bytes: &[u8]) {
        self.findings.received.fetch_add(1, Ordering::Relaxed);
        if self.ended.load(Ordering::SeqCst) {
            self.findings.report(|| format!("{topic}: called after unsubscribe returned"));
        }
        let number = payload::number_of(bytes);
        let named = number.map(|number| number & ((1 << TOPIC_BITS) - 1));
        if named != topic_number(topic) {
            self.findings.report(|| format!("{topic}: damaged, {} bytes: {named:?}", bytes.len()));
        }
        // Whoever joins is given no part of what was before.
        let first = Heard { last: sequence.wrapping_sub(1), lost: 0 };
        let heard = self.heard.entry(from).or_insert(first);
        if sequence <= heard.last && heard.last != u64::MAX {
            let last = heard.last;
            self.findings.report(|| format!("{topic}: {sequence} of {from} comes after {last}"));
        } else if sequence.wrapping_sub(heard.last) != heard.lost + 1 {
            let Heard { last, lost } = *heard;
            self.findings.report(|| {
                format!("{topic}: {sequence} of {from} after {last}, and {lost} were lost")
            });
        }
        *heard = Heard { last: sequence, lost: 0 };
        (self.meddle)(sequence);
    }
}

/// The last word of a topic's name is its number.
fn topic_number(topic: &str) -> Option<u64> {
    topic.rsplit('.').next()?.parse().ok()
}

impl Listener for Recorder {
    fn on_message(&mut self, message: &Message<'_>) {
        let (from, sequence) = (message.publisher_id(), message.sequence());
        self.note(message.topic(), from, sequence, message.payload());
    }

    fn on_request(&mut self, request: &Request<'_>) {
        let (from, sequence) = (request.publisher_id(), request.sequence());
        self.note(request.topic(), from, sequence, request.payload());
        let times = match self.answers {
            Answers::None => 0,
            Answers::AtOnce => 1,
            Answers::Twice => 2,
            Answers::Later => {
                let mut waiting = self.findings.waiting.lock();
                if waiting.len() < MOST_WAITING {
                    waiting.push(request.to_owned());
                }
                0
            }
        };
        for _ in 0..times {
            let answered = request.respond(request.payload());
            self.findings.check_answer(request.topic(), answered);
        }
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.findings.lost.fetch_add(loss.messages(), Ordering::Relaxed);
        if let Some(heard) = self.heard.get_mut(&loss.publisher_id()) {
            heard.lost += loss.messages();
        }
    }
}

impl Findings {
    /// Who asked may be unable to take more, or be gone.
    pub(crate) fn check_answer(&self, topic: &str, answered: Result<(), RespondError>) {
        match answered {
            Ok(()) | Err(RespondError::BackPressured | RespondError::Closed) => {}
            Err(error) => self.report(|| format!("{topic}: answering: {error}")),
        }
    }
}
