//! Points 17 to 19: what callbacks may do, and what happens when they panic. Tests.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;
use vega::{
    CloseError, Counter, DownReason, Instance, InstanceId, InstanceListener, Listener, Message,
    MessageLoss, Peer, Request, Response, ResponseListener, SentRequest, SharedPublisher,
    Subscription,
};

use crate::support::{
    Behaviour, Host, Journal, Place, Report, Reports, Settings, TRANSPORTS, WAIT, eventually, next,
    payload,
};

/// The moments at which user code is called; losses and conflicts have a test of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    PeerUp,
    PublisherMatched,
    Message,
    Request,
    SubscriberMatched,
    Response,
    Timeout,
    SubscriberUnmatched,
    PublisherUnmatched,
    PeerDown,
}

const MOMENTS: [Moment; 10] = [
    Moment::PeerUp,
    Moment::PublisherMatched,
    Moment::Message,
    Moment::Request,
    Moment::SubscriberMatched,
    Moment::Response,
    Moment::Timeout,
    Moment::SubscriberUnmatched,
    Moment::PublisherUnmatched,
    Moment::PeerDown,
];

/// The process that makes the moments happen. Others are not listened to.
const HOST: &str = "host";
/// What the topics begin with, after the transport, whose moments count.
const STAGED: &str = ".staged-";

/// Calls one function at every moment.
struct Everywhere<F>(Arc<F>);

impl<F> Clone for Everywhere<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Fn(Moment)> Everywhere<F> {
    fn peer(&self, peer: &Peer, moment: Moment) {
        if peer.name() == HOST {
            (self.0)(moment);
        }
    }

    fn topic(&self, topic: &str, moment: Moment) {
        if topic.contains(STAGED) {
            (self.0)(moment);
        }
    }
}

impl<F: Fn(Moment) + Send + Sync + 'static> InstanceListener for Everywhere<F> {
    fn on_instance_up(&mut self, peer: &Peer) {
        self.peer(peer, Moment::PeerUp);
    }

    fn on_instance_down(&mut self, peer: &Peer, _: DownReason) {
        self.peer(peer, Moment::PeerDown);
    }

    fn on_subscriber_matched(&mut self, topic: &str, _: InstanceId) {
        self.topic(topic, Moment::SubscriberMatched);
    }

    fn on_subscriber_unmatched(&mut self, topic: &str, _: InstanceId) {
        self.topic(topic, Moment::SubscriberUnmatched);
    }

    fn on_publisher_matched(&mut self, topic: &str, _: InstanceId) {
        self.topic(topic, Moment::PublisherMatched);
    }

    fn on_publisher_unmatched(&mut self, topic: &str, _: InstanceId) {
        self.topic(topic, Moment::PublisherUnmatched);
    }
}

impl<F: Fn(Moment) + Send + Sync + 'static> Listener for Everywhere<F> {
    fn on_message(&mut self, _: &Message<'_>) {
        (self.0)(Moment::Message);
    }

    fn on_request(&mut self, _: &Request<'_>) {
        (self.0)(Moment::Request);
    }
}

impl<F: Fn(Moment) + Send + Sync + 'static> ResponseListener for Everywhere<F> {
    fn on_response(&self, _: &SentRequest, _: &Response<'_>) {
        (self.0)(Moment::Response);
    }

    fn on_timeout(&self, _: &SentRequest) {
        (self.0)(Moment::Timeout);
    }
}

/// Starts an instance and has `act` called at every moment of it, once, between it and another
/// process, on each of the transports in turn. `prepare` comes before the first of them.
fn at_every_moment(
    place: &Place,
    prepare: impl FnOnce(&Instance),
    act: impl Fn(Moment, &Instance) + Send + Sync + 'static,
) -> Arc<Instance> {
    let cell = Arc::new(OnceLock::<Arc<Instance>>::new());
    let (moments, reached) = unbounded();
    let own = Arc::clone(&cell);
    let everywhere = Everywhere(Arc::new(move |moment: Moment| {
        // The test learns of the moment even when what is done there panics.
        let _told = OnDrop(Some(moment), moments.clone());
        act(moment, own.wait());
    }));
    let builder = Instance::builder().name("here").config(place.config());
    let instance = Arc::new(builder.listener(everywhere.clone()).start().unwrap());
    prepare(&instance);
    cell.set(Arc::clone(&instance)).unwrap();
    for transport in TRANSPORTS {
        let mut seen = Vec::new();
        play(place, transport, &instance, &everywhere, |moment| {
            while !seen.contains(&moment) {
                seen.push(next(&reached, &format!("{moment:?}, {transport}")));
            }
        });
        assert_eq!(seen.len(), MOMENTS.len(), "{transport}: {seen:?}");
    }
    assert!(reached.is_empty());
    instance
}

