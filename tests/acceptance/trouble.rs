//! What is lost, refused or dropped is counted, and told to the listener of the instance. Tests.

use std::net::Ipv4Addr;
use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};
use socket2::SockRef;
use vega::{Counter, DaemonEvent, DiscoveryDaemon, Message, Request, Sniffer, SnifferEvent};

use crate::hostile::catch;
use crate::support::{Behaviour, Host, Place, WAIT, eventually, next, socket_at};

/// A thousand bad datagrams are one event for each second that they take, not a thousand.
#[test]
fn a_flood_of_junk_is_a_counter_and_few_events() {
    const JUNK: u64 = 1000;
    let place = Place::new();
    let (instance, watch) = place.start_watched("here");
    let stranger = socket_at(place.address());
    let malformed = || instance.counters().get(Counter::Malformed);
    for sent in 1..=JUNK {
        stranger.send_to(b"no packet", instance.response_address()).unwrap();
        eventually("it is counted", || malformed() == sent);
    }
    let events = watch.wait_for_trouble(Counter::Malformed, JUNK);
    assert!(events < 500, "{events}");
}

#[test]
fn responses_that_come_too_late_are_counted_and_told() {
    let place = Place::new();
    let (instance, watch) = place.start_watched("here");
    let mut host = Host::start(&place, "host");
    host.subscribe("multicast.quotes", Behaviour::respond(3));
    let mut publisher = instance.publisher("multicast.quotes").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let close = |request: &vega::SentRequest, _: &vega::Response<'_>| assert!(request.close());
    publisher.request(b"?", WAIT, close).unwrap();
    watch.wait_for_trouble(Counter::ResponsesUnmatched, 2);
}

#[test]
fn panics_of_callbacks_are_told() {
    let place = Place::new();
    let (instance, watch) = place.start_watched("here");
    let panics = |_: &Message<'_>| panic!("on purpose");
    let _subscription = instance.subscribe("ipc.topic", panics).unwrap();
    let mut host = Host::start(&place, "host");
    host.publish("ipc.topic");
    host.wait_for_subscribers("ipc.topic", 1);
    host.send("ipc.topic", 2, 10);
    watch.wait_for_trouble(Counter::CallbackPanics, 2);
}

#[test]
fn peers_beyond_the_limit_are_told_of() {
    let place = Place::new();
    let text = place.config_text().replace("[limits]\n", "[limits]\nmax_peers = 1\n");
    let (instance, watch) = Place::start_watched_with(&text, "here");
    let _hosts = ["one", "one too many"].map(|name| Host::start(&place, name));
    watch.wait_for_trouble_of(Counter::DiscoveryRefused);
    assert_eq!(instance.peers().len(), 1);
}

/// Its own announcement comes back from another socket.
#[test]
fn somebody_with_the_same_identity_is_told_of() {
    let place = Place::new();
    let (_instance, watch) = place.start_watched("here");
    let (announcement, _) = catch(place.discovery_group(), || ());
    let double = socket_at(place.address());
    SockRef::from(&double).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    double.send_to(&announcement, place.discovery_group()).unwrap();
    watch.wait_for_trouble(Counter::DuplicateIdentities, 1);
}

/// The name has a part that is longer than names can have, so no name server is asked.
#[test]
fn a_daemon_that_has_no_address_is_told_of() {
    let place = Place::new();
    let text = place.config_text().replace(
        "[discovery]\n",
        &format!("[discovery]\nkind = 'both'\ndaemons = ['{}']\n", "x".repeat(100)),
    );
    let (instance, watch) = Place::start_watched_with(&text, "here");
    watch.wait_for_trouble_of(Counter::LookupsFailed);
    assert!(instance.daemons_up().is_empty());
}

