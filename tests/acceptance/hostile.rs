//! Point 15: what strangers send to every open port is counted and dropped, and harms nobody.
//! Tests.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use vega::Counter;

use crate::support::{
    Behaviour, Host, Place, Report, Settings, WAIT, eventually, payload, socket_at,
};

const VICTIM: &str = "victim";
const MULTICAST: &str = "multicast.stream";
const UNICAST: &str = "unicast.stream";
/// Where the sequence of a packet stands; see `docs/wire-protocol.md`.
const SEQUENCE_AT: usize = 16;

/// A process with every kind of port open, another one that it serves, and a stranger in this one.
struct Scene {
    place: Place,
    victim: Host,
    host: Host,
    /// What has been sent to the victim on each topic.
    sent: u64,
    /// Name and address of each of the victim's ports.
    ports: Vec<(&'static str, SocketAddr)>,
    attacker: UdpSocket,
}

impl Scene {
    fn new() -> Self {
        // With one stream and one group a packet that is caught at one port fits the others.
        let place =
            Place::with(Settings { streams: "1", groups: "239.255.0.9", ..Settings::default() });
        let mut victim = Host::start(&place, VICTIM);
        let mut host = Host::start(&place, "host");
        let mut ports = vec![
            ("responses", victim.response_address()),
            ("discovery", place.discovery_group()),
            ("control", control_address(&place)),
        ];
        for topic in [MULTICAST, UNICAST] {
            victim.subscribe(topic, Behaviour::CollectFirst);
            ports.push((topic, victim.address(topic)));
            host.publish(topic);
            host.wait_for_subscribers(topic, 1);
        }
        let attacker = socket_at(place.address());
        SockRef::from(&attacker).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        let mut scene = Self { place, victim, host, sent: 0, ports, attacker };
        scene.serve(1);
        scene
    }

    /// Has the peer send more to the victim: the service as usual.
    fn serve(&mut self, messages: u64) {
        self.sent += messages;
        for topic in [MULTICAST, UNICAST] {
            self.host.send(topic, messages, 100);
            let report = self.victim.expect(topic, self.sent);
            assert_eq!(report, Report::complete(self.sent), "{topic}");
        }
    }

    /// A data packet of the peer, which the victim gets, too, and where it came from.
    fn catch_data(&mut self) -> (Vec<u8>, SocketAddr) {
        let port_of = |wanted| self.ports.iter().find(|(name, _)| *name == wanted);
        let (_, group) = *port_of(MULTICAST).unwrap();
        catch(group, || self.serve(1))
    }

    fn catch_announce(&self) -> Vec<u8> {
        catch(self.place.discovery_group(), || ()).0
    }

    /// What the victim has counted as of no use.
    fn refused(&mut self) -> u64 {
        [Counter::Malformed, Counter::Foreign, Counter::Duplicates]
            .into_iter()
            .map(|counter| self.victim.counter(counter))
            .sum()
    }

    fn send(&self, to: SocketAddr, bytes: &[u8]) {
        assert_eq!(self.attacker.send_to(bytes, to).unwrap(), bytes.len());
    }
}

fn control_address(place: &Place) -> SocketAddr {
    let observer = place.start("observer");
    let find = || observer.peers().into_iter().find(|peer| peer.name() == VICTIM);
    eventually("the observer sees the victim", || find().is_some());
    find().unwrap().control_address()
}

/// Catches one packet of a group that `provoke` makes somebody send, and says who sent it.
pub(crate) fn catch(group: SocketAddr, provoke: impl FnOnce()) -> (Vec<u8>, SocketAddr) {
    let SocketAddr::V4(address) = group else { panic!("not IPv4") };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddrV4::new(*address.ip(), address.port()).into()).unwrap();
    socket.join_multicast_v4(address.ip(), &Ipv4Addr::LOCALHOST).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let socket = UdpSocket::from(socket);
    provoke();
    let mut buffer = vec![0; 65_536];
    let (bytes, source) = socket.recv_from(&mut buffer).unwrap();
    buffer.truncate(bytes);
    (buffer, source)
}

