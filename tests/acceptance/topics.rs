//! Point 12: publishers and subscriptions that end and begin again, and what is refused. Tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vega::{Listener, Message, MessageLoss, PublishError, SendError, SubscribeError};

use crate::support::{
    Behaviour, Host, Journal, Place, Report, SetOnDrop, TRANSPORTS, WAIT, eventually, payload,
};

/// Insists on not being called after its end.
struct Ending {
    journal: Journal,
    ended: Arc<AtomicBool>,
}

impl Listener for Ending {
    fn on_message(&mut self, message: &Message<'_>) {
        assert!(!self.ended.load(Ordering::SeqCst));
        self.journal.write(message);
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.journal.write_loss(loss);
    }
}

#[test]
fn after_unsubscribe_returns_nothing_is_delivered() {
    let place = Place::new();
    let receiver = place.start("receiver");
    let mut sender = Host::start(&place, "sender");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.stream");
        sender.publish(&topic);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _end = SetOnDrop(&over);
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    sender.send(&topic, 1000, 40);
                }
            });
            for round in 0..30 {
                let journal = Journal::new(&topic);
                let ended = Arc::new(AtomicBool::new(false));
                let listener = Ending { journal: journal.clone(), ended: Arc::clone(&ended) };
                let subscription = receiver.subscribe(&topic, listener).unwrap();
                let report = journal.expect(100);
                subscription.unsubscribe();
                ended.store(true, Ordering::SeqCst);
                // What comes before the publisher knows of the subscriber can be too fast for it,
                // and on unicast it can be what its predecessor on the port would have got, with
                // nothing between that and its own match. Both are reported.
                let missing = if transport == "ipc" { 0 } else { report.lost };
                let expected =
                    Report { missing, lost: missing, ..Report::complete(report.received) };
                assert_eq!(report, expected, "{topic} round {round}");
            }
        });
        assert_eq!(receiver.counters().get(vega::Counter::CallbackPanics), 0, "{topic}");
    }
}

#[test]
fn a_subscription_that_begins_again_gets_what_is_sent_from_then_on() {
    let place = Place::new();
    let mut publisher = Host::start(&place, "publisher");
    let mut subscriber = Host::start(&place, "subscriber");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.again");
        publisher.publish(&topic);
        for round in 1..=10 {
            subscriber.subscribe(&topic, Behaviour::Collect);
            publisher.wait_for_subscribers(&topic, 1);
            publisher.send(&topic, 50, 100);
            let report = subscriber.expect(&topic, round * 50);
            assert_eq!(report, Report::complete(round * 50), "{topic}");
            subscriber.unsubscribe(&topic);
            // Else the next round could take the subscriber of this one for its own.
            eventually("nobody listens", || publisher.subscribers(&topic) == 0);
        }
        assert_eq!(subscriber.report(&topic), Report::complete(500), "{topic}");
    }
}

#[test]
fn a_publisher_that_is_created_again_is_heard() {
    let place = Place::new();
    let mut publisher = Host::start(&place, "publisher");
    let mut subscriber = Host::start(&place, "subscriber");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.again");
        subscriber.subscribe(&topic, Behaviour::Collect);
        for round in 1..=20 {
            publisher.publish(&topic);
            publisher.wait_for_subscribers(&topic, 1);
            publisher.send(&topic, 50, 100);
            // What was accepted is sent, although nobody waits for it.
            publisher.unpublish(&topic);
            let report = subscriber.expect(&topic, round * 50);
            assert_eq!(report, Report::complete(round * 50), "{topic} round {round}");
        }
    }
    assert_eq!(place.rings().len(), 0, "rings go with their publishers");
}

