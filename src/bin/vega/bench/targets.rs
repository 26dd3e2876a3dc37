//! The cases that vega is judged by, and what is wanted of each. Layer: bin. The one home of the
//! targets: `docs/performance.md` repeats them, and a test compares the two.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::expiry::{self, Expiry};
use super::load::{IdleArg, Load, TransportArg};
use super::measured::{OneWay, RoundTrips};
use super::round_trip::Kind;

/// What is measured, and what is wanted of it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(super) mode: CaseMode,
    transport: TransportArg,
    size: usize,
    loss: Option<f64>,
    idle: Option<IdleArg>,
    pause: Option<Duration>,
    targets: &'static [Target],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaseMode {
    RoundTrips(Kind),
    OneWay,
    /// So many requests, open at once.
    Expiry(u32),
}

/// What one figure of a case has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// The median, at most this many times the raw one of the same run.
    RatioP50(f64),
    /// Nanoseconds, at most.
    P99Ns(u64),
    /// Messages per second, at least.
    Rate(f64),
    /// Nanoseconds of processor time to open and to expire a request, at most.
    RequestNs(f64),
    /// Nanoseconds from the deadline of a request to its timeout, at most.
    LateP99Ns(u64),
}

/// Longer than any poller looks before it waits in the kernel.
const ASLEEP: Duration = Duration::from_micros(200);

const fn round_trip(kind: Kind, transport: TransportArg, targets: &'static [Target]) -> Case {
    Case { mode: CaseMode::RoundTrips(kind), ..one_way(transport, 32, targets) }
}

const fn lossy(transport: TransportArg, targets: &'static [Target]) -> Case {
    let case = round_trip(Kind::Echo, transport, targets);
    Case { loss: Some(0.01), ..case }
}

const fn blocking(transport: TransportArg, targets: &'static [Target]) -> Case {
    let case = round_trip(Kind::Echo, transport, targets);
    Case { idle: Some(IdleArg::Block), pause: Some(ASLEEP), ..case }
}

const fn one_way(transport: TransportArg, size: usize, targets: &'static [Target]) -> Case {
    Case { mode: CaseMode::OneWay, transport, size, loss: None, idle: None, pause: None, targets }
}

const fn expiring(open: u32, targets: &'static [Target]) -> Case {
    let case = one_way(TransportArg::Ipc, expiry::SIZE, targets);
    Case { mode: CaseMode::Expiry(open), ..case }
}

/// In the order in which they are measured and shown.
pub(crate) const CASES: &[Case] = {
    use Target::{LateP99Ns, P99Ns, Rate, RatioP50, RequestNs};
    use TransportArg::{Ipc, Multicast, Unicast};
    &[
        round_trip(Kind::Echo, Unicast, &[RatioP50(1.15)]),
        round_trip(Kind::Echo, Multicast, &[RatioP50(1.15)]),
        round_trip(Kind::Echo, Ipc, &[RatioP50(1.5), P99Ns(1_000)]),
        round_trip(Kind::Request, Multicast, &[RatioP50(1.25)]),
        blocking(Unicast, &[RatioP50(1.25)]),
        lossy(Unicast, &[P99Ns(200_000)]),
        lossy(Multicast, &[P99Ns(200_000)]),
        one_way(Unicast, 32, &[Rate(25e6)]),
        one_way(Unicast, 256, &[Rate(10e6)]),
        one_way(Unicast, 1024, &[Rate(2.5e6)]),
        one_way(Multicast, 32, &[Rate(25e6)]),
        one_way(Multicast, 256, &[Rate(10e6)]),
        one_way(Multicast, 1024, &[Rate(2.5e6)]),
        one_way(Ipc, 32, &[Rate(28e6)]),
        one_way(Ipc, 256, &[Rate(20e6)]),
        one_way(Ipc, 1024, &[Rate(12e6)]),
        expiring(1_000_000, &[RequestNs(200.0), LateP99Ns(1_000_000)]),
    ]
};

