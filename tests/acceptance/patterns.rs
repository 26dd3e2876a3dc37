//! Subscriptions to all topics that match a pattern. Tests.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::unbounded;
use vega::{
    Config, Counter, Delivery, Instance, Listener, Message, MessageLoss, Request, Response,
    SentRequest, SharedListener, SubscribePatternError, TopicPattern,
};

use crate::support::{
    Behaviour, Happening, Host, Journal, Place, Report, Settings, TRANSPORTS, WAIT, eventually,
    next, payload,
};

fn regex(text: &str) -> TopicPattern {
    TopicPattern::regex(text).unwrap()
}

fn filter(text: &str) -> TopicPattern {
    TopicPattern::filter(text).unwrap()
}

/// Keeps a journal for each topic, and answers requests with the name of theirs.
#[derive(Default)]
struct Journals(HashMap<String, Journal>);

impl Journals {
    fn of(topics: &[String]) -> (Self, Vec<Journal>) {
        let journals: Vec<_> = topics.iter().map(|topic| Journal::new(topic)).collect();
        (Self(topics.iter().cloned().zip(journals.iter().cloned()).collect()), journals)
    }
}

impl Listener for Journals {
    fn on_message(&mut self, message: &Message<'_>) {
        self.0[message.topic()].write(message);
    }

    fn on_request(&mut self, request: &Request<'_>) {
        request.respond(request.topic().as_bytes()).unwrap();
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.0[loss.topic()].write_loss(loss);
    }
}

#[test]
fn topics_appear_and_disappear_with_their_publishers_on_every_transport() {
    let place = Place::new();
    let (receiver, watch) = place.start_watched("receiver");
    let [mut before, mut after] = ["before", "after"].map(|name| Host::start(&place, name));
    let topics = |which: &str| TRANSPORTS.map(|transport| format!("{transport}.orders.{which}"));
    let (first, second) = (topics("eu"), topics("us.new"));
    for topic in &first {
        before.publish(topic);
    }
    // One that nobody publishes, and one that does not match.
    before.subscribe("unicast.orders.wanted", Behaviour::Collect);
    before.publish("unicast.prices.eu");
    let all: Vec<_> = first.iter().chain(&second).cloned().collect();
    let (listener, journals) = Journals::of(&all);
    let pattern = receiver.subscribe_pattern(filter("*.orders.>"), listener).unwrap();
    assert!(pattern.wait_for_topics(3, WAIT));
    for topic in &second {
        after.publish(topic);
    }
    assert!(pattern.wait_for_topics(6, WAIT));
    let sorted = |mut topics: Vec<String>| {
        topics.sort();
        topics
    };
    assert_eq!(sorted(pattern.topics()), sorted(all.clone()));
    for (topic, host) in first.iter().map(|topic| (topic, 0)).chain(second.iter().map(|it| (it, 1)))
    {
        let host = if host == 0 { &mut before } else { &mut after };
        host.wait_for_subscribers(topic, 1);
        host.send(topic, 100, 200);
        assert_eq!(host.ask_for(topic, 1), [topic.as_str()]);
    }
    for (topic, journal) in all.iter().zip(&journals) {
        assert_eq!(journal.expect(100), Report::complete(100), "{topic}");
    }
    assert_eq!(receiver.counters().get(Counter::PatternMatches), 6);

    // What is sent last arrives, and then the topic is left.
    for topic in &first {
        before.send(topic, 50, 200);
        before.unpublish(topic);
    }
    // The request has a number, too.
    let complete = |received| Report { missing: 1, ..Report::complete(received) };
    for (topic, journal) in first.iter().zip(&journals) {
        assert_eq!(journal.expect(150), complete(150), "{topic}");
    }
    let is_left_with = |topics: &[String]| sorted(pattern.topics()) == sorted(topics.to_vec());
    eventually("they are left", || is_left_with(&second));
    watch.wait_for(&Happening::PatternUnmatched("*.orders.>".to_owned(), first[0].clone()));
    for topic in &first {
        before.publish(topic);
        before.wait_for_subscribers(topic, 1);
        before.send(topic, 50, 200);
    }
    for (topic, journal) in first.iter().zip(&journals) {
        assert_eq!(journal.expect(200), complete(200), "{topic}");
    }
    // An instance that leaves takes its topics with it.
    after.leave();
    eventually("its topics are left", || is_left_with(&first));
    pattern.unsubscribe();
    for topic in &first {
        eventually("nobody listens", || before.subscribers(topic) == 0);
    }
}

