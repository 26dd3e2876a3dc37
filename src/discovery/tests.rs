//! Discovery as a whole, on a simulated network with virtual time and seeded loss.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

use super::event::{DownReason, Overflow};
use super::log::MAX_TOMBSTONES;
use super::*;
use crate::wire::advert::{Add, ChangesWriter, MAX_DISCOVERY_BYTES};

const SETTINGS: Settings = Settings {
    refresh: Duration::from_secs(1),
    timeout: Duration::from_secs(10),
    max_peers: 4_096,
    max_adverts_per_peer: MAX_ADVERTS_PER_PEER,
    max_adverts: MAX_ADVERTS,
};

const LATENCY: Duration = Duration::from_micros(100);

fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn instance(index: usize) -> InstanceId {
    InstanceId::from_bytes((index as u128 + 1).to_be_bytes())
}

fn locator(index: usize, port: u16) -> Locator {
    let [.., high, low] = (index + 1).to_be_bytes();
    Locator { address: ([127, 1, high, low], port).into(), stream: 0 }
}

fn identity(index: usize) -> Identity {
    Identity {
        instance: instance(index),
        name: format!("node {index}").into(),
        control: locator(index, 35_010),
        responses: locator(index, 35_004),
        host: 1,
    }
}

fn publisher(topic: &str) -> Advert {
    Advert {
        kind: AdvertKind::Publisher,
        transport: Transport::Multicast,
        topic: topic.into(),
        hash: TopicHash::of(topic),
        locator: Some(locator(0, 35_006)),
        session: None,
    }
}

struct Node {
    discovery: Discovery,
    running: bool,
    deadline: Timestamp,
    /// The world according to the events.
    up: HashMap<InstanceId, Arc<PeerInfo>>,
    seen: HashMap<(InstanceId, AdvertKey), Arc<Advert>>,
    log: Vec<Event>,
}

impl Node {
    /// Takes the events and holds them to their promises.
    fn take_events(&mut self) {
        while let Some(event) = self.discovery.poll_event() {
            match &event {
                Event::InstanceUp(peer) => {
                    assert!(self.up.insert(peer.instance, peer.clone()).is_none(), "up twice");
                }
                Event::InstanceDown { peer, .. } => {
                    assert!(self.up.remove(&peer.instance).is_some(), "down without up");
                    let left = self.seen.keys().any(|(instance, _)| *instance == peer.instance);
                    assert!(!left, "an instance that is down advertises nothing");
                }
                Event::Advertised { instance, key, advert } => {
                    assert!(self.up.contains_key(instance), "advert of an unknown instance");
                    let old = self.seen.insert((*instance, *key), advert.clone());
                    assert!(old.is_none(), "advertised twice");
                }
                Event::Withdrawn { instance, key, advert } => {
                    let old = self.seen.remove(&(*instance, *key));
                    assert_eq!(old.as_ref(), Some(advert), "withdrawn without advertised");
                }
                _ => {}
            }
            self.log.push(event);
        }
    }
}

/// What went over the bus, each multicast counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Traffic {
    group: u64,
    unicast: u64,
    bytes: u64,
}

/// A datagram in flight; compared by arrival, then by order of sending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    arrival: Timestamp,
    order: u64,
    to: usize,
    source: SocketAddr,
    bytes: Rc<[u8]>,
}

struct Network {
    nodes: Vec<Node>,
    now: Timestamp,
    flying: BinaryHeap<Reverse<Flight>>,
    order: u64,
    loss_percent: u64,
    chance: u64,
    traffic: Traffic,
}

impl Network {
    fn new(loss_percent: u64) -> Self {
        Self {
            nodes: Vec::new(),
            now: Timestamp::from_nanos(1_000_000),
            flying: BinaryHeap::new(),
            order: 0,
            loss_percent,
            chance: 0x1234_5678_9abc_def1,
            traffic: Traffic::default(),
        }
    }

    fn join(&mut self, topics: usize) -> usize {
        self.join_with(SETTINGS, topics)
    }

