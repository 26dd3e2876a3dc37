//! Discovery as a whole, on a simulated network: who finds whom, how soon, at what cost.

mod bounds;
mod daemons;
mod forged;
mod network;

use self::network::*;
use super::announce::Due;
use super::event::DownReason;
use super::log::MAX_TOMBSTONES;
use super::*;
use crate::wire::advert;

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

/// Who comes late and greets nobody has to wait for one ANNOUNCE of each, and then to ask.
#[test]
fn an_observer_sees_everything_and_is_seen_by_nobody() {
    for loss_percent in [0, 20] {
        let mut network = network(10, 300, loss_percent);
        network.converge(millis(5_000));
        let observer = network.observe();
        let mut took = Duration::ZERO;
        while network.nodes[observer].seen.len() < 3_000 {
            network.run(millis(10));
            took += millis(10);
            assert!(took < millis(10_000), "{:?}", network.counters(observer));
        }
        assert_eq!(network.nodes[observer].up.len(), 10);
        // It follows what changes, and who comes and goes.
        let late = network.join(5);
        network.advertise(0, "fresh");
        network.leave(1);
        network.kill(2);
        network.run(SETTINGS.timeout + SETTINGS.refresh * 3);
        let seen = &network.nodes[observer];
        assert_eq!((seen.up.len(), seen.seen.len()), (9, 2_700 - 300 + 6));
        assert!(seen.up.contains_key(&instance(late)));
        for node in &network.nodes[..observer] {
            assert!(!node.up.contains_key(&instance(observer)));
        }
        let counters = network.counters(observer);
        assert_eq!(counters.packets_sent, counters.asks_sent, "{counters:?}");
    }
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
    network.leave(2);
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
    advert::encode_goodbye(instance(1), &mut goodbye);
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
    // Ten in a row have to be lost: of 27 000 that are, with this loss, once in three hundred runs.
    let mut network = network(10, 3, 20);
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
