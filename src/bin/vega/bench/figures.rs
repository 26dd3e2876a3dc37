//! The figures of a measurement, as machines read them. Layer: bin. Plain data.

use serde::Serialize;

use super::latency::Latency;
use super::load::IdleArg;
use super::measured::{OneWay, Pace, RoundTrips};
use super::tally::Tally;

/// Nanoseconds; `baseline_p50_ns` and `ratio_p50` are null without a baseline, `loss`, `idle`,
/// `pause_ns` and `packet_size` if nobody asked for them.
#[derive(Debug, Serialize)]
pub(crate) struct RoundTripFigures {
    transport: &'static str,
    size: usize,
    count: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    max_ns: u64,
    lost: u64,
    loss: Option<f64>,
    #[serde(flatten)]
    tally: Tally,
    baseline_p50_ns: Option<u64>,
    ratio_p50: Option<f64>,
    subscribers: u32,
    topics: u32,
    idle: Option<&'static str>,
    pause_ns: Option<u128>,
    packet_size: Option<usize>,
}

impl RoundTripFigures {
    pub(super) fn of(run: &RoundTrips) -> Self {
        let RoundTrips { load, engine, raw, tally } = run;
        Self {
            transport: load.transport.name(),
            size: load.size,
            count: engine.count(),
            p50_ns: engine.quantile_ns(0.5),
            p90_ns: engine.quantile_ns(0.9),
            p99_ns: engine.quantile_ns(0.99),
            p999_ns: engine.quantile_ns(0.999),
            max_ns: engine.max_ns(),
            lost: engine.lost(),
            loss: load.loss,
            tally: *tally,
            baseline_p50_ns: raw.as_ref().map(|raw| raw.quantile_ns(0.5)),
            ratio_p50: run.ratio_p50().map(rounded),
            subscribers: load.subscribers,
            topics: load.topics,
            idle: load.idle.map(IdleArg::name),
            pause_ns: load.pause.map(|pause| pause.as_nanos()),
            packet_size: load.packet_size,
        }
    }
}

/// Gigabits of payload; `baseline_gbit_per_sec` is null without a baseline and with a rate, `loss`, `idle` and
/// `packet_size` if nobody asked for them.
#[derive(Debug, Serialize)]
pub(crate) struct StreamFigures {
    transport: &'static str,
    size: usize,
    msgs_per_sec: f64,
    gbit_per_sec: f64,
    sent: u64,
    received: u64,
    lost: u64,
    back_pressured: u64,
    loss: Option<f64>,
    #[serde(flatten)]
    tally: Tally,
    baseline_gbit_per_sec: Option<f64>,
    subscribers: u32,
    topics: u32,
    idle: Option<&'static str>,
    packet_size: Option<usize>,
    #[serde(flatten)]
    open_loop: Option<OpenLoop>,
}

/// With a rate only. Nanoseconds from the time at which messages were due to their arrival.
#[derive(Debug, Serialize)]
pub(crate) struct OpenLoop {
    rate: u64,
    achieved_rate: f64,
    rate_kept: bool,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    max_ns: u64,
    /// Null without a baseline, like the next two.
    baseline_p50_ns: Option<u64>,
    baseline_p99_ns: Option<u64>,
    baseline_lost: Option<u64>,
}

impl OpenLoop {
    fn of(pace: Pace, latency: &Latency, raw: Option<&Latency>) -> Self {
        Self {
            rate: pace.wanted,
            achieved_rate: pace.achieved.round(),
            rate_kept: pace.is_kept,
            p50_ns: latency.quantile_ns(0.5),
            p90_ns: latency.quantile_ns(0.9),
            p99_ns: latency.quantile_ns(0.99),
            p999_ns: latency.quantile_ns(0.999),
            max_ns: latency.max_ns(),
            baseline_p50_ns: raw.map(|raw| raw.quantile_ns(0.5)),
            baseline_p99_ns: raw.map(|raw| raw.quantile_ns(0.99)),
            baseline_lost: raw.map(Latency::lost),
        }
    }
}

impl StreamFigures {
    pub(super) fn of(run: &OneWay) -> Self {
        let OneWay { load, engine, latency, raw, raw_latency, tally } = run;
        Self {
            transport: load.transport.name(),
            size: load.size,
            msgs_per_sec: engine.messages_per_second().round(),
            gbit_per_sec: rounded(engine.gigabits_per_second()),
            sent: engine.sent,
            received: engine.received,
            lost: engine.lost(),
            back_pressured: engine.back_pressured,
            loss: load.loss,
            tally: *tally,
            baseline_gbit_per_sec: raw.as_ref().map(|raw| rounded(raw.gigabits_per_second())),
            subscribers: load.subscribers,
            topics: load.topics,
            idle: load.idle.map(IdleArg::name),
            packet_size: load.packet_size,
            open_loop: run
                .pace()
                .zip(latency.as_ref())
                .map(|(pace, latency)| OpenLoop::of(pace, latency, raw_latency.as_ref())),
        }
    }
}

/// To as many decimals as repeated measurements agree on.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