/// Makes all moments happen, one after the other.
fn play<F: Fn(Moment) + Send + Sync + 'static>(
    place: &Place,
    transport: &str,
    instance: &Instance,
    everywhere: &Everywhere<F>,
    mut wait_for: impl FnMut(Moment),
) {
    let (incoming, outgoing) =
        (format!("{transport}{STAGED}in"), format!("{transport}{STAGED}out"));
    let _subscription = instance.subscribe(&incoming, everywhere.clone()).unwrap();
    let mut host = Host::start(place, HOST);
    wait_for(Moment::PeerUp);
    host.publish(&incoming);
    host.wait_for_subscribers(&incoming, 1);
    wait_for(Moment::PublisherMatched);
    host.send(&incoming, 1, 10);
    wait_for(Moment::Message);
    host.request(&incoming, Duration::from_millis(1));
    wait_for(Moment::Request);

    host.subscribe(&outgoing, Behaviour::respond(1));
    let mut publisher = instance.publisher(&outgoing).unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    wait_for(Moment::SubscriberMatched);
    let answered = publisher.request(b"?", WAIT, everywhere.clone()).unwrap();
    wait_for(Moment::Response);
    answered.close();
    let mut unheard = instance.publisher(&format!("{transport}.nobody")).unwrap();
    unheard.request(b"?", Duration::from_millis(1), everywhere.clone()).unwrap();
    wait_for(Moment::Timeout);

    host.unsubscribe(&outgoing);
    wait_for(Moment::SubscriberUnmatched);
    host.unpublish(&incoming);
    wait_for(Moment::PublisherUnmatched);
    host.close();
    wait_for(Moment::PeerDown);
}

struct OnDrop<T>(Option<T>, Sender<T>);

impl<T> Drop for OnDrop<T> {
    fn drop(&mut self) {
        // Both ends may be gone when the test is over.
        let _ = self.0.take().map(|value| self.1.send(value));
    }
}

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
    let mut host = Host::start(&place, HOST);
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
    let mut host = Host::start(&place, HOST);
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

#[test]
fn close_in_a_callback_is_an_error_and_no_deadlock() {
    let place = Place::new();
    let mut witness = Host::start(&place, "witness");
    let errors = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&errors);
    let act = move |moment, instance: &Instance| told.lock().push((moment, instance.close()));
    let instance = at_every_moment(&place, |_| (), act);
    assert!(!instance.is_closed());
    let errors = errors.lock().clone();
    for moment in MOMENTS {
        let refused = (moment, Err(CloseError::InCallback));
        let times = errors.iter().filter(|error| **error == refused).count();
        assert_eq!(times, TRANSPORTS.len(), "{moment:?}");
    }
    eventually("the other process sees it", || witness.peers() == 1);
    instance.close().unwrap();
    eventually("the other process sees it go", || witness.peers() == 0);
}

#[test]
fn callbacks_may_publish_request_reset_and_close() {
    let place = Place::new();
    let mut audience = Host::start(&place, "audience");
    let topics = TRANSPORTS.map(|transport| format!("{transport}.audience"));
    for topic in &topics {
        audience.subscribe(topic, Behaviour::respond(1));
    }
    let stage = Arc::new(OnceLock::<Vec<SharedPublisher>>::new());
    let prepare = |instance: &Instance| {
        let publish = |topic: &String| {
            let publisher = instance.shared_publisher(topic).unwrap();
            assert!(publisher.wait_for_subscribers(1, WAIT));
            publisher
        };
        stage.set(topics.iter().map(publish).collect()).unwrap();
    };
    let (answers, answered) = unbounded();
    let (requests, requested) = unbounded();
    let publishers = Arc::clone(&stage);
    let instance = at_every_moment(&place, prepare, move |moment, _| {
        for publisher in publishers.wait() {
            publisher.send(&payload::numbered(1, 10)).unwrap();
            let answers = answers.clone();
            let tell = move |request: &SentRequest, _: &Response<'_>| {
                assert!(request.reset_expiration(WAIT));
                answers.send(moment).unwrap();
            };
            let open = publisher.request(b"?", WAIT, tell).unwrap();
            assert!(open.reset_expiration(2 * WAIT));
            let closed = publisher.request(b"?", WAIT, ()).unwrap();
            assert!(closed.close());
            requests.send(closed).unwrap();
        }
    });
    let per_moment = TRANSPORTS.len() * topics.len();
    let all = MOMENTS.len() * per_moment;
    let answered: Vec<_> = (0..all).map(|_| next(&answered, "an answer")).collect();
    for moment in MOMENTS {
        assert_eq!(answered.iter().filter(|at| **at == moment).count(), per_moment, "{moment:?}");
    }
    for topic in &topics {
        let messages = (MOMENTS.len() * TRANSPORTS.len()) as u64;
        // Between two messages there are two requests, which have numbers, too.
        let expected = Report { missing: 2 * (messages - 1), ..Report::complete(messages) };
        assert_eq!(audience.expect(topic, messages), expected, "{topic}");
    }
    // Some answers may have come between a request and its end.
    let closed: Vec<_> = requested.try_iter().collect();
    assert_eq!(closed.len(), all);
    eventually("nobody waits for the others", || {
        let early: u64 = closed.iter().map(SentRequest::number_of_responses).sum();
        early + instance.counters().get(Counter::ResponsesUnmatched) == all as u64
    });
    assert_eq!(instance.counters().get(Counter::CallbackPanics), 0);
    instance.close().unwrap();
}

