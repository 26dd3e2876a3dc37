//! Round trips through the engine, as the one who sends sees them. Layer: bin.
//!
//! The next ping is sent in the callback of the last pong: on the poller's own core, because on a
//! small machine no other one is free. A lost ball is thrown in again by whoever hears of the loss.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use vega::{Listener, Message, MessageLoss, Publisher, Response, ResponseListener, SentRequest};

use super::goal::Goal;
use super::latency::Latency;
use super::peer::{LOST_PING, PeerReport, Role};
use super::recorder::{Outcome, Recorder};
use super::{Bench, DISCOVERY};
use crate::clock;
use crate::stage::{Cast, PollerSpec};

/// How long a response may take before its request counts as lost.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// What goes forth and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message, and a message on another topic.
    Echo,
    /// A request, and its response.
    Request,
}

/// How this process and its peer poll: both spin, each on a core of its own.
pub(crate) const fn pollers(kind: Kind) -> [fn(Option<usize>) -> PollerSpec; 2] {
    match kind {
        Kind::Echo => [|core| spinning(core, false), |core| spinning(core, false)],
        Kind::Request => [|core| spinning(core, true), |core| spinning(core, false)],
    }
}

/// Spins if it has a core to spin on.
pub(super) const fn spinning(core: Option<usize>, takes_responses: bool) -> PollerSpec {
    let idle = if core.is_some() { "busy_spin" } else { "block" };
    PollerSpec { idle, core, takes_responses }
}

/// Plays one round against a new peer.
///
/// # Errors
///
/// When an instance or the peer does not start, and when no ball comes back.
pub(crate) fn round(bench: &Bench, kind: Kind, goal: Goal) -> anyhow::Result<Latency> {
    let instance = bench.start()?;
    let transport = bench.load.transport;
    let mut publisher = instance.publisher(&transport.topic("ping"))?;
    let payload = bench.load.payload();
    let (recorder, outcome) = Recorder::new(goal);
    let latency = match kind {
        Kind::Echo => {
            let (hand_over, handed) = crossbeam_channel::bounded(1);
            let first = payload.clone();
            let pings = Pings { recorder, publisher: Handed::Awaited(handed), payload };
            let _subscription = instance.subscribe(&transport.topic("pong"), pings)?;
            play(bench, Role::Echo, &outcome, || {
                wait_for_peer(&publisher)?;
                publisher.send(&first)?;
                // The first pong waits for this.
                Ok(hand_over.send(publisher)?)
            })?
        }
        Kind::Request => {
            let questions = Questions { recorder, publisher, payload };
            let asker = Asker(Arc::new(Mutex::new(questions)));
            play(bench, Role::Respond, &outcome, || {
                let mut questions = asker.0.lock();
                wait_for_peer(&questions.publisher)?;
                asker.ask(&mut questions);
                Ok(())
            })?
        }
    };
    instance.close()?;
    Ok(latency)
}

/// Has a new peer in `role` play until the outcome is there. `begin` throws the first ball.
fn play(
    bench: &Bench,
    role: Role,
    outcome: &Outcome,
    begin: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Latency> {
    let mut cast = Cast::new(bench.stop.clone());
    let arguments = role.arguments(bench.load.transport, 0);
    let peer = cast.start("the peer", &bench.peer, &arguments)?;
    let PeerReport::Ready = cast.hear_from(peer, DISCOVERY)? else {
        bail!("the peer reported results before it was ready");
    };
    begin()?;
    let latency = outcome.wait(|| cast.check())?;
    cast.dismiss()?;
    Ok(latency)
}

fn wait_for_peer(publisher: &Publisher) -> anyhow::Result<()> {
    if publisher.wait_for_subscribers(1, DISCOVERY) {
        return Ok(());
    }
    bail!("the peer was not discovered within {DISCOVERY:?}")
}

/// Sends a ping for every pong.
struct Pings {
    recorder: Recorder,
    publisher: Handed,
    payload: Vec<u8>,
}

/// The publisher that a callback owns, which somebody else has to use once before.
enum Handed {
    Awaited(Receiver<Publisher>),
    Here(Publisher),
}

impl Pings {
    fn ping(&mut self) {
        if let Handed::Awaited(handed) = &self.publisher {
            match handed.recv() {
                Ok(publisher) => self.publisher = Handed::Here(publisher),
                Err(error) => return self.recorder.fail(error),
            }
        }
        if let Handed::Here(publisher) = &mut self.publisher {
            self.recorder.send();
            if let Err(error) = publisher.send(&self.payload) {
                self.recorder.fail(error);
            }
        }
    }
}

impl Listener for Pings {
    fn on_message(&mut self, pong: &Message<'_>) {
        let now_ns = clock::shared_ns();
        let wanted = if pong.payload() == LOST_PING {
            self.recorder.lose(1)
        } else {
            self.recorder.receive(now_ns)
        };
        if wanted {
            self.ping();
        }
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        if self.recorder.lose(loss.messages()) {
            self.ping();
        }
    }
}

/// Sends a request for every response.
#[derive(Clone)]
struct Asker(Arc<Mutex<Questions>>);

struct Questions {
    recorder: Recorder,
    publisher: Publisher,
    payload: Vec<u8>,
}

impl Asker {
    fn ask(&self, questions: &mut Questions) {
        let Questions { recorder, publisher, payload } = questions;
        recorder.send();
        if let Err(error) = publisher.request(payload, REQUEST_TIMEOUT, self.clone()) {
            recorder.fail(error);
        }
    }
}

impl ResponseListener for Asker {
    fn on_response(&self, request: &SentRequest, _response: &Response<'_>) {
        let now_ns = clock::shared_ns();
        request.close();
        let mut questions = self.0.lock();
        if questions.recorder.receive(now_ns) {
            self.ask(&mut questions);
        }
    }

    fn on_timeout(&self, _request: &SentRequest) {
        let mut questions = self.0.lock();
        if questions.recorder.lose(1) {
            self.ask(&mut questions);
        }
    }
}
