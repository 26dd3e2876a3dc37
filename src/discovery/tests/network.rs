//! A simulated network of instances that discover each other, with virtual time and seeded loss.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

use super::super::relay::{Relay, RelayEvent, RelaySettings};
use super::super::settings::{MAX_ADVERTS, MAX_ADVERTS_PER_PEER};
use super::super::*;
use crate::config::Transport;
use crate::id::TopicHash;
use crate::wire::advert::{AdvertKind, MAX_DISCOVERY_BYTES};
use crate::wire::locator::Locator;

pub(super) const SETTINGS: Settings = Settings {
    refresh: Duration::from_secs(1),
    timeout: Duration::from_secs(10),
    max_peers: 4_096,
    max_adverts_per_peer: MAX_ADVERTS_PER_PEER,
    max_adverts: MAX_ADVERTS,
};

pub(super) const LATENCY: Duration = Duration::from_micros(100);

pub(super) fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn instance(index: usize) -> InstanceId {
    InstanceId::from_bytes((index as u128 + 1).to_be_bytes())
}

pub(super) fn locator(index: usize, port: u16) -> Locator {
    let [.., high, low] = (index + 1).to_be_bytes();
    Locator { address: ([127, 1, high, low], port).into(), stream: 0 }
}

pub(super) fn identity(index: usize) -> Identity {
    Identity {
        instance: instance(index),
        name: format!("node {index}").into(),
        control: locator(index, 35_010),
        source: locator(index, 35_010).address,
        responses: locator(index, 35_004),
        host: 1,
    }
}

pub(super) const MULTICAST: Carrier = Carrier { group: true, daemons: Vec::new() };

pub(super) const RELAY_SETTINGS: RelaySettings =
    RelaySettings { client_timeout: Duration::from_secs(10), max_clients: 4_096 };

/// Where a daemon is.
pub(super) fn daemon_at(index: usize) -> SocketAddr {
    let [.., high, low] = (index + 1).to_be_bytes();
    ([127, 2, high, low], 40_300).into()
}

pub(super) fn publisher(topic: &str) -> Advert {
    Advert {
        kind: AdvertKind::Publisher,
        transport: Transport::Multicast,
        topic: topic.into(),
        hash: TopicHash::of(topic),
        locator: Some(locator(0, 35_006)),
        session: None,
    }
}

pub(super) struct Node {
    pub(super) discovery: Discovery,
    /// Whether what is sent to the group arrives here.
    hears_group: bool,
    running: bool,
    deadline: Timestamp,
    /// The world according to the events.
    pub(super) up: HashMap<InstanceId, Arc<PeerInfo>>,
    pub(super) seen: HashMap<(InstanceId, AdvertKey), Arc<Advert>>,
    pub(super) log: Vec<Event>,
}

impl Node {
    /// Takes the events and holds them to their promises.
    pub(super) fn take_events(&mut self) {
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

/// A daemon of the network.
pub(super) struct RelayNode {
    pub(super) relay: Relay,
    running: bool,
    deadline: Timestamp,
    pub(super) log: Vec<RelayEvent>,
}

/// What went over the bus, each multicast counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) group: u64,
    pub(super) unicast: u64,
    pub(super) bytes: u64,
}

/// Who gets a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Node(usize),
    Relay(usize),
}

/// A datagram in flight; compared by arrival, then by order of sending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    arrival: Timestamp,
    order: u64,
    to: Place,
    source: SocketAddr,
    bytes: Rc<[u8]>,
}

pub(super) struct Network {
    pub(super) nodes: Vec<Node>,
    pub(super) relays: Vec<RelayNode>,
    /// How often one of them was started anew.
    restarts: usize,
    /// Of those that join from now on.
    pub(super) carrier: Carrier,
    pub(super) now: Timestamp,
    flying: BinaryHeap<Reverse<Flight>>,
    order: u64,
    pub(super) loss_percent: u64,
    chance: u64,
    pub(super) traffic: Traffic,
}

impl Network {
    pub(super) fn new(loss_percent: u64) -> Self {
        Self {
            nodes: Vec::new(),
            relays: Vec::new(),
            restarts: 0,
            carrier: MULTICAST,
            now: Timestamp::from_nanos(1_000_000),
            flying: BinaryHeap::new(),
            order: 0,
            loss_percent,
            chance: 0x1234_5678_9abc_def1,
            traffic: Traffic::default(),
        }
    }

