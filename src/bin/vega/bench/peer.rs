//! The second process of a measurement: echoes, responds or counts until its input ends. Layer:
//! bin. Callbacks run on its one spinning poller.

use std::iter::repeat_with;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use vega::{Instance, Listener, Message, MessageLoss, Request, SubscribeError, Subscription};

use super::DISCOVERY;
use super::latency::Latency;
use super::load::TransportArg;
use super::tally::Tally;
use super::thrower::Thrower;
use crate::args::Common;
use crate::clock;
use crate::stage::role::{self, Commands};
use crate::stage::{Cast, Member};

/// How long a peer may take to report what it has received or counted.
pub(super) const REPORT: Duration = Duration::from_secs(30);

/// While messages come in a stream, the clock is read for one of so many.
const STAMP_INTERVAL: u64 = 64;
/// Pause between two looks at whether everything that was sent has arrived.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Without a message for so long, what is missing will not come any more.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_enum)]
    pub(super) role: Role,
    #[arg(long, value_enum)]
    pub(super) transport: TransportArg,
    #[arg(long)]
    pub(super) topics: u32,
    /// Messages of each topic before the first one that counts
    #[arg(long)]
    pub(super) warm_up: u64,
    /// Messages begin with the time at which they were due
    #[arg(long)]
    pub(super) timed: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    Echo,
    Respond,
    Count,
}

impl Args {
    /// The command line of a process with this part.
    pub(super) fn command_line(&self) -> Vec<String> {
        let role = match self.role {
            Role::Echo => "echo",
            Role::Respond => "respond",
            Role::Count => "count",
        };
        let (topics, warm_up) = (self.topics.to_string(), self.warm_up.to_string());
        let words = ["bench", "peer", "--role", role, "--transport", self.transport.name()];
        let numbers = ["--topics", &topics, "--warm-up", &warm_up];
        let timed = self.timed.then_some("--timed");
        words.into_iter().chain(numbers).chain(timed).map(str::to_owned).collect()
    }
}

/// What the peer says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum PeerReport {
    /// Whatever is sent from now on is received.
    Ready,
    Counted(Counted),
    Tally(Tally),
}

/// What the peer is told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum PeerCommand {
    /// This many messages were sent after the warm-up: report when they have arrived.
    Sent(u64),
    /// Report what the engine has counted.
    Account,
}

/// What a counting peer received after the warm-up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) received: u64,
    /// Of these, the ones between the first and the last time stamp...
    pub(crate) timed: u64,
    /// ...and the time between the two.
    pub(crate) elapsed_ns: u64,
    /// Of timed messages: nanoseconds from the time at which they were due, and how often.
    pub(crate) latencies: Vec<(u64, u64)>,
}

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let commands = Commands::new()?;
    let instance = common.start("bench-peer")?;
    let pings = args.transport.pings(args.topics);
    let seen = Arc::new(Seen::default());
    let _subscriptions = match args.role {
        Role::Echo => subscribe(&instance, &pings, echoes(&instance, args)?)?,
        Role::Respond => subscribe(&instance, &pings, repeat_with(|| Responder))?,
        Role::Count => subscribe(&instance, &pings, repeat_with(|| Counter::new(args, &seen)))?,
    };
    role::report(&PeerReport::Ready)?;
    carry_out(&instance, &seen, &commands)?;
    Ok(instance.close()?)
}

fn subscribe<L: Listener>(
    instance: &Instance,
    topics: &[String],
    listeners: impl IntoIterator<Item = L>,
) -> Result<Vec<Subscription>, SubscribeError> {
    let pairs = topics.iter().zip(listeners);
    pairs.map(|(topic, listener)| instance.subscribe(topic, listener)).collect()
}

/// Starts a peer for each configuration, with the part that its number, from zero, has.
///
/// # Errors
///
/// When a process does not start, or is not ready in time.
pub(super) fn start_all(
    cast: &mut Cast,
    configs: &[PathBuf],
    part: impl Fn(usize) -> Args,
) -> anyhow::Result<Vec<Member>> {
    let mut peers = Vec::with_capacity(configs.len());
    for (number, config) in configs.iter().enumerate() {
        let name = format!("peer {}", number + 1);
        let peer = cast.start(name, config, &part(number).command_line())?;
        match cast.hear_from(peer, DISCOVERY)? {
            PeerReport::Ready => peers.push(peer),
            other => bail!("a peer reported {other:?} before it was ready"),
        }
    }
    Ok(peers)
}

/// Has a peer report what its engine has counted.
///
/// # Errors
///
/// When the peer is gone, or reports something else.
pub(super) fn ask_for_tally(cast: &mut Cast, peer: Member) -> anyhow::Result<Tally> {
    cast.tell(peer, &PeerCommand::Account)?;
    match cast.hear_from(peer, REPORT)? {
        PeerReport::Tally(tally) => Ok(tally),
        other => bail!("the peer reported {other:?} instead of what it has counted"),
    }
}

