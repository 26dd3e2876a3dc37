//! Point 9: ranges of ports, and who may have which. Tests.
//!
//! Narrow ranges are below those of the operating system and of other sockets, which could have one
//! of these ports by chance.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vega::{Counter, SubscribeError};

use crate::support::{
    Behaviour, Host, Journal, Place, Report, Settings, WAIT, eventually, payload, socket_on,
};

#[test]
fn a_response_port_belongs_to_one_instance() {
    let place = Place::with(Settings { response_ports: "20004", ..Settings::default() });
    let first = Host::start(&place, "first");
    let error = Host::try_start(&place, "second").err().unwrap();
    for part in ["[responses]", "20004", "taken", &place.address().to_string()] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    drop(first);
    // The port is free again, and what failed has left nothing behind.
    let mut third = Host::start(&place, "third");
    assert_eq!(third.peers(), 0);
}

#[test]
fn two_response_ports_keep_two_instances_apart() {
    const REQUESTS: u64 = 50;
    let place = Place::with(Settings { response_ports: "20004-20005", ..Settings::default() });
    let mut hosts = [Host::start(&place, "first"), Host::start(&place, "second")];
    let error = Host::try_start(&place, "third").err().unwrap();
    assert!(error.contains("20004") && error.contains("20005"), "{error}");
    for host in &mut hosts {
        host.subscribe("multicast.quotes", Behaviour::respond(2));
        host.publish("multicast.quotes");
    }
    for host in &mut hosts {
        host.wait_for_subscribers("multicast.quotes", 2);
    }
    std::thread::scope(|scope| {
        for host in &mut hosts {
            scope.spawn(move || {
                for _ in 0..REQUESTS {
                    let mut answers = host.ask_for("multicast.quotes", 4);
                    answers.sort();
                    assert_eq!(answers, ["first/0", "first/1", "second/0", "second/1"]);
                }
            });
        }
    });
    for host in &mut hosts {
        for (counter, expected) in [
            (Counter::ResponsesReceived, 4 * REQUESTS),
            (Counter::ResponsesUnmatched, 0),
            (Counter::Foreign, 0),
        ] {
            assert_eq!(host.counter(counter), expected, "{counter:?}");
        }
    }
}

#[test]
fn unicast_subscribers_of_one_topic_have_a_port_each() {
    let place = Place::with(Settings { unicast_ports: "20050-20051", ..Settings::default() });
    let sender = place.start("sender");
    let mut hosts = [Host::start(&place, "first"), Host::start(&place, "second")];
    for host in &mut hosts {
        host.subscribe("unicast.topic", Behaviour::Collect);
    }
    let late = place.start("late");
    let error = late.subscribe("unicast.topic", Journal::new("unicast.topic")).unwrap_err();
    assert!(matches!(error, SubscribeError::Transport { .. }));
    let error = error.to_string();
    assert!(error.contains("20050") && error.contains("20051"), "{error}");

    let mut publisher = sender.publisher("unicast.topic").unwrap();
    assert!(publisher.wait_for_subscribers(2, WAIT));
    for number in 0..100 {
        publisher.send(&payload::numbered(number, 50)).unwrap();
    }
    for host in &mut hosts {
        assert_eq!(host.expect("unicast.topic", 100), Report::complete(100));
    }
    // The range is free for others as soon as somebody leaves.
    let [first, _second] = &mut hosts;
    first.unsubscribe("unicast.topic");
    let _subscription = late.subscribe("unicast.topic", Journal::new("unicast.topic")).unwrap();
}

/// One stream for all topics at the publisher, a socket for each at the subscriber: the ranges of two
/// processes may differ.
#[test]
fn topics_that_share_a_session_and_not_a_socket_all_arrive() {
    const TOPICS: [&str; 4] = ["unicast.a", "unicast.b", "unicast.c", "unicast.d"];
    let one = Settings { unicast_ports: "20050", streams: "1", ..Settings::default() };
    let mut place = Place::with(one);
    let mut publisher = Host::start(&place, "publisher");
    place.settings.unicast_ports = "20060-20099";
    let mut subscriber = Host::start(&place, "subscriber");
    for topic in TOPICS {
        subscriber.subscribe(topic, Behaviour::Collect);
        publisher.publish(topic);
    }
    for topic in TOPICS {
        publisher.wait_for_subscribers(topic, 1);
        publisher.send(topic, 100, 50);
    }
    for topic in TOPICS {
        assert_eq!(subscriber.expect(topic, 100).received, 100, "{topic}");
    }
    subscriber.unsubscribe(TOPICS[0]);
    publisher.send(TOPICS[1], 100, 50);
    assert_eq!(subscriber.expect(TOPICS[1], 200).received, 200);
    assert_eq!(subscriber.counter(Counter::MessagesLost), 0);
}

