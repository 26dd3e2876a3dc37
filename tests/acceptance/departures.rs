//! Points 13 and 14: processes that are killed, instances that say goodbye, and what listeners hear
//! of it. Tests.

use std::time::Duration;

use vega::{Counter, DownReason, SendError, SendStatus};

use crate::support::{
    Behaviour, Happening, Host, Journal, Place, Report, Settings, TRANSPORTS, WAIT, eventually,
    payload,
};

/// A place whose instances take a silent peer for gone after a second.
fn place_with_quick_expiry() -> Place {
    Place::with(Settings { timeout: "1s", ..Settings::default() })
}

fn down(name: &str, reason: DownReason) -> Happening {
    Happening::Down(name.to_owned(), reason)
}

#[test]
fn a_killed_publisher_is_noticed_and_its_memory_reclaimed() {
    let place = place_with_quick_expiry();
    let (subscriber, watch) = place.start_watched("subscriber");
    let mut publisher = Host::start(&place, "publisher");
    let mut bystander = Host::start(&place, "bystander");
    let mut subscriptions = Vec::new();
    for transport in TRANSPORTS {
        let topic = format!("{transport}.stream");
        let journal = Journal::new(&topic);
        let subscription = subscriber.subscribe(&topic, journal.clone()).unwrap();
        for host in [&mut publisher, &mut bystander] {
            host.publish(&topic);
            host.wait_for_subscribers(&topic, 1);
            host.send(&topic, 100, 100);
        }
        assert_eq!(journal.expect(200), Report::complete(200));
        assert!(subscription.wait_for_publishers(2, WAIT));
        subscriptions.push((topic, subscription, journal));
    }
    assert_eq!(place.rings().len(), 2);
    publisher.kill();
    watch.wait_for(&down("publisher", DownReason::Expired));
    eventually("the ring of the dead process is removed", || place.rings().len() == 1);
    assert_eq!(subscriber.counters().get(Counter::RingsReclaimed), 1);
    // Whoever is left goes on.
    for (topic, subscription, journal) in &subscriptions {
        eventually("one publisher is left", || subscription.publishers() == 1);
        bystander.send(topic, 100, 100);
        assert_eq!(journal.expect(300), Report::complete(300), "{topic}");
    }
    let mut successor = Host::start(&place, "successor");
    for (topic, _, journal) in &subscriptions {
        successor.publish(topic);
        successor.wait_for_subscribers(topic, 1);
        successor.send(topic, 100, 100);
        assert_eq!(journal.expect(400), Report::complete(400), "{topic}");
    }
}

/// The dead subscriber holds the publisher back only until discovery notices: flow control alone
/// would wait for the receiver's timeout, which is far longer here.
#[test]
fn a_killed_subscriber_does_not_hold_back_the_publisher() {
    const MESSAGES: u64 = 20_000;
    let place = place_with_quick_expiry();
    let (sender, watch) = place.start_watched("sender");
    let mut killed = Host::start(&place, "killed");
    let mut survivor = Host::start(&place, "survivor");
    let mut publishers = Vec::new();
    for transport in TRANSPORTS {
        let topic = format!("{transport}.stream");
        for host in [&mut killed, &mut survivor] {
            host.subscribe(&topic, Behaviour::Collect);
        }
        let mut publisher = sender.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(2, WAIT));
        publisher.send(&payload::numbered(0, 100)).unwrap();
        killed.expect(&topic, 1);
        publishers.push((topic, publisher));
    }
    killed.kill();
    for (topic, publisher) in &mut publishers {
        for number in 0..MESSAGES {
            // Several windows: without the dead reader's word, the sender has to wait.
            eventually("the dead subscriber is passed over", || {
                match publisher.send(&payload::numbered(number, 500)) {
                    Ok(status) => {
                        assert_eq!(status, SendStatus::Sent);
                        true
                    }
                    Err(error) => {
                        assert_eq!(error, SendError::BackPressured);
                        false
                    }
                }
            });
        }
        let all = MESSAGES + 1;
        assert_eq!(survivor.expect(topic, all), Report::complete(all), "{topic}");
        eventually("only one is left", || publisher.subscribers() == 1);
    }
    watch.wait_for(&down("killed", DownReason::Expired));
    assert_eq!(sender.counters().get(Counter::ReadersReclaimed), 1, "the reader of the ring");
}

#[test]
fn a_killed_reader_of_a_ring_gives_its_place_free() {
    /// More than the places of a ring.
    const READERS: usize = 70;
    let place = Place::new();
    let sender = place.start("sender");
    let mut publisher = sender.publisher("ipc.stream").unwrap();
    for _ in 0..READERS {
        // One after the other: the place of the one before is free only because it is dead.
        let mut reader = Host::start(&place, "reader");
        reader.subscribe("ipc.stream", Behaviour::Collect);
        assert!(publisher.wait_for_subscribers(1, WAIT));
        publisher.send(&payload::numbered(1, 100)).unwrap();
        assert_eq!(reader.expect("ipc.stream", 1), Report::complete(1));
        reader.kill();
        eventually("the reader is gone", || publisher.subscribers() == 0);
    }
    assert_eq!(sender.counters().get(Counter::ReadersReclaimed), READERS as u64);
}

#[test]
fn what_a_killed_process_left_is_removed_at_the_next_start() {
    let place = Place::new();
    let mut publisher = Host::start(&place, "publisher");
    for index in 0..3 {
        publisher.publish(&format!("ipc.{index}"));
    }
    let alive = place.start("alive");
    let _publisher = alive.publisher("ipc.alive").unwrap();
    assert_eq!(place.rings().len(), 4);
    publisher.kill();
    assert_eq!(place.rings().len(), 4, "nobody read them, so nobody has noticed");
    let next = place.start("next");
    assert_eq!(place.rings().len(), 1);
    assert_eq!(next.counters().get(Counter::RingsReclaimed), 3);
}

