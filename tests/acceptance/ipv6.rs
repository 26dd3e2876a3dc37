//! IPv6 where IPv4 works, on `::1`, and what happens where the two cannot meet. Tests. They say SKIPPED
//! where this machine has no IPv6. Multicast is tested in `tests/network` too: here it needs a route that
//! few machines have.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::Command;

use vega::{Config, Counter, Instance, InstanceBuilder};

use crate::sockets::bound_addresses;
use crate::support::{
    Behaviour, DaemonProcess, Happening, Host, Place, Report, Settings, Tally, WAIT, Watch,
    eventually, has_ipv6, socket_at,
};

const GROUPS: &str = "ff15::7665:6761:9-ff15::7665:6761:14";

/// Instances on `::1` that meet through a daemon there.
struct Ipv6 {
    place: Place,
    daemon: DaemonProcess,
}

impl Ipv6 {
    /// `None` where there is no IPv6.
    fn with(settings: Settings) -> Option<Self> {
        has_ipv6().then(|| {
            // A port that is free.
            let address = socket_at(Ipv6Addr::LOCALHOST).local_addr().unwrap();
            let place = Place::with(Settings { groups: GROUPS, ..settings });
            Self { place, daemon: DaemonProcess::start(address) }
        })
    }

    fn config_text(&self) -> String {
        let daemon = self.daemon.address();
        let keys = format!("[discovery]\nkind = 'daemon'\ndaemons = ['{daemon}']\n");
        on_ipv6(&self.place.config_text()).replace("[discovery]\n", &keys)
    }

    fn host(&self, name: &str) -> Host {
        let command = Command::new(std::env::current_exe().unwrap());
        Host::try_start_by(command, name, &self.config_text()).unwrap()
    }
}

/// A configuration with another interface at its top.
fn on_ipv6(config: &str) -> String {
    let (_, rest) = config.split_once('\n').unwrap();
    format!("interface = '::1'\n{rest}")
}

fn builder(config: &str) -> InstanceBuilder {
    Instance::builder().config(Config::parse(config).unwrap())
}

fn carries_everything(settings: Settings) {
    let Some(ipv6) = Ipv6::with(settings) else { return };
    let (mut sender, mut receiver) = (ipv6.host("sender"), ipv6.host("receiver"));
    assert_eq!(receiver.response_address().ip(), IpAddr::from(Ipv6Addr::LOCALHOST));
    for transport in ["unicast", "ipc"] {
        let (stream, quotes) = (format!("{transport}.stream"), format!("{transport}.quotes"));
        receiver.subscribe(&stream, Behaviour::Collect);
        receiver.subscribe(&quotes, Behaviour::RespondLarge(2_000));
        for topic in [&stream, &quotes] {
            sender.publish(topic);
            sender.wait_for_subscribers(topic, 1);
            receiver.wait_for_publishers(topic, 1);
        }
        sender.send_mixed(&stream, 2_000);
        assert_eq!(receiver.expect(&stream, 2_000), Report::complete(2_000), "{stream}");
        assert_eq!(sender.ask_all(&quotes, 500, 1), Tally::complete(500), "{quotes}");
    }
    assert_eq!(receiver.address("unicast.stream").ip(), receiver.response_address().ip());
    for host in [&mut sender, &mut receiver] {
        assert_eq!(host.counter(Counter::TopicConflicts), 0);
        assert_eq!(host.counter(Counter::PeerConflicts), 0);
        assert_eq!(host.counter(Counter::Malformed), 0);
    }
    receiver.leave();
    eventually("a goodbye goes through the daemon", || sender.peers() == 0);
}

#[test]
fn messages_requests_and_responses_arrive() {
    carries_everything(Settings::default());
}

#[test]
fn without_the_help_of_the_kernel_too() {
    carries_everything(Settings { offload: "off", ..Settings::default() });
}

#[test]
fn nothing_listens_wider_than_configured() {
    let Some(ipv6) = Ipv6::with(Settings::default()) else { return };
    let mut host = ipv6.host("host");
    for transport in ["unicast", "ipc"] {
        host.subscribe(&format!("{transport}.topic"), Behaviour::Collect);
        host.publish(&format!("{transport}.topic"));
    }
    let addresses = bound_addresses(host.process());
    assert!(addresses.iter().any(IpAddr::is_ipv6), "{addresses:?}");
    // Those of IPv4 wake readers of rings.
    assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
}

/// Linux has no route for IPv6 groups on loopback: where it is missing, an instance does not start as if
/// all were well, and a publisher does not send into the void.
#[test]
fn multicast_on_loopback_works_or_says_what_is_missing() {
    const REMEDY: &str = "ip -6 route add local ff00::/8 dev lo table local";
    let Some(ipv6) = Ipv6::with(Settings::default()) else { return };
    let by_daemon = builder(&ipv6.config_text()).start().unwrap();
    let by_group = builder(&on_ipv6(&ipv6.place.config_text())).start();
    match (by_daemon.publisher("multicast.stream"), by_group) {
        (Ok(publisher), Ok(_)) => assert_eq!(publisher.transport(), vega::Transport::Multicast),
        (Err(publishing), Err(starting)) => {
            for error in [describe(&publishing), describe(&starting)] {
                assert!(error.contains(REMEDY), "{error}");
            }
            let listening = by_daemon.subscribe_channel("multicast.stream", 1).unwrap_err();
            assert!(describe(&listening).contains(REMEDY));
        }
        (publisher, instance) => panic!("{publisher:?}, {instance:?}"),
    }
}

/// An error with its sources.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn watched(config: &str, name: &str) -> (Instance, Watch) {
    let (watch, listener) = Watch::new();
    (builder(config).name(name).listener(listener).start().unwrap(), watch)
}