    pub(super) fn join(&mut self, topics: usize) -> usize {
        self.join_with(SETTINGS, topics)
    }

    pub(super) fn join_with(&mut self, settings: Settings, topics: usize) -> usize {
        let index = self.nodes.len();
        let seed = index as u64;
        let discovery = Discovery::new(identity(index), settings, &self.carrier, seed, self.now);
        self.nodes.push(Node {
            hears_group: discovery.has_group,
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

    /// Somebody hears the group and tells it nothing.
    pub(super) fn observe(&mut self) -> usize {
        let group = std::mem::replace(&mut self.carrier.group, false);
        let index = self.join(0);
        self.carrier.group = group;
        self.nodes[index].hears_group = true;
        index
    }

    pub(super) fn advertise(&mut self, index: usize, topic: &str) -> AdvertKey {
        let key = self.nodes[index].discovery.advertise(publisher(topic)).unwrap();
        self.nodes[index].deadline = self.now;
        key
    }

    pub(super) fn withdraw(&mut self, index: usize, key: AdvertKey) {
        self.nodes[index].discovery.withdraw(key);
        self.nodes[index].deadline = self.now;
    }

    pub(super) fn drain(&mut self, index: usize) {
        let mut buffer = Vec::new();
        while let Some(target) = self.nodes[index].discovery.poll_transmit(self.now, &mut buffer) {
            self.send(index, target, &buffer);
        }
        let node = &mut self.nodes[index];
        node.take_events();
        node.deadline = node.discovery.next_deadline();
        assert!(node.deadline > self.now, "polled dry, so nothing can be due");
    }

    pub(super) fn send(&mut self, from: usize, target: Target, datagram: &[u8]) {
        let source = locator(from, 35_010).address;
        match target {
            Target::Group => {
                assert!(self.nodes[from].discovery.has_group);
                let bytes = self.note(datagram);
                self.traffic.group += 1;
                for to in 0..self.nodes.len() {
                    if self.nodes[to].hears_group {
                        self.fly(Place::Node(to), source, &bytes);
                    }
                }
            }
            Target::Unicast(address) => self.send_to(address, source, datagram),
        }
    }

    /// Lets a datagram go to one address, whoever claims to have sent it.
    pub(super) fn send_to(&mut self, address: SocketAddr, source: SocketAddr, datagram: &[u8]) {
        let bytes = self.note(datagram);
        self.traffic.unicast += 1;
        let mut nodes = (0..self.nodes.len()).filter(|to| locator(*to, 35_010).address == address);
        let mut relays = (0..self.relays.len()).filter(|to| daemon_at(*to) == address);
        if let Some(to) = nodes.next().map(Place::Node).or_else(|| relays.next().map(Place::Relay))
        {
            self.fly(to, source, &bytes);
        }
    }

    fn note(&mut self, datagram: &[u8]) -> Rc<[u8]> {
        assert!(datagram.len() <= MAX_DISCOVERY_BYTES);
        self.traffic.bytes += datagram.len() as u64;
        datagram.into()
    }

    fn fly(&mut self, to: Place, source: SocketAddr, bytes: &Rc<[u8]>) {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let running = match to {
            Place::Node(to) => self.nodes[to].running,
            Place::Relay(to) => self.relays[to].running,
        };
        if running && self.chance % 100 >= self.loss_percent {
            self.order += 1;
            let (arrival, order, bytes) = (self.now + LATENCY, self.order, bytes.clone());
            self.flying.push(Reverse(Flight { arrival, order, to, source, bytes }));
        }
    }

    /// Has those that join from now on use so many daemons, which run, instead of multicast.
    pub(super) fn add_daemons(&mut self, count: usize) {
        for index in 0..count {
            self.relays.push(RelayNode {
                relay: Relay::new(instance(10_000 + index), RELAY_SETTINGS, self.now),
                running: true,
                deadline: Timestamp::NEVER,
                log: Vec::new(),
            });
        }
        let daemons = (0..count).map(|index| Some(daemon_at(index))).collect();
        self.carrier = Carrier { group: false, daemons };
    }

    pub(super) fn kill_daemon(&mut self, index: usize) {
        self.relays[index].running = false;
    }

    /// Starts a daemon anew, which knows nothing of the one before it.
    pub(super) fn restart_daemon(&mut self, index: usize, settings: RelaySettings) {
        self.restarts += 1;
        let identity = instance(20_000 + self.restarts);
        let node = &mut self.relays[index];
        node.relay = Relay::new(identity, settings, self.now);
        node.running = true;
        node.deadline = Timestamp::NEVER;
    }

    pub(super) fn drain_daemon(&mut self, index: usize) {
        let mut buffer = Vec::new();
        // As its thread does in every cycle.
        self.relays[index].relay.handle_timeout(self.now);
        while let Some(to) = self.relays[index].relay.poll_transmit(self.now, &mut buffer) {
            self.send_to(to, daemon_at(index), &buffer);
        }
        let node = &mut self.relays[index];
        while let Some(event) = node.relay.poll_event() {
            node.log.push(event);
        }
        node.deadline = node.relay.next_deadline();
        assert!(node.deadline > self.now, "polled dry, so nothing can be due");
    }

    /// Says goodbye as an instance does that closes, and runs no more.
    pub(super) fn leave(&mut self, index: usize) {
        self.nodes[index].discovery.goodbye(2);
        self.drain(index);
        self.kill(index);
    }

    /// Moves to the next thing that happens, unless that is after `end`.
    fn step(&mut self, end: Timestamp) -> bool {
        let arrival = self.flying.peek().map_or(Timestamp::NEVER, |Reverse(next)| next.arrival);
        let running = self.nodes.iter().enumerate().filter(|(_, node)| node.running);
        let (deadline, index) = running
            .map(|(index, node)| (node.deadline, index))
            .min()
            .unwrap_or((Timestamp::NEVER, 0));
        let relays = self.relays.iter().enumerate().filter(|(_, relay)| relay.running);
        let (relay_deadline, relay) = relays
            .map(|(index, relay)| (relay.deadline, index))
            .min()
            .unwrap_or((Timestamp::NEVER, 0));
        let next = arrival.min(deadline).min(relay_deadline).max(self.now);
        if next > end {
            self.now = end;
            return false;
        }
        self.now = next;
        if arrival <= deadline.min(relay_deadline) {
            let Some(Reverse(flight)) = self.flying.pop() else { return false };
            match flight.to {
                Place::Node(to) if self.nodes[to].running => {
                    let discovery = &mut self.nodes[to].discovery;
                    discovery.handle_datagram(next, flight.source, &flight.bytes).unwrap();
                    self.drain(to);
                }
                Place::Relay(to) if self.relays[to].running => {
                    let relay = &mut self.relays[to].relay;
                    relay.handle_datagram(next, flight.source, &flight.bytes).unwrap();
                    self.drain_daemon(to);
                }
                _ => {}
            }
        } else if relay_deadline <= deadline {
            self.drain_daemon(relay);
        } else {
            self.nodes[index].discovery.handle_timeout(next);
            self.drain(index);
        }
        true
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
    }

    /// Runs until all know all; returns how long that took.
    pub(super) fn converge(&mut self, limit: Duration) -> Duration {
        let start = self.now;
        while !self.is_converged() {
            assert!(self.now - start < limit, "not converged within {limit:?}");
            self.run(millis(5));
        }
        self.now - start
    }

    pub(super) fn is_converged(&self) -> bool {
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
    pub(super) fn kill(&mut self, index: usize) {
        self.nodes[index].running = false;
    }

    /// What one node knows of an instance.
    pub(super) fn peer(&self, index: usize, instance: InstanceId) -> &PeerInfo {
        self.nodes[index].discovery.peers().find(|peer| peer.instance == instance).unwrap()
    }

    pub(super) fn counters(&self, index: usize) -> DiscoveryCounters {
        self.nodes[index].discovery.counters()
    }

    pub(super) fn total(&self, counter: impl Fn(&DiscoveryCounters) -> u64) -> u64 {
        self.nodes.iter().map(|node| counter(&node.discovery.counters())).sum()
    }

    pub(super) fn traffic_during(&mut self, duration: Duration) -> Traffic {
        let before = self.traffic;
        self.run(duration);
        Traffic {
            group: self.traffic.group - before.group,
            unicast: self.traffic.unicast - before.unicast,
            bytes: self.traffic.bytes - before.bytes,
        }
    }
}

pub(super) fn network(nodes: usize, topics: usize, loss_percent: u64) -> Network {
    let mut network = Network::new(loss_percent);
    for _ in 0..nodes {
        network.join(topics);
    }
    network
}