#[test]
fn a_killed_responder_costs_its_responses_only() {
    let place = place_with_quick_expiry();
    let (asker, watch) = place.start_watched("asker");
    let mut dead = Host::start(&place, "dead");
    let mut alive = Host::start(&place, "alive");
    for host in [&mut dead, &mut alive] {
        host.subscribe("unicast.quotes", Behaviour::respond(3));
    }
    let mut publisher = asker.publisher("unicast.quotes").unwrap();
    assert!(publisher.wait_for_subscribers(2, WAIT));
    dead.kill();
    let request = publisher.request(b"?", Duration::from_millis(500), ()).unwrap();
    eventually("the request ends", || request.is_closed());
    assert_eq!(request.number_of_responses(), 3);
    watch.wait_for(&down("dead", DownReason::Expired));
    assert_eq!(publisher.subscribers(), 1);
}

/// The discovery timeout of these instances is an hour: only the goodbye can tell.
#[test]
fn a_goodbye_is_noticed_at_once() {
    let place = Place::new();
    let (instance, watch) = place.start_watched("instance");
    let mut host = Host::start(&place, "host");
    let mut handles = Vec::new();
    for transport in TRANSPORTS {
        let (published, subscribed) = (format!("{transport}.there"), format!("{transport}.here"));
        let subscription = instance.subscribe(&published, Journal::new(&published)).unwrap();
        let publisher = instance.publisher(&subscribed).unwrap();
        host.publish(&published);
        host.subscribe(&subscribed, Behaviour::Collect);
        assert!(subscription.wait_for_publishers(1, WAIT));
        assert!(publisher.wait_for_subscribers(1, WAIT));
        handles.push((subscription, publisher));
    }
    host.close();
    watch.wait_for(&down("host", DownReason::Goodbye));
    assert!(instance.peers().is_empty());
    for (subscription, publisher) in &handles {
        assert_eq!(subscription.publishers(), 0);
        eventually("the reader has left the ring", || publisher.subscribers() == 0);
    }
}

#[test]
fn dropping_an_instance_says_goodbye_too() {
    let place = Place::new();
    let (_instance, watch) = place.start_watched("instance");
    let dropped = Host::start(&place, "dropped");
    watch.wait_for(&Happening::Up("dropped".to_owned()));
    dropped.leave();
    watch.wait_for(&down("dropped", DownReason::Goodbye));
}

/// The goodbye overtakes the data: it comes through another socket to another thread.
#[test]
fn what_was_sent_before_the_goodbye_is_delivered() {
    let place = Place::new();
    let receiver = place.start("receiver");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.last-words");
        let journal = Journal::new(&topic);
        let subscription = receiver.subscribe(&topic, journal.clone()).unwrap();
        for round in 1..=20 {
            let mut host = Host::start(&place, "host");
            host.publish(&topic);
            host.wait_for_subscribers(&topic, 1);
            // Fits into the window, so that nothing is left to be sent.
            host.send(&topic, 1, 200_000);
            host.close();
            let report = journal.expect(round);
            assert_eq!(report, Report::complete(round), "{topic}");
            drop(host);
            eventually("it is gone", || subscription.publishers() == 0);
        }
    }
}

#[test]
fn a_process_that_ends_without_a_word_is_no_worse_than_a_killed_one() {
    let place = place_with_quick_expiry();
    let (subscriber, watch) = place.start_watched("subscriber");
    let journal = Journal::new("ipc.stream");
    let _subscription = subscriber.subscribe("ipc.stream", journal.clone()).unwrap();
    let mut host = Host::start(&place, "host");
    host.publish("ipc.stream");
    host.wait_for_subscribers("ipc.stream", 1);
    host.send("ipc.stream", 100, 100);
    host.exit();
    assert_eq!(journal.expect(100), Report::complete(100));
    watch.wait_for(&down("host", DownReason::Expired));
    eventually("its ring is removed", || place.rings().is_empty());
}

#[test]
fn listeners_hear_of_peers_and_matches() {
    let place = Place::new();
    let (instance, watch) = place.start_watched("instance");
    let _publisher = instance.publisher("unicast.out").unwrap();
    let _subscription = instance.subscribe("unicast.in", Journal::new("unicast.in")).unwrap();
    let mut host = Host::start(&place, "host");
    watch.wait_for(&Happening::Up("host".to_owned()));
    host.subscribe("unicast.out", Behaviour::Collect);
    watch.wait_for(&Happening::SubscriberMatched("unicast.out".to_owned()));
    host.publish("unicast.in");
    watch.wait_for(&Happening::PublisherMatched("unicast.in".to_owned()));
    host.wait_for_subscribers("unicast.in", 1);
    host.unsubscribe("unicast.out");
    watch.wait_for(&Happening::SubscriberUnmatched("unicast.out".to_owned()));
    host.unpublish("unicast.in");
    watch.wait_for(&Happening::PublisherUnmatched("unicast.in".to_owned()));
}

/// Two configurations that disagree about a topic: both sides are told, nobody is matched.
#[test]
fn a_topic_that_is_used_differently_is_reported() {
    let mut place = Place::new();
    let (instance, watch) = place.start_watched("instance");
    let publisher = instance.publisher("multicast.topic").unwrap();
    place.settings.groups = "239.255.0.30-239.255.0.40";
    let mut host = Host::start(&place, "host");
    host.subscribe("multicast.topic", Behaviour::Collect);
    watch.wait_for(&Happening::Conflict("multicast.topic".to_owned()));
    assert_eq!(publisher.subscribers(), 0);
    assert_eq!(instance.counters().get(Counter::TopicConflicts), 1);
}