/// Whoever upgrades one host after the other is told so, at every socket, and not that somebody sends junk.
#[test]
fn packets_of_another_version_are_told_of() {
    let place = Place::new();
    let (instance, watch) = place.start_watched("here");
    let subscription = instance.subscribe("unicast.stream", |_: &Message<'_>| ()).unwrap();
    let mut host = Host::start(&place, "host");
    host.publish("unicast.stream");
    host.wait_for_subscribers("unicast.stream", 1);
    let (mut packet, _) = catch(place.discovery_group(), || ());
    // Where the version stands; see `docs/wire-protocol.md`.
    packet[2] += 1;
    let newer = socket_at(place.address());
    SockRef::from(&newer).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    let ports =
        [place.discovery_group(), instance.response_address(), subscription.address().unwrap()];
    for to in ports {
        newer.send_to(&packet, to).unwrap();
    }
    watch.wait_for_trouble(Counter::OtherVersions, ports.len() as u64);
    assert_eq!(instance.counters().get(Counter::Malformed), 0);

    let daemon = DiscoveryDaemon::builder().interface(place.address().to_string()).port(0);
    let (told, tells) = unbounded();
    let daemon = daemon.on_event(move |event| told.send(event.clone()).unwrap()).start().unwrap();
    newer.send_to(&packet, daemon.address()).unwrap();
    let DaemonEvent::Trouble(trouble) = next(&tells, "trouble") else { panic!("nobody came") };
    assert_eq!((trouble.other_versions, trouble.malformed), (1, 0));
    assert_eq!(daemon.counters().other_versions, 1);
}

/// A sniffer tells what it could not read or find, as an instance does.
#[test]
fn trouble_of_a_sniffer_is_told() {
    let place = Place::new();
    let text = place.config_text().replace(
        "[discovery]\n",
        &format!("[discovery]\nkind = 'both'\ndaemons = ['{}']\n", "x".repeat(100)),
    );
    let (told, tells) = unbounded();
    let builder = Sniffer::builder().config(vega::Config::parse(&text).unwrap());
    let sniffer = builder
        .on_event(move |event: &SnifferEvent| {
            told.send(event.clone()).unwrap();
            assert!(!matches!(event, SnifferEvent::InstanceUp(_)), "on purpose");
        })
        .start()
        .unwrap();
    let stranger = socket_at(place.address());
    stranger.send_to(b"no packet", sniffer.address()).unwrap();
    stranger.send_to(b"VG\xff\x10\x20\0\0\0", sniffer.address()).unwrap();
    let _instance = place.start("here");
    let mut missing = vec![
        Counter::Malformed,
        Counter::OtherVersions,
        Counter::LookupsFailed,
        Counter::CallbackPanics,
    ];
    while !missing.is_empty() {
        if let SnifferEvent::Trouble { counter, increase } = next(&tells, "trouble") {
            missing.retain(|wanted| *wanted != counter);
            assert!(sniffer.counters().get(counter) >= increase && increase > 0);
        }
    }
    assert_eq!(sniffer.counters().get(Counter::Malformed), 1);
    assert!(sniffer.counters().get(Counter::DiscoveryReceived) > 0);
}

/// The rows of an instance are all taken: what counts in the totals only is told of.
#[test]
fn topics_without_a_row_are_told_of() {
    let place = Place::new();
    let text = place.config_text() + "[counters]\nrows = 16\n";
    let (instance, watch) = Place::start_watched_with(&text, "here");
    let topics: Vec<_> = (0..40).map(|number| format!("multicast.{number}")).collect();
    let _publishers: Vec<_> =
        topics.iter().map(|topic| instance.publisher(topic).unwrap()).collect();
    watch.wait_for_trouble_of(Counter::RowsRefused);
}

/// Timeouts and events share a thread: a listener that is told of trouble holds nobody up for long,
/// and is told nothing of what others answer for at their calls.
#[test]
fn what_a_call_says_is_not_told_again() {
    let place = Place::new();
    let (instance, watch) = place.start_watched("here");
    let (asked, asks) = bounded(1);
    let keep = vega::on_request(move |request: &Request<'_>| {
        asked.send(request.to_owned()).unwrap();
    });
    let _subscription = instance.subscribe("ipc.quotes", keep).unwrap();
    let mut publisher = instance.publisher("ipc.quotes").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let (expired, expires) = unbounded();
    let ignore = |_: &vega::SentRequest, _: &vega::Response<'_>| {};
    let tell = move |_: &vega::SentRequest| expired.send(()).unwrap();
    publisher.request(b"?", Duration::from_millis(1), (ignore, tell)).unwrap();
    next(&expires, "the timeout");
    let too_large = vec![0; instance.publisher("ipc.other").unwrap().max_message_bytes() + 1];
    publisher.send(&too_large).unwrap_err();
    next(&asks, "the request").respond(&too_large).unwrap_err();
    // Told after all of that, and once more a round of looking later: there is nothing else.
    let stranger = socket_at(place.address());
    for _ in 0..2 {
        stranger.send_to(b"no packet", instance.response_address()).unwrap();
        assert_eq!(watch.first_trouble(), (Counter::Malformed, 1));
    }
}
