//! Round trips through the engine, as the one who sends sees them. Layer: bin.
//!
//! The next ping is sent in the callback of the last pong: on the poller's own core, because on a
//! small machine no other one is free. A ball that is lost is replaced: requests expire, and where
//! pings are lost on purpose a [`Referee`] on the commanding thread has another one thrown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use vega::{
    Instance, Listener, Message, Publisher, Response, ResponseListener, SendError, SendStatus,
    SentRequest, SharedPublisher,
};

use super::DISCOVERY;
use super::goal::Goal;
use super::latency::Latency;
use super::peer::{PeerReport, Role, ask_for_tally};
use super::recorder::{LOOK_INTERVAL, Outcome, Recorder};
use super::rounds::Bench;
use super::tally::Tally;
use crate::clock;
use crate::stage::{Cast, PollerSpec};

/// How long a response may take before its request counts as lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same where balls are lost on purpose: far above any round trip, and short enough for
/// thousands of losses.
const PATIENCE_WITH_LOSS: Duration = Duration::from_millis(20);
/// How often the referee looks then.
const LOOK_INTERVAL_WITH_LOSS: Duration = Duration::from_millis(10);
/// The beginning of the referee's ping, before the number of the ball that is given up. No player
/// throws so many balls that one of theirs begins like this.
const GIVEN_UP: &[u8] = b"give up ";
/// A ping begins with its number, as far as there is room for it.
const NUMBER_BYTES: usize = size_of::<u64>();

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

/// Plays one round against a new peer. `tally` gets what both engines counted.
///
/// # Errors
///
/// When an instance or the peer does not start, and when no ball comes back.
pub(crate) fn round(
    bench: &Bench,
    kind: Kind,
    goal: Goal,
    tally: &mut Tally,
) -> anyhow::Result<Latency> {
    let instance = bench.start()?;
    let transport = bench.load.transport;
    let topic = transport.topic("ping");
    let mut payload = bench.load.payload();
    put_number(&mut payload, 0);
    let (recorder, outcome) = Recorder::new(goal);
    let latency = match kind {
        Kind::Echo => {
            let (mut thrower, referee) = match bench.load.loss {
                None => (Thrower::Own(instance.publisher(&topic)?), None),
                Some(_) => {
                    let publisher = instance.shared_publisher(&topic)?;
                    let referee = Referee::new(publisher.clone());
                    (Thrower::Shared(publisher), Some(referee))
                }
            };
            let (hand_over, handed) = crossbeam_channel::bounded(1);
            let first = payload.clone();
            let thrown = referee.as_ref().map(|referee| Arc::clone(&referee.thrown));
            let thrown = thrown.unwrap_or_default();
            let pings = Pings { recorder, thrower: Handed::Awaited(handed), payload, thrown };
            let _subscription = instance.subscribe(&transport.topic("pong"), pings)?;
            let game = Game { bench, role: Role::Echo, outcome, referee };
            game.play(&instance, tally, || {
                check_peer(thrower.wait_for_peer())?;
                thrower.send(&first)?;
                // The first pong waits for this.
                Ok(hand_over.send(thrower)?)
            })?
        }
        Kind::Request => {
            let publisher = instance.publisher(&topic)?;
            let patience = if bench.load.loss.is_some() { PATIENCE_WITH_LOSS } else { PATIENCE };
            let questions = Questions { recorder, publisher, payload, patience };
            let asker = Asker(Arc::new(Mutex::new(questions)));
            let game = Game { bench, role: Role::Respond, outcome, referee: None };
            game.play(&instance, tally, || {
                let mut questions = asker.0.lock();
                check_peer(questions.publisher.wait_for_subscribers(1, DISCOVERY))?;
                asker.ask(&mut questions);
                Ok(())
            })?
        }
    };
    instance.close()?;
    Ok(latency)
}

/// A round that is about to be played.
struct Game<'b> {
    bench: &'b Bench,
    role: Role,
    outcome: Outcome,
    referee: Option<Referee>,
}

impl Game<'_> {
    /// Has a new peer play until the outcome is there. `begin` throws the first ball.
    fn play(
        mut self,
        instance: &Instance,
        tally: &mut Tally,
        begin: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Latency> {
        let load = &self.bench.load;
        let mut cast = Cast::new(self.bench.stop.clone());
        let arguments = self.role.arguments(load.transport, 0);
        let peer = cast.start("the peer", &self.bench.peer, &arguments)?;
        let PeerReport::Ready = cast.hear_from(peer, DISCOVERY)? else {
            bail!("the peer reported results before it was ready");
        };
        begin()?;
        let interval = if load.loss.is_some() { LOOK_INTERVAL_WITH_LOSS } else { LOOK_INTERVAL };
        let latency = self.outcome.wait(interval, || {
            cast.check()?;
            self.referee.as_mut().map_or(Ok(()), Referee::look)
        })?;
        *tally += Tally::of(instance);
        *tally += ask_for_tally(&mut cast, peer)?;
        cast.dismiss()?;
        Ok(latency)
    }
}