#[test]
fn one_publisher_and_one_subscription_per_topic_and_instance() {
    let place = Place::new();
    let instance = place.start("one");
    let mut other = Host::start(&place, "other");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.mine");
        let publisher = instance.publisher(&topic).unwrap();
        let error = instance.publisher(&topic).unwrap_err();
        assert!(matches!(&error, PublishError::InUse { topic: named } if *named == topic));
        assert!(matches!(instance.shared_publisher(&topic), Err(PublishError::InUse { .. })));
        let shared = publisher.into_shared();
        let clone = shared.clone();
        drop(shared);
        assert!(instance.publisher(&topic).is_err(), "a clone is still there");
        drop(clone);
        let mut again = instance.publisher(&topic).unwrap();

        let subscription = instance.subscribe(&topic, Journal::new(&topic)).unwrap();
        let error = instance.subscribe(&topic, Journal::new(&topic)).unwrap_err();
        assert!(matches!(&error, SubscribeError::InUse { topic: named } if *named == topic));
        drop(subscription);
        let journal = Journal::new(&topic);
        let _again = instance.subscribe(&topic, journal.clone()).unwrap();

        // Another process may have one of each, but no second one either; what it has works on.
        other.publish(&topic);
        assert!(other.try_publish(&topic).unwrap_err().contains(&topic));
        other.subscribe(&topic, Behaviour::Collect);
        assert!(other.try_subscribe(&topic, Behaviour::Collect).unwrap_err().contains(&topic));
        other.wait_for_subscribers(&topic, 2);
        assert!(again.wait_for_subscribers(2, WAIT));
        other.send(&topic, 10, 50);
        for number in 0..10 {
            again.send(&payload::numbered(number, 50)).unwrap();
        }
        assert_eq!(journal.expect(20), Report::complete(20), "{topic}");
        assert_eq!(other.expect(&topic, 20), Report::complete(20), "{topic}");
    }
}

#[test]
fn a_topic_without_a_route_is_refused() {
    let place = Place::new();
    let instance = place.start("one");
    let too_long = format!("ipc.{}", "x".repeat(vega::MAX_TOPIC_BYTES));
    for topic in ["elsewhere", "prefix.ipc.topic", "", &too_long] {
        let publish = instance.publisher(topic).unwrap_err();
        assert!(matches!(publish, PublishError::Route(_)), "{topic}: {publish}");
        let subscribe = instance.subscribe(topic, Journal::new(topic)).unwrap_err();
        assert!(matches!(subscribe, SubscribeError::Route(_)), "{topic}: {subscribe}");
    }
    assert_eq!(place.rings().len(), 0);
    // The same in a process that others use meanwhile: they notice nothing.
    let mut host = Host::start(&place, "host");
    let journal = Journal::new("ipc.topic");
    let _subscription = instance.subscribe("ipc.topic", journal.clone()).unwrap();
    for topic in ["elsewhere", "prefix.ipc.topic"] {
        assert!(host.try_publish(topic).unwrap_err().contains(topic));
        assert!(host.try_subscribe(topic, Behaviour::Collect).unwrap_err().contains(topic));
    }
    host.publish("ipc.topic");
    host.wait_for_subscribers("ipc.topic", 1);
    host.send("ipc.topic", 10, 50);
    assert_eq!(journal.expect(10), Report::complete(10));
    assert_eq!(place.rings().len(), 1);
}

#[test]
fn a_closed_instance_refuses_everything() {
    let place = Place::new();
    let instance = place.start("one");
    let mut publisher = instance.publisher("unicast.topic").unwrap();
    let subscription = instance.subscribe("unicast.topic", Journal::new("unicast.topic")).unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    instance.close().unwrap();
    instance.close().unwrap();
    assert!(instance.is_closed());
    assert_eq!(publisher.send(b""), Err(SendError::Closed));
    assert_eq!(publisher.flush(), Err(SendError::Closed));
    assert_eq!(publisher.try_claim(1).err(), Some(SendError::Closed));
    assert!(matches!(instance.publisher("ipc.topic"), Err(PublishError::Closed)));
    let refused = instance.subscribe("ipc.topic", Journal::new("ipc.topic"));
    assert!(matches!(refused, Err(SubscribeError::Closed)));
    let pattern = vega::TopicPattern::filter("ipc.>").unwrap();
    let refused = instance.subscribe_pattern(pattern, Journal::new("ipc.topic"));
    assert!(matches!(refused, Err(vega::SubscribePatternError::Closed)));
    assert!(instance.peers().is_empty() && instance.adverts().is_empty());
    assert!(instance.daemons_up().is_empty());
    // What it was and what it has counted can still be asked.
    assert_eq!((instance.name(), instance.counters().name()), ("one", "one"));
    assert_eq!(instance.counters().instance(), instance.id());
    subscription.unsubscribe();
}
