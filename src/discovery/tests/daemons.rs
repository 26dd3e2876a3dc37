//! Networks without multicast: what is for everybody goes through daemons.

use super::super::announce::Due;
use super::super::event::DownReason;
use super::super::log::Cursor;
use super::super::relay::{Relay, RelayEvent, RelaySettings};
use super::super::*;
use super::network::*;
use crate::random::SplitMix64;
use crate::wire::advert::daemon::{
    DaemonView, Ticket, encode_register, encode_relay, encode_who, parse,
};
use crate::wire::advert::{self, Ask};

/// A network whose nodes have nothing but daemons.
fn through(daemons: usize, nodes: usize, topics: usize, loss_percent: u64) -> Network {
    let mut network = Network::new(loss_percent);
    network.add_daemons(daemons);
    for _ in 0..nodes {
        network.join(topics);
    }
    network
}

fn all_up(network: &Network, daemons: &[usize]) -> bool {
    network.nodes.iter().all(|node| node.discovery.daemons_up().eq(daemons.iter().copied()))
}

#[test]
fn instances_meet_through_a_daemon() {
    let mut network = through(1, 10, 500, 0);
    let took = network.converge(millis(1_000));
    println!("converged after {took:?} with {:?}", network.traffic);
    assert_eq!(network.traffic.group, 0);
    assert_eq!(network.nodes[3].seen.len(), 4_500);
    assert!(all_up(&network, &[0]));
    let relay = &network.relays[0];
    assert_eq!(relay.relay.clients().count(), 10);
    assert!(relay.relay.clients().any(|client| &*client.name == "node 7"));
    assert_eq!(relay.log.len(), 10);
    assert_eq!(network.total(|counters| counters.duplicate_identities), 0);
    // Changes take two hops.
    network.run(millis(2_000));
    network.advertise(0, "fresh");
    network.run(LATENCY * 3);
    assert!(network.is_converged());
}

#[test]
fn they_meet_with_a_third_of_all_packets_lost() {
    let mut network = through(2, 10, 500, 30);
    let took = network.converge(millis(10_000));
    println!("converged after {took:?} with {:?}", network.traffic);
    network.run(Duration::from_secs(100));
    assert!(network.is_converged());
    assert_eq!(network.total(|counters| counters.peers_expired), 0);
}

#[test]
fn goodbyes_go_through_and_nobody_comes_back() {
    let mut network = through(1, 3, 5, 0);
    network.converge(millis(1_000));
    network.leave(2);
    network.run(LATENCY * 3);
    assert!(network.is_converged());
    let reason = DownReason::Goodbye;
    let down =
        |event: &&RelayEvent| matches!(event, RelayEvent::ClientDown(_, why) if *why == reason);
    assert_eq!(network.relays[0].log.iter().filter(down).count(), 1);
    network.run(millis(3_000));
    assert!(network.is_converged());
}

#[test]
fn a_late_joiner_knows_everything_at_once() {
    let mut network = through(1, 100, 3, 0);
    network.converge(millis(2_000));
    network.run(millis(5_000));
    network.join(3);
    let took = network.converge(millis(500));
    println!("joined 100 instances within {took:?}");
}

/// The cost model of the documentation: some of a thousand clients are whole instances, the others do
/// no more than announce themselves.
#[test]
fn a_thousand_clients_cost_what_the_model_says() {
    const CLIENTS: usize = 1_000;
    const WHOLE: usize = 20;
    let mut network = through(1, WHOLE, 5, 0);
    network.converge(millis(1_000));
    let packets: Vec<_> = (WHOLE..CLIENTS)
        .map(|client| {
            let source = locator(client, 35_010).address;
            let ticket = ticket_for(&mut network, source);
            let now = network.now;
            let mut one = Discovery::new(identity(client), SETTINGS, &MULTICAST, 1, now);
            let (mut announce, mut packet) = (Vec::new(), Vec::new());
            assert!(one.poll_transmit(now, &mut announce).is_some());
            encode_relay(ticket, &announce, &mut packet);
            (source, packet)
        })
        .collect();
    // Each once per interval, at a time of its own.
    let pause = SETTINGS.refresh / u32::try_from(packets.len()).unwrap();
    let interval = |network: &mut Network| {
        for (source, packet) in &packets {
            network.send_to(daemon_at(0), *source, packet);
            network.run(pause);
        }
    };
    // To tell each of them of all others takes a million packets and some seconds.
    let mut intervals = 0;
    while !network.nodes.iter().all(|node| node.up.len() == CLIENTS - 1) {
        interval(&mut network);
        intervals += 1;
        assert!(intervals <= 15, "not all know all");
    }
    println!("all of them came within one interval, and knew all after {intervals}");
    assert_eq!(network.relays[0].relay.clients().count(), CLIENTS);
    for _ in 0..10 {
        interval(&mut network);
    }
    let before = network.relays[0].relay.counters();
    for _ in 0..10 {
        interval(&mut network);
    }
    let after = network.relays[0].relay.counters();
    let received = after.packets_received - before.packets_received;
    let (sent, bytes) =
        (after.packets_sent - before.packets_sent, after.bytes_sent - before.bytes_sent);
    println!("in ten intervals the daemon received {received} and sent {sent}, {bytes} bytes");
    let clients = CLIENTS as u64;
    assert!((clients * 98 / 10..=clients * 102 / 10).contains(&received), "one packet per client");
    // 1000 clients fill 24 lists per interval, which go to all of them.
    assert!((clients * 225..=clients * 250).contains(&sent), "{sent}");
    assert_eq!((after.overruns, after.over_allowance), (before.overruns, before.over_allowance));
    assert_eq!(network.total(|counters| counters.peers_expired), 0);
    let kilobytes = network.relays[0].relay.memory_bytes() / 1_024;
    println!("the daemon holds {kilobytes} KiB");
    assert!(kilobytes < CLIENTS, "{kilobytes} KiB");
}