    fn join_with(&mut self, settings: Settings, topics: usize) -> usize {
        let index = self.nodes.len();
        let discovery = Discovery::new(identity(index), settings, index as u64, self.now);
        self.nodes.push(Node {
            discovery,
            running: true,
            deadline: self.now,
            up: HashMap::new(),
            seen: HashMap::new(),
            log: Vec::new(),
        });
        for topic in 0..topics {
            self.advertise(index, &format!("market.data.{index}.{topic}"));
        }
        self.drain(index);
        index
    }

    fn advertise(&mut self, index: usize, topic: &str) -> AdvertKey {
        let key = self.nodes[index].discovery.advertise(publisher(topic)).unwrap();
        self.nodes[index].deadline = self.now;
        key
    }

    fn withdraw(&mut self, index: usize, key: AdvertKey) {
        self.nodes[index].discovery.withdraw(key);
        self.nodes[index].deadline = self.now;
    }

    fn drain(&mut self, index: usize) {
        let mut buffer = Vec::new();
        while let Some(target) = self.nodes[index].discovery.poll_transmit(self.now, &mut buffer) {
            self.send(index, target, &buffer);
        }
        let node = &mut self.nodes[index];
        node.take_events();
        node.deadline = node.discovery.next_deadline();
        assert!(node.deadline > self.now, "polled dry, so nothing can be due");
    }

    fn send(&mut self, from: usize, target: Target, datagram: &[u8]) {
        assert!(datagram.len() <= MAX_DISCOVERY_BYTES);
        let bytes: Rc<[u8]> = datagram.into();
        self.traffic.bytes += bytes.len() as u64;
        let source = locator(from, 35_010).address;
        match target {
            Target::Group => {
                self.traffic.group += 1;
                for to in 0..self.nodes.len() {
                    self.fly(to, source, &bytes);
                }
            }
            Target::Unicast(address) => {
                self.traffic.unicast += 1;
                let to = (0..self.nodes.len()).find(|to| locator(*to, 35_010).address == address);
                if let Some(to) = to {
                    self.fly(to, source, &bytes);
                }
            }
        }
    }

    fn fly(&mut self, to: usize, source: SocketAddr, bytes: &Rc<[u8]>) {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        if self.nodes[to].running && self.chance % 100 >= self.loss_percent {
            self.order += 1;
            let (arrival, order, bytes) = (self.now + LATENCY, self.order, bytes.clone());
            self.flying.push(Reverse(Flight { arrival, order, to, source, bytes }));
        }
    }

    /// Moves to the next thing that happens, unless that is after `end`.
    fn step(&mut self, end: Timestamp) -> bool {
        let arrival = self.flying.peek().map_or(Timestamp::NEVER, |Reverse(next)| next.arrival);
        let running = self.nodes.iter().enumerate().filter(|(_, node)| node.running);
        let (deadline, index) = running
            .map(|(index, node)| (node.deadline, index))
            .min()
            .unwrap_or((Timestamp::NEVER, 0));
        let next = arrival.min(deadline).max(self.now);
        if next > end {
            self.now = end;
            return false;
        }
        self.now = next;
        if arrival <= deadline {
            let Some(Reverse(flight)) = self.flying.pop() else { return false };
            let node = &mut self.nodes[flight.to];
            if node.running {
                node.discovery.handle_datagram(next, flight.source, &flight.bytes).unwrap();
                self.drain(flight.to);
            }
        } else {
            self.nodes[index].discovery.handle_timeout(next);
            self.drain(index);
        }
        true
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
    }

    /// Runs until all know all; returns how long that took.
    fn converge(&mut self, limit: Duration) -> Duration {
        let start = self.now;
        while !self.is_converged() {
            assert!(self.now - start < limit, "not converged within {limit:?}");
            self.run(millis(5));
        }
        self.now - start
    }

