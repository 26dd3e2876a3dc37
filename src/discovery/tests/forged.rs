//! Packets that are wrong, forged or from the wrong place.

use super::super::log::Cursor;
use super::super::*;
use super::network::*;
use crate::config::Transport;
use crate::id::TopicHash;
use crate::wire::advert::{self, Add, AdvertKind, Ask, ChangesWriter};

#[test]
fn a_wrong_set_is_noticed_by_its_digest_and_repaired() {
    let mut network = network(2, 10, 0);
    network.converge(millis(1_000));
    // Greetings and the repetition after a start are over: what repairs is the next regular ANNOUNCE.
    network.run(millis(500));
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
fn own_packets_are_ignored_and_a_double_is_reported() {
    let mut network = network(2, 3, 0);
    network.converge(millis(1_000));
    let echoes = network.counters(0).echoes;
    assert!(echoes > 0 && echoes <= network.counters(0).packets_sent);
    assert_eq!(network.counters(0).duplicate_identities, 0);
    let mut packet = Vec::new();
    advert::encode_goodbye(instance(0), &mut packet);
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
    let mut double = Discovery::new(double, SETTINGS, &MULTICAST, 1, network.now);
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
    use proptest::prelude::*;

    use super::*;

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
