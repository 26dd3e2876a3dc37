//! Defects of BBVA Vega that nothing else here would notice; the whole list is in
//! `docs/migration.md`. Tests.

use std::time::Duration;

use crossbeam_channel::unbounded;
use vega::{
    Config, Counter, HeartbeatParameters, Instance, MAX_TOPIC_BYTES, Message, Response, RouteError,
    SendError, SentRequest, SubscribeError, Subscription,
};

use crate::support::{
    Behaviour, Happening, Host, Journal, Place, Report, Settings, TRANSPORTS, WAIT, eventually,
    next, payload,
};

/// There, an instance with half as many topics as milliseconds in its interval, or more, stopped
/// advertising, and its peers lost it after their timeout.
#[test]
fn any_number_of_topics_outlives_the_timeout() {
    /// Three timeouts of them.
    const ANNOUNCEMENTS: u64 = 30;
    let place = Place::with(Settings { refresh: "100ms", timeout: "1s", ..Settings::default() });
    let (instance, watch) = place.start_watched("here");
    let mut host = Host::start(&place, "host");
    let mut subscriptions = Vec::new();
    for number in 0..200 {
        let topic = format!("multicast.{number}");
        host.publish(&topic);
        subscriptions.push(instance.subscribe(&topic, |_: &Message<'_>| {}).unwrap());
        if ![51, 75, 99, 199].contains(&number) {
            continue;
        }
        for subscription in &subscriptions {
            assert!(subscription.wait_for_publishers(1, WAIT), "{}", subscription.topic());
        }
        let before = host.counter(Counter::DiscoverySent);
        eventually("many intervals have passed", || {
            host.counter(Counter::DiscoverySent) - before >= ANNOUNCEMENTS
        });
        assert!(subscriptions.iter().all(|subscription| subscription.publishers() == 1));
    }
    host.close();
    let last = Happening::Down("host".to_owned(), vega::DownReason::Goodbye);
    for happening in watch.until(&last) {
        assert!(!matches!(happening, Happening::Down(..)), "{happening:?}");
    }
}

/// Requests have sequence numbers like messages: a listener that does not answer loses nothing.
#[test]
fn requests_that_nobody_takes_are_no_losses() {
    let place = Place::new();
    let mut host = Host::start(&place, "host");
    let instance = place.start("here");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.topic");
        host.subscribe(&topic, Behaviour::Collect);
        let mut publisher = instance.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        for number in 0..50 {
            publisher.request(b"?", Duration::from_millis(1), ()).unwrap();
            publisher.send(&payload::numbered(number, 20)).unwrap();
        }
        let report = host.expect(&topic, 50);
        assert_eq!((report.received, report.lost), (50, 0), "{topic}");
    }
    assert_eq!(host.counter(Counter::MessagesLost), 0);
}

/// A message that is refused has no number, so who sends it again makes no gap.
#[test]
fn refused_messages_leave_no_gap() {
    const MESSAGES: u64 = 1000;
    let place = Place::with(Settings { window: "64KiB", ..Settings::default() });
    let mut host = Host::start(&place, "host");
    let instance = place.start("here");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.topic");
        host.subscribe(&topic, Behaviour::Slow(Duration::from_millis(1)));
        let mut publisher = instance.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        let mut refused = 0_u64;
        for number in 1..=MESSAGES {
            let message = payload::numbered(number, 500);
            while let Err(error) = publisher.send(&message) {
                assert_eq!(error, SendError::BackPressured);
                assert_eq!(publisher.sequence(), number - 1);
                refused += 1;
                std::thread::yield_now();
            }
            assert_eq!(publisher.sequence(), number);
        }
        assert!(refused > 0, "{topic}: nothing was tested");
        assert_eq!(host.expect(&topic, MESSAGES), Report::complete(MESSAGES), "{topic}");
    }
}

/// Control, responses and topics on networks of their own: requests and heartbeats find their ways.
#[test]
fn every_socket_may_have_an_interface_of_its_own() {
    let place = Place::new();
    let [_, _, high, low] = place.address().octets();
    let own = |first: u8| format!("interface = '127.{first}.{high}.{low}'\n");
    let text = place
        .config_text()
        .replace("[responses]\n", &format!("[responses]\n{}", own(201)))
        .replace("name = 'unicast'\n", &format!("name = 'unicast'\n{}", own(202)))
        + &format!("[control]\n{}", own(203));
    let host = Host::try_start_with(&text, "host");
    let mut host = host.unwrap_or_else(|error| panic!("{error}"));
    let config = Config::parse(&text).unwrap();
    let instance = Instance::builder().config(config).start().unwrap();
    assert_eq!(instance.response_address().ip().to_string(), format!("127.201.{high}.{low}"));
    host.subscribe("unicast.quotes", Behaviour::respond(3));
    let mut publisher = instance.publisher("unicast.quotes").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    publisher.activate_heartbeats((), HeartbeatParameters::default()).unwrap();
    eventually("it answers heartbeats", || publisher.connected_subscribers().len() == 1);
    let (answered, answers) = unbounded();
    let tell = move |_: &SentRequest, _: &Response<'_>| answered.send(()).unwrap();
    let request = publisher.request(b"?", WAIT, tell).unwrap();
    for _ in 0..3 {
        next(&answers, "an answer");
    }
    request.close();
    assert!(host.address("unicast.quotes").ip().to_string().starts_with("127.202."));
}