fn check_peer(is_there: bool) -> anyhow::Result<()> {
    if is_there {
        return Ok(());
    }
    bail!("the peer was not discovered within {DISCOVERY:?}")
}

/// Notices that a ping, or its pong, stays away. What it sends comes back like a ping and makes the
/// player throw another ball, so that the two share no more than a number and a publisher.
struct Referee {
    publisher: SharedPublisher,
    /// The number of the ball in play.
    thrown: Arc<AtomicU64>,
    /// The number at the last look that found a new one, and when that was.
    seen: (u64, Instant),
}

impl Referee {
    fn new(publisher: SharedPublisher) -> Self {
        Self { publisher, thrown: Arc::default(), seen: (0, clock::now()) }
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let (thrown, now) = (self.thrown.load(Ordering::Relaxed), clock::now());
        if thrown != self.seen.0 {
            self.seen = (thrown, now);
        } else if now.duration_since(self.seen.1) >= PATIENCE_WITH_LOSS {
            // This may get lost as well: then it is sent again after as long.
            self.seen.1 = now;
            match self.publisher.send(&[GIVEN_UP, &thrown.to_le_bytes()].concat()) {
                Ok(_) | Err(SendError::BackPressured) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The publisher of pings: shared with a referee only where there is one, because a lock shows in
/// the figures of shared memory.
enum Thrower {
    Own(Publisher),
    Shared(SharedPublisher),
}

impl Thrower {
    #[inline]
    fn send(&mut self, ping: &[u8]) -> Result<SendStatus, SendError> {
        match self {
            Self::Own(publisher) => publisher.send(ping),
            Self::Shared(publisher) => publisher.send(ping),
        }
    }

    fn wait_for_peer(&self) -> bool {
        match self {
            Self::Own(publisher) => publisher.wait_for_subscribers(1, DISCOVERY),
            Self::Shared(publisher) => publisher.wait_for_subscribers(1, DISCOVERY),
        }
    }
}

/// Begins a ping with its number.
#[inline]
fn put_number(payload: &mut [u8], number: u64) {
    for (byte, digit) in payload.iter_mut().zip(number.to_le_bytes()) {
        *byte = digit;
    }
}

/// Sends a ping for every pong.
struct Pings {
    recorder: Recorder,
    thrower: Handed,
    /// Of the ball in play.
    payload: Vec<u8>,
    /// Its number, for the referee. Only this writes.
    thrown: Arc<AtomicU64>,
}

/// The publisher that a callback owns, which somebody else has to use once before.
enum Handed {
    Awaited(Receiver<Thrower>),
    Here(Thrower),
}

impl Pings {
    fn ping(&mut self) {
        if let Handed::Awaited(handed) = &self.thrower {
            match handed.recv() {
                Ok(thrower) => self.thrower = Handed::Here(thrower),
                Err(error) => return self.recorder.fail(error),
            }
        }
        if let Handed::Here(thrower) = &mut self.thrower {
            let number = self.thrown.load(Ordering::Relaxed) + 1;
            self.thrown.store(number, Ordering::Relaxed);
            put_number(&mut self.payload, number);
            self.recorder.send();
            match thrower.send(&self.payload) {
                Ok(_) => {}
                // As good as lost, and the referee takes care of it.
                Err(SendError::BackPressured) if matches!(thrower, Thrower::Shared(_)) => {}
                Err(error) => self.recorder.fail(error),
            }
        }
    }

    /// Whether a pong answers the ball in play, and not one that was given up.
    #[inline]
    fn is_in_play(&self, pong: &[u8]) -> bool {
        let number = self.payload.len().min(NUMBER_BYTES);
        pong.get(..number) == self.payload.get(..number)
    }

    /// Whether the referee gives up the ball in play, and not one that came back after all.
    fn is_given_up(&self, number: &[u8]) -> bool {
        *number == self.thrown.load(Ordering::Relaxed).to_le_bytes()
    }
}

impl Listener for Pings {
    fn on_message(&mut self, pong: &Message<'_>) {
        let now_ns = clock::shared_ns();
        let is_wanted = match pong.payload().strip_prefix(GIVEN_UP) {
            Some(number) => self.is_given_up(number) && self.recorder.lose(),
            None => self.is_in_play(pong.payload()) && self.recorder.receive(now_ns),
        };
        if is_wanted {
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
    patience: Duration,
}

impl Asker {
    fn ask(&self, questions: &mut Questions) {
        let Questions { recorder, publisher, payload, patience } = questions;
        recorder.send();
        if let Err(error) = publisher.request(payload, *patience, self.clone()) {
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
        if questions.recorder.lose() {
            self.ask(&mut questions);
        }
    }
}
