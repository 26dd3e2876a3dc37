//! Point 17: callbacks that panic are counted and reported, and the next ones come. Tests.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use vega::{
    Counter, DownReason, Instance, InstanceId, InstanceListener, Listener, Message, MessageLoss,
    Peer, ResponseListener,
};

use crate::support::{
    Behaviour, Host, Journal, MOMENTS, Place, Report, Reports, STAGED, Settings, TRANSPORTS, WAIT,
    at_every_moment, eventually, next, payload,
};

#[test]
fn a_panic_in_any_callback_is_counted_and_reported_and_later_calls_come() {
    let place = Place::new();
    let reports = Reports::collect();
    let words = format!("on purpose in {}", place.address());
    let panicking = words.clone();
    let instance =
        at_every_moment(&place, |_| (), move |moment, _| panic!("{panicking}, at {moment:?}."));
    let expected = MOMENTS.len() * TRANSPORTS.len();
    eventually("each is counted", || {
        instance.counters().get(Counter::CallbackPanics) == expected as u64
    });
    eventually("each is reported", || reports.count(&[&words]) == expected);
    for moment in MOMENTS {
        let parts = [words.as_str(), &format!("at {moment:?}."), "a callback panicked"];
        assert_eq!(reports.count(&parts), TRANSPORTS.len(), "{moment:?}");
    }
    // All threads that run callbacks are still there.
    let mut host = Host::start(&place, "another");
    for transport in TRANSPORTS {
        let topic = format!("{transport}{STAGED}in");
        let journal = Journal::new(&topic);
        let _subscription = instance.subscribe(&topic, journal.clone()).unwrap();
        host.publish(&topic);
        host.wait_for_subscribers(&topic, 1);
        host.send(&topic, 100, 50);
        assert_eq!(journal.expect(100), Report::complete(100));
    }
    let mut publisher = instance.publisher("multicast.nobody").unwrap();
    let request = publisher.request(b"?", Duration::from_millis(1), ()).unwrap();
    eventually("timeouts are still called", || request.is_closed());
    instance.close().unwrap();
}

/// Panics when it hears of a loss, which it makes itself: it sleeps in its first callback until the
/// gate opens.
struct Sleeper {
    journal: Journal,
    gate: Receiver<()>,
}

impl Listener for Sleeper {
    fn on_message(&mut self, message: &Message<'_>) {
        // Ends with an error, because nothing is ever sent.
        let _ = self.gate.recv();
        self.journal.write(message);
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.journal.write_loss(loss);
        panic!("on purpose, about a loss on {}", loss.topic());
    }
}

#[test]
fn a_panic_about_a_loss_is_counted_and_reported_and_later_messages_come() {
    let place = Place::with(Settings {
        window: "64KiB",
        receiver_timeout: "100ms",
        reader_timeout: "100ms",
        ..Settings::default()
    });
    let reports = Reports::collect();
    let instance = place.start("here");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.lossy-{}", place.address());
        let journal = Journal::new(&topic);
        let (open, gate) = bounded(0);
        let sleeper = Sleeper { journal: journal.clone(), gate };
        let _subscription = instance.subscribe(&topic, sleeper).unwrap();
        let before = instance.counters().get(Counter::CallbackPanics);
        host.publish(&topic);
        host.wait_for_subscribers(&topic, 1);
        // More than the window and all buffers on the way hold.
        host.send(&topic, 60_000, 500);
        drop(open);
        eventually("the loss is noticed", || {
            host.send(&topic, 1, 500);
            journal.report().lost > 0
        });
        let counted = || instance.counters().get(Counter::CallbackPanics) - before;
        eventually("it is counted", || counted() > 0);
        let parts = ["on_message_lost", "about a loss on", topic.as_str()];
        eventually("it is reported", || reports.count(&parts) as u64 == counted());
        let received = journal.report().received;
        host.send(&topic, 100, 500);
        journal.expect(received + 100);
    }
}

/// Two configurations that disagree about a topic: who is told of it may panic.
#[test]
fn a_panic_about_a_conflict_is_counted_and_reported_and_later_events_come() {
    struct Panics(String, Sender<()>);
    impl InstanceListener for Panics {
        fn on_topic_conflict(&mut self, _: &str, _: InstanceId, _: &str) {
            panic!("{}", self.0);
        }

        fn on_instance_down(&mut self, _: &Peer, _: DownReason) {
            self.1.send(()).unwrap();
        }
    }
    let mut place = Place::new();
    let reports = Reports::collect();
    let words = format!("on purpose, about a conflict in {}", place.address());
    let (gone, told) = unbounded();
    let builder = Instance::builder().name("here").config(place.config());
    let instance = builder.listener(Panics(words.clone(), gone)).start().unwrap();
    let _publisher = instance.publisher("multicast.topic").unwrap();
    place.settings.groups = "239.255.0.30-239.255.0.40";
    let mut host = Host::start(&place, "host");
    host.subscribe("multicast.topic", Behaviour::Collect);
    eventually("it is counted", || instance.counters().get(Counter::CallbackPanics) == 1);
    eventually("it is reported", || reports.count(&[&words, "instance listener"]) == 1);
    host.close();
    next(&told, "the goodbye");
}

#[test]
fn a_listener_that_panics_gets_the_next_message() {
    let place = Place::new();
    let instance = place.start("here");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.in");
        let journal = Journal::new(&topic);
        let writer = journal.clone();
        let _subscription = instance
            .subscribe(&topic, move |message: &Message<'_>| {
                writer.write(message);
                assert_ne!(message.sequence() % 10, 0, "on purpose");
            })
            .unwrap();
        let before = instance.counters().get(Counter::CallbackPanics);
        host.publish(&topic);
        host.wait_for_subscribers(&topic, 1);
        host.send(&topic, 100, 50);
        assert_eq!(journal.expect(100), Report::complete(100), "{topic}");
        eventually("every tenth is counted", || {
            instance.counters().get(Counter::CallbackPanics) - before == 10
        });
    }
}

/// Also what users' destructors do belongs to them.
#[test]
fn a_listener_that_panics_when_it_is_dropped_stops_nobody() {
    struct Bomb(Journal);
    impl Listener for Bomb {
        fn on_message(&mut self, message: &Message<'_>) {
            self.0.write(message);
        }
    }
    impl ResponseListener for Bomb {}
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    let place = Place::new();
    let instance = place.start("here");
    let mut publisher = instance.publisher("multicast.in").unwrap();
    let bomb = || Bomb(Journal::new("multicast.in"));
    publisher.request(b"?", Duration::from_millis(1), bomb()).map(drop).unwrap();
    instance.subscribe("multicast.in", bomb()).unwrap().unsubscribe();
    let journal = Journal::new("multicast.in");
    let _subscription = instance.subscribe("multicast.in", journal.clone()).unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    publisher.send(&payload::numbered(1, 10)).unwrap();
    assert_eq!(journal.expect(1), Report::complete(1));
    let request = publisher.request(b"?", Duration::from_millis(1), ()).unwrap();
    eventually("timeouts are still called", || request.is_closed());
    eventually("both are counted", || instance.counters().get(Counter::CallbackPanics) == 2);
    instance.close().unwrap();
}