#[test]
fn a_killed_publisher_takes_its_topics_with_it() {
    let place = Place::with(Settings { timeout: "1s", ..Settings::default() });
    let receiver = place.start("receiver");
    let pattern = receiver.subscribe_pattern(regex(".*"), |_: &Message<'_>| {}).unwrap();
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        host.publish(&format!("{transport}.a"));
    }
    assert!(pattern.wait_for_topics(3, WAIT));
    host.kill();
    eventually("all topics are left", || pattern.topics().is_empty());
}

#[test]
fn a_pattern_is_subscribed_to_once_at_a_time() {
    let place = Place::new();
    let instance = place.start("one");
    let listen = |pattern| instance.subscribe_pattern(pattern, |_: &Message<'_>| {});
    let first = listen(regex("ipc.*")).unwrap();
    let error = listen(regex("ipc.*")).unwrap_err();
    assert!(matches!(&error, SubscribePatternError::InUse { pattern } if pattern == "ipc.*"));
    let _same_text = listen(filter("ipc.*")).unwrap();
    assert_eq!(first.pattern(), &regex("ipc.*"));
    first.unsubscribe();
    let again = listen(regex("ipc.*")).unwrap();
    drop(again);
    let again = listen(regex("ipc.*")).unwrap();
    instance.close().unwrap();
    assert!(matches!(listen(regex("other")), Err(SubscribePatternError::Closed)));
    again.unsubscribe();
}

/// Direct subscriptions and patterns share what arrives; each may end before the other.
#[test]
fn direct_subscriptions_and_patterns_come_and_go_on_their_own() {
    let place = Place::new();
    let receiver = place.start("receiver");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.shared");
        host.publish(&topic);
        let [direct, wide, narrow, later] = [(); 4].map(|()| Journal::new(&topic));
        let subscribe = |journal: &Journal| receiver.subscribe(&topic, journal.clone()).unwrap();
        let listen = |pattern: &TopicPattern, journal: &Journal| {
            let pattern = receiver.subscribe_pattern(pattern.clone(), journal.clone()).unwrap();
            assert!(pattern.wait_for_topics(1, WAIT));
            pattern
        };
        let (wide_pattern, narrow_pattern) =
            (regex(&format!("{transport}.*")), filter(&format!("{transport}.shared")));

        let wide_subscription = listen(&wide_pattern, &wide);
        host.wait_for_subscribers(&topic, 1);
        host.send(&topic, 10, 50);
        assert_eq!(wide.expect(10), Report::complete(10), "{topic}");
        let subscription = subscribe(&direct);
        assert!(subscription.wait_for_publishers(1, WAIT));
        assert!(receiver.subscribe(&topic, Journal::new(&topic)).is_err());
        let narrow_subscription = listen(&narrow_pattern, &narrow);
        host.send(&topic, 10, 50);
        for (journal, count) in [(&direct, 10), (&wide, 20), (&narrow, 10)] {
            assert_eq!(journal.expect(count), Report::complete(count), "{topic}");
        }
        subscription.unsubscribe();
        wide_subscription.unsubscribe();
        assert_eq!(host.subscribers(&topic), 1);
        host.send(&topic, 10, 50);
        assert_eq!(narrow.expect(20), Report::complete(20), "{topic}");
        assert_eq!((direct.report().received, wide.report().received), (10, 20), "{topic}");

        let subscription = subscribe(&later);
        assert!(subscription.wait_for_publishers(1, WAIT));
        narrow_subscription.unsubscribe();
        host.send(&topic, 10, 50);
        assert_eq!(later.expect(10), Report::complete(10), "{topic}");
        assert_eq!(narrow.report().received, 20, "{topic}");
        drop(subscription);
        eventually("nobody listens", || host.subscribers(&topic) == 0);
    }
}