/// There, names of some 940 bytes and more were accepted and never advertised.
#[test]
fn the_longest_name_is_found_and_a_longer_one_refused() {
    let place = Place::new();
    let instance = place.start(&"n".repeat(255));
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.{}", "x".repeat(MAX_TOPIC_BYTES - transport.len() - 1));
        host.subscribe(&topic, Behaviour::Collect);
        let mut publisher = instance.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        publisher.send(&payload::numbered(1, 20)).unwrap();
        assert_eq!(host.expect(&topic, 1), Report::complete(1));
        let refused = instance.subscribe(&(topic + "x"), |_: &Message<'_>| {}).unwrap_err();
        assert!(
            matches!(refused, SubscribeError::Route(RouteError::TooLong { .. })),
            "{refused:?}"
        );
    }
    eventually("its name arrives whole", || host.peers() == 1);
}

/// Two templates with the same places and other pollers: each topic is called by its own, as long as
/// it is subscribed to, whatever the order.
#[test]
fn topics_of_one_place_are_called_by_the_pollers_of_their_templates() {
    let place = Place::with(Settings {
        response_poller: "other",
        streams: "1",
        groups: "239.255.0.9",
        ..Settings::default()
    });
    let text = place.config_text();
    let template_of = |transport: &str| {
        let (_, rest) = text.split_once(&format!("[[template]]\nname = '{transport}'\n")).unwrap();
        let (own, _) = rest.split_once("[[topic]]").unwrap();
        format!(
            "[[template]]\nname = 'other-{transport}'\npoller = 'other'\n{own}\
             [[topic]]\npattern = 'other-{transport}\\..*'\ntemplate = 'other-{transport}'\n"
        )
    };
    let text = TRANSPORTS.iter().fold(text.clone(), |all, transport| all + &template_of(transport));
    let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let instance = Instance::builder().config(config).start().unwrap();
    let mut host = Host::try_start_with(&text, "host").unwrap_or_else(|error| panic!("{error}"));
    let (called, calls) = unbounded();
    let subscribe = |topic: &str| {
        let called = called.clone();
        let tell = move |_: &Message<'_>| {
            let thread = std::thread::current().name().map(str::to_owned);
            called.send(thread.unwrap()).unwrap();
        };
        instance.subscribe(topic, tell).unwrap()
    };
    for transport in TRANSPORTS {
        let topics = [format!("{transport}.topic"), format!("other-{transport}.topic")];
        let threads = ["vega-default", "vega-other"];
        for topic in &topics {
            host.publish(topic);
        }
        let expect = |host: &mut Host, which: usize| {
            host.wait_for_subscribers(&topics[which], 1);
            host.send(&topics[which], 1, 20);
            assert_eq!(next(&calls, &topics[which]), threads[which]);
        };
        // The publisher has to know of the end: it would take a new subscription for the old one.
        let end = |host: &mut Host, which: usize, subscription: Subscription| {
            subscription.unsubscribe();
            eventually("it is gone", || host.subscribers(&topics[which]) == 0);
        };
        for first in [0, 1] {
            let second = 1 - first;
            let of_first = subscribe(&topics[first]);
            let of_second = subscribe(&topics[second]);
            expect(&mut host, first);
            expect(&mut host, second);
            end(&mut host, first, of_first);
            expect(&mut host, second);
            let again = subscribe(&topics[first]);
            expect(&mut host, first);
            end(&mut host, second, of_second);
            expect(&mut host, first);
            end(&mut host, first, again);
        }
        for topic in &topics {
            host.unpublish(topic);
        }
    }
}

/// One value starts any number of instances, one after the other and side by side.
#[test]
fn a_configuration_can_be_used_again() {
    let place = Place::new();
    let config = place.config();
    let start = || Instance::builder().config(config.clone()).start().unwrap();
    for _ in 0..3 {
        let [one, other] = [start(), start()];
        let journal = Journal::new("unicast.topic");
        let _subscription = one.subscribe("unicast.topic", journal.clone()).unwrap();
        let mut publisher = other.publisher("unicast.topic").unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        publisher.send(&payload::numbered(1, 20)).unwrap();
        assert_eq!(journal.expect(1), Report::complete(1));
        assert_eq!(
            one.config().route("unicast.topic").unwrap().stream(),
            config.route("unicast.topic").unwrap().stream()
        );
    }
}
