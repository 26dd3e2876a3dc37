//! What "ready" means: what may be relied on when a call returns, or an event is told. Tests.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::unbounded;
use vega::{Instance, InstanceId, InstanceListener, SharedPublisher};

use crate::support::{Behaviour, Host, Journal, Place, Report, TRANSPORTS, WAIT, eventually, next};

const ROUNDS: u32 = 10;

/// Nothing has to be waited for between `start` and the first use: others find the instance as it
/// was when `start` returned.
#[test]
fn a_started_instance_can_be_used_at_once() {
    let place = Place::new();
    let mut host = Host::start(&place, "host");
    for round in 1..=ROUNDS {
        let instance = place.start("here");
        let address = instance.response_address();
        assert!(address.ip().is_loopback() && address.port() != 0);
        for transport in TRANSPORTS {
            let topic = format!("{transport}.topic-{round}");
            host.subscribe(&topic, Behaviour::Collect);
            let mut publisher = instance.publisher(&topic).unwrap();
            assert!(publisher.wait_for_subscribers(1, WAIT), "{topic}");
            publisher.send(&crate::support::payload::numbered(1, 20)).unwrap();
            assert_eq!(host.expect(&topic, 1), Report::complete(1));
        }
        instance.close().unwrap();
        eventually("it is gone", || host.peers() == 0);
    }
}

/// True for three is true for all three: the very next message reaches each of them.
#[test]
fn subscribers_that_were_waited_for_get_the_next_message() {
    let place = Place::new();
    let instance = place.start("here");
    let mut hosts = ["a", "b", "c"].map(|name| Host::start(&place, name));
    for transport in TRANSPORTS {
        for round in 0..ROUNDS {
            let topic = format!("{transport}.topic-{round}");
            let mut publisher = instance.publisher(&topic).unwrap();
            assert!(publisher.wait_for_subscribers(0, Duration::ZERO));
            assert!(!publisher.wait_for_subscribers(1, Duration::ZERO));
            for host in &mut hosts {
                host.subscribe(&topic, Behaviour::Collect);
            }
            assert!(publisher.wait_for_subscribers(3, WAIT));
            publisher.send(&crate::support::payload::numbered(1, 20)).unwrap();
            for host in &mut hosts {
                assert_eq!(host.expect(&topic, 1), Report::complete(1), "{topic}");
                host.unsubscribe(&topic);
            }
        }
    }
}

/// Sends as soon as it is told that somebody listens.
struct Eager(Arc<OnceLock<SharedPublisher>>);

impl InstanceListener for Eager {
    fn on_subscriber_matched(&mut self, topic: &str, _: InstanceId) {
        let publisher = self.0.wait();
        if publisher.topic() == topic {
            assert_eq!(publisher.subscribers(), 1);
            publisher.send(&crate::support::payload::numbered(1, 20)).unwrap();
        }
    }
}

#[test]
fn a_subscriber_that_is_told_of_gets_the_next_message() {
    let place = Place::new();
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        for round in 0..ROUNDS {
            let topic = format!("{transport}.topic-{round}");
            let publisher = Arc::new(OnceLock::new());
            let builder = Instance::builder().config(place.config());
            let instance = builder.listener(Eager(Arc::clone(&publisher))).start().unwrap();
            let opened = instance.shared_publisher(&topic).unwrap();
            publisher.set(opened).unwrap();
            host.subscribe(&topic, Behaviour::Collect);
            assert_eq!(host.expect(&topic, 1), Report::complete(1), "{topic}");
            instance.close().unwrap();
        }
    }
}

/// The other way around, each side knows for itself: a publisher that is known here need not know of
/// this subscription yet. When it does, nothing is missed.
#[test]
fn a_publisher_that_was_waited_for_is_heard_once_it_knows_its_subscriber() {
    let place = Place::new();
    let instance = place.start("here");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        for round in 0..ROUNDS {
            let topic = format!("{transport}.topic-{round}");
            host.publish(&topic);
            let journal = Journal::new(&topic);
            let subscription = instance.subscribe(&topic, journal.clone()).unwrap();
            assert!(subscription.wait_for_publishers(1, WAIT));
            assert_eq!(subscription.publisher_instances()[0].to_string(), host.id());
            host.wait_for_subscribers(&topic, 1);
            host.send(&topic, 1, 20);
            assert_eq!(journal.expect(1), Report::complete(1), "{topic}");
            host.unpublish(&topic);
        }
    }
}

/// A request needs no readiness of the way back: the response socket was open before `start` returned.
#[test]
fn the_first_request_of_an_instance_is_answered() {
    let place = Place::new();
    let mut host = Host::start(&place, "host");
    host.subscribe("unicast.quotes", Behaviour::respond(1));
    for _ in 0..ROUNDS {
        let instance = place.start("here");
        let mut publisher = instance.publisher("unicast.quotes").unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        let (answered, answers) = unbounded();
        let tell = move |_: &vega::SentRequest, _: &vega::Response<'_>| answered.send(()).unwrap();
        let request = publisher.request(b"?", WAIT, tell).unwrap();
        next(&answers, "an answer");
        request.close();
        instance.close().unwrap();
        eventually("it is gone", || host.peers() == 0);
    }
}