    fn is_converged(&self) -> bool {
        let running = || self.nodes.iter().filter(|node| node.running);
        let adverts: usize = running().map(|node| node.discovery.log.len()).sum();
        running().all(|node| {
            node.up.len() + 1 == running().count()
                && node.seen.len() + node.discovery.log.len() == adverts
                && running().all(|other| {
                    let other = &other.discovery;
                    let known = node.discovery.registry.get(other.identity.instance);
                    known.is_none_or(|known| known.digest() == other.log.digest())
                })
        })
    }

    /// Kills without a GOODBYE.
    fn kill(&mut self, index: usize) {
        self.nodes[index].running = false;
    }

    /// What one node knows of an instance.
    fn peer(&self, index: usize, instance: InstanceId) -> &PeerInfo {
        self.nodes[index].discovery.peers().find(|peer| peer.instance == instance).unwrap()
    }

    fn counters(&self, index: usize) -> DiscoveryCounters {
        self.nodes[index].discovery.counters()
    }

    fn total(&self, counter: impl Fn(&DiscoveryCounters) -> u64) -> u64 {
        self.nodes.iter().map(|node| counter(&node.discovery.counters())).sum()
    }

    fn traffic_during(&mut self, duration: Duration) -> Traffic {
        let before = self.traffic;
        self.run(duration);
        Traffic {
            group: self.traffic.group - before.group,
            unicast: self.traffic.unicast - before.unicast,
            bytes: self.traffic.bytes - before.bytes,
        }
    }
}

fn network(nodes: usize, topics: usize, loss_percent: u64) -> Network {
    let mut network = Network::new(loss_percent);
    for _ in 0..nodes {
        network.join(topics);
    }
    network
}

#[test]
fn ten_instances_with_500_topics_converge() {
    let mut network = network(10, 500, 0);
    let took = network.converge(millis(1_000));
    println!("converged after {took:?} with {:?}", network.traffic);
    assert_eq!(network.nodes[3].seen.len(), 4_500);
    let advert = &network.nodes[3].seen[&(instance(7), AdvertKey(1))];
    assert_eq!(**advert, publisher("market.data.7.0"));
    let peer = network.peer(3, instance(7));
    assert_eq!((&*peer.name, peer.control), ("node 7", locator(7, 35_010)));
    assert_eq!(network.nodes[3].discovery.peers().count(), 9);
    assert_eq!(network.counters(3).adverts, 4_500);
    assert_eq!(network.total(|counters| counters.restarts), 0);
}

#[test]
fn they_converge_with_a_third_of_all_packets_lost() {
    let mut network = network(10, 500, 30);
    let took = network.converge(millis(5_000));
    println!("converged after {took:?} with {:?}", network.traffic);
}

#[test]
fn steady_state_is_one_announce_per_interval_whatever_the_number_of_topics() {
    let mut per_second = Vec::new();
    for topics in [0, 1, 1_000] {
        let mut network = network(5, topics, 0);
        network.converge(millis(2_000));
        network.run(millis(3_000));
        let traffic = network.traffic_during(Duration::from_secs(100));
        assert!((475..=525).contains(&traffic.group), "{traffic:?}");
        assert_eq!(traffic.unicast, 0);
        assert_eq!(network.total(|counters| counters.restarts), 0);
        per_second.push(traffic);
    }
    assert!(per_second.iter().all(|traffic| traffic.bytes / traffic.group == 112));
    println!("5 instances in 100 s: {per_second:?}");
}

#[test]
fn a_late_joiner_knows_everything_within_an_interval() {
    let mut network = network(50, 20, 0);
    network.converge(millis(2_000));
    network.run(millis(5_000));
    let before = network.traffic;
    network.join(20);
    let took = network.converge(SETTINGS.refresh);
    println!("joined 50 instances within {took:?}; {before:?} -> {:?}", network.traffic);
}

