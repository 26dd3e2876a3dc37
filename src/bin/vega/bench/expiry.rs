//! Requests that nobody answers: what opening and expiring each of very many costs, and how late
//! their timeouts are. Layer: bin. The commanding thread opens, then waits; the request processor of
//! the instance expires.
//!
//! All of them are open before the first one is due, if the machine has time for that, so that two
//! phases can be told apart by the processor time that this process took in each.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use vega::{Config, Instance, Response, ResponseListener, SentRequest};

use super::chart::Chart;
use super::create;
use super::figures::rounded;
use super::latency::Latency;
use super::load::TransportArg;
use super::machine::Machine;
use super::report::{PERCENTILES, us};
use crate::args::Common;
use crate::clock;
use crate::output::{Output, Page, Rows};
use crate::signals::{self, StopFlag};
use crate::stage::{PollerSpec, Stage};

/// Bytes of a request.
pub(super) const SIZE: usize = 32;
/// Time to open each request before the first one is due: several times what it takes.
const TIME_TO_OPEN: Duration = Duration::from_micros(4);
/// The same for all of them, at least.
const LEAD: Duration = Duration::from_millis(100);
/// Pause between two looks at how many have expired.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Requests that are opened between two looks at the clock, which takes a good part of what opening one
/// does. It makes lateness look longer by the microseconds that these take, never shorter.
const CLOCK_EVERY: u32 = 32;
/// How long after the last deadline all have to have expired.
const PATIENCE: Duration = Duration::from_secs(10);
/// What spreads the deadlines: the golden ratio, as a fraction of 2^32. Its multiples fall evenly
/// between those before them, so that neighbours in time are strangers in memory.
const GOLDEN: u32 = 0x9e37_79b9;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Requests that are open at once
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    open: u32,
    /// Time over which their deadlines are spread
    #[arg(long, value_name = "D", default_value = "2s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Write a page with table and percentile curve, which needs nothing else to be read
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

pub(super) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    if common.config.is_some() {
        bail!("the limit of open requests is set for this run: run without a file");
    }
    let page = args.report.as_deref().map(create).transpose()?;
    let run = Expiry::measure(args.open, args.duration, &signals::stop_flag()?)?;
    if let Some(file) = page {
        let page = Page {
            title: format!("expiry of {} requests", run.open),
            summary: String::new(),
            origin: Machine::look().to_string(),
            tables: vec![run.rows()],
            heading: PERCENTILES,
            figures: vec![run.chart("how late timeouts are".to_owned())],
        };
        page.write(file).context("cannot write the page")?;
    }
    let mut out = Output::new(common);
    out.result(&ExpiryFigures::of(&run), run.rows().table())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What it took to open and to expire requests.
#[derive(Debug)]
pub(crate) struct Expiry {
    open: u32,
    /// Fewer than `open` when the first ones were due before all were open.
    open_at_once: u32,
    register_ns: f64,
    expire_ns: f64,
    /// From deadline to callback.
    pub(super) late: Latency,
}

impl Expiry {
    /// # Errors
    ///
    /// What cannot be measured: requests that were not opened, or did not expire.
    pub(super) fn measure(open: u32, spread: Duration, stop: &StopFlag) -> anyhow::Result<Self> {
        let stage = Stage::new("bench")?;
        let poller = PollerSpec { idle: "block", core: None, takes_responses: true };
        let limits = format!("[limits]\nmax_open_requests = {open}");
        let config = Config::from_file(stage.configure("own", poller, &limits)?)?;
        let instance = Instance::builder()
            .name("vega-bench")
            .config(config)
            .start()
            .context("cannot start")?;
        let timeouts = Arc::new(Timeouts::new(open));

        let before_ns = clock::processor_ns();
        let first_due_ns = clock::shared_ns() + nanoseconds((TIME_TO_OPEN * open).max(LEAD));
        open_all(&instance, open, first_due_ns, nanoseconds(spread), &timeouts)?;
        let open_at_once = open - timeouts.count();
        let opened_ns = clock::processor_ns();
        let last_due_ns = first_due_ns + nanoseconds(spread);
        while timeouts.count() < open {
            if stop.wait(LOOK_INTERVAL) {
                bail!("interrupted");
            }
            if clock::shared_ns() > last_due_ns + nanoseconds(PATIENCE) {
                bail!("{} of {open} requests have expired after {PATIENCE:?}", timeouts.count());
            }
        }
        let expired_ns = clock::processor_ns();
        instance.close()?;
        let late = timeouts.late();
        let each = |from_ns: u64, to_ns: u64| (to_ns - from_ns) as f64 / f64::from(open);
        let (register_ns, expire_ns) = (each(before_ns, opened_ns), each(opened_ns, expired_ns));
        Ok(Self { open, open_at_once, register_ns, expire_ns, late })
    }

    /// Whether as many were open at once as was asked for.
    pub(super) const fn is_complete(&self) -> bool {
        self.open_at_once == self.open
    }

