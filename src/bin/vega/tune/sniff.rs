//! The topics of a running system, as discovery tells them, and their rates, as listening tells them.
//! Layer: bin. Callbacks count on pollers; everything else is on the commanding thread.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use vega::{
    Instance, InstanceId, Message, Peer, Side, Sniffer, SnifferSnapshot, Subscription, Transport,
};

use super::demand::{Demand, Rates};
use crate::args::Common;
use crate::clock;
use crate::output::note;
use crate::signals::StopFlag;

/// Between two looks at what is known.
const LOOK: Duration = Duration::from_millis(100);

/// Listens for a while, or until the user has seen enough, and is seen by nobody. With `measure`,
/// an instance then subscribes to what was found.
///
/// # Errors
///
/// When the sockets cannot be opened.
pub(super) fn sniff(
    common: &Common,
    stop: &StopFlag,
    time: Duration,
    measure: Option<Duration>,
) -> anyhow::Result<Demand> {
    let sniffer = Sniffer::builder().config(common.load()?).start().context("cannot start")?;
    let mut seen = Seen::default();
    let start = clock::now();
    while clock::now().duration_since(start) < time && !stop.is_raised() {
        stop.wait(LOOK.min(time));
        seen.look(&sniffer.snapshot());
    }
    sniffer.close();
    let mut demand = seen.demand;
    if let Some(time) = measure {
        let instance = common.start("tune")?;
        measure_rates(&instance, stop, time, &mut demand);
        instance.close()?;
    }
    demand.settle();
    Ok(demand)
}

/// What has been seen so far; who leaves meanwhile stays in it.
#[derive(Default)]
struct Seen {
    demand: Demand,
    known: HashMap<String, usize>,
    instances: BTreeSet<InstanceId>,
}

impl Seen {
    fn look(&mut self, snapshot: &SnifferSnapshot) {
        for peer in snapshot.instances() {
            if self.instances.insert(peer.id()) {
                *self.demand.hosts.entry(peer.control_address().ip().to_string()).or_default() += 1;
            }
        }
        for advert in snapshot.adverts() {
            let who = label(advert.instance(), snapshot.instance(advert.instance()));
            let topic = self.demand.topic(&mut self.known, advert.topic(), None);
            match advert.side() {
                Side::Publisher => {
                    self.demand.topics[topic].publishers.insert(who);
                }
                Side::Subscriber => {
                    self.demand.subscribers.entry(who).or_default().insert(topic);
                }
                _ => {}
            }
        }
    }
}

/// What people recognize an instance by: its name, and the beginning of its identity, which is its own.
fn label(id: InstanceId, peer: Option<&Peer>) -> String {
    let short: String = id.to_string().chars().take(8).collect();
    match peer.map(Peer::name).filter(|name| !name.is_empty()) {
        Some(name) => format!("{name} {short}"),
        None => short,
    }
}

/// Counts the messages of all topics for a while. Those of shared memory are left alone: nobody hears
/// anything foreign there.
fn measure_rates(instance: &Instance, stop: &StopFlag, time: Duration, demand: &mut Demand) {
    let mut counts: BTreeMap<usize, Arc<AtomicU64>> = BTreeMap::new();
    let mut subscriptions: Vec<Subscription> = Vec::new();
    for (index, topic) in demand.topics.iter().enumerate() {
        let is_udp = |route: vega::TopicRoute<'_>| route.transport() != Transport::Ipc;
        if !instance.config().route(&topic.name).is_ok_and(is_udp) {
            continue;
        }
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let listener = move |_: &Message<'_>| {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        match instance.subscribe(&topic.name, listener) {
            Ok(subscription) => {
                counts.insert(index, count);
                subscriptions.push(subscription);
            }
            Err(error) => note(format_args!("topic {:?} is not measured: {error}", topic.name)),
        }
    }
    let read = || -> Vec<u64> { counts.values().map(|it| it.load(Ordering::Relaxed)).collect() };
    // Who joins a stream hears at once what was on its way.
    stop.wait(LOOK);
    let (start, before) = (clock::now(), read());
    stop.wait(time);
    let (seconds, after) = (clock::now().duration_since(start).as_secs_f64(), read());
    for ((index, before), after) in counts.keys().zip(before).zip(after) {
        demand.topics[*index].rate = (after - before) as f64 / seconds;
    }
    demand.rates = Rates::Measured;
}