#[test]
fn changes_are_told_at_once_and_in_one_packet() {
    let mut network = network(4, 3, 0);
    network.converge(millis(1_000));
    network.run(millis(2_000));
    let first = network.advertise(0, "fresh.1");
    network.advertise(0, "fresh.2");
    let changes = network.counters(0).changes_sent;
    let asks = network.total(|counters| counters.asks_sent);
    network.run(LATENCY * 2);
    assert!(network.is_converged());
    network.withdraw(0, first);
    network.run(LATENCY * 2);
    assert!(network.is_converged());
    assert_eq!(network.counters(0).changes_sent, changes + 2);
    assert_eq!(network.total(|counters| counters.asks_sent), asks);
    let last = network.nodes[2].log.last().unwrap();
    let advert = Arc::new(publisher("fresh.1"));
    assert_eq!(*last, Event::Withdrawn { instance: instance(0), key: first, advert });
}

#[test]
fn what_comes_and_goes_before_anybody_looks_is_never_seen() {
    let mut network = network(2, 0, 0);
    network.converge(millis(1_000));
    let key = network.advertise(0, "short");
    network.withdraw(0, key);
    network.withdraw(0, key);
    network.run(millis(10));
    assert!(network.is_converged());
    assert_eq!(network.nodes[1].log.len(), 1, "only the instance itself");
}

#[test]
fn goodbye_takes_everything_along_at_once() {
    let mut network = network(3, 5, 0);
    network.converge(millis(1_000));
    let mut buffer = Vec::new();
    network.nodes[2].discovery.goodbye(&mut buffer);
    network.send(2, Target::Group, &buffer);
    network.send(2, Target::Group, &buffer);
    network.kill(2);
    let seen = network.nodes[0].log.len();
    network.run(LATENCY * 2);
    assert!(network.is_converged());
    let news = &network.nodes[0].log[seen..];
    assert_eq!(news.len(), 6);
    assert!(news[..5].iter().all(|event| matches!(event, Event::Withdrawn { .. })));
    let reason = DownReason::Goodbye;
    assert!(matches!(&news[5], Event::InstanceDown { reason: why, .. } if *why == reason));
    assert_eq!(network.counters(0).adverts, 5);
}

#[test]
fn a_packet_from_before_the_goodbye_does_not_raise_the_dead() {
    let mut network = network(2, 1, 0);
    network.converge(millis(1_000));
    let (now, source) = (network.now, locator(1, 35_010).address);
    let announce = Due { target: Target::Group, direct: false };
    let (mut late, mut goodbye) = (Vec::new(), Vec::new());
    network.nodes[1].discovery.write_announce(announce, &mut late);
    network.nodes[1].discovery.goodbye(&mut goodbye);
    let discovery = &mut network.nodes[0].discovery;
    discovery.handle_datagram(now, source, &goodbye).unwrap();
    discovery.handle_datagram(now + millis(100), source, &late).unwrap();
    assert_eq!((discovery.counters().peers, discovery.counters().late_packets), (0, 1));
    // A forged GOODBYE must not silence a living instance for good.
    discovery.handle_datagram(now + millis(1_000), source, &late).unwrap();
    assert_eq!(discovery.counters().peers, 1);
}

#[test]
fn a_silent_instance_expires_after_its_own_timeout() {
    let mut network = network(2, 2, 0);
    let short = Settings { timeout: Duration::from_secs(3), ..SETTINGS };
    let mortal = network.join_with(short, 2);
    network.converge(millis(1_000));
    network.run(millis(5_000));
    assert!(network.is_converged());
    network.kill(mortal);
    network.run(millis(1_800));
    assert_eq!(network.nodes[0].up.len(), 2);
    network.run(millis(1_300));
    assert_eq!(network.nodes[0].up.len(), 1);
    assert!(network.is_converged());
    let reason = DownReason::Expired;
    let last = network.nodes[1].log.last();
    assert!(matches!(last, Some(Event::InstanceDown { reason: why, .. }) if *why == reason));
    assert_eq!(network.counters(0).peers_expired, 1);
}

