//! What arrived on one topic. Tests. Written by a poller, read and waited for by test threads.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use vega::{Listener, Message, MessageLoss, PublisherId, Request};

use super::{WAIT, payload};

/// What a journal says in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Messages, whatever their content.
    pub(crate) received: u64,
    /// Of these, payloads that are not what was sent, or of another topic.
    pub(crate) damaged: u64,
    /// Messages with a number that is not above the one before of the same publisher.
    pub(crate) disordered: u64,
    /// Numbers passed over between two messages of one publisher.
    pub(crate) missing: u64,
    /// Messages that were reported lost.
    pub(crate) lost: u64,
}

impl Report {
    /// Exactly `received` messages, and nothing wrong.
    pub(crate) fn complete(received: u64) -> Self {
        Self { received, ..Self::default() }
    }
}

/// The five numbers, separated by blanks: this is how they travel between processes.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, damaged, disordered, missing, lost } = self;
        write!(f, "{received} {damaged} {disordered} {missing} {lost}")
    }
}

impl FromStr for Report {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[received, damaged, disordered, missing, lost]) => {
                Ok(Self { received, damaged, disordered, missing, lost })
            }
            _ => Err(format!("not a report: {text:?}")),
        }
    }
}

#[derive(Default)]
struct State {
    report: Report,
    last: HashMap<PublisherId, u64>,
}

/// Writes down and checks what arrives on a topic. Clones share what is written.
#[derive(Clone)]
pub(crate) struct Journal {
    topic: Arc<str>,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Journal {
    pub(crate) fn new(topic: &str) -> Self {
        Self { topic: Arc::from(topic), shared: Arc::default() }
    }

    pub(crate) fn write(&self, message: &Message<'_>) {
        let is_intact = self.proves_itself(message.topic(), message.payload());
        self.note(message.publisher_id(), message.sequence(), is_intact);
    }

    /// Requests are numbered like messages: one that is handled twice is out of order.
    pub(crate) fn write_request(&self, request: &Request<'_>) {
        let is_intact = self.proves_itself(request.topic(), request.payload());
        self.note(request.publisher_id(), request.sequence(), is_intact);
    }

    fn proves_itself(&self, topic: &str, payload: &[u8]) -> bool {
        topic == &*self.topic && payload::number_of(payload).is_some()
    }

    fn note(&self, publisher: PublisherId, sequence: u64, is_intact: bool) {
        let mut state = self.shared.0.lock();
        state.report.received += 1;
        if !is_intact {
            state.report.damaged += 1;
        }
        if let Some(last) = state.last.insert(publisher, sequence) {
            if sequence > last {
                state.report.missing += sequence - last - 1;
            } else {
                state.report.disordered += 1;
            }
        }
        self.shared.1.notify_all();
    }

    pub(crate) fn write_loss(&self, loss: &MessageLoss<'_>) {
        self.shared.0.lock().report.lost += loss.messages();
        self.shared.1.notify_all();
    }

    pub(crate) fn report(&self) -> Report {
        self.shared.0.lock().report
    }

    /// Waits until at least `count` messages have arrived. False when the time is over first.
    pub(crate) fn wait_for(&self, count: u64, timeout: Duration) -> bool {
        self.wait_until(timeout, |report| report.received >= count)
    }

    /// Waits for at least `count` messages, and returns what has arrived.
    pub(crate) fn expect(&self, count: u64) -> Report {
        assert!(
            self.wait_for(count, WAIT),
            "{}: {:?} instead of {count}",
            self.topic,
            self.report()
        );
        self.report()
    }

    pub(crate) fn wait_until(
        &self,
        timeout: Duration,
        mut done: impl FnMut(&Report) -> bool,
    ) -> bool {
        let (state, changed) = &*self.shared;
        let mut state = state.lock();
        !changed.wait_while_for(&mut state, |state| !done(&state.report), timeout).timed_out()
            || done(&state.report)
    }
}

impl Listener for Journal {
    fn on_message(&mut self, message: &Message<'_>) {
        self.write(message);
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.write_loss(loss);
    }
}

/// Sends one message more, and one more, until a subscriber that has lost some of `sent` messages has
/// been told so: a loss is reported before the next message. Whatever did not arrive is reported
/// then, and nothing else. Returns the last report and the number of messages sent by then.
pub(crate) fn accounted_for(
    what: &str,
    mut sent: u64,
    mut send_one: impl FnMut(),
    mut report: impl FnMut() -> Report,
) -> (Report, u64) {
    let mut last = Report::default();
    eventually(&format!("{what}: all is accounted for"), || {
        send_one();
        sent += 1;
        last = report();
        last.lost > 0 && last.received + last.lost == sent
    });
    assert_eq!((last.damaged, last.disordered), (0, 0), "{what}: {last:?}");
    assert_eq!(last.missing, last.lost, "{what}: {last:?}");
    (last, sent)
}

/// Asks again until `done` says yes, for what offers no way to wait for it.
#[expect(clippy::disallowed_methods, reason = "bounds waiting; decides nothing else")]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    /// Between two questions, so that who is asked has the core meanwhile.
    const POLLING_PAUSE: Duration = Duration::from_millis(2);
    let deadline = Instant::now() + WAIT;
    while !done() {
        assert!(Instant::now() < deadline, "did not happen: {what}");
        std::thread::sleep(POLLING_PAUSE);
    }
}
