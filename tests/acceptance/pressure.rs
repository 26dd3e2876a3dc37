//! Slow receivers, full windows, claims and channels: what holds back whom, and what is reported.
//! Tests.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use vega::{
    Counter, Delivery, Instance, Listener, Message, MessageLoss, Publisher, SendError, SendStatus,
    Subscription,
};

use crate::support::{
    Behaviour, Host, Journal, Place, Report, Settings, TRANSPORTS, WAIT, accounted_for, eventually,
    next, payload,
};

/// A listener that stays in its first callback until the gate is opened.
struct Gated {
    journal: Journal,
    gate: Receiver<()>,
}

impl Gated {
    /// The gate opens when the sender is dropped.
    fn new(journal: &Journal) -> (Self, Sender<()>) {
        let (open, gate) = bounded(0);
        (Self { journal: journal.clone(), gate }, open)
    }
}

/// A subscription of the topic that stays in its first callback until the gate is opened.
fn subscribe_gated(instance: &Instance, topic: &str) -> (Subscription, Journal, Sender<()>) {
    let journal = Journal::new(topic);
    let (listener, gate) = Gated::new(&journal);
    (instance.subscribe(topic, listener).unwrap(), journal, gate)
}

impl Listener for Gated {
    fn on_message(&mut self, message: &Message<'_>) {
        // Ends with an error, because nothing is ever sent.
        let _ = self.gate.recv();
        self.journal.write(message);
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.journal.write_loss(loss);
    }
}

/// Sends until nothing more is accepted; returns how many were.
fn fill(publisher: &mut Publisher, bytes: usize) -> u64 {
    const PLENTY: u64 = 1_000_000;
    let from = publisher.sequence();
    for number in 0..PLENTY {
        match publisher.send(&payload::numbered(number, bytes)) {
            Ok(status) => assert_eq!(status, SendStatus::Sent),
            Err(error) => {
                assert_eq!(error, SendError::BackPressured);
                return publisher.sequence() - from;
            }
        }
    }
    panic!("nobody holds back the publisher");
}

#[test]
fn a_slow_subscriber_holds_back_the_publisher_and_loses_nothing() {
    let place = Place::with(Settings { window: "64KiB", ..Settings::default() });
    let (sender, receiver) = (place.start("sender"), place.start("receiver"));
    let mut quick = Host::start(&place, "quick");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.stream");
        let (_subscription, journal, gate) = subscribe_gated(&receiver, &topic);
        quick.subscribe(&topic, Behaviour::Collect);
        let mut publisher = sender.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(2, WAIT));
        let mut sent = fill(&mut publisher, 1000);
        assert!(sent >= 64, "{topic}: not even a window: {sent}");
        assert!(sender.counters().get(Counter::BackPressured) > 0);
        let refused = publisher.request(&payload::numbered(0, 1000), WAIT, ()).unwrap_err();
        assert_eq!(refused, SendError::BackPressured.into());
        drop(gate);
        // What was refused used no number, and there is room again.
        eventually("the publisher goes on", || publisher.send(&payload::numbered(0, 1000)).is_ok());
        sent += 1;
        assert_eq!(journal.expect(sent), Report::complete(sent), "{topic}");
        assert_eq!(quick.expect(&topic, sent), Report::complete(sent), "{topic}");
    }
}