#[test]
fn nobody_expires_while_most_packets_get_through() {
    let mut network = network(10, 3, 30);
    network.converge(millis(10_000));
    network.run(Duration::from_secs(300));
    assert!(network.is_converged());
    assert_eq!(network.total(|counters| counters.peers_expired), 0);
}

#[test]
fn more_removals_than_tombstones_are_repaired_by_a_reset() {
    let mut network = network(3, 0, 0);
    let mut keys = Vec::new();
    for index in 0..3_000 {
        keys.push(network.advertise(0, &format!("many.{index}")));
    }
    network.converge(millis(1_000));
    network.loss_percent = 100;
    for key in keys.drain(..MAX_TOMBSTONES + 500) {
        network.withdraw(0, key);
    }
    network.run(millis(100));
    network.loss_percent = 0;
    let before = network.nodes[1].log.len();
    network.converge(millis(2_000));
    assert_eq!(network.nodes[1].seen.len(), 3_000 - MAX_TOMBSTONES - 500);
    let news = &network.nodes[1].log[before..];
    assert_eq!(news.len(), MAX_TOMBSTONES + 500, "what stays is not touched");
    assert_eq!(network.total(|counters| counters.restarts), 0, "the sender knew it had to reset");
}

#[test]
fn a_long_listing_in_a_log_with_forgotten_removals_comes_to_an_end() {
    let mut network = network(2, 3_000, 0);
    for index in 0..MAX_TOMBSTONES + 1 {
        let key = network.advertise(0, &format!("gone.{index}"));
        network.withdraw(0, key);
    }
    network.converge(millis(1_000));
    let asked = network.counters(0).asks_received;
    network.join(0);
    let took = network.converge(millis(1_500));
    let asks = network.counters(0).asks_received - asked;
    println!("3000 topics pulled within {took:?} by {asks} asks");
    assert!(asks <= 15);
}

#[test]
fn a_wrong_set_is_noticed_by_its_digest_and_repaired() {
    let mut network = network(2, 10, 0);
    network.converge(millis(1_000));
    // A forged page removes three adverts behind the back of their owner.
    let mut forged = Vec::new();
    let mut writer = ChangesWriter::begin(&mut forged, instance(1), 10, 11, false);
    for key in [2, 3, 4] {
        assert!(writer.remove(key));
    }
    writer.finish(11, true);
    let (now, source) = (network.now, locator(1, 35_010).address);
    network.nodes[0].discovery.handle_datagram(now, source, &forged).unwrap();
    network.advertise(1, "eleventh");
    network.run(millis(10));
    assert_eq!(network.nodes[0].seen.len(), 7);
    network.converge(millis(1_300));
    assert_eq!(network.nodes[0].seen.len(), 11);
    assert_eq!(network.counters(0).restarts, 1);
}

#[test]
fn a_forged_head_misleads_for_one_interval_at_most() {
    let mut network = network(2, 2, 0);
    network.converge(millis(1_000));
    let add = Add {
        key: u64::MAX - 1,
        kind: AdvertKind::Subscriber,
        transport: Transport::Unicast,
        hash: TopicHash::of("forged"),
        topic: "forged",
        locator: None,
        session: None,
    };
    let mut forged = Vec::new();
    let mut writer = ChangesWriter::begin(&mut forged, instance(1), 2, u64::MAX, false);
    assert!(writer.add(&add.encode().unwrap()));
    writer.finish(u64::MAX - 1, true);
    let (now, source) = (network.now, locator(1, 35_010).address);
    network.nodes[0].discovery.handle_datagram(now, source, &forged).unwrap();
    network.nodes[0].take_events();
    assert_eq!(network.nodes[0].seen.len(), 3);
    network.converge(millis(1_300));
    network.run(millis(3_000));
    assert!(network.is_converged());
}

