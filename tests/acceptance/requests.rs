//! Points 3 to 8 and 10: requests with any number of responses. Tests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use vega::{
    Counter, Publisher, RequestError, Response, ResponseListener, SendError, SendStatus,
    SentRequest,
};

use crate::support::{Behaviour, Host, Place, Settings, TRANSPORTS, WAIT, eventually, next};

/// What a request's listener was told, and on which thread.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Response(String),
    Timeout,
}

/// Hands every call to the test. What is done with the request at the first response is up to it.
struct Calls<F> {
    calls: Sender<(Call, Option<String>)>,
    at_response: F,
}

impl<F: Fn(&SentRequest) + Send + Sync + 'static> Calls<F> {
    fn new(at_response: F) -> (Self, Receiver<(Call, Option<String>)>) {
        let (calls, called) = unbounded();
        (Self { calls, at_response }, called)
    }

    fn tell(&self, call: Call) {
        let thread = std::thread::current().name().map(str::to_owned);
        // A test that does not look any more misses nothing.
        let _ = self.calls.send((call, thread));
    }
}

impl<F: Fn(&SentRequest) + Send + Sync + 'static> ResponseListener for Calls<F> {
    fn on_response(&self, request: &SentRequest, response: &Response<'_>) {
        (self.at_response)(request);
        self.tell(Call::Response(String::from_utf8(response.payload().to_vec()).unwrap()));
    }

    fn on_timeout(&self, _: &SentRequest) {
        self.tell(Call::Timeout);
    }
}

/// Returns after the callbacks of all requests of this instance that expire before `timeout` from
/// now: timeouts are called in order on one thread.
fn wait_past(publisher: &mut Publisher, timeout: Duration) {
    let (expired, expiry) = unbounded();
    let ignore = |_: &SentRequest, _: &Response<'_>| {};
    let tell = move |_: &SentRequest| expired.send(()).unwrap();
    publisher.request(b"", timeout, (ignore, tell)).unwrap();
    next(&expiry, "a timeout");
}

#[test]
fn four_responders_with_five_responses_each_make_twenty_callbacks() {
    let place = Place::new();
    let asker = place.start("asker");
    let mut hosts: Vec<_> = (0..4).map(|index| Host::start(&place, &index.to_string())).collect();
    for transport in TRANSPORTS {
        let topic = format!("{transport}.quotes");
        for host in &mut hosts {
            host.subscribe(&topic, Behaviour::respond(5));
        }
        let mut publisher = asker.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(4, WAIT));
        let (listener, called) = Calls::new(|_| ());
        let request = publisher.request(b"?", WAIT, listener).unwrap();
        let answers: BTreeSet<_> = (0..20).map(|_| next(&called, &topic).0).map(text).collect();
        let expected = (0..4).flat_map(|host| (0..5).map(move |index| format!("{host}/{index}")));
        assert_eq!(answers, expected.collect(), "{topic}");
        assert_eq!(request.number_of_responses(), 20);
        assert!(request.close());
        assert!(called.is_empty());
    }
}

fn text(call: Call) -> String {
    match call {
        Call::Response(text) => text,
        Call::Timeout => panic!("expired"),
    }
}

#[test]
fn responses_of_one_responder_come_in_order() {
    const ANSWERS: u32 = 5000;
    let place = Place::new();
    let asker = place.start("asker");
    let mut host = Host::start(&place, "host");
    host.subscribe("ipc.quotes", Behaviour::respond(ANSWERS));
    let mut publisher = asker.publisher("ipc.quotes").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let (listener, called) = Calls::new(|_| ());
    let request = publisher.request(b"?", WAIT, listener).unwrap();
    for index in 0..ANSWERS {
        assert_eq!(text(next(&called, "an answer").0), format!("host/{index}"));
    }
    assert_eq!(request.number_of_responses(), u64::from(ANSWERS));
}

/// On a busy machine a pause between two responses may be longer than the timeout, and the request
/// expires as it should. Such an attempt says nothing and is repeated; without the resets none
/// would ever get through, because the responses alone take ten timeouts.
#[test]
fn resetting_the_expiration_keeps_a_request_open() {
    const ANSWERS: u32 = 50;
    const ATTEMPTS: usize = 50;
    let timeout = Duration::from_millis(20);
    let place = Place::new();
    let asker = place.start("asker");
    let mut host = Host::start(&place, "host");
    host.subscribe(
        "unicast.quotes",
        Behaviour::Respond { answers: ANSWERS, pause: Duration::from_millis(4) },
    );
    let mut publisher = asker.publisher("unicast.quotes").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let kept_open = (0..ATTEMPTS).any(|_| {
        let (listener, called) = Calls::new(move |request: &SentRequest| {
            request.reset_expiration(timeout);
        });
        let request = publisher.request(b"?", timeout, listener).unwrap();
        let calls = std::iter::repeat_with(|| next(&called, "a call").0);
        let answers = calls.take_while(|call| *call != Call::Timeout).count();
        assert!(request.has_expired() && request.is_closed());
        assert_eq!(request.number_of_responses(), answers as u64);
        answers == ANSWERS as usize
    });
    assert!(kept_open);
}

