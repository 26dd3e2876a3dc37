//! Points 18 and 19: what callbacks may do, and what they may not. Tests.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::unbounded;
use parking_lot::Mutex;
use vega::{
    CloseError, Counter, Instance, Message, Response, SentRequest, SharedPublisher, Subscription,
};

use crate::support::{
    Behaviour, Host, Journal, MOMENTS, Place, Report, Settings, TRANSPORTS, WAIT, at_every_moment,
    eventually, next, payload,
};

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
                // Told only once the topic is free again for the next subscription.
                subscription.unsubscribe();
                calls.send(message.sequence()).unwrap();
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

/// A callback of `ipc.boot` on this instance's poller that does `act` once the test lets it: what others do
/// until then waits for the poller.
fn in_a_callback(
    instance: &Arc<Instance>,
    act: impl Fn(&Instance) + Send + 'static,
) -> (Subscription, impl FnOnce()) {
    let (reached, in_callback) = unbounded();
    let (let_go, may_go) = unbounded();
    let weak = Arc::downgrade(instance);
    let callback = move |_: &Message<'_>| {
        reached.send(()).unwrap();
        next::<()>(&may_go, "the test goes on");
        act(&weak.upgrade().unwrap());
    };
    let subscription = instance.subscribe("ipc.boot", callback).unwrap();
    let mut publisher = instance.publisher("ipc.boot").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    publisher.send(b"go").unwrap();
    next(&in_callback, "the callback");
    (subscription, move || let_go.send(()).unwrap())
}

/// Outside of the ranges from which instances take ports for all else: one of those would be found taken at times.
const ONE_PORT: u16 = 20050;

fn one_port() -> Settings {
    Settings { unicast_ports: "20050", ..Settings::default() }
}

/// What others have given a poller comes before what its callback gives it later: here a socket that
/// both topics need.
#[test]
fn a_callback_shares_the_socket_that_somebody_else_has_just_opened() {
    let place = Place::with(one_port());
    let config = place.config();
    let stream = |topic: &str| config.route(topic).unwrap().stream();
    let first = "unicast.first";
    let named = |shares_stream| {
        let mut names = (0..).map(|number| format!("unicast.{number}"));
        names.find(|name| (stream(name) == stream(first)) == shares_stream).unwrap()
    };
    for second in [named(false), named(true)] {
        let instance = Arc::new(place.start("here"));
        let mut host = Host::start(&place, "host");
        let journals = [first, &second].map(Journal::new);
        let (made, subscribed) = unbounded();
        let (topic, journal) = (second.clone(), journals[1].clone());
        let (boot, let_go) = in_a_callback(&instance, move |instance| {
            made.send(instance.subscribe(&topic, journal.clone()).unwrap()).unwrap();
        });
        let ends_first = instance.subscribe(first, journals[0].clone()).unwrap();
        let_go();
        let _second = next(&subscribed, "the subscription of the callback");
        for (topic, journal) in [first, &second].into_iter().zip(&journals) {
            host.publish(topic);
            host.wait_for_subscribers(topic, 1);
            host.send(topic, 10, 40);
            assert_eq!(journal.expect(10), Report::complete(10), "{topic} beside {second}");
        }
        ends_first.unsubscribe();
        host.send(&second, 10, 40);
        assert_eq!(journals[1].expect(20), Report::complete(20), "{second}");
        boot.unsubscribe();
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "asks the system, and receives nothing")]
fn a_callback_ends_what_somebody_else_has_just_begun() {
    let place = Place::with(one_port());
    let instance = Arc::new(place.start("here"));
    let (begun, to_end) = unbounded::<Subscription>();
    let (boot, let_go) =
        in_a_callback(&instance, move |_| next(&to_end, "a subscription").unsubscribe());
    begun.send(instance.subscribe("unicast.short", |_: &Message<'_>| ()).unwrap()).unwrap();
    let_go();
    boot.unsubscribe();
    eventually("its port is free again", || {
        std::net::UdpSocket::bind((place.address(), ONE_PORT)).is_ok()
    });
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
