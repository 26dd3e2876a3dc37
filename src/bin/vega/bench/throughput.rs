//! One-way throughput of the engine, as the sender sees it. Layer: bin. A thread of its own sends,
//! pinned to a core on which no poller spins.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use vega::{Publisher, SendError};

use super::DISCOVERY;
use super::goal::{Finish, Goal};
use super::load::Load;
use super::peer::{Counted, PeerCommand, PeerReport, REPORT, Role, ask_for_tally};
use super::round_trip::spinning;
use super::rounds::{Bench, pin};
use super::tally::Tally;
use crate::clock;
use crate::stage::{Cast, PollerSpec};

/// Messages before the first one that counts, as far as they do not take too long...
const WARM_UP_MESSAGES: usize = 100_000;
/// ...which is when they have more bytes than this together.
const WARM_UP_BYTES: usize = 64 << 20;
/// Bytes between two looks at the clock; reading it for each small message would slow them down.
const LOOK_BYTES: usize = 64 << 10;
/// Messages between two looks at the clock, at most.
const LOOK_MESSAGES: u64 = 256;
/// Pause between two looks at whether everybody is well.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What was sent and what arrived of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Messages that had to wait for receivers.
    pub(crate) back_pressured: u64,
    /// Messages that arrived within `elapsed_ns`, and their bytes.
    pub(crate) timed: u64,
    pub(crate) timed_bytes: u64,
    pub(crate) elapsed_ns: u64,
}

impl Rate {
    pub(crate) const fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.back_pressured += other.back_pressured;
        self.timed += other.timed;
        self.timed_bytes += other.timed_bytes;
        self.elapsed_ns += other.elapsed_ns;
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    pub(crate) fn messages_per_second(&self) -> f64 {
        1e9 * self.timed as f64 / self.elapsed_ns.max(1) as f64
    }

    pub(crate) fn gigabits_per_second(&self) -> f64 {
        8.0 * self.timed_bytes as f64 / self.elapsed_ns.max(1) as f64
    }
}

/// How this process and its peer poll: the peer spins, and this one's poller, which only hears of
/// receivers, leaves the core to the sending thread.
pub(crate) const fn pollers() -> [fn(Option<usize>) -> PollerSpec; 2] {
    [
        |_| PollerSpec { idle: "block", core: None, takes_responses: true },
        |core| spinning(core, false),
    ]
}

/// Sends one round to a new peer. `tally` gets what both engines counted.
///
/// # Errors
///
/// When an instance or the peer does not start, and when sending fails.
pub(crate) fn round(bench: &Bench, goal: Goal, tally: &mut Tally) -> anyhow::Result<Rate> {
    let load = &bench.load;
    let instance = bench.start()?;
    let mut cast = Cast::new(bench.stop.clone());
    let warm_up = WARM_UP_MESSAGES.min(WARM_UP_BYTES / load.size.max(1)).max(1) as u64;
    let mut publisher = instance.publisher(&load.transport.topic("ping"))?;
    let arguments = Role::Count.arguments(load.transport, warm_up);
    let peer = cast.start("the peer", &bench.peer, &arguments)?;
    let PeerReport::Ready = cast.hear_from(peer, DISCOVERY)? else {
        bail!("the peer reported results before it was ready");
    };
    if !publisher.wait_for_subscribers(1, DISCOVERY) {
        bail!("the peer was not discovered within {DISCOVERY:?}");
    }
    let mut rate = send(bench, &mut publisher, warm_up, goal, &mut cast)?;
    cast.tell(peer, &PeerCommand::Sent(rate.sent))?;
    let PeerReport::Counted(counted) = cast.hear_from(peer, REPORT)? else {
        bail!("the peer reported that it was ready, and no results");
    };
    *tally += Tally::of(&instance);
    *tally += ask_for_tally(&mut cast, peer)?;
    instance.close()?;
    cast.dismiss()?;
    let Counted { received, timed, elapsed_ns } = counted;
    rate = Rate { received, timed, elapsed_ns, ..rate };
    rate.timed_bytes = timed * load.size as u64;
    Ok(rate)
}

/// Sends on a thread of its own, while this one looks after the peer.
fn send(
    bench: &Bench,
    publisher: &mut Publisher,
    warm_up: u64,
    goal: Goal,
    cast: &mut Cast,
) -> anyhow::Result<Rate> {
    let abort = AtomicBool::new(false);
    let mut sender = Sender::new(&bench.load, publisher, &abort);
    thread::scope(|scope| {
        let sending =
            thread::Builder::new().name("sender".to_owned()).spawn_scoped(scope, move || {
                pin(bench.cores.map(|cores| cores.own));
                sender.send_until(Goal::Count(warm_up).start())?;
                sender.rate = Rate::default();
                sender.send_until(goal.start())?;
                sender.flush()?;
                anyhow::Ok(sender.rate)
            })?;
        let mut well = Ok(());
        while well.is_ok() && !sending.is_finished() {
            thread::sleep(LOOK_INTERVAL);
            well = cast.check();
        }
        abort.store(well.is_err(), Ordering::Relaxed);
        let Ok(sent) = sending.join() else { bail!("the sending thread panicked") };
        well?;
        sent
    })
}

struct Sender<'a> {
    publisher: &'a mut Publisher,
    payload: Vec<u8>,
    look_interval: u64,
    abort: &'a AtomicBool,
    rate: Rate,
}

impl<'a> Sender<'a> {
    fn new(load: &Load, publisher: &'a mut Publisher, abort: &'a AtomicBool) -> Self {
        let look_interval = ((LOOK_BYTES / load.size.max(1)) as u64).clamp(1, LOOK_MESSAGES);
        Self { publisher, payload: load.payload(), look_interval, abort, rate: Rate::default() }
    }

    fn send_until(&mut self, finish: Finish) -> anyhow::Result<()> {
        while !finish.is_counted(self.rate.sent) {
            if self.rate.sent.is_multiple_of(self.look_interval)
                && finish.is_reached(self.rate.sent, clock::shared_ns())
            {
                break;
            }
            self.send_one()?;
        }
        Ok(())
    }

    #[inline]
    fn send_one(&mut self) -> anyhow::Result<()> {
        match self.publisher.send(&self.payload) {
            Ok(_) => {}
            Err(SendError::BackPressured) => self.send_patiently()?,
            Err(error) => return Err(error.into()),
        }
        self.rate.sent += 1;
        Ok(())
    }

    #[cold]
    fn send_patiently(&mut self) -> anyhow::Result<()> {
        self.rate.back_pressured += 1;
        self.insist(|publisher, payload| publisher.send(payload).map(drop))
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.insist(|publisher, _| publisher.flush())
    }

    /// Tries until receivers have made room.
    fn insist(
        &mut self,
        attempt: impl Fn(&mut Publisher, &[u8]) -> Result<(), SendError>,
    ) -> anyhow::Result<()> {
        loop {
            match attempt(self.publisher, &self.payload) {
                Err(SendError::BackPressured) => {}
                result => return Ok(result?),
            }
            if self.abort.load(Ordering::Relaxed) {
                bail!("given up while receivers made no room");
            }
            std::hint::spin_loop();
        }
    }
}