#[test]
fn random_datagrams_are_counted_and_dropped() {
    const DATAGRAMS: u64 = 200;
    let mut scene = Scene::new();
    for (name, port) in scene.ports.clone() {
        let before = scene.refused();
        let mut random = payload::mixed(port.port().into());
        for index in 0..DATAGRAMS {
            random = payload::mixed(random);
            // Some are empty, some larger than any packet of ours.
            let bytes = if index % 20 == 0 { 0 } else { random % 3000 };
            scene.send(port, &payload::numbered(random, usize::try_from(bytes).unwrap()));
        }
        eventually(name, || scene.refused() - before >= DATAGRAMS);
        assert_eq!(scene.refused() - before, DATAGRAMS, "{name}");
        scene.serve(100);
    }
}

#[test]
fn truncated_packets_are_counted_and_dropped() {
    let mut scene = Scene::new();
    let ports = scene.ports.clone();
    let (data, _) = scene.catch_data();
    let announce = scene.catch_announce();
    for (name, port) in ports {
        for packet in [&data, &announce] {
            let before = scene.refused();
            for length in 0..packet.len() {
                scene.send(port, &packet[..length]);
            }
            let sent = packet.len() as u64;
            eventually(name, || scene.refused() - before >= sent);
        }
        scene.serve(100);
    }
}

#[test]
fn changed_packets_harm_nobody() {
    let mut scene = Scene::new();
    let ports = scene.ports.clone();
    let (data, source) = scene.catch_data();
    let announce = scene.catch_announce();
    for (name, port) in ports {
        let counted = scene.refused();
        for packet in [&data, &announce] {
            for bit in 0..packet.len() * 8 {
                let mut changed = packet.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                scene.send(port, &changed);
                if bit % 500 == 0 {
                    scene.serve(10);
                }
            }
        }
        eventually(name, || scene.refused() > counted);
        scene.serve(100);
    }
    // The publisher's own socket takes feedback, which can be changed as well.
    for bit in 0..data.len() * 8 {
        let mut changed = data.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // As a status: kind 3.
        changed[3] = 3;
        scene.send(source, &changed);
    }
    scene.serve(1000);
    assert!(scene.host.counter(Counter::StatusesRefused) > 0);
}

/// Numbers at the end of their range, in packets that are right otherwise.
#[test]
fn extreme_numbers_harm_nobody() {
    let mut scene = Scene::new();
    let ports = scene.ports.clone();
    let (data, _) = scene.catch_data();
    let mut session = 0_u64;
    for (_, port) in ports {
        for kind in [1, 2, 3] {
            for sequence in [u64::MAX, u64::MAX - 1, 1 << 63, u64::from(u32::MAX)] {
                for own_session in [false, true] {
                    let mut forged = data.clone();
                    forged[3] = kind;
                    forged[SEQUENCE_AT..SEQUENCE_AT + 8].copy_from_slice(&sequence.to_le_bytes());
                    if own_session {
                        session += 1;
                        forged[8..16].copy_from_slice(&session.to_le_bytes());
                    }
                    // Twice: the second one follows the first.
                    scene.send(port, &forged);
                    scene.send(port, &forged);
                }
                scene.serve(2);
            }
        }
    }
    scene.serve(100);
}

#[test]
fn requests_are_answered_during_a_flood() {
    const ROUNDS: u64 = 50;
    const TOPIC: &str = "multicast.quotes";
    let mut scene = Scene::new();
    let ports = scene.ports.clone();
    scene.host.subscribe(TOPIC, Behaviour::respond(2));
    scene.victim.publish(TOPIC);
    scene.victim.wait_for_subscribers(TOPIC, 1);
    let before = scene.refused();
    let mut random = 1;
    for _ in 0..ROUNDS {
        for (_, port) in &ports {
            random = payload::mixed(random);
            scene.send(*port, &payload::numbered(random, 100));
        }
        assert_eq!(scene.victim.ask_for(TOPIC, 2), ["host/0", "host/1"]);
    }
    let flood = ROUNDS * ports.len() as u64;
    eventually("the flood is counted", || scene.refused() - before >= flood);
    // A goodbye that names nobody we know, and one cut short, end nothing. The one cut short is
    // counted, and by then the port has read the other one, too.
    let goodbye = [b'V', b'G', 1, 19, 24, 0, 0, 0];
    let stranger: Vec<u8> = goodbye.into_iter().chain([7; 16]).collect();
    for (name, port) in ports {
        let before = scene.victim.counter(Counter::Malformed);
        scene.send(port, &stranger);
        scene.send(port, &goodbye);
        eventually(name, || scene.victim.counter(Counter::Malformed) > before);
    }
    assert_eq!((scene.victim.peers(), scene.victim.subscribers(TOPIC)), (1, 1));
    scene.serve(10);
}