#[test]
fn a_mass_start_is_no_storm() {
    for gap in [Duration::ZERO, millis(1), millis(20)] {
        let mut network = Network::new(0);
        for _ in 0..200 {
            network.join(3);
            network.run(gap);
        }
        let took = network.converge(millis(5_000));
        let Traffic { group, unicast, bytes } = network.traffic;
        println!(
            "200 starts {gap:?} apart: converged {took:?} after the last with {group} multicasts, \
             {unicast} unicasts, {bytes} bytes ({} asks)",
            network.total(|counters| counters.asks_sent)
        );
        // A new one among n knows nothing of n instances: a greeting, an ASK and an answer from
        // each are what it takes, 60 000 packets for 200, if nothing is shared.
        assert!(group <= 200 * 40 && unicast <= 60_000);
        network.run(millis(3_000));
        let steady = network.traffic_during(Duration::from_secs(10));
        assert!(steady.group <= 2_200 && steady.unicast == 0, "{steady:?}");
    }
}

#[test]
fn a_mass_start_with_loss_converges() {
    let mut network = network(50, 20, 30);
    let took = network.converge(millis(10_000));
    println!("50 lossy starts: {took:?}, {:?}", network.traffic);
}

#[test]
fn a_colliding_topic_is_refused_and_told_once() {
    let mut network = network(2, 0, 0);
    network.converge(millis(1_000));
    // A true collision of the hash is hard to find, so one is planted behind the wire format.
    let ledger = &mut network.nodes[0].discovery.ledger;
    ledger.topics.hold(TopicHash::of("real"), "impostor").unwrap();
    for _ in 0..3 {
        network.advertise(1, "real");
    }
    network.advertise(1, "other");
    network.run(millis(3_000));
    let log = &network.nodes[0].log;
    let is_collision = |event: &&Event| matches!(event, Event::TopicCollision { .. });
    assert_eq!(log.iter().filter(is_collision).count(), 1);
    assert_eq!(network.nodes[0].seen.len(), 1, "the other topic is not affected");
    assert_eq!(network.counters(0).topic_collisions, 3);
    assert_eq!(network.counters(0).restarts, 0, "a refused advert still counts for the digest");
    // Refused for ourselves as well.
    let refused = network.nodes[0].discovery.advertise(publisher("real"));
    assert!(matches!(refused, Err(AdvertiseError::HashCollision { .. })));
}

#[test]
fn the_number_of_peers_is_bounded() {
    let mut network = Network::new(0);
    let narrow = Settings { max_peers: 3, ..SETTINGS };
    network.join_with(narrow, 0);
    for _ in 0..9 {
        network.join(1);
    }
    network.run(millis(2_000));
    assert_eq!(network.nodes[0].up.len(), 3);
    let overflow = Event::Overflow(Overflow::Peers { limit: 3 });
    let told =
        |network: &Network| network.nodes[0].log.iter().filter(|event| **event == overflow).count();
    assert_eq!(told(&network), 1);
    assert!(network.counters(0).peers_refused > 9);
    // A place that becomes free is taken.
    let known = (1..10).find(|index| network.nodes[0].up.contains_key(&instance(*index))).unwrap();
    network.kill(known);
    network.run(millis(13_000));
    assert_eq!(network.nodes[0].up.len(), 3);
    assert!(!network.nodes[0].up.contains_key(&instance(known)));
    assert_eq!(told(&network), 2);
}

#[test]
fn the_number_of_adverts_is_bounded_and_room_is_used_again() {
    let mut network = Network::new(0);
    let narrow = Settings { max_adverts_per_peer: 10, max_adverts: 15, ..SETTINGS };
    network.join_with(narrow, 0);
    let loud = network.join(0);
    let keys: Vec<_> = (0..12).map(|index| network.advertise(loud, &format!("{index}"))).collect();
    network.run(millis(3_000));
    assert_eq!(network.nodes[0].seen.len(), 10);
    let instance = instance(loud);
    let overflow = Event::Overflow(Overflow::Adverts { instance, limit: 10 });
    assert_eq!(network.nodes[0].log.iter().filter(|event| **event == overflow).count(), 1);
    network.join(8);
    network.run(millis(3_000));
    assert_eq!(network.counters(0).adverts, 15);
    assert_eq!(network.counters(0).asks_sent, 0, "what there is no room for is not asked for");
    for key in &keys[..5] {
        network.withdraw(loud, *key);
    }
    network.run(millis(3_000));
    assert_eq!(network.nodes[0].seen.len(), 15);

    let own = &mut network.nodes[0].discovery;
    for index in 0..10 {
        own.advertise(publisher(&format!("own.{index}"))).unwrap();
    }
    let refused = own.advertise(publisher("one too many"));
    assert_eq!(refused, Err(AdvertiseError::Full { limit: 10 }));
}