#[test]
fn changes_of_many_topics_cost_no_announcements() {
    let mut network = through(1, 5, 1, 0);
    network.converge(millis(1_000));
    network.run(millis(3_000));
    let before = network.relays[0].relay.counters().packets_sent;
    for round in 0..10 {
        network.advertise(0, &format!("{round}"));
        network.run(millis(1_000));
    }
    let sent = network.relays[0].relay.counters().packets_sent - before;
    // Ten pages to four others, and at most fifty lists to five clients.
    assert!(sent <= 10 * 4 + 10 * 5 * 5 + 25, "{sent}");
    assert!(network.is_converged());
}

/// Three daemons, all but one of them killed and started again, over and over: who is there stays there,
/// and what is new is known at once.
#[test]
fn nothing_is_lost_while_one_daemon_is_up() {
    for seed in 0..5 {
        let mut dice = SplitMix64::new(seed);
        let mut network = through(3, 6, 10, 0);
        network.converge(millis(1_000));
        for round in 0..5 {
            let survivor = usize::try_from(dice.below(3)).unwrap();
            for daemon in (0..3).filter(|daemon| *daemon != survivor) {
                network.kill_daemon(daemon);
            }
            network.run(Duration::from_millis(dice.below(12_000)));
            assert!(network.is_converged(), "seed {seed}, round {round}");
            network.advertise(round, &format!("{round}"));
            network.run(LATENCY * 3);
            assert!(network.is_converged(), "seed {seed}, round {round}");
            network.join(2);
            network.converge(millis(300));
            for daemon in (0..3).filter(|daemon| *daemon != survivor) {
                network.restart_daemon(daemon, RELAY_SETTINGS);
            }
            // A daemon that begins anew is known, and knows, within an announcement.
            network.run(SETTINGS.refresh * 12 / 10);
            assert!(all_up(&network, &[0, 1, 2]), "seed {seed}, round {round}");
        }
        assert_eq!(network.total(|counters| counters.peers_expired), 0);
    }
}

#[test]
fn a_daemon_that_begins_anew_is_joined_by_all() {
    let mut network = through(1, 20, 3, 0);
    network.converge(millis(1_000));
    network.kill_daemon(0);
    network.run(millis(2_000));
    network.restart_daemon(0, RELAY_SETTINGS);
    network.advertise(0, "meanwhile");
    network.run(SETTINGS.refresh * 12 / 10);
    assert_eq!(network.relays[0].relay.clients().count(), 20);
    assert!(network.is_converged());
    assert_eq!(network.total(|counters| counters.peers_expired), 0);
}

/// The documented time: five announcements without an answer.
#[test]
fn a_dead_daemon_is_noticed_within_five_intervals() {
    let mut network = through(2, 3, 1, 0);
    network.converge(millis(1_000));
    network.kill_daemon(0);
    network.run(SETTINGS.refresh * 6);
    assert!(all_up(&network, &[1]));
    assert_eq!(network.counters(0).daemons_lost, 1);
    assert!(network.nodes[0].log.contains(&Event::DaemonDown { index: 0 }));
    network.restart_daemon(0, RELAY_SETTINGS);
    network.run(SETTINGS.refresh * 2);
    assert!(all_up(&network, &[0, 1]));
}