#[test]
fn closing_in_the_first_callback_ends_everything() {
    let place = Place::new();
    let asker = place.start("asker");
    let mut host = Host::start(&place, "host");
    host.subscribe("multicast.quotes", Behaviour::respond(5));
    let mut publisher = asker.publisher("multicast.quotes").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let (listener, called) = Calls::new(|request: &SentRequest| assert!(request.close()));
    let request = publisher.request(b"?", Duration::from_millis(100), listener).unwrap();
    eventually("all responses came", || asker.counters().get(Counter::ResponsesUnmatched) == 4);
    wait_past(&mut publisher, Duration::from_millis(150));
    assert_eq!(called.try_iter().count(), 1);
    assert_eq!(request.number_of_responses(), 1);
    assert!(request.is_closed() && !request.has_expired());
    assert!(!request.close(), "it is closed already");
    assert!(!request.reset_expiration(WAIT), "what has ended does not begin again");
}

#[test]
fn a_timeout_is_called_once_on_the_thread_of_the_request_processor() {
    let place = Place::new();
    let asker = place.start("asker");
    let mut host = Host::start(&place, "host");
    host.subscribe("multicast.quotes", Behaviour::respond(2));
    let mut answered = asker.publisher("multicast.quotes").unwrap();
    let mut unheard = asker.publisher("multicast.nobody").unwrap();
    assert!(answered.wait_for_subscribers(1, WAIT));
    for (publisher, responses, status) in
        [(&mut answered, 2, SendStatus::Sent), (&mut unheard, 0, SendStatus::NoSubscribers)]
    {
        let (listener, called) = Calls::new(|_| ());
        // Long enough for the responses to come first.
        let request = publisher.request(b"?", Duration::from_secs(1), listener).unwrap();
        assert_eq!(request.send_status(), status);
        assert!(!request.has_expired() && !request.is_closed());
        let mut calls = 0;
        let thread = loop {
            match next(&called, "a call") {
                (Call::Response(_), _) => calls += 1,
                (Call::Timeout, thread) => break thread,
            }
        };
        assert_eq!(calls, responses);
        assert_eq!(thread.as_deref(), Some("vega-requests"));
        assert!(request.has_expired() && request.is_closed());
        wait_past(publisher, Duration::from_millis(10));
        assert!(called.is_empty(), "called again");
        assert_eq!(request.number_of_responses(), responses);
    }
}

#[test]
fn what_cannot_be_asked_is_refused_without_a_callback() {
    let place = Place::new();
    let asker = place.start("asker");
    let mut host = Host::start(&place, "host");
    host.subscribe("multicast.quotes", Behaviour::respond(1));
    let mut publisher = asker.publisher("multicast.quotes").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let (listener, called) = Calls::new(|_| ());
    let refused = publisher.request(b"?", Duration::ZERO, listener).unwrap_err();
    assert_eq!(refused, RequestError::ZeroTimeout);
    assert_eq!(publisher.sequence(), 0, "nothing was sent");

    let never = publisher.request(b"?", Duration::MAX, ()).unwrap();
    eventually("a request without a listener is answered", || never.number_of_responses() == 1);
    assert!(!never.has_expired(), "a timeout may be longer than the machine lives");
    let expiring = publisher.request(b"?", Duration::from_millis(1), ()).unwrap();
    eventually("a request without a listener expires", || expiring.has_expired());
    wait_past(&mut publisher, Duration::from_millis(10));
    assert!(!never.is_closed());

    asker.close().unwrap();
    assert!(never.is_closed(), "close ends what is open");
    let (listener, called_late) = Calls::new(|_| ());
    let error = publisher.request(b"?", Duration::from_millis(1), listener).unwrap_err();
    assert_eq!(error, RequestError::Send(SendError::Closed));
    assert!(called.try_recv().is_err() && called_late.try_recv().is_err());
    // The two, and the one that was waited past: what was refused reached nobody.
    eventually("the host has answered", || host.counter(Counter::ResponsesSent) == 3);
}

