//! The second process of a measurement: echoes, responds or counts until its input ends. Layer:
//! bin. Callbacks run on its one spinning poller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use vega::{Instance, Listener, Message, MessageLoss, Publisher, Request};

use super::DISCOVERY;
use super::load::TransportArg;
use super::tally::Tally;
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

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_enum)]
    role: Role,
    #[arg(long, value_enum)]
    transport: TransportArg,
    /// Messages before the first one that counts
    #[arg(long)]
    warm_up: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    Echo,
    Respond,
    Count,
}

impl Role {
    /// The command line of a process in this role.
    pub(super) fn arguments(self, transport: TransportArg, warm_up: u64) -> Vec<String> {
        let role = match self {
            Self::Echo => "echo",
            Self::Respond => "respond",
            Self::Count => "count",
        };
        let warm_up = warm_up.to_string();
        let arguments =
            ["bench", "peer", "--role", role, "--transport", transport.name(), "--warm-up"];
        arguments.into_iter().map(str::to_owned).chain([warm_up]).collect()
    }
}

/// What the peer says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) received: u64,
    /// Of these, the ones between the first and the last time stamp...
    pub(crate) timed: u64,
    /// ...and the time between the two.
    pub(crate) elapsed_ns: u64,
}

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let commands = Commands::new()?;
    let instance = common.start("bench-peer")?;
    let ping = args.transport.topic("ping");
    match args.role {
        Role::Echo => {
            let publisher = instance.publisher(&args.transport.topic("pong"))?;
            if !publisher.wait_for_subscribers(1, DISCOVERY) {
                bail!("nobody listens to {} after {DISCOVERY:?}", publisher.topic());
            }
            serve(&instance, &ping, Echo { publisher }, &commands)?;
        }
        Role::Respond => serve(&instance, &ping, Responder, &commands)?,
        Role::Count => count(&instance, &ping, args.warm_up, &commands)?,
    }
    Ok(instance.close()?)
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

/// Does what is left to do when the work is done: accounts for it until it is time to leave.
fn account(instance: &Instance, commands: &Commands<PeerCommand>) -> anyhow::Result<()> {
    while let Some(command) = commands.next() {
        if matches!(command, PeerCommand::Account) {
            role::report(&PeerReport::Tally(Tally::of(instance)))?;
        }
    }
    Ok(())
}

fn serve(
    instance: &Instance,
    topic: &str,
    listener: impl Listener,
    commands: &Commands<PeerCommand>,
) -> anyhow::Result<()> {
    let _subscription = instance.subscribe(topic, listener)?;
    role::report(&PeerReport::Ready)?;
    account(instance, commands)
}

struct Echo {
    publisher: Publisher,
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

fn count(
    instance: &Instance,
    topic: &str,
    warm_up: u64,
    commands: &Commands<PeerCommand>,
) -> anyhow::Result<()> {
    let seen = Arc::new(Seen::default());
    let counter = Counter { warm_up, received: 0, seen: Arc::clone(&seen) };
    let _subscription = instance.subscribe(topic, counter)?;
    role::report(&PeerReport::Ready)?;
    let Some(PeerCommand::Sent(sent)) = commands.next() else { return Ok(()) };
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
    role::report(&PeerReport::Counted(seen.counted()))?;
    account(instance, commands)
}

/// Counts in the callback. Only this writes to what it shares.
struct Counter {
    warm_up: u64,
    received: u64,
    seen: Arc<Seen>,
}

/// What a [`Counter`] has seen so far.
#[derive(Default)]
struct Seen {
    received: AtomicU64,
    lost: AtomicU64,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
    /// Messages received when the last time stamp was taken.
    timed: AtomicU64,
}

impl Listener for Counter {
    fn on_message(&mut self, message: &Message<'_>) {
        if message.sequence() <= self.warm_up {
            return;
        }
        self.received += 1;
        let received = self.received;
        if received < STAMP_INTERVAL || received.is_multiple_of(STAMP_INTERVAL) {
            self.stamp();
        }
        self.seen.received.store(received, Ordering::Release);
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        // In the warm-up, nothing counts.
        if self.received > 0 {
            self.seen.lost.fetch_add(loss.messages(), Ordering::Release);
        }
    }
}

impl Counter {
    fn stamp(&self) {
        let now_ns = clock::shared_ns();
        if self.received == 1 {
            self.seen.first_ns.store(now_ns, Ordering::Relaxed);
        }
        self.seen.last_ns.store(now_ns, Ordering::Relaxed);
        self.seen.timed.store(self.received, Ordering::Relaxed);
    }
}

impl Seen {
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
        }
    }
}