impl Case {
    pub(super) const fn mode_name(&self) -> &'static str {
        match self.mode {
            CaseMode::RoundTrips(kind) => kind.name(),
            CaseMode::OneWay => "throughput",
            CaseMode::Expiry(_) => "expiry",
        }
    }

    /// The load of a run whose engine, and whose baseline, is measured for `duration`.
    pub(super) fn load(&self, duration: Duration) -> Load {
        Load {
            transport: self.transport,
            size: self.size,
            count: None,
            duration: Some(duration),
            // Where packets are lost on purpose, plain sockets would only wait.
            baseline: self.loss.is_none(),
            loss: self.loss,
            idle: self.idle,
            pause: self.pause,
            packet_size: None,
            rate: None,
            subscribers: 1,
            topics: 1,
        }
    }

    pub(super) fn judge_round_trips(&self, run: &RoundTrips) -> Vec<Verdict> {
        self.judge(|target| match target {
            Target::RatioP50(_) => run.ratio_p50(),
            Target::P99Ns(_) => Some(run.engine.quantile_ns(0.99) as f64),
            Target::Rate(_) | Target::RequestNs(_) | Target::LateP99Ns(_) => None,
        })
    }

    pub(super) fn judge_one_way(&self, run: &OneWay) -> Vec<Verdict> {
        self.judge(|target| match target {
            Target::Rate(_) => Some(run.engine.messages_per_second()),
            _ => None,
        })
    }

    /// Fewer open requests than asked for say nothing.
    pub(super) fn judge_expiry(&self, run: &Expiry) -> Vec<Verdict> {
        self.judge(|target| match target {
            _ if !run.is_complete() => None,
            Target::RequestNs(_) => Some(run.request_ns()),
            Target::LateP99Ns(_) => Some(run.late.quantile_ns(0.99) as f64),
            _ => None,
        })
    }

    /// What could not be measured does not hold.
    pub(super) fn judge_nothing(&self) -> Vec<Verdict> {
        self.judge(|_| None)
    }

    fn judge(&self, measured: impl Fn(Target) -> Option<f64>) -> Vec<Verdict> {
        let verdict = |&target| Verdict::new(target, measured(target));
        self.targets.iter().map(verdict).collect()
    }

    /// All targets, for people.
    #[cfg(test)]
    fn wanted(&self) -> String {
        let targets: Vec<_> = self.targets.iter().map(ToString::to_string).collect();
        targets.join(", ")
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} B", self.mode_name(), self.transport.name(), self.size)?;
        if let CaseMode::Expiry(open) = self.mode {
            write!(f, ", {open} open")?;
        }
        self.idle.map_or(Ok(()), |idle| write!(f, ", {}", idle.name()))?;
        self.pause.map_or(Ok(()), |pause| write!(f, ", {} µs apart", pause.as_micros()))?;
        self.loss.map_or(Ok(()), |loss| write!(f, ", {} % lost", 100.0 * loss))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioP50(ratio) => write!(f, "p50 ≤ {ratio} x raw"),
            Self::P99Ns(ns) => write!(f, "p99 ≤ {} µs", *ns as f64 / 1e3),
            Self::Rate(rate) => write!(f, "≥ {} M/s", rate / 1e6),
            Self::RequestNs(ns) => write!(f, "open and expire ≤ {ns} ns"),
            Self::LateP99Ns(ns) => write!(f, "late p99 ≤ {} µs", *ns as f64 / 1e3),
        }
    }
}

const AT_MOST: &str = "at most";
const AT_LEAST: &str = "at least";

/// A target, and what was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    /// The figure, as it is called in the result.
    figure: &'static str,
    /// [`AT_MOST`] or [`AT_LEAST`].
    bound: &'static str,
    target: f64,
    measured: Option<f64>,
    holds: bool,
    #[serde(skip)]
    text: String,
}

impl Verdict {
    fn new(target: Target, measured: Option<f64>) -> Self {
        let (figure, bound, limit) = match target {
            Target::RatioP50(ratio) => ("ratio_p50", AT_MOST, ratio),
            Target::P99Ns(ns) => ("p99_ns", AT_MOST, ns as f64),
            Target::Rate(rate) => ("msgs_per_sec", AT_LEAST, rate),
            Target::RequestNs(ns) => ("request_ns", AT_MOST, ns),
            Target::LateP99Ns(ns) => ("late_p99_ns", AT_MOST, ns as f64),
        };
        let holds = measured.is_some_and(|measured| match target {
            Target::Rate(_) => measured >= limit,
            _ => measured <= limit,
        });
        Self { figure, bound, target: limit, measured, holds, text: target.to_string() }
    }

    pub(super) const fn figure(&self) -> &'static str {
        self.figure
    }

    pub(super) const fn measured(&self) -> Option<f64> {
        self.measured
    }

    pub(super) const fn target(&self) -> f64 {
        self.target
    }

    /// How many times as good as the target it was: 1 and more where that is met.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.measured.map(|measured| match self.bound {
            AT_LEAST => measured / self.target,
            _ => self.target / measured,
        })
    }

    pub(super) const fn holds(&self) -> bool {
        self.holds
    }

    /// What was wanted.
    pub(super) fn wanted(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_same_targets() {
        let document = include_str!("../../../../docs/performance.md");
        let (_, table) = document.split_once("| case | target |\n|---|---|\n").unwrap();
        let written: Vec<_> = table.lines().take_while(|line| line.starts_with('|')).collect();
        let wanted: Vec<_> =
            CASES.iter().map(|case| format!("| {case} | {} |", case.wanted())).collect();
        assert_eq!(written, wanted);
    }

    #[test]
    fn bounds_are_part_of_what_holds() {
        for (target, held, missed) in [
            (Target::RatioP50(1.5), 1.5, 1.501),
            (Target::P99Ns(1000), 1000.0, 1001.0),
            (Target::Rate(2.5e6), 2.5e6, 2.4e6),
            (Target::RequestNs(200.0), 200.0, 200.1),
            (Target::LateP99Ns(1000), 1000.0, 1001.0),
        ] {
            assert!(Verdict::new(target, Some(held)).holds(), "{target}");
            assert!(!Verdict::new(target, Some(missed)).holds(), "{target}");
            assert!(!Verdict::new(target, None).holds(), "{target}");
        }
    }

    #[test]
    fn every_target_is_of_a_figure_that_its_case_has() {
        for case in CASES {
            for target in case.targets {
                let fits = match target {
                    Target::RatioP50(_) => case.load(Duration::ZERO).baseline,
                    Target::P99Ns(_) => matches!(case.mode, CaseMode::RoundTrips(_)),
                    Target::Rate(_) => case.mode == CaseMode::OneWay,
                    Target::RequestNs(_) | Target::LateP99Ns(_) => {
                        matches!(case.mode, CaseMode::Expiry(_))
                    }
                };
                assert!(fits, "{case}: {target}");
            }
        }
    }
}