#[test]
fn responses_come_through_the_response_socket_whatever_the_transport() {
    let place = Place::with(Settings { response_poller: "answers", ..Settings::default() });
    // Without a subscription the response socket is the only one that this instance counts.
    let asker = place.start("asker");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.quotes");
        host.subscribe(&topic, Behaviour::respond(3));
        let mut publisher = asker.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        let before = asker.counters();
        let (listener, called) = Calls::new(|_| ());
        let _request = publisher.request(b"?", WAIT, listener).unwrap();
        for _ in 0..3 {
            let (call, thread) = next(&called, &topic);
            assert!(matches!(call, Call::Response(_)));
            assert_eq!(thread.as_deref(), Some("vega-answers"), "{topic}");
        }
        let increase = |counter| asker.counters().get(counter) - before.get(counter);
        eventually("the responses are counted", || increase(Counter::ResponsesReceived) == 3);
        eventually("their packets are counted", || increase(Counter::PacketsReceived) >= 1);
        assert_eq!(increase(Counter::MessagesReceived), 0);
    }
    assert_eq!(asker.response_address().ip(), place.address());
}

#[test]
fn a_responder_that_has_not_discovered_the_requester_answers() {
    let mut place = Place::new();
    let asker = place.start("asker");
    let elsewhere = Place::new();
    place.hide_behind(&elsewhere);
    let mut host = Host::start(&place, "host");
    host.subscribe("multicast.quotes", Behaviour::respond(500));
    let mut publisher = asker.publisher("multicast.quotes").unwrap();
    let count = Arc::new(AtomicU64::new(0));
    // Without discovery nobody can tell when the host listens: ask until it answers.
    eventually("an answer", || {
        let count = Arc::clone(&count);
        let (listener, called) = Calls::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let request = publisher.request(b"?", WAIT, listener).unwrap();
        assert_eq!(request.send_status(), SendStatus::NoSubscribers);
        let heard = called.recv_timeout(Duration::from_secs(1)).is_ok();
        if heard {
            eventually("all of it", || request.number_of_responses() == 500);
        }
        heard
    });
    assert_eq!(count.load(Ordering::Relaxed) % 500, 0);
    assert_eq!((host.peers(), asker.peers().len()), (0, 0));
}

#[test]
fn a_request_can_be_answered_later_from_any_thread() {
    let place = Place::new();
    let responder = place.start("responder");
    let mut asker = Host::start(&place, "asker");
    let (_subscription, requests) = responder.subscribe_channel("ipc.quotes", 10).unwrap();
    asker.publish("ipc.quotes");
    asker.wait_for_subscribers("ipc.quotes", 1);
    let (received, mut answers) = std::thread::scope(|scope| {
        let answers = scope.spawn(|| asker.ask_for("ipc.quotes", 4));
        let vega::Delivery::Request(received) = next(&requests, "a request") else {
            panic!("not a request");
        };
        for thread in 0..4 {
            let received = received.clone();
            scope.spawn(move || received.respond(thread.to_string().as_bytes()).unwrap());
        }
        (received, answers.join().unwrap())
    });
    answers.sort();
    assert_eq!(answers, ["0", "1", "2", "3"]);
    // The responder need not know that nobody waits any more.
    received.respond(b"late").unwrap();
    eventually("it is dropped", || asker.counter(Counter::ResponsesUnmatched) == 1);
    responder.close().unwrap();
    assert!(received.respond(b"too late").is_err());
}

/// Who lets go of the handle still gets responses, and the timeout.
#[test]
fn a_request_needs_nobody_to_hold_it() {
    let place = Place::new();
    let asker = place.start("asker");
    let mut host = Host::start(&place, "host");
    host.subscribe("multicast.quotes", Behaviour::respond(2));
    let mut publisher = asker.publisher("multicast.quotes").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let (listener, called) = Calls::new(|_| ());
    drop(publisher.request(b"?", Duration::from_secs(1), listener).unwrap());
    let calls: Vec<_> = (0..3).map(|_| next(&called, "a call").0).collect();
    let expected =
        [Call::Response("host/0".into()), Call::Response("host/1".into()), Call::Timeout];
    assert_eq!(calls, expected);
}

#[test]
fn thousands_of_requests_are_open_at_once() {
    const REQUESTS: usize = 20_000;
    let place = Place::new();
    let asker = place.start("asker");
    let mut host = Host::start(&place, "host");
    host.subscribe("unicast.quotes", Behaviour::respond(1));
    let mut publisher = asker.publisher("unicast.quotes").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let requests: Vec<_> = std::iter::repeat_with(|| {
        loop {
            match publisher.request(b"?", WAIT, ()) {
                Ok(request) => break request,
                Err(RequestError::Send(SendError::BackPressured)) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    })
    .take(REQUESTS)
    .collect();
    for request in &requests {
        eventually("one response each", || request.number_of_responses() == 1);
    }
    assert_eq!(asker.counters().get(Counter::ResponsesUnmatched), 0);
}
