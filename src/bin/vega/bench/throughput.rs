//! One-way streams through the engine, as the sender sees them. Layer: bin. A thread of its own
//! sends, pinned to a core on which no poller spins.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use vega::{Instance, Publisher};

use super::DISCOVERY;
use super::goal::Goal;
use super::latency::Latency;
use super::load::Load;
use super::peer::{self, Counted, PeerCommand, PeerReport, REPORT, Role, ask_for_tally};
use super::round_trip::receiving;
use super::rounds::{Bench, pin};
use super::sender::Sender;
use super::tally::Tally;
use crate::stage::{Cast, Member, PollerSpec};

/// Messages before the first one that counts, as far as they do not take too long...
const WARM_UP_MESSAGES: usize = 100_000;
/// ...which is when they have more bytes than this together...
const WARM_UP_BYTES: usize = 64 << 20;
/// ...or when they take more than this part of a second at the pace that is asked for.
const WARM_UP_PART: u64 = 10;
/// Pause between two looks at whether everybody is well.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What was sent and what arrived of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    pub(crate) sent: u64,
    /// What all subscribers together had to receive...
    pub(crate) expected: u64,
    /// ...and did.
    pub(crate) received: u64,
    /// Messages that had to wait for receivers.
    pub(crate) back_pressured: u64,
    /// How late an open loop was in the end.
    pub(crate) late_ns: u64,
    /// Messages that arrived within `elapsed_ns`, and their bytes; all three are sums over rounds
    /// and subscribers, so that their ratios are those of one subscriber.
    pub(crate) timed: u64,
    pub(crate) timed_bytes: u64,
    pub(crate) elapsed_ns: u64,
}

impl Rate {
    pub(crate) const fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.expected += other.expected;
        self.received += other.received;
        self.back_pressured += other.back_pressured;
        self.late_ns += other.late_ns;
        self.timed += other.timed;
        self.timed_bytes += other.timed_bytes;
        self.elapsed_ns += other.elapsed_ns;
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }

    pub(crate) fn messages_per_second(&self) -> f64 {
        1e9 * self.timed as f64 / self.elapsed_ns.max(1) as f64
    }

    pub(crate) fn gigabits_per_second(&self) -> f64 {
        8.0 * self.timed_bytes as f64 / self.elapsed_ns.max(1) as f64
    }

    /// Messages per second that left, of an open loop that was to send `per_second`: as many as
    /// that, unless it was late in the end.
    pub(crate) fn achieved(&self, per_second: u64) -> f64 {
        let due_ns = 1e9 * self.sent as f64 / per_second as f64;
        1e9 * self.sent as f64 / (due_ns + self.late_ns as f64).max(1.0)
    }
}

/// How this process and its peers poll: the peers receive, and this one's poller, which only hears
/// of receivers, leaves the core to the sending thread.
pub(crate) const fn pollers() -> [fn(&Load, Option<usize>) -> PollerSpec; 2] {
    [
        |_, _| PollerSpec { idle: "block", core: None, takes_responses: true },
        |load, core| receiving(load, core, false),
    ]
}

/// Sends one round to new peers. `tally` gets what all engines counted, `latency` what it took the
/// messages of an open loop from when they were due to their arrival.
///
/// # Errors
///
/// When an instance or a peer does not start, and when sending fails.
pub(crate) fn round(
    bench: &Bench,
    goal: Goal,
    tally: &mut Tally,
    latency: &mut Latency,
) -> anyhow::Result<Rate> {
    let load = &bench.load;
    let instance = bench.start()?;
    let mut cast = Cast::new(bench.stop.clone());
    let pings = load.pings();
    let publishers = pings.iter().map(|topic| instance.publisher(topic));
    let mut publishers = publishers.collect::<Result<Vec<_>, _>>()?;
    let warm_up = warm_up(load);
    let part = peer::Args {
        role: Role::Count,
        transport: load.transport,
        topics: load.topics,
        warm_up: warm_up / u64::from(load.topics),
        timed: load.rate.is_some(),
    };
    let peers = peer::start_all(&mut cast, &bench.peers, |_| part)?;
    for publisher in &publishers {
        if !publisher.wait_for_subscribers(peers.len(), DISCOVERY) {
            bail!("not all subscribers of {} were discovered", publisher.topic());
        }
    }
    let mut rate = send(bench, &mut publishers, warm_up, goal, &mut cast)?;
    collect(&instance, cast, &peers, &mut rate, tally, latency)?;
    rate.timed_bytes = rate.timed * load.size as u64;
    Ok(rate)
}

/// As many messages for each topic.
fn warm_up(load: &Load) -> u64 {
    let messages = WARM_UP_MESSAGES.min(WARM_UP_BYTES / load.size.max(1)) as u64;
    let messages = load.rate.map_or(messages, |rate| messages.min(rate / WARM_UP_PART));
    let topics = u64::from(load.topics);
    (messages / topics).max(1) * topics
}

/// Sends on a thread of its own, while this one looks after the peers.
fn send(
    bench: &Bench,
    publishers: &mut [Publisher],
    warm_up: u64,
    goal: Goal,
    cast: &mut Cast,
) -> anyhow::Result<Rate> {
    let abort = AtomicBool::new(false);
    let mut sender = Sender::new(&bench.load, publishers, &abort);
    let rate = bench.load.rate;
    thread::scope(|scope| {
        let sending =
            thread::Builder::new().name("sender".to_owned()).spawn_scoped(scope, move || {
                pin(bench.cores.map(|cores| cores.own));
                let mut send = |goal| match rate {
                    Some(rate) => sender.keep_pace(rate, goal),
                    None => sender.stream(goal),
                };
                send(Goal::Count(warm_up))?;
                send(goal)
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

/// Asks everybody what has become of what was sent, and ends the round.
fn collect(
    instance: &Instance,
    mut cast: Cast,
    peers: &[Member],
    rate: &mut Rate,
    tally: &mut Tally,
    latency: &mut Latency,
) -> anyhow::Result<()> {
    rate.expected = rate.sent * peers.len() as u64;
    for &peer in peers {
        cast.tell(peer, &PeerCommand::Sent(rate.sent))?;
        let PeerReport::Counted(Counted { received, timed, elapsed_ns, latencies }) =
            cast.hear_from(peer, REPORT)?
        else {
            bail!("a peer reported that it was ready, and no results");
        };
        rate.received += received;
        rate.timed += timed;
        rate.elapsed_ns += elapsed_ns;
        latencies.into_iter().for_each(|(value_ns, count)| latency.record_many(value_ns, count));
    }
    *tally += Tally::of(instance);
    for &peer in peers {
        *tally += ask_for_tally(&mut cast, peer)?;
    }
    instance.close()?;
    cast.dismiss()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_is_late_is_a_lower_rate() {
        let mut rate = Rate { sent: 100, ..Rate::default() };
        assert!((rate.achieved(1000) - 1000.0).abs() < 1e-6);
        // A tenth of a second of messages that took as long again.
        rate.late_ns = 100_000_000;
        assert!((rate.achieved(1000) - 500.0).abs() < 1e-6);
    }
}
