//! What has a limit: peers, adverts, names, events that wait.

use super::super::event::Overflow;
use super::super::incoming::MAX_WAITING_EVENTS;
use super::super::*;
use super::network::*;
use crate::id::TopicHash;
use crate::wire::advert;

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
    let mut discovery = Discovery::new(identity(0), SETTINGS, &MULTICAST, 1, Timestamp::default());
    for length in [0, 256] {
        let refused = discovery.advertise(publisher(&"x".repeat(length)));
        assert_eq!(refused, Err(AdvertiseError::TopicLength { length }));
    }
    assert!(discovery.advertise(publisher(&"x".repeat(255))).is_ok());
}

#[test]
fn an_owner_that_takes_no_events_loses_packets_and_not_memory() {
    let mut discovery = Discovery::new(identity(0), SETTINGS, &MULTICAST, 1, Timestamp::default());
    let mut packet = Vec::new();
    let now = Timestamp::default();
    for index in 1..MAX_WAITING_EVENTS + 100 {
        let control = locator(1, 1);
        let peer = Identity { instance: instance(index), control, ..identity(1) };
        let mut peer = Discovery::new(peer, SETTINGS, &MULTICAST, 1, now);
        assert!(peer.poll_transmit(now, &mut packet).is_some());
        discovery.handle_datagram(now, control.address, &packet).unwrap();
        advert::encode_goodbye(instance(index), &mut packet);
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
    advert::encode_goodbye(instance(1), &mut packet);
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