#[test]
fn one_listener_of_overlapping_subscriptions_gets_a_message_once_or_for_every_match() {
    let place = Place::new();
    let receiver = place.start("receiver");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.overlap");
        host.publish(&topic);
        let count = |messages: &Arc<AtomicU64>| {
            let messages = Arc::clone(messages);
            move |_: &Message<'_>| {
                messages.fetch_add(1, Ordering::SeqCst);
            }
        };
        let [once, each, other] = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
        let deliver_once = SharedListener::new(count(&once));
        let every_match = SharedListener::every_match(count(&each));
        let direct = receiver.subscribe(&topic, deliver_once.clone()).unwrap();
        let patterns = [
            receiver.subscribe_pattern(regex(&format!("{transport}.*")), deliver_once.clone()),
            receiver.subscribe_pattern(filter(&format!("{transport}.>")), deliver_once),
            receiver.subscribe_pattern(regex(&format!("{transport}.+")), every_match.clone()),
            receiver.subscribe_pattern(filter(&format!("{transport}.*")), every_match),
            receiver.subscribe_pattern(regex(&topic), count(&other)),
        ];
        let patterns = patterns.map(Result::unwrap);
        assert!(patterns.iter().all(|pattern| pattern.wait_for_topics(1, WAIT)));
        host.wait_for_subscribers(&topic, 1);
        let counts = || [&once, &each, &other].map(|count| count.load(Ordering::SeqCst));
        host.send(&topic, 100, 20);
        // The last one to be called.
        eventually("all arrive", || counts()[2] == 100);
        assert_eq!(counts(), [100, 200, 100], "{topic}");
        // The one that is called for all has ended: another one is, and nothing is left out.
        direct.unsubscribe();
        host.send(&topic, 100, 20);
        eventually("all arrive", || counts()[2] == 200);
        assert_eq!(counts(), [200, 400, 200], "{topic}");
    }
}