#[test]
fn a_topic_name_that_cannot_travel_is_refused() {
    let mut discovery = Discovery::new(identity(0), SETTINGS, 1, Timestamp::default());
    for length in [0, 256] {
        let refused = discovery.advertise(publisher(&"x".repeat(length)));
        assert_eq!(refused, Err(AdvertiseError::TopicLength { length }));
    }
    assert!(discovery.advertise(publisher(&"x".repeat(255))).is_ok());
}

#[test]
fn own_packets_are_ignored_and_a_double_is_reported() {
    let mut network = network(2, 3, 0);
    network.converge(millis(1_000));
    let echoes = network.counters(0).echoes;
    assert!(echoes > 0 && echoes <= network.counters(0).packets_sent);
    assert_eq!(network.counters(0).duplicate_identities, 0);
    let mut packet = Vec::new();
    network.nodes[0].discovery.goodbye(&mut packet);
    let (now, source) = (network.now, locator(9, 1).address);
    for _ in 0..3 {
        network.nodes[0].discovery.handle_datagram(now, source, &packet).unwrap();
    }
    assert_eq!(network.counters(0).duplicate_identities, 3);
    let event = network.nodes[0].discovery.poll_event();
    assert_eq!(event, Some(Event::DuplicateIdentity { source }));
    assert_eq!(network.nodes[0].discovery.poll_event(), None);
}

#[test]
fn a_second_instance_with_the_identity_of_a_peer_does_not_take_it_over() {
    let mut network = network(2, 1, 0);
    network.converge(millis(1_000));
    let double = Identity { control: locator(7, 1), ..identity(1) };
    let mut double = Discovery::new(double, SETTINGS, 1, network.now);
    let mut packet = Vec::new();
    assert_eq!(double.poll_transmit(network.now, &mut packet), Some(Target::Group));
    let now = network.now;
    network.nodes[0].discovery.handle_datagram(now, locator(7, 1).address, &packet).unwrap();
    assert_eq!(network.counters(0).conflicting_identities, 1);
    let peer = network.peer(0, instance(1));
    assert_eq!(peer.control, locator(1, 35_010));
}

#[test]
fn a_stranger_gets_one_page_at_its_source_address() {
    let mut network = network(1, 500, 0);
    network.run(millis(1_000));
    let ask = Ask {
        asker: instance(99),
        control: locator(99, 1),
        target: instance(0),
        have: 0,
        horizon: 0,
    };
    let mut packet = Vec::new();
    ask.encode(&mut packet);
    let (now, source) = (network.now, locator(98, 2).address);
    let discovery = &mut network.nodes[0].discovery;
    discovery.handle_datagram(now, source, &packet).unwrap();
    assert_eq!(discovery.poll_transmit(now, &mut packet), Some(Target::Unicast(source)));
    assert_eq!(discovery.poll_transmit(now, &mut packet), None);
    assert_eq!(discovery.counters().asks_readdressed, 1);
}

