//! Which subscribers answer the heartbeats of a publisher. Tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use vega::DisconnectReason::{Left, Silent};
use vega::{
    Config, ConnectionListener, Counter, DisconnectReason, HeartbeatError, HeartbeatParameters,
    Instance, InstanceId, Publisher,
};

use crate::support::{
    Behaviour, Host, Journal, Place, Settings, TRANSPORTS, WAIT, eventually, next,
};

/// Quick, and patient with a busy machine: two seconds of silence are absence.
const QUICK: HeartbeatParameters = HeartbeatParameters {
    rate: Duration::from_millis(50),
    timeout: Duration::from_millis(50),
    max_missed: 40,
};
/// As quick as it gets, for those that are absent for as long as it takes.
const STRICT: HeartbeatParameters = HeartbeatParameters { max_missed: 4, ..QUICK };

/// What a connection listener was told of whom; `None` is connected.
type Told = (String, Option<DisconnectReason>);

struct Reporter {
    topic: String,
    told: Sender<Told>,
}

impl ConnectionListener for Reporter {
    fn on_connected(&mut self, topic: &str, subscriber: InstanceId) {
        assert_eq!(topic, self.topic);
        // A test that does not look any more misses nothing.
        let _ = self.told.send((subscriber.to_string(), None));
    }

    fn on_disconnected(&mut self, topic: &str, subscriber: InstanceId, reason: DisconnectReason) {
        assert_eq!(topic, self.topic);
        let _ = self.told.send((subscriber.to_string(), Some(reason)));
    }
}

fn activate(publisher: &mut Publisher, parameters: HeartbeatParameters) -> Receiver<Told> {
    let (told, tells) = unbounded();
    let topic = publisher.topic().to_owned();
    publisher.activate_heartbeats(Reporter { topic, told }, parameters).unwrap();
    tells
}

fn connected(id: &impl ToString) -> Told {
    (id.to_string(), None)
}

fn disconnected(id: &impl ToString, reason: DisconnectReason) -> Told {
    (id.to_string(), Some(reason))
}

#[test]
fn only_real_subscribers_connect_and_who_leaves_is_told_of_at_once() {
    // All topics of a transport share one place: data of each reaches all.
    let place = Place::with(Settings {
        streams: "1",
        groups: "239.255.0.9",
        unicast_ports: "35008-35020",
        ..Settings::default()
    });
    let instance = place.start("publisher");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.wanted");
        let mut publisher = instance.publisher(&topic).unwrap();
        let _other = instance.publisher(&format!("{transport}.other")).unwrap();
        let tells = activate(&mut publisher, QUICK);
        let mut stranger = Host::start(&place, "stranger");
        stranger.subscribe(&format!("{transport}.other"), Behaviour::Collect);
        stranger.wait_for_publishers(&format!("{transport}.other"), 1);
        let mut subscriber = Host::start(&place, "subscriber");
        subscriber.subscribe(&topic, Behaviour::Collect);
        let subscriber_id = subscriber.id();
        assert_eq!(next(&tells, "connected"), connected(&subscriber_id), "{topic}");
        assert_eq!(publisher.connected_subscribers()[0].to_string(), subscriber_id);

        // One in this instance is a subscriber like any other.
        let own = instance.subscribe(&topic, Journal::new(&topic)).unwrap();
        assert_eq!(next(&tells, "connected, too"), connected(&instance.id()), "{topic}");
        own.unsubscribe();
        assert_eq!(next(&tells, "its end"), disconnected(&instance.id(), Left), "{topic}");

        subscriber.unsubscribe(&topic);
        assert_eq!(next(&tells, "its end"), disconnected(&subscriber_id, Left), "{topic}");
        subscriber.subscribe(&topic, Behaviour::Collect);
        assert_eq!(next(&tells, "connected again"), connected(&subscriber_id), "{topic}");
        subscriber.leave();
        assert_eq!(next(&tells, "goodbye"), disconnected(&subscriber_id, Left), "{topic}");
        assert!(publisher.connected_subscribers().is_empty());
        assert!(tells.try_recv().is_err(), "{topic}: nothing of the stranger");
        assert!(instance.counters().get(Counter::HeartbeatsSent) > 0);
        assert!(stranger.counter(Counter::HeartbeatsAnswered) == 0);
    }
}