    /// Processor time for each request, from its call to the end of its timeout callback.
    pub(super) const fn request_ns(&self) -> f64 {
        self.register_ns + self.expire_ns
    }

    pub(super) fn chart(&self, title: String) -> Chart<'_> {
        Chart { title, curves: vec![("vega", &self.late)] }
    }

    /// What a row of a table has, beside the name and the targets.
    pub(super) fn cells(&self) -> [String; 6] {
        let late = &self.late;
        [
            format!("{:.0}", self.register_ns),
            format!("{:.0}", self.expire_ns),
            us(late.quantile_ns(0.5)),
            us(late.quantile_ns(0.99)),
            us(late.quantile_ns(0.999)),
            us(late.max_ns()),
        ]
    }

    fn rows(&self) -> Rows {
        let name = [format!("{} of {} open", self.open_at_once, self.open)].into_iter();
        Rows {
            title: "Requests that expire",
            header: [""].into_iter().chain(HEADER).collect(),
            numbers: 1..7,
            rows: vec![name.chain(self.cells()).collect()],
        }
    }
}

/// The columns of [`Expiry::cells`].
pub(super) const HEADER: [&str; 6] =
    ["ns to open", "ns to expire", "late µs p50", "p99", "p99.9", "max"];

/// Nanoseconds of processor time for each request, and of lateness.
#[derive(Debug, Serialize)]
pub(crate) struct ExpiryFigures {
    open: u32,
    open_at_once: u32,
    register_ns: f64,
    expire_ns: f64,
    request_ns: f64,
    late_p50_ns: u64,
    late_p90_ns: u64,
    late_p99_ns: u64,
    late_p999_ns: u64,
    late_max_ns: u64,
}

impl ExpiryFigures {
    pub(super) fn of(run: &Expiry) -> Self {
        let late = |quantile| run.late.quantile_ns(quantile);
        Self {
            open: run.open,
            open_at_once: run.open_at_once,
            register_ns: rounded(run.register_ns),
            expire_ns: rounded(run.expire_ns),
            request_ns: rounded(run.request_ns()),
            late_p50_ns: late(0.5),
            late_p90_ns: late(0.9),
            late_p99_ns: late(0.99),
            late_p999_ns: late(0.999),
            late_max_ns: run.late.max_ns(),
        }
    }
}

/// By shared memory, which costs the least beside the request itself.
fn open_all(
    instance: &Instance,
    open: u32,
    first_due_ns: u64,
    spread_ns: u64,
    timeouts: &Arc<Timeouts>,
) -> anyhow::Result<()> {
    let mut publisher = instance.publisher(&TransportArg::Ipc.topic("unanswered"))?;
    let mut now_ns = 0;
    for number in 0..open {
        if number.is_multiple_of(CLOCK_EVERY) {
            now_ns = clock::shared_ns();
        }
        let share = u64::from(number.wrapping_mul(GOLDEN));
        let due_ns = first_due_ns + ((share * (spread_ns >> 16)) >> 16);
        let timeout = Duration::from_nanos(due_ns.saturating_sub(now_ns).max(1));
        let listener = Unanswered { due_ns, timeouts: Arc::clone(timeouts) };
        publisher.request(&[0; SIZE], timeout, listener)?;
    }
    Ok(())
}

/// What the callbacks have seen. They all run on one thread, which writes here without locks, one value
/// after the other: what is measured is the request and not the statistics.
#[derive(Debug)]
struct Timeouts {
    late_ns: Vec<AtomicU64>,
    /// Of `late_ns`, so many are written.
    count: AtomicUsize,
}

impl Timeouts {
    fn new(open: u32) -> Self {
        // Written, and not just reserved: memory is handed out before the measurement.
        let late_ns = (0..open).map(|_| AtomicU64::new(u64::MAX)).collect();
        Self { late_ns, count: AtomicUsize::new(0) }
    }

    fn record(&self, late_ns: u64) {
        let count = self.count.load(Ordering::Relaxed);
        if let Some(place) = self.late_ns.get(count) {
            place.store(late_ns, Ordering::Relaxed);
            // Release: pairs with the Acquire in `count`.
            self.count.store(count + 1, Ordering::Release);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "no more than requests are open")]
    fn count(&self) -> u32 {
        // Acquire: pairs with the Release in `record`.
        self.count.load(Ordering::Acquire) as u32
    }

    fn late(&self) -> Latency {
        let mut late = Latency::new();
        let recorded = &self.late_ns[..self.count() as usize];
        recorded.iter().for_each(|late_ns| late.record(late_ns.load(Ordering::Relaxed)));
        late
    }
}

/// Takes down how late its timeout is.
struct Unanswered {
    due_ns: u64,
    timeouts: Arc<Timeouts>,
}

impl ResponseListener for Unanswered {
    fn on_response(&self, _request: &SentRequest, _response: &Response<'_>) {}

    fn on_timeout(&self, _request: &SentRequest) {
        self.timeouts.record(clock::shared_ns().saturating_sub(self.due_ns));
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
