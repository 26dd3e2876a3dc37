//! IPv6 between hosts: with addresses of their own network, with link-local ones, and on loopback. Tests.

use vega::Counter;

use crate::lab::{Addresses, Lab, SECOND_SUBNET_V6};
use crate::support::{Behaviour, Host, Report, Settings, Tally, eventually, has_ipv6};

/// As many groups as the default has, of site scope.
const GROUPS: &str = "ff15::7665:6761:9-ff15::7665:6761:14";
/// The same of the scope of a link, which needs the number of the interface in every address.
const LINK_GROUPS: &str = "ff12::7665:6761:9-ff12::7665:6761:14";
const MESSAGES: u64 = 5_000;
const REQUESTS: u64 = 500;

fn settings(groups: &'static str) -> Settings {
    Settings { groups, ..Settings::default() }
}

fn lab(hosts: usize, addresses: Addresses, settings: Settings) -> Option<Lab> {
    if !has_ipv6() {
        return None;
    }
    Lab::with_addresses(hosts, settings, addresses)
}

/// A publisher on host 1, everybody else subscribes and answers.
fn exchange(lab: &Lab, others: usize) -> (Host, Vec<Host>) {
    let mut sender = lab.start(1, "sender");
    let mut receivers: Vec<_> =
        (2..others + 2).map(|host| lab.start(host, &format!("host{host}"))).collect();
    for transport in ["unicast", "multicast"] {
        let (stream, quotes) = (format!("{transport}.stream"), format!("{transport}.quotes"));
        for receiver in &mut receivers {
            receiver.subscribe(&stream, Behaviour::Collect);
            receiver.subscribe(&quotes, Behaviour::RespondLarge(2_000));
        }
        for topic in [&stream, &quotes] {
            sender.publish(topic);
            sender.wait_for_subscribers(topic, others);
        }
        sender.send_mixed(&stream, MESSAGES);
        for receiver in &mut receivers {
            assert_eq!(receiver.expect(&stream, MESSAGES), Report::complete(MESSAGES), "{stream}");
        }
        let tally = sender.ask_all(&quotes, REQUESTS, others);
        assert_eq!(tally, Tally::complete(REQUESTS), "{quotes}");
    }
    for host in receivers.iter_mut().chain([&mut sender]) {
        assert!(host.response_address().is_ipv6());
        assert_eq!(host.counter(Counter::TopicConflicts), 0);
        assert_eq!(host.counter(Counter::PeerConflicts), 0);
        assert_eq!(host.counter(Counter::MessagesLost), 0);
    }
    (sender, receivers)
}

#[test]
fn everything_arrives_between_hosts() {
    let Some(lab) = lab(3, Addresses::Ipv6, settings(GROUPS)) else { return };
    exchange(&lab, 2);
}

#[test]
fn everything_arrives_when_five_percent_are_lost() {
    let Some(lab) = lab(3, Addresses::Ipv6, settings(GROUPS)) else { return };
    lab.lose_everywhere(50);
    let (mut sender, _receivers) = exchange(&lab, 2);
    assert!(sender.counter(Counter::Retransmits) > 0);
    assert!((1..=3).all(|host| lab.dropped(host) > 0));
}

/// `fe80::/10`: every address means something on its link only, and none of the numbers of interfaces that
/// say so to the kernel are told to others.
#[test]
fn hosts_with_nothing_but_link_local_addresses_meet() {
    let Some(lab) = lab(3, Addresses::LinkLocal, settings(LINK_GROUPS)) else { return };
    let (mut sender, _receivers) = exchange(&lab, 2);
    let address = sender.response_address();
    let std::net::SocketAddr::V6(at) = address else { panic!("{address}") };
    assert!(at.ip().is_unicast_link_local() && at.scope_id() == 0, "{address}");
}

