//! What discovery costs when there are many instances and topics. Layer: sim.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::crowd::Crowd;
use super::meter::Meter;
use crate::config::{Config, Transport};
use crate::discovery::{Advert, Settings};
use crate::id::TopicHash;
use crate::wire::advert::AdvertKind;
use crate::wire::locator::Locator;

/// Instances that listen to each topic.
const SUBSCRIBERS: usize = 2;
/// Convergence that takes longer is none.
const LIMIT: Duration = Duration::from_secs(30);
/// How long steady traffic is watched.
const STEADY: Duration = Duration::from_secs(10);

/// A domain of so many topics and instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Size {
    /// Topics, each with one publisher and two subscribers, spread evenly over the instances.
    pub topics: usize,
    /// Instances, each on a host of its own.
    pub instances: usize,
}

/// What happens to the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// All instances start in the same instant.
    Start,
    /// Nothing, for ten seconds.
    Steady,
    /// One more instance starts.
    Join,
    /// Halves that had been cut off until each took the other for gone meet again.
    Heal,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Start => "start",
            Self::Steady => "steady",
            Self::Join => "join",
            Self::Heal => "heal",
        })
    }
}

/// What one event costs, at the instance for which it costs the most.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Cost {
    /// The event.
    pub event: Event,
    /// Until everybody knew everything; for [`Event::Steady`], how long was watched.
    pub time: Duration,
    /// Datagrams that arrived in this time.
    pub datagrams: u64,
    /// Bytes of their payload.
    pub bytes: u64,
    /// The most datagrams within 10 ms.
    pub peak_datagrams: u64,
    /// The most bytes within 10 ms.
    pub peak_bytes: u64,
    /// Datagrams for which sockets had no room, at all instances together.
    pub dropped: u64,
}

/// What a domain costs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Costs {
    /// How large it is.
    pub size: Size,
    /// In the order in which they happened.
    pub costs: Vec<Cost>,
    /// What an instance keeps of the others, in bytes.
    pub memory: usize,
}

impl Size {
    /// A domain.
    #[must_use]
    pub const fn new(topics: usize, instances: usize) -> Self {
        Self { topics, instances }
    }

    /// What each instance advertises.
    fn adverts(self) -> Vec<Vec<Advert>> {
        let config = Config::default();
        let mut all = vec![Vec::new(); self.instances];
        for number in 0..self.topics {
            let topic: Arc<str> = format!("market.data.{number:06}").into();
            let route = config.route(&topic).ok();
            let locator = route.and_then(|route| {
                let address = (route.address()?, route.port()?).into();
                Some(Locator { address, stream: route.stream()? })
            });
            let advert = |kind| Advert {
                kind,
                transport: Transport::Multicast,
                topic: Arc::clone(&topic),
                hash: TopicHash::of(&topic),
                locator,
                session: None,
            };
            all[number % self.instances].push(advert(AdvertKind::Publisher));
            for subscriber in 1..=SUBSCRIBERS {
                // Not always the same three together.
                let at = number + subscriber * (1 + number / self.instances);
                all[at % self.instances].push(advert(AdvertKind::Subscriber));
            }
        }
        all
    }
}

/// Simulates a domain from its start on. The same on every machine.
///
/// # Errors
///
/// Who does not know whom when everybody should.
pub fn discovery(size: Size) -> Result<Costs, String> {
    let mut crowd = Crowd::new(1);
    let mut costs = Vec::new();
    let settings = settings(size);
    for adverts in size.adverts() {
        crowd.join(settings, &adverts);
    }
    let time = crowd.converge(LIMIT)?;
    crowd.check()?;
    costs.push(Cost::of(Event::Start, time, &mut crowd));

    // Repetitions of the first announcements end.
    crowd.run(2 * settings.refresh);
    Cost::of(Event::Start, time, &mut crowd);
    crowd.run(STEADY);
    costs.push(Cost::of(Event::Steady, STEADY, &mut crowd));
    let memory = crowd.memory();

    crowd.join(settings, &[]);
    let time = crowd.converge(LIMIT)?;
    costs.push(Cost::of(Event::Join, time, &mut crowd));

    crowd.split(true);
    crowd.run(settings.timeout + 2 * settings.refresh);
    Cost::of(Event::Heal, time, &mut crowd);
    crowd.split(false);
    let time = crowd.converge(LIMIT)?;
    crowd.check()?;
    costs.push(Cost::of(Event::Heal, time, &mut crowd));
    Ok(Costs { size, costs, memory })
}

/// Those of an instance with the default configuration, with room for the others.
fn settings(size: Size) -> Settings {
    let config = Config::default();
    let max_peers = config.limits.max_peers.max(size.instances + 1);
    Settings { max_peers, ..Settings::of(&config) }
}

impl Cost {
    /// What arrived since the last one.
    fn of(event: Event, time: Duration, crowd: &mut Crowd) -> Self {
        let meters = crowd.take_meters();
        let most = |count: fn(&Meter) -> u64| meters.iter().map(count).max().unwrap_or(0);
        Self {
            event,
            time,
            datagrams: most(|meter| meter.total.datagrams),
            bytes: most(|meter| meter.total.bytes),
            peak_datagrams: most(|meter| meter.peak.datagrams),
            peak_bytes: most(|meter| meter.peak.bytes),
            dropped: crowd.take_dropped(),
        }
    }
}

impl Costs {
    /// What the columns are that are displayed.
    pub const HEADER: &str = "\
| topics | instances | memory | event | time | datagrams | bytes | most in 10 ms | dropped |
|---:|---:|---:|---|---:|---:|---:|---:|---:|";
}

/// As rows of a table in Markdown; see `docs/scale.md`.
impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Size { topics, instances }, memory) = (self.size, self.memory.div_ceil(1_000));
        for (index, cost) in self.costs.iter().enumerate() {
            let line = if index == 0 { "" } else { "\n" };
            let Cost { event, datagrams, peak_datagrams, dropped, .. } = cost;
            let (ms, bytes) = (cost.time.as_millis(), cost.bytes.div_ceil(1_000));
            let peak_bytes = cost.peak_bytes.div_ceil(1_000);
            write!(
                f,
                "{line}| {topics} | {instances} | {memory} kB | {event} | {ms} ms | {datagrams} | \
                 {bytes} kB | {peak_datagrams}, {peak_bytes} kB | {dropped} |"
            )?;
        }
        Ok(())
    }
}