#[test]
fn a_daemon_by_name_is_joined_when_the_name_is_resolved_and_when_it_moves() {
    let mut network = through(2, 0, 0, 0);
    network.carrier.daemons = vec![None];
    network.join(1);
    network.join(1);
    network.run(millis(2_000));
    assert_eq!(network.traffic, Traffic::default(), "there is nobody to talk to");
    for daemon in [0, 1] {
        for node in 0..2 {
            let now = network.now;
            network.nodes[node].discovery.daemon_moved(0, daemon_at(daemon), now);
            network.drain(node);
        }
        network.run(millis(1_200));
        assert!(network.is_converged());
        assert_eq!(network.relays[daemon].relay.clients().count(), 2);
    }
}

#[test]
fn multicast_and_daemons_carry_the_same() {
    let mut network = through(1, 2, 3, 0);
    network.carrier.group = true;
    network.join(3);
    let daemons = std::mem::take(&mut network.carrier.daemons);
    network.join(3);
    network.run(millis(3_000));
    let seen = |node: usize| network.nodes[node].up.len();
    assert_eq!([0, 1, 2, 3].map(seen), [2, 2, 3, 1], "the third hears of both sides");
    assert_eq!(network.total(|counters| counters.duplicate_identities), 0);
    drop(daemons);
}

