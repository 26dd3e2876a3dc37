//! Round trips through the engine, as the one who sends sees them. Layer: bin.
//!
//! The next ping is sent in the callback of the last pong: on the poller's own core, because on a
//! small machine no other one is free. A ball that is lost is replaced: requests expire, and where
//! pings are lost on purpose a [`Referee`] on the commanding thread has another one thrown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use vega::{
    Instance, Listener, Message, Publisher, Response, ResponseListener, SendError, SentRequest,
    SharedPublisher,
};

use super::DISCOVERY;
use super::goal::Goal;
use super::latency::Latency;
use super::load::{IdleArg, Load};
use super::peer::{self, Role, ask_for_tally};
use super::recorder::{LOOK_INTERVAL, Outcome, Recorder};
use super::rounds::Bench;
use super::tally::Tally;
use super::thrower::Thrower;
use crate::clock;
use crate::stage::{Cast, Member, PollerSpec};

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

impl Kind {
    /// The command that measures this.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Echo => "rtt",
            Self::Request => "request",
        }
    }
}

/// How this process and its peer poll: both receive, each on a core of its own.
pub(crate) const fn pollers(kind: Kind) -> [fn(&Load, Option<usize>) -> PollerSpec; 2] {
    let own: fn(&Load, Option<usize>) -> PollerSpec = match kind {
        Kind::Echo => |load, core| receiving(load, core, false),
        Kind::Request => |load, core| receiving(load, core, true),
    };
    [own, |load, core| receiving(load, core, false)]
}

/// Waits as the user asks; otherwise spins if it has a core to spin on.
pub(super) fn receiving(load: &Load, core: Option<usize>, takes_responses: bool) -> PollerSpec {
    let default = if core.is_some() { IdleArg::BusySpin } else { IdleArg::Block };
    PollerSpec { idle: load.idle.unwrap_or(default).name(), core, takes_responses }
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
    let mut payload = bench.load.payload();
    put_number(&mut payload, 0);
    let (recorder, outcome) = Recorder::new(goal);
    let latency = match kind {
        Kind::Echo => {
            let pings = bench.load.pings();
            let is_lossy = bench.load.loss.is_some();
            let throwers = pings.iter().map(|topic| Thrower::open(&instance, topic, is_lossy));
            let mut throwers = throwers.collect::<anyhow::Result<Vec<_>>>()?;
            let referee = match throwers.first() {
                Some(Thrower::Shared(publisher)) => Some(Referee::new(publisher.clone())),
                _ => None,
            };
            let (hand_over, handed) = crossbeam_channel::bounded(1);
            let first = payload.clone();
            let thrown = referee.as_ref().map(|referee| Arc::clone(&referee.thrown));
            let thrown = thrown.unwrap_or_default();
            let throwers_to_come = Handed::Awaited(handed);
            let pause = bench.load.pause;
            let pings = Pings { recorder, throwers: throwers_to_come, payload, thrown, pause };
            let _subscription = instance.subscribe(&transport.topic("pong"), pings)?;
            let game = Game { bench, role: Role::Echo, outcome, referee };
            game.play(&instance, tally, || {
                let subscribers = bench.load.subscribers as usize;
                check_peers(throwers.iter().all(|thrower| thrower.wait_for(subscribers)))?;
                if let Some(thrower) = throwers.first_mut() {
                    thrower.send(&first)?;
                }
                // The first pong waits for this.
                Ok(hand_over.send(throwers)?)
            })?
        }
        Kind::Request => {
            let publisher = instance.publisher(&transport.topic("ping"))?;
            let patience = if bench.load.loss.is_some() { PATIENCE_WITH_LOSS } else { PATIENCE };
            let questions = Questions { recorder, publisher, payload, patience };
            let asker = Asker(Arc::new(Mutex::new(questions)));
            let game = Game { bench, role: Role::Respond, outcome, referee: None };
            game.play(&instance, tally, || {
                let mut questions = asker.0.lock();
                check_peers(questions.publisher.wait_for_subscribers(1, DISCOVERY))?;
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
        let peers = self.start(&mut cast)?;
        begin()?;
        let interval = if load.loss.is_some() { LOOK_INTERVAL_WITH_LOSS } else { LOOK_INTERVAL };
        let latency = self.outcome.wait(interval, || {
            cast.check()?;
            self.referee.as_mut().map_or(Ok(()), Referee::look)
        })?;
        *tally += Tally::of(instance);
        for peer in peers {
            *tally += ask_for_tally(&mut cast, peer)?;
        }
        cast.dismiss()?;
        Ok(latency)
    }

    /// Starts the peer that answers, and those that only listen.
    fn start(&self, cast: &mut Cast) -> anyhow::Result<Vec<Member>> {
        let Load { transport, topics, .. } = self.bench.load;
        peer::start_all(cast, &self.bench.peers, |number| {
            let role = if number == 0 { self.role } else { Role::Count };
            peer::Args { role, transport, topics, warm_up: 0, timed: false }
        })
    }
}

fn check_peers(are_there: bool) -> anyhow::Result<()> {
    if are_there {
        return Ok(());
    }
    bail!("not all peers were discovered within {DISCOVERY:?}")
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
    throwers: Handed,
    /// Of the ball in play.
    payload: Vec<u8>,
    /// Its number, for the referee. Only this writes.
    thrown: Arc<AtomicU64>,
    pause: Option<Duration>,
}

/// The publishers that a callback owns, of which somebody else has to use one before. Their topics
/// take turns.
enum Handed {
    Awaited(Receiver<Vec<Thrower>>),
    Here(Vec<Thrower>, usize),
}

impl Handed {
    /// Whose turn it is. `None` before they have been handed over.
    #[inline]
    fn next(&mut self) -> Option<&mut Thrower> {
        let Self::Here(throwers, turn) = self else { return None };
        *turn = if *turn + 1 < throwers.len() { *turn + 1 } else { 0 };
        throwers.get_mut(*turn)
    }
}

impl Pings {
    fn ping(&mut self) {
        if let Some(pause) = self.pause {
            thread::sleep(pause);
        }
        if let Handed::Awaited(handed) = &self.throwers {
            match handed.recv() {
                Ok(throwers) => self.throwers = Handed::Here(throwers, 0),
                Err(error) => return self.recorder.fail(error),
            }
        }
        if let Some(thrower) = self.throwers.next() {
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