/// They discover each other, and the topic has sockets of different families: both sides are told, in both
/// orders, and a subscriber of the right family is served as if nobody else were there.
#[test]
fn a_topic_of_different_families_is_a_conflict_that_both_sides_hear_of() {
    if !has_ipv6() {
        return;
    }
    let place = Place::new();
    let other = place.config_text().replace(
        "name = 'unicast'\ntransport = 'unicast'\n",
        "name = 'unicast'\ntransport = 'unicast'\ninterface = '::1'\n",
    );
    for v6_publishes in [false, true] {
        let topic = format!("unicast.{v6_publishes}");
        let (v4, v4_hears) = watched(&place.config_text(), "v4");
        let (v6, v6_hears) = watched(&other, "v6");
        let (publishing, subscribing) = if v6_publishes { (&v6, &v4) } else { (&v4, &v6) };
        let publisher = publishing.publisher(&topic).unwrap();
        let (_subscription, messages) = subscribing.subscribe_channel(&topic, 16).unwrap();
        for (instance, hears) in [(&v4, &v4_hears), (&v6, &v6_hears)] {
            hears.wait_for(&Happening::Conflict(topic.clone()));
            assert_eq!(instance.counters().get(Counter::TopicConflicts), 1);
            // Responses and discovery are of one family.
            assert_eq!(instance.counters().get(Counter::PeerConflicts), 0);
        }
        assert_eq!(publisher.subscribers(), 0);
        assert!(messages.is_empty());

        let config = if v6_publishes { &other } else { &place.config_text() };
        let (third, _) = watched(config, "third");
        let (_subscription, messages) = third.subscribe_channel(&topic, 16).unwrap();
        let mut publisher = publisher;
        assert!(publisher.wait_for_subscribers(1, WAIT), "{topic}");
        publisher.send(b"across").unwrap();
        let vega::Delivery::Message(message) = messages.recv_timeout(WAIT).unwrap() else {
            panic!("not a message");
        };
        assert_eq!(message.payload().as_ref(), b"across");
    }
}

/// A template of IPv6 beside discovery and responses of IPv4 is no conflict.
#[test]
fn topics_of_both_families_live_in_one_instance() {
    if !has_ipv6() {
        return;
    }
    let place = Place::with(Settings::default());
    let mixed = place.config_text().replace(
        "name = 'unicast'\ntransport = 'unicast'\n",
        "name = 'unicast'\ntransport = 'unicast'\ninterface = 'loopback ipv6'\n",
    );
    let command = || Command::new(std::env::current_exe().unwrap());
    let mut sender = Host::try_start_by(command(), "sender", &mixed).unwrap();
    let mut receiver = Host::try_start_by(command(), "receiver", &mixed).unwrap();
    for transport in ["unicast", "multicast"] {
        let topic = format!("{transport}.quotes");
        receiver.subscribe(&topic, Behaviour::RespondLarge(100));
        sender.publish(&topic);
        sender.wait_for_subscribers(&topic, 1);
        // A request from an address of one family that asks for answers at one of the other is not answered
        // to a stranger.
        receiver.wait_for_publishers(&topic, 1);
        assert_eq!(sender.ask_all(&topic, 200, 1), Tally::complete(200), "{topic}");
    }
    assert!(receiver.address("unicast.quotes").is_ipv6());
    assert!(receiver.response_address().is_ipv4());
}

/// Requests need a way back: without one both sides are told when they meet, and who answers is told why
/// not.
#[test]
fn responses_of_different_families_are_a_conflict_and_not_silence() {
    if !has_ipv6() {
        return;
    }
    let place = Place::new();
    let other = place.config_text().replace("[responses]\n", "[responses]\ninterface = '::1'\n");
    let (asker, asker_hears) = watched(&other, "asker");
    let (responder, responder_hears) = watched(&place.config_text(), "responder");
    for (instance, hears) in [(&asker, &asker_hears), (&responder, &responder_hears)] {
        let reason = "[responses] sockets of different address families: requests get no answers";
        hears.wait_for(&Happening::OutOfReach(reason.to_owned()));
        assert_eq!(instance.counters().get(Counter::PeerConflicts), 1);
    }
    let (told, tells) = crossbeam_channel::unbounded();
    let _subscription = responder
        .subscribe("multicast.quotes", {
            struct Answers(crossbeam_channel::Sender<String>);
            impl vega::Listener for Answers {
                fn on_message(&mut self, _: &vega::Message<'_>) {}

                fn on_request(&mut self, request: &vega::Request<'_>) {
                    let refused = request.respond(b"!").unwrap_err();
                    self.0.send(refused.to_string()).unwrap();
                }
            }
            Answers(told)
        })
        .unwrap();
    let mut publisher = asker.publisher("multicast.quotes").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let ignore = |_: &vega::SentRequest, _: &vega::Response<'_>| {};
    let _request = publisher.request(b"?", WAIT, ignore).unwrap();
    let reason = crate::support::next(&tells, "a refusal");
    assert!(reason.contains("another address family"), "{reason}");
    assert!(reason.contains("[::1]"), "{reason}");
}

/// What reaches a daemon on `::1` from elsewhere is what its socket is bound to, and nothing else.
#[test]
fn daemons_tell_addresses_that_can_be_configured() {
    let Some(ipv6) = Ipv6::with(Settings::default()) else { return };
    let address: SocketAddr = ipv6.daemon.address();
    assert_eq!(address.to_string(), format!("[::1]:{}", address.port()));
    let (instance, _) = watched(&ipv6.config_text(), "client");
    eventually("it is let in", || !instance.daemons_up().is_empty());
}