/// The topics are on a second network. A group is joined there alone, and what the same group carries on the
/// first network is not heard: those who use it there have topics of the same name.
#[test]
fn a_group_is_joined_on_its_interface_and_nowhere_else() {
    let apart = Settings { topic_interface: Some(SECOND_SUBNET_V6), ..settings(GROUPS) };
    let Some(lab) = lab(2, Addresses::Ipv6, apart) else { return };
    lab.add_network();
    let mut second = lab.start(2, "on the second network");
    second.subscribe("multicast.stream", Behaviour::Collect);
    // On the same host, the same group is joined on the first network too.
    let on_first = lab.config_text(Settings { topic_interface: None, ..apart });
    let mut beside = lab.start_with(2, "beside", &on_first);
    beside.subscribe("multicast.stream", Behaviour::Collect);
    let mut sender = lab.start_with(1, "on the first network", &on_first);
    sender.publish("multicast.stream");
    sender.wait_for_subscribers("multicast.stream", 2);
    sender.send("multicast.stream", 100, 100);
    assert_eq!(beside.expect("multicast.stream", 100), Report::complete(100));
    let mut own = lab.start(1, "sender on the second network");
    own.publish("multicast.stream");
    own.wait_for_subscribers("multicast.stream", 2);
    own.send("multicast.stream", 100, 100);
    assert!(second.expect("multicast.stream", 100).received >= 100);
    // Once these are answered, what came before them has been delivered, if it came at all.
    second.subscribe("multicast.quotes", Behaviour::RespondLarge(100));
    own.publish("multicast.quotes");
    own.wait_for_subscribers("multicast.quotes", 1);
    second.wait_for_publishers("multicast.quotes", 1);
    assert_eq!(own.ask_all("multicast.quotes", 50, 1), Tally::complete(50));
    assert_eq!(second.report("multicast.stream").received, 100, "nothing of the other network");
}

/// The built-in groups and hosts that have IPv4 for everything but a topic: told on both sides.
#[test]
fn multicast_of_different_families_is_a_conflict() {
    let Some(lab) = lab(2, Addresses::Ipv6, settings(GROUPS)) else { return };
    let v4 = lab.config_text_of(Addresses::Ipv4, Settings::default());
    let v6_topics = v4.replace(
        "name = 'multicast'\ntransport = 'multicast'\n",
        "name = 'multicast'\ntransport = 'multicast'\ninterface = 'eth0 ipv6'\n",
    );
    let v6_topics = v6_topics.replace(Settings::default().groups, GROUPS);
    let mut publisher = lab.start_with(1, "publisher", &v4);
    let mut subscriber = lab.start_with(2, "subscriber", &v6_topics);
    publisher.publish("multicast.stream");
    subscriber.subscribe("multicast.stream", Behaviour::Collect);
    for host in [&mut publisher, &mut subscriber] {
        eventually("it is told", || host.counter(Counter::TopicConflicts) == 1);
    }
    assert_eq!(publisher.subscribers("multicast.stream"), 0);
}

/// Linux has no route for IPv6 groups on loopback, until there is one.
#[test]
fn multicast_on_loopback_needs_one_route() {
    let Some(lab) = lab(1, Addresses::Loopback6, settings(GROUPS)) else { return };
    let error = lab.try_start(1, "too early").err().unwrap_or_default();
    assert!(error.contains("ip -6 route add local ff00::/8 dev lo table local"), "{error}");
    lab.let_groups_loop(1);
    let (mut sender, mut receiver) = (lab.start(1, "sender"), lab.start(1, "receiver"));
    receiver.subscribe("multicast.stream", Behaviour::Collect);
    receiver.subscribe("multicast.quotes", Behaviour::RespondLarge(2_000));
    for topic in ["multicast.stream", "multicast.quotes"] {
        sender.publish(topic);
        sender.wait_for_subscribers(topic, 1);
    }
    sender.send_mixed("multicast.stream", MESSAGES);
    let report = receiver.expect("multicast.stream", MESSAGES);
    assert_eq!(report, Report::complete(MESSAGES));
    let tally = sender.ask_all("multicast.quotes", REQUESTS, 1);
    assert_eq!(tally, Tally::complete(REQUESTS));
}

/// Discovery through a daemon, between hosts.
#[test]
fn hosts_meet_through_a_daemon() {
    let Some(lab) = lab(3, Addresses::Ipv6, settings(GROUPS)) else { return };
    let at = "[fd77::3]:40300";
    let _daemon = lab.start_daemon(3, at.parse().unwrap());
    let keys = format!("[discovery]\nkind = 'daemon'\ndaemons = ['{at}']\n");
    let config = lab.config_text(settings(GROUPS)).replace("[discovery]\n", &keys);
    let mut sender = lab.start_with(1, "sender", &config);
    let mut receiver = lab.start_with(2, "receiver", &config);
    receiver.subscribe("unicast.quotes", Behaviour::RespondLarge(500));
    sender.publish("unicast.quotes");
    sender.wait_for_subscribers("unicast.quotes", 1);
    assert_eq!(sender.ask_all("unicast.quotes", REQUESTS, 1), Tally::complete(REQUESTS));
}
