//! One exchange between two processes, and what it came to. Layer: peers; runs on the commanding
//! thread.

use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::bail;
use hdrhistogram::Histogram;

use crate::cases::{Case, Measure};
use crate::console::{Command, Report};
use crate::links;
use crate::part::{Part, Role};
use crate::place::Stage;
use crate::processes::Process;
use crate::round_trips::histogram;
use crate::setups::Setup;

/// How long a process may take for what is not measured: to start, to find another one, to count.
const PATIENCE: Duration = Duration::from_secs(15);

/// What an exchange came to.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Nanoseconds.
    RoundTrips(Histogram<u64>),
    Stream(Flow),
}

/// What is compared first, and what is where that is equal.
pub(crate) type Merits = [f64; 2];

/// What became of the messages of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Messages that were skipped, repeated, damaged or out of order.
    pub(crate) astray: u64,
    pub(crate) timed: u64,
    pub(crate) elapsed_ns: u64,
}

impl Flow {
    pub(crate) fn messages_per_second(&self) -> f64 {
        1e9 * self.timed as f64 / self.elapsed_ns.max(1) as f64
    }

    /// Whether everything came, once and in order.
    pub(crate) const fn is_reliable(&self) -> bool {
        self.sent == self.received && self.astray == 0
    }
}

/// Both together.
impl Add for Flow {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            received: self.received + other.received,
            astray: self.astray + other.astray,
            timed: self.timed + other.timed,
            elapsed_ns: self.elapsed_ns + other.elapsed_ns,
        }
    }
}

impl Outcome {
    /// What chooses among setups, the larger the better. Zero if messages were lost. Round trips are measured in
    /// steps of the clock, so that many have the same median, and their tail decides.
    pub(crate) fn merits(&self) -> Merits {
        match self {
            Self::RoundTrips(latency) => {
                [0.5, 0.99].map(|quantile| 1e9 / latency.value_at_quantile(quantile).max(1) as f64)
            }
            Self::Stream(flow) if flow.is_reliable() => [flow.messages_per_second(), 0.0],
            Self::Stream(_) => Merits::default(),
        }
    }
}

/// Has two new processes, and a broker if there is one, exchange messages for `duration`.
///
/// # Errors
///
/// When a process does not start or ends early, with its reason, and when the user wants to stop.
pub(crate) fn run(
    case: Case,
    setup: Setup,
    duration: Duration,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Outcome> {
    let stage = Stage::new()?;
    let start =
        |role| Process::start(&Part { role, case, setup, place: stage.place(), duration }, stop);
    let started = |role| {
        let mut process = start(role)?;
        match process.hear(PATIENCE)? {
            Report::Ready => Ok(process),
            other => bail!("{role:?} reported {other:?} before it was ready"),
        }
    };
    // Dropped in this order: sides before what they need.
    let _broker = links::has_broker(setup.peer).then(|| started(Role::Broker)).transpose()?;
    let within = duration + PATIENCE;
    match case.measure {
        Measure::Rtt => {
            let mut pong = started(Role::Pong)?;
            let mut ping = start(Role::Ping)?;
            let Report::RoundTrips(values) = ping.hear(within)? else {
                bail!("no round trips were reported")
            };
            ping.dismiss();
            pong.dismiss();
            let mut latency = histogram()?;
            for (value, count) in values {
                latency.saturating_record_n(value, count);
            }
            Ok(Outcome::RoundTrips(latency))
        }
        Measure::Throughput => {
            let mut count = started(Role::Count)?;
            let mut send = start(Role::Send)?;
            let Report::Sent(sent) = send.hear(within)? else { bail!("no messages were reported") };
            count.tell(Command::Sent(sent))?;
            let Report::Counted(counted) = count.hear(PATIENCE)? else {
                bail!("no count was reported")
            };
            send.dismiss();
            count.dismiss();
            Ok(Outcome::Stream(Flow {
                sent,
                received: counted.received,
                astray: counted.astray,
                timed: counted.timed,
                elapsed_ns: counted.elapsed_ns,
            }))
        }
    }
}