/// A topic whose preferred port somebody else has goes to a port that the instance has already, when
/// there is no other: the range bounds the sockets, not the topics.
#[test]
fn topics_share_the_ports_that_a_stranger_leaves() {
    const PORTS: [u16; 4] = [20050, 20051, 20052, 20053];
    const TOPICS: usize = 64;
    let place = Place::with(Settings { unicast_ports: "20050-20053", ..Settings::default() });
    let stranger = socket_on(place.address(), PORTS[2]);
    let mut publisher = Host::start(&place, "publisher");
    let mut subscriber = Host::start(&place, "subscriber");
    let topics: Vec<_> = (0..TOPICS).map(|index| format!("unicast.topic-{index}")).collect();
    for topic in &topics {
        subscriber.subscribe(topic, Behaviour::Collect);
        publisher.publish(topic);
    }
    for topic in &topics {
        publisher.wait_for_subscribers(topic, 1);
        publisher.send(topic, 10, 50);
    }
    for topic in &topics {
        assert_eq!(subscriber.expect(topic, 10), Report::complete(10), "{topic}");
    }
    // The others keep their sockets, whoever opened them.
    let (gone, left) = topics.split_at(TOPICS - 4);
    gone.iter().for_each(|topic| subscriber.unsubscribe(topic));
    for topic in left {
        publisher.send(topic, 10, 50);
        assert_eq!(subscriber.expect(topic, 20), Report::complete(20), "{topic}");
    }
    left.iter().for_each(|topic| subscriber.unsubscribe(topic));
    drop(stranger);
    PORTS.iter().for_each(|port| drop(socket_on(place.address(), *port)));
}

/// In a process that starts no others: between fork and exec, a child has the sockets of its
/// parent, and so a port seems to be taken that is not.
#[test]
fn a_port_can_be_taken_again_at_once() {
    let place = Place::with(Settings { unicast_ports: "20050", ..Settings::default() });
    Host::start(&place, "only").resubscribe("unicast.topic", 500);
}

/// Whoever takes the response port of a process that died must not be taken for it.
#[test]
fn a_requester_that_is_started_again_gets_its_responses() {
    const ANSWERS: u32 = 20_000;
    let place = Place::with(Settings {
        response_ports: "20004-20005",
        streams: "1",
        receiver_timeout: "1h",
        ..Settings::default()
    });
    let mut responder = Host::start(&place, "responder");
    responder.subscribe("multicast.quotes", Behaviour::respond(ANSWERS));
    let ask = |asker: &mut Host| {
        asker.publish("multicast.quotes");
        asker.wait_for_subscribers("multicast.quotes", 1);
        let answers = asker.ask_for("multicast.quotes", ANSWERS as usize);
        assert!(answers.iter().enumerate().all(|(i, text)| *text == format!("responder/{i}")));
    };
    let mut first = Host::start(&place, "asker");
    ask(&mut first);
    first.kill();
    ask(&mut Host::start(&place, "asker again"));
}

#[test]
fn nothing_listens_wider_than_configured() {
    let place = Place::new();
    let mut host = Host::start(&place, "host");
    for transport in crate::support::TRANSPORTS {
        host.subscribe(&format!("{transport}.topic"), Behaviour::Collect);
        host.publish(&format!("{transport}.topic"));
    }
    let addresses = bound_addresses(host.process());
    assert!(!addresses.is_empty());
    for address in addresses {
        let is_ours = address == place.address() || address.is_loopback();
        assert!(is_ours || address.is_multicast(), "listens at {address}");
    }
    let instance = place.start("here");
    eventually("they meet", || instance.peers().len() == 1);
    assert_eq!(instance.peers()[0].control_address().ip(), place.address());
}

/// The local addresses of the UDP sockets of a process, as the kernel lists them.
pub(crate) fn bound_addresses(process: u32) -> Vec<IpAddr> {
    let sockets: BTreeSet<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|target| {
            let target = target.to_string_lossy().into_owned();
            Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = |name| fs::read_to_string(format!("/proc/{process}/net/{name}"));
    // Where there is no IPv6, there is no table of it.
    let tables = [table("udp").unwrap(), table("udp6").unwrap_or_default()];
    tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| sockets.contains(columns[9]))
        .map(|columns| {
            let hex = columns[1].split(':').next().unwrap();
            let word = |at| u32::from_str_radix(&hex[at..at + 8], 16).unwrap().swap_bytes();
            if hex.len() == 8 {
                return Ipv4Addr::from_bits(word(0)).into();
            }
            let words = [0, 8, 16, 24].map(|at| u128::from(word(at)));
            Ipv6Addr::from_bits(words.into_iter().fold(0, |bits, word| bits << 32 | word)).into()
        })
        .collect()
}