/// What somebody without a ticket gets is never more than what was sent.
#[test]
fn strangers_get_no_more_than_they_give() {
    let mut network = through(1, 5, 50, 0);
    network.converge(millis(1_000));
    network.run(millis(3_000));
    let victim = locator(77, 7).address;
    let (now, relay) = (network.now, &mut network.relays[0].relay);
    let (mut announce, mut goodbye, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
    network.nodes[0]
        .discovery
        .write_announce(Due { target: Target::Group, direct: false }, &mut announce);
    advert::encode_goodbye(instance(0), &mut goodbye);
    let mut packets = Vec::new();
    for inside in [&announce, &goodbye] {
        let mut packet = Vec::new();
        encode_relay(Ticket(0), inside, &mut packet);
        packets.push(packet);
    }
    let mut packet = Vec::new();
    encode_register(instance(77), &mut packet);
    packets.push(packet);
    let mut packet = Vec::new();
    encode_who(Ticket(7), [instance(0)], &mut packet);
    packets.push(packet);
    for packet in &packets {
        relay.handle_datagram(now, victim, packet).unwrap();
        let mut answered = 0;
        while let Some(to) = relay.poll_transmit(now, &mut buffer) {
            assert_eq!(to, victim);
            answered += buffer.len();
        }
        assert!(answered <= packet.len(), "{answered} for {}", packet.len());
    }
    assert_eq!(relay.clients().count(), 5, "nobody was let in");
    assert_eq!(relay.counters().tickets_refused, 3);
    assert_eq!(relay.poll_event(), None);
}

/// The ticket that a daemon gave to an address.
fn ticket_for(network: &mut Network, source: SocketAddr) -> Ticket {
    let (mut packet, mut buffer) = (Vec::new(), Vec::new());
    encode_register(instance(77), &mut packet);
    // What was to leave before has left, and more may.
    network.run(millis(2));
    let (now, relay) = (network.now, &mut network.relays[0].relay);
    relay.handle_datagram(now, source, &packet).unwrap();
    assert_eq!(relay.poll_transmit(now, &mut buffer), Some(source));
    match parse(&buffer) {
        Ok(DaemonView::Ticket { ticket, .. }) => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_ticket_is_good_for_its_address_and_for_a_while() {
    let mut network = through(1, 2, 1, 0);
    network.converge(millis(1_000));
    let (mine, other) = (locator(77, 7).address, locator(78, 7).address);
    let ticket = ticket_for(&mut network, mine);
    let stranger = Identity { instance: instance(77), ..identity(77) };
    let mut stranger = Discovery::new(stranger, SETTINGS, &MULTICAST, 1, network.now);
    let (mut announce, mut packet) = (Vec::new(), Vec::new());
    assert!(stranger.poll_transmit(network.now, &mut announce).is_some());
    encode_relay(ticket, &announce, &mut packet);
    let clients = |network: &Network| network.relays[0].relay.clients().count();
    let now = network.now;
    for (source, later, count) in [(other, 0, 2), (mine, 121_000, 2), (mine, 0, 3)] {
        let mut relay = std::mem::replace(
            &mut network.relays[0].relay,
            Relay::new(instance(1), RELAY_SETTINGS, now),
        );
        relay.handle_datagram(now + millis(later), source, &packet).unwrap();
        network.relays[0].relay = relay;
        assert_eq!(clients(&network), count, "{source} after {later} ms");
    }
}

/// A client speaks for itself, and only so much.
#[test]
fn a_client_can_neither_speak_for_others_nor_flood_them() {
    let mut network = through(1, 3, 1, 0);
    network.converge(millis(1_000));
    network.run(millis(3_000));
    let source = locator(2, 35_010).address;
    let ticket = ticket_for(&mut network, source);
    let (mut goodbye, mut packet) = (Vec::new(), Vec::new());
    advert::encode_goodbye(instance(0), &mut goodbye);
    encode_relay(ticket, &goodbye, &mut packet);
    network.send_to(daemon_at(0), source, &packet);
    network.run(millis(10));
    assert!(network.is_converged(), "nobody left");
    assert_eq!(network.relays[0].relay.counters().foreign, 1);

    let mut cursor = Cursor::default();
    let (mut page, sender) = (Vec::new(), &network.nodes[2].discovery);
    sender.log.write_page(instance(2), &mut cursor, true, &mut page);
    encode_relay(ticket, &page, &mut packet);
    let before = network.relays[0].relay.counters();
    for _ in 0..20_000 {
        network.send_to(daemon_at(0), source, &packet);
    }
    network.run(millis(100));
    let after = network.relays[0].relay.counters();
    let spread = after.packets_sent - before.packets_sent;
    assert!(spread <= 2 * 600, "{spread}");
    assert!(after.over_allowance - before.over_allowance > 19_000);
    network.run(millis(3_000));
    assert!(network.is_converged());
    assert_eq!(network.total(|counters| counters.peers_expired), 0);
}

#[test]
fn junk_and_what_is_not_for_daemons_is_counted_and_dropped() {
    let mut network = through(1, 2, 1, 0);
    network.converge(millis(1_000));
    let source = locator(1, 35_010).address;
    let ticket = ticket_for(&mut network, source);
    let (mut packet, mut ask) = (Vec::new(), Vec::new());
    let question = Ask {
        asker: instance(1),
        control: locator(1, 35_010),
        target: instance(0),
        have: 0,
        horizon: 0,
    };
    question.encode(&mut ask);
    let (now, relay) = (network.now, &mut network.relays[0].relay);
    let mut malformed = 0;
    for inside in [&ask[..], &[], &[0; 30], &[0xff; 1_000]] {
        encode_relay(ticket, inside, &mut packet);
        assert!(relay.handle_datagram(now, source, &packet).is_err());
        malformed += 1;
    }
    for length in 0..ask.len() {
        assert!(relay.handle_datagram(now, source, &ask[..length]).is_err());
        malformed += 1;
    }
    for byte in 0..=255 {
        assert!(relay.handle_datagram(now, source, &[byte; 200]).is_err());
        malformed += 1;
    }
    assert_eq!(relay.counters().malformed, malformed);
    assert_eq!(relay.counters().clients, 2);
    network.run(millis(2_000));
    assert!(network.is_converged());
}

#[test]
fn tickets_and_lists_from_anybody_else_are_ignored() {
    let mut network = through(1, 2, 1, 0);
    network.converge(millis(1_000));
    let mut packet = Vec::new();
    advert::daemon::encode_ticket(instance(9), Ticket(1), &mut packet);
    network.send_to(locator(0, 35_010).address, locator(77, 1).address, &packet);
    network.run(millis(10));
    assert_eq!(network.counters(0).not_from_daemons, 1);
    // Even under the daemon's address it costs one round trip.
    network.send_to(locator(0, 35_010).address, daemon_at(0), &packet);
    network.run(millis(100));
    network.advertise(0, "heard");
    network.run(LATENCY * 3);
    assert!(network.is_converged());
}

#[test]
fn the_number_of_clients_is_bounded_and_places_become_free() {
    let mut network = through(1, 0, 0, 0);
    network.restart_daemon(0, RelaySettings { max_clients: 3, ..RELAY_SETTINGS });
    for _ in 0..5 {
        network.join(1);
        network.run(millis(100));
    }
    network.run(millis(3_000));
    let relay = &network.relays[0];
    assert_eq!(relay.relay.clients().count(), 3);
    assert!(relay.relay.counters().clients_refused > 2);
    let full = RelayEvent::Full { limit: 3 };
    assert_eq!(relay.log.iter().filter(|event| **event == full).count(), 1);
    network.kill(0);
    network.run(millis(13_000));
    let relay = &network.relays[0];
    assert_eq!(relay.relay.clients().count(), 3);
    assert!(relay.relay.clients().all(|client| client.instance != instance(0)));
    assert_eq!(relay.relay.counters().clients_expired, 1);
}