/// Insists on not being called after its end.
struct Ending {
    received: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Listener for Ending {
    fn on_message(&mut self, _: &Message<'_>) {
        assert!(!self.ended.load(Ordering::SeqCst));
        self.received.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn after_unsubscribe_returns_a_patterns_listener_is_not_called() {
    let place = Place::new();
    let receiver = place.start("receiver");
    let mut hosts = TRANSPORTS.map(|transport| (transport, Host::start(&place, transport)));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (transport, host) in &mut hosts {
            let topic = format!("{transport}.stream");
            host.publish(&topic);
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    host.send(&topic, 200, 40);
                }
            });
        }
        for _ in 0..20 {
            let (received, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
            let listener = Ending { received: Arc::clone(&received), ended: Arc::clone(&ended) };
            let pattern = receiver.subscribe_pattern(filter("*.stream"), listener).unwrap();
            eventually("messages come", || received.load(Ordering::SeqCst) > 100);
            pattern.unsubscribe();
            ended.store(true, Ordering::SeqCst);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(receiver.counters().get(Counter::CallbackPanics), 0);
}

/// As for a direct subscription: what arrives and what is reported lost add up.
#[test]
fn losses_are_reported_to_patterns() {
    let place = Place::with(Settings { repair_timeout: "1ms", ..Settings::default() });
    let text = format!("{}[fault]\nloss = '60%'\nseed = 7\n", place.config_text());
    let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let receiver = Instance::builder().config(config).start().unwrap();
    let mut host = Host::start(&place, "host");
    for transport in ["multicast", "unicast"] {
        let topic = format!("{transport}.lossy");
        host.publish(&topic);
        let pattern = filter(&format!("{transport}.*"));
        let (pattern, deliveries) = receiver.subscribe_pattern_channel(pattern, 1 << 16).unwrap();
        assert!(pattern.wait_for_topics(1, WAIT));
        host.wait_for_subscribers(&topic, 1);
        let (mut first, mut last, mut lost, mut received) = (None, 0, 0, 0);
        eventually("some are lost", || {
            host.send(&topic, 20, 1000);
            for delivery in deliveries.try_iter() {
                match delivery {
                    Delivery::Lost { messages, .. } => lost += messages,
                    Delivery::Message(message) => {
                        assert_eq!(message.topic(), topic);
                        assert!(payload::number_of(message.payload()).is_some());
                        // What was lost before the first message was not expected here, or is told.
                        if first.is_none() {
                            first = Some(message.sequence());
                            lost = 0;
                        }
                        received += 1;
                        last = message.sequence();
                    }
                    other => panic!("{other:?}"),
                }
            }
            lost > 0 && first.is_some_and(|first| received + lost == last + 1 - first)
        });
    }
}

/// A topic that matches and has no route here is told of, and the next one is heard.
#[test]
fn what_cannot_be_subscribed_to_is_counted_and_told() {
    let place = Place::new();
    let (receiver, watch) = place.start_watched("receiver");
    let text = format!(
        "{}[[topic]]\npattern = 'only\\.there'\ntemplate = 'unicast'\n",
        place.config_text()
    );
    let other = Instance::builder().config(Config::parse(&text).unwrap()).start().unwrap();
    let pattern = receiver.subscribe_pattern(regex(".*"), |_: &Message<'_>| {}).unwrap();
    let there = other.publisher("only.there").unwrap();
    watch.wait_for(&Happening::PatternRefused(".*".to_owned(), "only.there".to_owned()));
    assert_eq!(receiver.counters().get(Counter::PatternRefusals), 1);
    // It goes as it came, and what comes next is heard.
    drop(there);
    let _both = other.publisher("unicast.both").unwrap();
    watch.wait_for(&Happening::PatternMatched(".*".to_owned(), "unicast.both".to_owned()));
    assert_eq!(pattern.topics(), ["unicast.both"]);
}

/// Everything that a pattern's listener may do, from its callbacks, while others do the same.
#[test]
fn callbacks_of_patterns_may_subscribe_unsubscribe_publish_and_ask() {
    const ROUNDS: u64 = 30;
    let place = Place::new();
    let instance = Arc::new(place.start("one"));
    let (answer, answered) = unbounded();
    let nested = {
        let instance = Arc::downgrade(&instance);
        let mut held = Vec::new();
        let mut round = 0;
        move |message: &Message<'_>| {
            let Some(instance) = instance.upgrade() else { return };
            round += 1;
            let topic = message.topic().replace("go", "reply");
            let answer = answer.clone();
            let echo = regex(&format!(r"{}\.\d+", topic.replace('.', r"\.")));
            // The one of the call before ends here.
            held.clear();
            let pattern = instance.subscribe_pattern(echo, move |message: &Message<'_>| {
                answer.send(message.topic().to_owned()).unwrap();
            });
            let mut publisher = instance.publisher(&format!("{topic}.{round}")).unwrap();
            let ignore = |_: &SentRequest, _: &Response<'_>| {};
            publisher.request(b"?", Duration::from_millis(50), ignore).unwrap();
            held.push((pattern.unwrap(), publisher));
        }
    };
    let subscription = instance.subscribe_pattern(filter("*.go"), nested).unwrap();
    let mut publishers: Vec<_> =
        TRANSPORTS.iter().map(|it| instance.publisher(&format!("{it}.go")).unwrap()).collect();
    assert!(subscription.wait_for_topics(3, WAIT));
    std::thread::scope(|scope| {
        let churn = Arc::clone(&instance);
        scope.spawn(move || {
            for number in 0..ROUNDS {
                let pattern = regex(&format!(".*go|{number}"));
                let pattern = churn.subscribe_pattern(pattern, |_: &Message<'_>| {}).unwrap();
                assert!(pattern.wait_for_topics(3, WAIT));
                pattern.unsubscribe();
            }
        });
        for _ in 0..ROUNDS {
            for publisher in &mut publishers {
                assert!(publisher.wait_for_subscribers(1, WAIT));
                publisher.send_blocking(b"go", WAIT).unwrap();
            }
        }
    });
    // Whatever the callbacks have left there can be heard.
    let mut last = instance.publisher("ipc.last").unwrap();
    let (told, heard) = unbounded();
    let listener = move |_: &Message<'_>| told.send(()).unwrap();
    let _last = instance.subscribe_pattern(regex(r"ipc\.last"), listener).unwrap();
    assert!(last.wait_for_subscribers(1, WAIT));
    last.send(b"").unwrap();
    next(&heard, "the last message");
    drop(answered);
    subscription.unsubscribe();
    instance.close().unwrap();
    assert_eq!(instance.counters().get(Counter::CallbackPanics), 0);
}