/// By unicast each subscriber has a window of its own. One that is stopped fills its own, then the
/// publisher's ring; the others get meanwhile all that is sent.
#[test]
fn a_stopped_subscriber_by_unicast_holds_back_the_others_only_with_a_full_ring() {
    const TOPIC: &str = "unicast.stream";
    /// Each message fills a packet. A window has 46 packets, the ring 128.
    const BYTES: usize = 1300;
    const BEFORE: u64 = 500;
    const MEANWHILE: u64 = 100;
    let place = Place::with(Settings { window: "64KiB", ..Settings::default() });
    let sender = place.start("sender");
    let mut hosts = ["first", "stopped", "third"].map(|name| Host::start(&place, name));
    for host in &mut hosts {
        host.subscribe(TOPIC, Behaviour::Collect);
    }
    let mut publisher = sender.publisher(TOPIC).unwrap();
    assert!(publisher.wait_for_subscribers(3, WAIT));
    let mut send = |count: u64| {
        for number in 0..count {
            publisher.send_blocking(&payload::numbered(number, BYTES), WAIT).unwrap();
        }
    };
    send(BEFORE);
    let [first, stopped, third] = &mut hosts;
    for host in [&mut *first, &mut *stopped, &mut *third] {
        assert_eq!(host.expect(TOPIC, BEFORE), Report::complete(BEFORE));
    }
    stopped.stop();
    // More than a window, in pieces that the others keep up with: nobody holds back the publisher.
    let before = sender.counters().get(Counter::BackPressured);
    let mut sent = BEFORE;
    for _ in 0..MEANWHILE / 20 {
        send(20);
        sent += 20;
        for host in [&mut *first, &mut *third] {
            assert_eq!(host.expect(TOPIC, sent), Report::complete(sent));
        }
    }
    assert_eq!(sender.counters().get(Counter::BackPressured), before);
    // What the ring still takes reaches the others, too. Then all wait.
    sent += fill(&mut publisher, BYTES);
    for host in [&mut *first, &mut *third] {
        assert_eq!(host.expect(TOPIC, sent), Report::complete(sent));
    }
    let refused = publisher.send(&payload::numbered(0, BYTES)).unwrap_err();
    assert_eq!(refused, SendError::BackPressured, "all but one have everything");
    stopped.go_on();
    assert_eq!(stopped.expect(TOPIC, sent), Report::complete(sent));
    eventually("the publisher goes on", || publisher.send(&payload::numbered(0, BYTES)).is_ok());
    for host in [first, stopped, third] {
        assert_eq!(host.expect(TOPIC, sent + 1), Report::complete(sent + 1));
    }
    assert_eq!(sender.counters().get(Counter::ReceiversDropped), 0);
}

/// A topic that is not published any more is delivered as long as somebody listens, and no longer: who
/// stops listening holds back nobody on topics that share the stream.
#[test]
fn who_leaves_a_topic_that_is_gone_holds_back_nobody() {
    const MESSAGES: u64 = 1000;
    let place = Place::with(Settings {
        window: "64KiB",
        streams: "1",
        groups: "239.255.0.9",
        receiver_timeout: "1h",
        ..Settings::default()
    });
    let (sender, receiver) = (place.start("sender"), place.start("receiver"));
    let mut quick = Host::start(&place, "quick");
    for transport in ["multicast", "unicast"] {
        let (gone, stays) = (format!("{transport}.gone"), format!("{transport}.stays"));
        let (subscription, _journal, gate) = subscribe_gated(&receiver, &gone);
        quick.subscribe(&stays, Behaviour::Collect);
        let mut leaving = sender.publisher(&gone).unwrap();
        let mut staying = sender.publisher(&stays).unwrap();
        assert!(leaving.wait_for_subscribers(1, WAIT));
        assert!(staying.wait_for_subscribers(1, WAIT));
        quick.wait_for_publishers(&stays, 1);
        fill(&mut leaving, 1000);
        drop(leaving);
        eventually("its end is known", || subscription.publishers() == 0);
        drop(subscription);
        for number in 1..=MESSAGES {
            staying.send_blocking(&payload::numbered(number, 1000), WAIT).unwrap();
        }
        assert_eq!(quick.expect(&stays, MESSAGES), Report::complete(MESSAGES), "{stays}");
        assert_eq!(sender.counters().get(Counter::ReceiversDropped), 0);
        drop(gate);
    }
}

#[test]
fn the_slowest_of_several_processes_sets_the_pace() {
    const MESSAGES: u64 = 1000;
    let place = Place::with(Settings { window: "64KiB", ..Settings::default() });
    let mut publisher = Host::start(&place, "publisher");
    let mut quick = Host::start(&place, "quick");
    let mut slow = Host::start(&place, "slow");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.stream");
        quick.subscribe(&topic, Behaviour::Collect);
        slow.subscribe(&topic, Behaviour::Slow(Duration::from_millis(1)));
        publisher.publish(&topic);
        publisher.wait_for_subscribers(&topic, 2);
        quick.wait_for_publishers(&topic, 1);
        publisher.send(&topic, MESSAGES, 1000);
        for host in [&mut quick, &mut slow] {
            assert_eq!(host.expect(&topic, MESSAGES), Report::complete(MESSAGES), "{topic}");
        }
    }
    assert!(publisher.counter(Counter::BackPressured) > 0);
}