#[test]
fn who_is_stopped_hangs_or_is_killed_is_missed() {
    let place = Place::new();
    let instance = place.start("publisher");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.topic");
        let mut publisher = instance.publisher(&topic).unwrap();
        let tells = activate(&mut publisher, STRICT);
        let mut host = Host::start(&place, "subscriber");
        host.subscribe(&topic, Behaviour::Slow(Duration::from_secs(3)));
        let host_id = host.id();
        // On a busy machine one that is there may be missed with parameters as strict as these.
        let wait_for =
            |wanted: &Told| while next(&tells, &format!("{topic} {wanted:?}")) != *wanted {};
        let (is_connected, is_silent) = (connected(&host_id), disconnected(&host_id, Silent));
        wait_for(&is_connected);
        host.stop();
        wait_for(&is_silent);
        host.go_on();
        wait_for(&is_connected);
        // Its poller is in a callback for three seconds.
        publisher.send_blocking(b"hang", WAIT).unwrap();
        wait_for(&is_silent);
        wait_for(&is_connected);
        host.kill();
        // The kernel tells at once that a reader of a ring is dead.
        let is_over = if transport == "ipc" { disconnected(&host_id, Left) } else { is_silent };
        wait_for(&is_over);
        assert!(instance.counters().get(Counter::HeartbeatsMissed) >= 8);
    }
}

#[test]
fn activating_again_keeps_who_is_connected() {
    let place = Place::new();
    let instance = place.start("publisher");
    let mut publisher = instance.publisher("multicast.topic").unwrap();
    let mut hosts = ["first", "second"].map(|name| Host::start(&place, name));
    for host in &mut hosts {
        host.subscribe("multicast.topic", Behaviour::Collect);
    }
    let [first, second] = hosts.each_mut().map(Host::id);
    assert!(!publisher.has_heartbeats() && publisher.connected_subscribers().is_empty());
    publisher.deactivate_heartbeats();
    let before = activate(&mut publisher, QUICK);
    eventually("both connect", || publisher.connected_subscribers().len() == 2);
    assert_eq!((0..2).map(|_| next(&before, "connected").1).collect::<Vec<_>>(), [None, None]);

    let again = activate(&mut publisher, HeartbeatParameters { max_missed: 50, ..QUICK });
    assert_eq!(publisher.connected_subscribers().len(), 2);
    hosts[0].unsubscribe("multicast.topic");
    assert_eq!(next(&again, "only what has changed"), disconnected(&first, Left));
    assert!(before.try_recv().is_err(), "told nothing more");

    publisher.deactivate_heartbeats();
    assert!(!publisher.has_heartbeats() && publisher.connected_subscribers().is_empty());
    hosts[0].subscribe("multicast.topic", Behaviour::Collect);
    hosts[1].unsubscribe("multicast.topic");
    let subscribers = || {
        let instances = publisher.subscriber_instances();
        instances.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    eventually("one leaves and one comes", || subscribers() == [first.clone()]);
    let last = activate(&mut publisher, QUICK);
    let mut told = [next(&last, "a change"), next(&last, "another change")];
    told.sort_by_key(|(_, reason)| reason.is_some());
    assert_eq!(told, [connected(&first), disconnected(&second, Left)]);
    assert!(again.try_recv().is_err());
    drop(publisher);
    hosts[0].unsubscribe("multicast.topic");
    // The listener ends with its publisher, and has heard nothing more.
    eventually("the listener is dropped", || {
        last.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected)
    });
}

/// A listener that panics hears the next event, and so do others.
#[test]
fn a_panic_ends_no_heartbeats() {
    struct Panics(Sender<Told>);
    impl ConnectionListener for Panics {
        fn on_connected(&mut self, _: &str, subscriber: InstanceId) {
            self.0.send((subscriber.to_string(), None)).unwrap();
            panic!("on purpose");
        }

        fn on_disconnected(&mut self, _: &str, subscriber: InstanceId, reason: DisconnectReason) {
            self.0.send((subscriber.to_string(), Some(reason))).unwrap();
            panic!("on purpose");
        }
    }
    let place = Place::new();
    let instance = place.start("publisher");
    let mut publisher = instance.publisher("unicast.topic").unwrap();
    let (told, tells) = unbounded();
    publisher.activate_heartbeats(Panics(told), QUICK).unwrap();
    let mut host = Host::start(&place, "host");
    for _ in 0..3 {
        host.subscribe("unicast.topic", Behaviour::Collect);
        assert_eq!(next(&tells, "connected"), connected(&host.id()));
        host.unsubscribe("unicast.topic");
        assert_eq!(next(&tells, "left"), disconnected(&host.id(), Left));
    }
    eventually("panics are counted", || instance.counters().get(Counter::CallbackPanics) == 6);
}