/// Reports what is asked for until it is time to leave.
fn carry_out(
    instance: &Instance,
    seen: &Seen,
    commands: &Commands<PeerCommand>,
) -> anyhow::Result<()> {
    while let Some(command) = commands.next() {
        match command {
            PeerCommand::Account => role::report(&PeerReport::Tally(Tally::of(instance)))?,
            PeerCommand::Sent(sent) => {
                wait_for(sent, seen, commands)?;
                role::report(&PeerReport::Counted(seen.counted()))?;
            }
        }
    }
    Ok(())
}

struct Echo {
    publisher: Thrower,
}

/// One for each topic, with one publisher for all of them.
fn echoes(instance: &Instance, args: &Args) -> anyhow::Result<Vec<Echo>> {
    let pong = args.transport.topic("pong");
    let publisher = Thrower::open(instance, &pong, args.topics > 1)?;
    if !publisher.wait_for(1) {
        bail!("nobody listens to {pong} after {DISCOVERY:?}");
    }
    Ok(match publisher {
        Thrower::Own(_) => vec![Echo { publisher }],
        Thrower::Shared(publisher) => (0..args.topics)
            .map(|_| Echo { publisher: Thrower::Shared(publisher.clone()) })
            .collect(),
    })
}

impl Listener for Echo {
    fn on_message(&mut self, ping: &Message<'_>) {
        if let Err(error) = self.publisher.send(ping.payload()) {
            tracing::error!(%error, "a pong was not sent");
        }
    }
}

struct Responder;

impl Listener for Responder {
    fn on_request(&mut self, request: &Request<'_>) {
        if let Err(error) = request.respond(request.payload()) {
            tracing::error!(%error, "a response was not sent");
        }
    }
}

/// Waits until everything has arrived, or does not any more.
fn wait_for(sent: u64, seen: &Seen, commands: &Commands<PeerCommand>) -> anyhow::Result<()> {
    let mut last = (0, clock::now());
    while seen.accounted() < sent {
        commands.next_within(LOOK_INTERVAL)?;
        let now = clock::now();
        if seen.accounted() != last.0 {
            last = (seen.accounted(), now);
        } else if now.duration_since(last.1) > QUIET {
            break;
        }
    }
    Ok(())
}

/// Counts in the callback the messages of one topic.
struct Counter {
    warm_up: u64,
    is_timed: bool,
    seen: Arc<Seen>,
}

/// What the [`Counter`]s of all topics have seen so far. One poller runs them all: only that thread
/// writes.
#[derive(Default)]
struct Seen {
    received: AtomicU64,
    lost: AtomicU64,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
    /// Messages received when the last time stamp was taken.
    timed: AtomicU64,
    /// Of messages that say when they were due. The lock is free until they are reported.
    latency: Mutex<Latency>,
}

impl Counter {
    fn new(args: &Args, seen: &Arc<Seen>) -> Self {
        Self { warm_up: args.warm_up, is_timed: args.timed, seen: Arc::clone(seen) }
    }
}

impl Listener for Counter {
    fn on_message(&mut self, message: &Message<'_>) {
        if message.sequence() <= self.warm_up {
            return;
        }
        let received = self.seen.received.load(Ordering::Relaxed) + 1;
        if self.is_timed {
            self.seen.time(message.payload(), received);
        } else if received < STAMP_INTERVAL || received.is_multiple_of(STAMP_INTERVAL) {
            self.seen.stamp(received, clock::shared_ns());
        }
        self.seen.received.store(received, Ordering::Release);
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        // In the warm-up, nothing counts.
        if self.seen.received.load(Ordering::Relaxed) > 0 {
            self.seen.lost.fetch_add(loss.messages(), Ordering::Release);
        }
    }
}

impl Seen {
    fn stamp(&self, received: u64, now_ns: u64) {
        if received == 1 {
            self.first_ns.store(now_ns, Ordering::Relaxed);
        }
        self.last_ns.store(now_ns, Ordering::Relaxed);
        self.timed.store(received, Ordering::Relaxed);
    }

    fn time(&self, payload: &[u8], received: u64) {
        let now_ns = clock::shared_ns();
        self.stamp(received, now_ns);
        if let Some(stamp) = payload.first_chunk() {
            let due_ns = u64::from_le_bytes(*stamp);
            self.latency.lock().record(now_ns.saturating_sub(due_ns));
        }
    }

    /// Messages that were received, and those that are known never to be.
    fn accounted(&self) -> u64 {
        // Acquire: pairs with the Releases of the callbacks, so that the stamps are visible, too.
        self.received.load(Ordering::Acquire) + self.lost.load(Ordering::Acquire)
    }

    fn counted(&self) -> Counted {
        let (first, last) =
            (self.first_ns.load(Ordering::Relaxed), self.last_ns.load(Ordering::Relaxed));
        Counted {
            received: self.received.load(Ordering::Acquire),
            // The first message starts the clock, and is no part of what the clock measures.
            timed: self.timed.load(Ordering::Relaxed).saturating_sub(1),
            elapsed_ns: last.saturating_sub(first),
            latencies: self.latency.lock().values(),
        }
    }
}