/// With `slow_consumer = "drop"` the publisher and the others go on; who was left out is told what it
/// missed, exactly.
#[test]
fn a_slow_subscriber_is_left_out_where_that_is_wanted() {
    /// More than the window and all buffers on the way hold.
    const MESSAGES: u64 = 40_000;
    /// Less than half of the window.
    const EACH: u64 = 25;
    let place =
        Place::with(Settings { window: "64KiB", slow_consumer: "drop", ..Settings::default() });
    let receiver = place.start("receiver");
    let mut publisher = Host::start(&place, "publisher");
    let mut quick = Host::start(&place, "quick");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.stream");
        let (_subscription, journal, gate) = subscribe_gated(&receiver, &topic);
        quick.subscribe(&topic, Behaviour::Collect);
        publisher.publish(&topic);
        publisher.wait_for_subscribers(&topic, 2);
        quick.wait_for_publishers(&topic, 1);
        let left_out = |publisher: &mut Host| {
            publisher.counter(Counter::ReceiversDropped)
                + publisher.counter(Counter::ReadersReclaimed)
        };
        let before = left_out(&mut publisher);
        // Round by round: without pauses the publisher is faster than any subscriber, and the quick
        // one would keep its window full, too.
        for round in 1..=MESSAGES / EACH {
            publisher.send(&topic, EACH, 1000);
            let all = round * EACH;
            assert_eq!(quick.expect(&topic, all), Report::complete(all), "{topic}");
        }
        assert_eq!(left_out(&mut publisher) - before, 1, "{topic}: the gated one, and only it");
        drop(gate);
        accounted_for(&topic, MESSAGES, || publisher.send(&topic, 1, 1000), || journal.report());
    }
}

/// After the timeout a subscriber that does not read holds back nobody; what it missed is reported
/// to it, exactly.
#[test]
fn a_subscriber_that_sleeps_too_long_is_told_what_it_missed() {
    const MESSAGES: u64 = 60_000;
    let place = Place::with(Settings {
        window: "64KiB",
        receiver_timeout: "100ms",
        reader_timeout: "100ms",
        ..Settings::default()
    });
    let receiver = place.start("receiver");
    let mut sender = Host::start(&place, "sender");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.stream");
        let (_subscription, journal, gate) = subscribe_gated(&receiver, &topic);
        sender.publish(&topic);
        sender.wait_for_subscribers(&topic, 1);
        // Returns when all is accepted: the sleeper is passed over.
        sender.send(&topic, MESSAGES, 500);
        drop(gate);
        // Awake, it gets what is sent from now on, and with it the report.
        accounted_for(&topic, MESSAGES, || sender.send(&topic, 1, 500), || journal.report());
    }
}

/// A message larger than the ring goes out piece by piece. Who waits with it waits as long as he said, and
/// not as long as a silent receiver may hold back others, which is half a minute here.
#[test]
#[expect(clippy::disallowed_methods, reason = "tells a moment from half a minute")]
fn a_message_larger_than_the_ring_waits_as_long_as_its_sender_said() {
    const BYTES: usize = 1 << 20;
    const MOMENT: Duration = Duration::from_millis(100);
    let place = Place::with(Settings { window: "64KiB", ..Settings::default() });
    let sender = place.start("sender");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.large");
        host.subscribe(&topic, Behaviour::Collect);
        let mut publisher = sender.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        host.stop();
        let began = Instant::now();
        for payload in [payload::numbered(1, BYTES), payload::numbered(2, BYTES)] {
            let refused = publisher.send_blocking(&payload, MOMENT).unwrap_err();
            assert_eq!((refused, publisher.sequence()), (SendError::BackPressured, 0), "{topic}");
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{topic}: {:?}", began.elapsed());
        host.go_on();
        publisher.send_blocking(&payload::numbered(3, BYTES), WAIT).unwrap();
        assert_eq!(host.expect(&topic, 1), Report::complete(1), "{topic}");
    }
}

