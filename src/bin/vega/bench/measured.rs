//! A measurement from its preparation to its figures: rounds of the engine, and rounds of the
//! baseline between them. Layer: bin; runs on the commanding thread.

use super::baseline;
use super::latency::Latency;
use super::load::Load;
use super::round_trip::{self, Kind};
use super::rounds::Bench;
use super::tally::Tally;
use super::throughput::{self, Rate};
use crate::args::Common;
use crate::signals::StopFlag;

/// Round trips of the engine and, if there was a baseline, of nothing but sockets or memory.
#[derive(Debug)]
pub(crate) struct RoundTrips {
    pub(super) load: Load,
    pub(super) engine: Latency,
    pub(super) raw: Option<Latency>,
    pub(super) tally: Tally,
}

impl RoundTrips {
    /// # Errors
    ///
    /// What cannot be measured, and what went wrong in a round.
    pub(super) fn measure(
        common: &Common,
        kind: Kind,
        load: Load,
        stop: StopFlag,
    ) -> anyhow::Result<Self> {
        let bench = Bench::prepare(common, load, stop, round_trip::pollers(kind))?;
        let mut engine = Latency::new();
        let mut raw = bench.load.baseline.then(Latency::new);
        let mut tally = Tally::default();
        bench.rounds(|goal| {
            engine.add(&round_trip::round(&bench, kind, goal, &mut tally)?);
            if let Some(raw) = &mut raw {
                raw.add(&baseline::ping_pong::round(&bench, kind, goal)?);
            }
            Ok(())
        })?;
        Ok(Self { load: bench.load, engine, raw, tally })
    }

    /// How many times the raw median the engine's is.
    pub(super) fn ratio_p50(&self) -> Option<f64> {
        let raw_ns = self.raw.as_ref()?.quantile_ns(0.5);
        Some(self.engine.quantile_ns(0.5) as f64 / raw_ns.max(1) as f64)
    }
}

/// Part of a target rate that has to be achieved.
const KEPT_PART: f64 = 0.99;

/// The rates of an open loop, in messages per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(super) wanted: u64,
    pub(super) achieved: f64,
    pub(super) is_kept: bool,
}

/// A stream of the engine and, if there was a baseline, of nothing but sockets or memory.
#[derive(Debug)]
pub(crate) struct OneWay {
    pub(super) load: Load,
    pub(super) engine: Rate,
    /// Of an open loop: from when messages were due to their arrival.
    pub(super) latency: Option<Latency>,
    pub(super) raw: Option<Rate>,
    /// Of an open loop of nothing but sockets or memory.
    pub(super) raw_latency: Option<Latency>,
    pub(super) tally: Tally,
}

impl OneWay {
    /// # Errors
    ///
    /// What cannot be measured, and what went wrong in a round.
    pub(super) fn measure(common: &Common, load: Load, stop: StopFlag) -> anyhow::Result<Self> {
        let bench = Bench::prepare(common, load, stop, throughput::pollers())?;
        let mut engine = Rate::default();
        let mut latency = Latency::new();
        let (mut raw, mut raw_latency) = match (bench.load.baseline, bench.load.rate) {
            (false, _) => (None, None),
            (true, None) => (Some(Rate::default()), None),
            (true, Some(rate)) => (None, Some((rate, Latency::new()))),
        };
        let mut tally = Tally::default();
        bench.rounds(|goal| {
            engine.add(&throughput::round(&bench, goal, &mut tally, &mut latency)?);
            if let Some(raw) = &mut raw {
                raw.add(&baseline::one_way::round(&bench, goal)?);
            }
            if let Some((rate, latency)) = &mut raw_latency {
                latency.add(&baseline::open_loop::round(&bench, *rate, goal)?);
            }
            Ok(())
        })?;
        let latency = bench.load.rate.map(|_| latency);
        let raw_latency = raw_latency.map(|(_, latency)| latency);
        Ok(Self { load: bench.load, engine, latency, raw, raw_latency, tally })
    }

    /// Messages per second that left, of those that were to leave, and whether these were as many:
    /// `None` unless there was a rate to be kept.
    pub(super) fn pace(&self) -> Option<Pace> {
        let wanted = self.load.rate?;
        let achieved = self.engine.achieved(wanted);
        Some(Pace { wanted, achieved, is_kept: achieved >= KEPT_PART * wanted as f64 })
    }
}