/// With the default parameters, three seconds of silence are absence. One datagram in twenty is lost in each
/// direction, heartbeats and discovery alike: a tenth of all heartbeats would be missed if each were sent
/// once; not one in fifty is. The unit tests of `presence` go on for a day.
#[test]
fn loss_makes_no_false_events() {
    const ROUNDS: u64 = 6;
    const CROWD: usize = 24;
    const SUBSCRIBERS: usize = 2 * (CROWD + 1);
    // Each instance has a port of its own for responses, and one for heartbeats beside it.
    let place = Place::with(Settings { response_ports: "36000-36099", ..Settings::default() });
    let text = format!("{}[fault]\nloss = '5%'\n", place.config_text());
    let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let here = Instance::builder().config(config).start().unwrap();
    let mut publisher = here.publisher("multicast.topic").unwrap();
    let mut hosts = ["one", "two"].map(|name| Host::try_start_with(&text, name).unwrap());
    for host in &mut hosts {
        host.subscribe("multicast.topic", Behaviour::Collect);
        host.crowd("multicast.topic", CROWD, 100);
    }
    let tells = activate(&mut publisher, HeartbeatParameters::default());
    for _ in 0..SUBSCRIBERS {
        assert_eq!(next(&tells, "each connects").1, None);
    }
    assert_eq!(publisher.connected_subscribers().len(), SUBSCRIBERS);
    let counters = || {
        let counters = here.counters();
        [Counter::HeartbeatsSent, Counter::HeartbeatsMissed].map(|counter| counters.get(counter))
    };
    let [sent_before, missed_before] = counters();
    let wanted = ROUNDS * SUBSCRIBERS as u64;
    eventually("six rounds", || counters()[0] - sent_before >= wanted);
    assert_eq!(tells.try_recv().ok(), None, "nothing has changed");
    assert_eq!(publisher.connected_subscribers().len(), SUBSCRIBERS);
    let missed = counters()[1] - missed_before;
    assert!(missed < wanted / 50, "{missed} of {wanted}");
    assert!(hosts[0].counter(Counter::FaultsDropped) > 0);
}

#[test]
fn what_cannot_be_is_refused() {
    let place = Place::new();
    let instance = place.start("one");
    let publisher = instance.shared_publisher("ipc.topic").unwrap();
    let timeout = HeartbeatParameters { timeout: WAIT, ..QUICK };
    let refused = publisher.activate_heartbeats((), timeout).unwrap_err();
    assert!(matches!(refused, HeartbeatError::Timeout { .. }), "{refused}");
    let none = Duration::ZERO;
    for parameters in [
        HeartbeatParameters { rate: none, timeout: none, ..QUICK },
        HeartbeatParameters { rate: Duration::MAX, ..QUICK },
    ] {
        let refused = publisher.activate_heartbeats((), parameters).unwrap_err();
        assert!(matches!(refused, HeartbeatError::Rate { .. }), "{refused}");
    }
    for max_missed in [0, u32::MAX] {
        let parameters = HeartbeatParameters { max_missed, ..QUICK };
        let refused = publisher.activate_heartbeats((), parameters).unwrap_err();
        assert!(matches!(refused, HeartbeatError::MaxMissed { .. }), "{refused}");
    }
    assert!(!publisher.has_heartbeats());
    publisher.activate_heartbeats((), QUICK).unwrap();
    assert!(publisher.has_heartbeats());
    instance.close().unwrap();
    assert_eq!(publisher.activate_heartbeats((), QUICK), Err(HeartbeatError::Closed));
    publisher.deactivate_heartbeats();
}

/// From callbacks and from other threads, while heartbeats go on and publishers come and go.
#[test]
fn activating_and_ending_from_anywhere_is_no_deadlock() {
    const ROUNDS: u32 = 50;
    struct Churns(vega::SharedPublisher, Arc<AtomicBool>);
    impl ConnectionListener for Churns {
        fn on_connected(&mut self, _: &str, _: InstanceId) {
            self.0.deactivate_heartbeats();
            self.0.activate_heartbeats((), QUICK).unwrap();
            // Last: the instance is closed when this is seen.
            self.1.store(true, Ordering::SeqCst);
        }
    }
    let place = Place::new();
    let instance = place.start("one");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.topic");
        host.subscribe(&topic, Behaviour::Collect);
        let publisher = instance.shared_publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        let called = Arc::new(AtomicBool::new(false));
        let churns = Churns(publisher.clone(), Arc::clone(&called));
        publisher.activate_heartbeats(churns, QUICK).unwrap();
        eventually("the callback has done it", || called.load(Ordering::SeqCst));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        publisher.activate_heartbeats((), QUICK).unwrap();
                        publisher.deactivate_heartbeats();
                        publisher.send(b"").unwrap();
                    }
                });
            }
        });
        publisher.activate_heartbeats((), QUICK).unwrap();
        eventually("it is connected", || publisher.connected_subscribers().len() == 1);
    }
    instance.close().unwrap();
    assert_eq!(instance.counters().get(Counter::CallbackPanics), 0);
}