#[test]
fn an_owner_that_takes_no_events_loses_packets_and_not_memory() {
    let mut discovery = Discovery::new(identity(0), SETTINGS, 1, Timestamp::default());
    let mut packet = Vec::new();
    let now = Timestamp::default();
    for index in 1..MAX_WAITING_EVENTS + 100 {
        let control = locator(1, 1);
        let peer = Identity { instance: instance(index), control, ..identity(1) };
        let mut peer = Discovery::new(peer, SETTINGS, 1, now);
        assert!(peer.poll_transmit(now, &mut packet).is_some());
        discovery.handle_datagram(now, control.address, &packet).unwrap();
        peer.goodbye(&mut packet);
        discovery.handle_datagram(now, control.address, &packet).unwrap();
    }
    assert!(discovery.ledger.events.len() <= MAX_WAITING_EVENTS);
    assert!(discovery.counters().overruns > 0);
}

#[test]
fn everything_that_departs_counts_as_waiting() {
    let mut network = network(2, 100, 0);
    network.converge(millis(1_000));
    let mut packet = Vec::new();
    network.nodes[1].discovery.goodbye(&mut packet);
    let (now, source) = (network.now, locator(1, 35_010).address);
    let discovery = &mut network.nodes[0].discovery;
    discovery.handle_datagram(now, source, &packet).unwrap();
    for left in (1..=101).rev() {
        assert_eq!(discovery.ledger.events.len(), left);
        assert!(discovery.poll_event().is_some());
    }
    assert_eq!((discovery.ledger.events.len(), discovery.poll_event()), (0, None));
}

#[test]
fn zero_intervals_and_timeouts_do_no_harm() {
    let mut network = network(1, 1, 0);
    let zero = Settings { refresh: Duration::ZERO, timeout: Duration::ZERO, ..SETTINGS };
    network.join_with(zero, 1);
    network.converge(millis(1_000));
    let traffic = network.traffic_during(millis(1_000));
    assert!(traffic.group < 200, "{traffic:?}");
    assert!(network.is_converged());
}

#[test]
fn junk_changes_nothing() {
    let mut network = network(3, 5, 0);
    network.converge(millis(1_000));
    let source = locator(1, 35_010).address;
    let mut packet = Vec::new();
    let mut cursor = Cursor::default();
    let sender = &network.nodes[1].discovery;
    sender.log.write_page(sender.identity.instance, &mut cursor, true, &mut packet);
    let (now, discovery) = (network.now, &mut network.nodes[0].discovery);
    for length in 0..packet.len() {
        assert!(discovery.handle_datagram(now, source, &packet[..length]).is_err());
    }
    for byte in 0..=255 {
        assert!(discovery.handle_datagram(now, source, &[byte; 200]).is_err());
    }
    assert_eq!(discovery.counters().malformed, packet.len() as u64 + 256);
    assert_eq!(discovery.poll_event(), None);
    network.run(millis(3_000));
    assert!(network.is_converged());
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Well-formed pages with arbitrary numbers in them: no panic, no spinning, events stay
        /// consistent, and the next ANNOUNCEs repair whatever they did.
        #[test]
        fn forged_pages_are_survived_and_repaired(
            pages in proptest::collection::vec(
                (0_u64..12, 0_u64..12, 0_u64..12, proptest::collection::vec(0_u64..12, 0..4)),
                1..8,
            ),
        ) {
            let mut network = network(2, 6, 0);
            network.converge(millis(1_000));
            let source = locator(1, 35_010).address;
            for (from, to, head, keys) in pages {
                let mut page = Vec::new();
                let reset = from == 0 && keys.len() % 2 == 0;
                let mut writer = ChangesWriter::begin(&mut page, instance(1), from, head, reset);
                for key in keys {
                    let add = Add {
                        key,
                        kind: AdvertKind::Publisher,
                        transport: Transport::Ipc,
                        hash: TopicHash::of("forged"),
                        topic: "forged",
                        locator: None,
                        session: None,
                    };
                    let _ = if key <= from {
                        writer.remove(key)
                    } else {
                        writer.add(&add.encode().unwrap())
                    };
                }
                writer.finish(to, to % 2 == 0);
                let now = network.now;
                let _ = network.nodes[0].discovery.handle_datagram(now, source, &page);
                network.drain(0);
            }
            network.run(millis(3_500));
            prop_assert!(network.is_converged());
        }
    }
}