/// The same when another thread has the publisher in hand.
#[test]
fn who_shares_a_publisher_waits_no_longer_than_he_said_for_a_large_message_of_others() {
    const BYTES: usize = 1 << 20;
    const TOPIC: &str = "ipc.large";
    let place = Place::with(Settings { window: "64KiB", ..Settings::default() });
    let sender = place.start("sender");
    let mut host = Host::start(&place, "host");
    host.subscribe(TOPIC, Behaviour::Collect);
    let publisher = sender.shared_publisher(TOPIC).unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    host.stop();
    let mut accepted = 1;
    std::thread::scope(|scope| {
        let large = scope.spawn(|| publisher.send_blocking(&payload::numbered(1, BYTES), WAIT));
        eventually("the other thread has the publisher", || {
            let small = publisher.send_blocking(&payload::numbered(2, 8), Duration::ZERO);
            accepted += u64::from(small.is_ok());
            small == Err(SendError::BackPressured)
        });
        assert!(!large.is_finished(), "nobody reads yet");
        host.go_on();
        large.join().unwrap().unwrap();
    });
    assert_eq!(host.expect(TOPIC, accepted), Report::complete(accepted));
}

#[test]
fn claims_are_sent_or_given_up() {
    // Room for all of them, whoever reads: by ipc the largest claim is 32 KiB.
    let place = Place::with(Settings { window: "8MiB", ..Settings::default() });
    let sender = place.start("sender");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.claims");
        host.subscribe(&topic, Behaviour::Collect);
        let mut publisher = sender.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        let sizes = [8, 100, publisher.max_claim_bytes()];
        for round in 0..300 {
            let bytes = sizes[round % sizes.len()];
            let mut claim = publisher.try_claim(bytes).unwrap();
            assert_eq!(claim.len(), bytes);
            claim.copy_from_slice(&payload::numbered(round as u64, bytes));
            if round % 2 == 0 {
                assert_eq!(claim.commit(), SendStatus::Sent);
            } else if round % 4 == 1 {
                claim.abort();
            } else {
                drop(claim);
            }
        }
        assert_eq!(publisher.sequence(), 150, "claims that are given up use no number");
        publisher.flush().unwrap();
        assert_eq!(host.expect(&topic, 150), Report::complete(150), "{topic}");
    }
}

#[test]
fn a_burst_and_its_last_message_arrive_without_a_flush() {
    let place = Place::new();
    let sender = place.start("sender");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.bursts");
        host.subscribe(&topic, Behaviour::Collect);
        let mut publisher = sender.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        let mut sent = 0;
        for burst in [1, 2, 17, 100, 333] {
            for _ in 0..burst {
                publisher.send(&payload::numbered(sent, 33)).unwrap();
                sent += 1;
            }
            assert_eq!(host.expect(&topic, sent), Report::complete(sent), "{topic}");
        }
    }
}

#[test]
fn threads_share_a_publisher() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5_000;
    let place = Place::new();
    let sender = place.start("sender");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.shared");
        host.subscribe(&topic, Behaviour::Collect);
        let publisher = sender.shared_publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let publisher = publisher.clone();
                scope.spawn(move || {
                    for number in 0..EACH {
                        let payload = payload::numbered(thread * EACH + number, 60);
                        while publisher.send(&payload) == Err(SendError::BackPressured) {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        let all = THREADS * EACH;
        assert_eq!(host.expect(&topic, all), Report::complete(all), "{topic}");
    }
}

#[test]
fn a_full_channel_discards_and_counts() {
    let place = Place::new();
    let receiver = place.start("receiver");
    let mut host = Host::start(&place, "host");
    let (_subscription, messages) = receiver.subscribe_channel("ipc.stream", 10).unwrap();
    host.publish("ipc.stream");
    host.wait_for_subscribers("ipc.stream", 1);
    host.send("ipc.stream", 100, 10);
    eventually("the rest is discarded", || messages.overflow() == 90);
    let kept: Vec<_> = messages.try_iter().collect();
    assert_eq!(kept.len(), 10);
    host.send("ipc.stream", 1, 10);
    let Delivery::Message(message) = next(&messages, "there is room again") else {
        panic!("not a message");
    };
    assert_eq!(message.sequence(), 101);
}

#[test]
fn waiting_for_nobody_ends() {
    let place = Place::new();
    let instance = place.start("only");
    let publisher = instance.publisher("multicast.nobody").unwrap();
    let subscription = instance.subscribe("ipc.nobody", |_: &Message<'_>| ()).unwrap();
    let moment = Duration::from_millis(20);
    assert!(!publisher.wait_for_subscribers(1, moment));
    assert!(!subscription.wait_for_publishers(1, moment));
    assert!(publisher.wait_for_subscribers(0, Duration::ZERO));
    assert_eq!((publisher.subscribers(), subscription.publishers()), (0, 0));
}