#[test]
fn callbacks_may_make_publishers_and_subscriptions_and_end_them() {
    let place = Place::new();
    let mut audience = Host::start(&place, "audience");
    let (done, reached) = unbounded();
    let instance = at_every_moment(
        &place,
        |_| (),
        move |moment, instance| {
            let left = instance.subscribe("unicast.left-at-once", |_: &Message<'_>| ()).unwrap();
            left.unsubscribe();
            drop(instance.publisher("ipc.left-at-once").unwrap());
            // The moments come once per transport, and the topics of the first one are kept.
            let topic = format!("multicast.made-at-{moment:?}");
            let journal = Journal::new(&topic);
            if let Ok(publisher) = instance.publisher(&topic) {
                let subscription = instance.subscribe(&topic, journal.clone()).unwrap();
                done.send((topic, publisher, subscription, journal)).unwrap();
            }
        },
    );
    let made: Vec<_> = reached.try_iter().collect();
    assert_eq!(made.len(), MOMENTS.len());
    for (topic, mut publisher, subscription, journal) in made {
        audience.subscribe(&topic, Behaviour::Collect);
        audience.publish(&topic);
        assert!(publisher.wait_for_subscribers(2, WAIT));
        audience.wait_for_subscribers(&topic, 2);
        publisher.send(&payload::numbered(1, 10)).unwrap();
        audience.send(&topic, 1, 10);
        assert_eq!(audience.expect(&topic, 2), Report::complete(2), "{topic}");
        assert_eq!(journal.expect(2), Report::complete(2), "{topic}");
        subscription.unsubscribe();
    }
    assert_eq!(instance.counters().get(Counter::CallbackPanics), 0);
    instance.close().unwrap();
}

#[test]
fn a_subscription_can_end_itself() {
    let place = Place::new();
    let instance = place.start("here");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.once");
        let own: Arc<Mutex<Option<Subscription>>> = Arc::default();
        let (calls, called) = unbounded();
        let end = Arc::clone(&own);
        let subscribed = instance.subscribe(&topic, move |message: &Message<'_>| {
            if let Some(subscription) = end.lock().take() {
                calls.send(message.sequence()).unwrap();
                subscription.unsubscribe();
            }
        });
        *own.lock() = Some(subscribed.unwrap());
        host.publish(&topic);
        host.wait_for_subscribers(&topic, 1);
        host.send(&topic, 100, 10);
        assert_eq!(next(&called, &topic), 1);
        let journal = Journal::new(&topic);
        let _again = instance.subscribe(&topic, journal.clone()).unwrap();
        // The publisher may take the subscriber of before for this one: send until it is heard.
        eventually("the next subscription is served", || {
            host.send(&topic, 1, 10);
            journal.report().received > 0
        });
    }
}

/// Echo: each message makes the callback send one, through a publisher that others use, too.
#[test]
fn messages_bounce_between_callbacks_of_two_processes() {
    const ROUNDS: u64 = 1000;
    let place = Place::new();
    let here = place.start("here");
    let mut there = Host::start(&place, "there");
    for transport in TRANSPORTS {
        let (ping, pong) = (format!("{transport}.ping"), format!("{transport}.pong"));
        let publisher = here.shared_publisher(&ping).unwrap();
        let (done, finished) = unbounded();
        let serve = publisher.clone();
        let _pongs = here
            .subscribe(&pong, move |message: &Message<'_>| {
                if message.sequence() < ROUNDS {
                    serve.send(message.payload()).unwrap();
                } else {
                    done.send(message.payload().to_vec()).unwrap();
                }
            })
            .unwrap();
        there.echo(&ping, &pong);
        assert!(publisher.wait_for_subscribers(1, WAIT));
        publisher.send(b"ball").unwrap();
        assert_eq!(next(&finished, &ping), b"ball");
    }
}

/// While the poller is busy, a new topic on a socket that it reads already must not lose what is
/// sent as soon as its subscriber is known.
#[test]
fn a_match_means_that_nothing_is_lost_from_then_on() {
    let place =
        Place::with(Settings { streams: "1", groups: "239.255.0.9", ..Settings::default() });
    let sender = place.start("sender");
    let mut receiver = Host::start(&place, "receiver");
    let mut busy = sender.publisher("multicast.busy").unwrap();
    receiver.subscribe("multicast.busy", Behaviour::Slow(Duration::from_millis(5)));
    assert!(busy.wait_for_subscribers(1, WAIT));
    for round in 0..20 {
        let topic = format!("multicast.new-{round}");
        let mut publisher = sender.publisher(&topic).unwrap();
        // Fewer than the poller reads in one go, so that the new topic's come right after them.
        for _ in 0..8 {
            busy.send(b"takes its time").unwrap();
            busy.flush().unwrap();
        }
        receiver.subscribe(&topic, Behaviour::Collect);
        assert!(publisher.wait_for_subscribers(1, WAIT));
        for number in 0..3 {
            publisher.send(&payload::numbered(number, 10)).unwrap();
        }
        assert_eq!(receiver.expect(&topic, 3), Report::complete(3), "round {round}");
    }
}
