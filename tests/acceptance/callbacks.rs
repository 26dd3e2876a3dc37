//! Points 17 to 19: what callbacks may do, and what happens when they panic. Tests.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Sender, unbounded};
use parking_lot::Mutex;
use vega::{
    CloseError, Counter, Instance, InstanceListener, Listener, Message, Peer, Request, Response,
    ResponseListener, SentRequest, Subscription,
};

use crate::support::{
    Behaviour, Host, Journal, Place, Report, Settings, TRANSPORTS, WAIT, eventually, next, payload,
};

/// The moments at which user code is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    PeerUp,
    Message,
    Request,
    Response,
    Timeout,
}

const MOMENTS: [Moment; 5] =
    [Moment::PeerUp, Moment::Message, Moment::Request, Moment::Response, Moment::Timeout];

/// Calls one function at every moment.
struct Everywhere<F>(Arc<F>);

impl<F> Clone for Everywhere<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Fn(Moment) + Send + Sync + 'static> InstanceListener for Everywhere<F> {
    fn on_instance_up(&mut self, _: &Peer) {
        (self.0)(Moment::PeerUp);
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

/// Has `act` called at every moment of an instance, between it and another process, and returns
/// the instance. `act` gets it by the cell.
fn at_every_moment(
    place: &Place,
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
    cell.set(Arc::clone(&instance)).unwrap();
    let mut host = Host::start(place, "host");
    let subscription = instance.subscribe("unicast.in", everywhere.clone()).unwrap();
    host.publish("unicast.in");
    host.wait_for_subscribers("unicast.in", 1);
    host.send("unicast.in", 1, 10);
    host.request("unicast.in", Duration::from_millis(50));
    host.subscribe("unicast.out", Behaviour::respond(1));
    let mut publisher = instance.publisher("unicast.out").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    publisher.request(b"?", Duration::from_secs(1), everywhere).unwrap();
    let mut missing = MOMENTS.to_vec();
    while !missing.is_empty() {
        let moment = next(&reached, &format!("{missing:?}"));
        missing.retain(|other| *other != moment);
    }
    subscription.unsubscribe();
    instance
}

struct OnDrop<T>(Option<T>, Sender<T>);

impl<T> Drop for OnDrop<T> {
    fn drop(&mut self) {
        // Both ends may be gone when the test is over.
        let _ = self.0.take().map(|value| self.1.send(value));
    }
}

#[test]
fn a_panic_in_any_callback_is_counted_and_later_calls_come() {
    let place = Place::new();
    let instance = at_every_moment(&place, |moment, _| panic!("on purpose, at {moment:?}"));
    eventually("each is counted", || {
        instance.counters().get(Counter::CallbackPanics) == MOMENTS.len() as u64
    });
    // All threads that run callbacks are still there.
    let journal = Journal::new("unicast.in");
    let _subscription = instance.subscribe("unicast.in", journal.clone()).unwrap();
    let mut host = Host::start(&place, "another");
    host.publish("unicast.in");
    host.wait_for_subscribers("unicast.in", 1);
    host.send("unicast.in", 100, 50);
    assert_eq!(journal.expect(100), Report::complete(100));
    let mut publisher = instance.publisher("multicast.nobody").unwrap();
    let request = publisher.request(b"?", Duration::from_millis(1), ()).unwrap();
    eventually("timeouts are still called", || request.is_closed());
    instance.close().unwrap();
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
    let errors = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&errors);
    let instance = at_every_moment(&place, move |moment, instance| {
        let result = instance.close();
        told.lock().push((moment, result));
    });
    assert!(!instance.is_closed());
    let errors = errors.lock().clone();
    for moment in MOMENTS {
        let error = errors.iter().find(|(at, _)| *at == moment);
        assert_eq!(error, Some(&(moment, Err(CloseError::InCallback))));
    }
    instance.close().unwrap();
}

#[test]
fn callbacks_may_publish_request_subscribe_and_close_requests() {
    let place = Place::new();
    let (done, reached) = unbounded();
    let instance = at_every_moment(&place, move |moment, instance| {
        let topic = format!("multicast.made-at-{moment:?}");
        let journal = Journal::new(&topic);
        let subscription = instance.subscribe(&topic, journal.clone()).unwrap();
        let mut publisher = instance.publisher(&topic).unwrap();
        publisher.send(&payload::numbered(1, 10)).unwrap();
        let request = publisher.request(b"?", WAIT, ()).unwrap();
        assert!(request.reset_expiration(WAIT));
        assert!(request.close());
        let left = instance.subscribe("unicast.left-at-once", |_: &Message<'_>| ()).unwrap();
        left.unsubscribe();
        // Dropped outside, so that there is something left to see.
        let _ = done.send((subscription, publisher, journal));
    });
    for _ in MOMENTS {
        let (subscription, mut publisher, journal) = next(&reached, "what a callback made");
        assert!(publisher.wait_for_subscribers(1, WAIT));
        let before = journal.report().received;
        publisher.send(&payload::numbered(2, 10)).unwrap();
        assert!(journal.expect(before + 1).received <= 2);
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
fn messages_bounce_between_callbacks_of_two_instances() {
    const ROUNDS: u64 = 1000;
    let place = Place::new();
    for transport in TRANSPORTS {
        let (here, there) = (place.start("here"), place.start("there"));
        let (ping, pong) = (format!("{transport}.ping"), format!("{transport}.pong"));
        let (to_there, to_here) =
            (here.shared_publisher(&ping).unwrap(), there.shared_publisher(&pong).unwrap());
        let (done, finished) = unbounded();
        let serve = to_there.clone();
        let _pongs = here
            .subscribe(&pong, move |message: &Message<'_>| {
                if message.sequence() < ROUNDS {
                    serve.send(message.payload()).unwrap();
                } else {
                    done.send(()).unwrap();
                }
            })
            .unwrap();
        let back = to_here.clone();
        let _pings = there
            .subscribe(&ping, move |message: &Message<'_>| {
                back.send(message.payload()).unwrap();
            })
            .unwrap();
        assert!(to_there.wait_for_subscribers(1, WAIT) && to_here.wait_for_subscribers(1, WAIT));
        to_there.send(b"ball").unwrap();
        next(&finished, &ping);
        here.close().unwrap();
        there.close().unwrap();
    }
}

/// While the poller is busy, a new topic on a socket that it reads already must not lose what is
/// sent as soon as its subscriber is known.
#[test]
fn a_match_means_that_nothing_is_lost_from_then_on() {
    let place =
        Place::with(Settings { streams: "1", groups: "239.255.0.9", ..Settings::default() });
    let (sender, receiver) = (place.start("sender"), place.start("receiver"));
    let mut busy = sender.publisher("multicast.busy").unwrap();
    let _slow = receiver
        .subscribe("multicast.busy", |_: &Message<'_>| {
            std::thread::sleep(Duration::from_millis(5));
        })
        .unwrap();
    assert!(busy.wait_for_subscribers(1, WAIT));
    for round in 0..20 {
        let topic = format!("multicast.new-{round}");
        let mut publisher = sender.publisher(&topic).unwrap();
        // Fewer than the poller reads in one go, so that the new topic's come right after them.
        for _ in 0..8 {
            busy.send(b"takes its time").unwrap();
            busy.flush().unwrap();
        }
        let journal = Journal::new(&topic);
        let _subscription = receiver.subscribe(&topic, journal.clone()).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        for number in 0..3 {
            publisher.send(&payload::numbered(number, 10)).unwrap();
        }
        assert_eq!(journal.expect(3), Report::complete(3), "round {round}");
    }
}
