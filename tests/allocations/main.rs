//! In steady state nothing allocates: not the caller who sends, not pollers, conductors and request
//! processors. Tests, which count what the allocator is asked for while a pair of instances works.
//!
//! Buffers grow until they are as large as the work needs, and when that is depends on how threads
//! are scheduled. So a test repeats its round until several in a row allocate nothing. What allocates
//! with each message, or with each thousandth, has no such rounds.

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

mod allocator;
mod counting;
#[allow(dead_code, unused_imports, reason = "shared with `tests/acceptance`")]
#[path = "../acceptance/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use counting::Allocations;
use parking_lot::{Mutex, MutexGuard};
use vega::{
    Config, Counter, Instance, Message, Publisher, Request, SendStatus, SentRequest, Subscription,
};

use support::{Place, Settings, TRANSPORTS, WAIT, eventually};

/// Rounds in a row that allocate nothing.
const QUIET_ROUNDS: usize = 3;
/// Rounds until then at most.
const ROUNDS: usize = 40;

/// The counts are those of the process: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Repeats `round` until it allocates nothing any more.
#[track_caller]
fn becomes_quiet(what: &str, mut round: impl FnMut()) {
    let mut quiet = 0;
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        let allocations = Allocations::during(&mut round);
        quiet = if allocations.total() == 0 { quiet + 1 } else { 0 };
        if quiet == QUIET_ROUNDS {
            return;
        }
        seen.push(allocations);
    }
    panic!("{what}: there is no end of allocations, round by round: {seen:?}");
}

/// Two instances, one of which listens.
struct Pair {
    _place: Place,
    sender: Instance,
    receiver: Instance,
    received: Arc<AtomicU64>,
    _turn: MutexGuard<'static, ()>,
}

impl Pair {
    fn start(settings: Settings) -> Self {
        Self::start_with(settings, "")
    }

    /// The receiver has more in its configuration.
    fn start_with(settings: Settings, more: &str) -> Self {
        let turn = TURN.lock();
        let place = Place::with(settings);
        let sender = place.start("sender");
        let config = Config::parse(&format!("{}{more}", place.config_text())).unwrap();
        let receiver = Instance::builder().name("receiver").config(config).start().unwrap();
        Self { _place: place, sender, receiver, received: Arc::default(), _turn: turn }
    }

    /// A topic that the receiver listens to, and its publisher.
    fn topic(&self, topic: &str) -> (Subscription, Publisher) {
        let received = Arc::clone(&self.received);
        let count = move |message: &Message<'_>| {
            assert!(message.payload().iter().all(|byte| *byte == MARK));
            received.fetch_add(1, Ordering::Relaxed);
        };
        let subscription = self.receiver.subscribe(topic, count).unwrap();
        let publisher = self.sender.publisher(topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        (subscription, publisher)
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Sends, and waits until all has arrived.
    fn burst(&self, publisher: &mut Publisher, payload: &[u8], messages: u64) {
        let until = self.received() + messages;
        for _ in 0..messages {
            let sent = publisher.send_blocking(payload, WAIT).unwrap();
            assert_eq!(sent, SendStatus::Sent);
        }
        eventually("all has arrived", || self.received() >= until);
    }
}

const MARK: u8 = 0x5a;
const SMALL: &[u8] = &[MARK; 100];

/// A count that is always zero would pass everything else here.
#[test]
fn what_is_allocated_is_counted_with_its_thread() {
    let turn = TURN.lock();
    // Before there is an instance, whose conductor allocates when it starts.
    let allocations = Allocations::during(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(allocations.total(), 1, "{allocations:?}");
    drop(turn);
    let pair = Pair::start(Settings::default());
    // A listener that allocates does so on its poller.
    let (told, heard) = crossbeam_channel::bounded(1);
    let keep = move |message: &Message<'_>| told.send(message.to_owned()).unwrap();
    let _subscription = pair.receiver.subscribe("unicast.kept", keep).unwrap();
    let mut publisher = pair.sender.publisher("unicast.kept").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let mut send = || {
        publisher.send(SMALL).unwrap();
        drop(heard.recv_timeout(WAIT).unwrap());
    };
    (0..10).for_each(|_| send());
    let allocations = Allocations::during(|| (0..10).for_each(|_| send()));
    assert!(allocations.of("vega-default") >= 10, "{allocations:?}");
}

#[test]
fn messages_allocate_nothing_on_any_transport() {
    for idle in ["block", "busy_spin"] {
        let pair = Pair::start(Settings { idle, ..Settings::default() });
        for transport in TRANSPORTS {
            let (_subscription, mut publisher) = pair.topic(&format!("{transport}.messages"));
            becomes_quiet(&format!("{transport}, {idle}"), || {
                pair.burst(&mut publisher, SMALL, 20_000);
                for messages in [1, 2, 1, 50, 1] {
                    pair.burst(&mut publisher, SMALL, messages);
                }
            });
        }
    }
}

#[test]
fn messages_that_are_written_in_place_allocate_nothing() {
    let pair = Pair::start(Settings::default());
    for transport in TRANSPORTS {
        let (_subscription, mut publisher) = pair.topic(&format!("{transport}.claimed"));
        becomes_quiet(transport, || {
            let until = pair.received() + 1000;
            for _ in 0..1000 {
                let mut claim = publisher.try_claim(SMALL.len()).unwrap();
                claim.copy_from_slice(SMALL);
                assert_eq!(claim.commit(), SendStatus::Sent);
            }
            eventually("all has arrived", || pair.received() >= until);
        });
    }
}

#[test]
fn publishers_that_threads_share_allocate_nothing() {
    const EACH: u64 = 500;
    let pair = Pair::start(Settings::default());
    for transport in TRANSPORTS {
        let topic = format!("{transport}.shared");
        let (_subscription, publisher) = pair.topic(&topic);
        drop(publisher);
        let publisher = pair.sender.shared_publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        becomes_quiet(&topic, || {
            let until = pair.received() + EACH;
            for _ in 0..EACH {
                assert_eq!(publisher.send_blocking(SMALL, WAIT).unwrap(), SendStatus::Sent);
            }
            eventually("all has arrived", || pair.received() >= until);
        });
    }
}

/// More than a poller asks one by one.
#[test]
fn pollers_with_many_sockets_allocate_nothing() {
    for idle in ["block", "busy_spin"] {
        let pair = Pair::start(Settings { idle, ..Settings::default() });
        let mut topics: Vec<_> =
            (0..8).map(|number| pair.topic(&format!("unicast.many.{number}"))).collect();
        becomes_quiet(idle, || {
            for (_, publisher) in &mut topics {
                pair.burst(publisher, SMALL, 500);
            }
        });
    }
}

/// Up to the size for which receivers keep the memory in which they put a message together.
#[test]
fn messages_larger_than_a_packet_allocate_nothing() {
    let pair = Pair::start(Settings::default());
    let large = vec![MARK; 1 << 20];
    for transport in TRANSPORTS {
        let (_subscription, mut publisher) = pair.topic(&format!("{transport}.large"));
        becomes_quiet(transport, || {
            for bytes in [2000, 10_000, 1 << 18, 1 << 20] {
                pair.burst(&mut publisher, &large[..bytes], 10);
            }
        });
    }
}

#[test]
fn repairs_allocate_nothing() {
    let pair = Pair::start_with(Settings::default(), "[fault]\nseed = 1\nloss = '2%'\n");
    for transport in ["multicast", "unicast"] {
        let (_subscription, mut publisher) = pair.topic(&format!("{transport}.lossy"));
        let repaired = || pair.sender.counters().get(Counter::Retransmits);
        let before = repaired();
        becomes_quiet(transport, || pair.burst(&mut publisher, SMALL, 20_000));
        assert!(repaired() >= before + 10, "{transport}: nothing was lost");
    }
}

/// The answer to a request is three responses, given in its callback.
fn answer(request: &Request<'_>) {
    for _ in 0..RESPONSES {
        request.respond(SMALL).unwrap();
    }
}

const RESPONSES: u64 = 3;

#[test]
fn requests_and_responses_allocate_nothing() {
    let pair = Pair::start(Settings::default());
    for transport in TRANSPORTS {
        let topic = format!("{transport}.asked");
        let _subscription = pair.receiver.subscribe(&topic, vega::on_request(answer)).unwrap();
        let mut publisher = pair.sender.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        becomes_quiet(&topic, || {
            for _ in 0..300 {
                let request = publisher.request(SMALL, WAIT, ()).unwrap();
                eventually("answered", || request.number_of_responses() == RESPONSES);
                assert!(request.reset_expiration(WAIT));
                assert!(request.close());
            }
        });
    }
}

#[test]
fn requests_that_expire_allocate_nothing() {
    const AT_ONCE: usize = 100;
    let pair = Pair::start(Settings::default());
    let (_subscription, mut publisher) = pair.topic("unicast.unanswered");
    let mut open = Vec::with_capacity(AT_ONCE);
    becomes_quiet("expiry", || {
        for _ in 0..AT_ONCE {
            open.push(publisher.request(SMALL, Duration::from_millis(2), ()).unwrap());
        }
        eventually("all have ended", || open.iter().all(SentRequest::is_closed));
        assert!(open.drain(..).all(|request| request.has_expired()));
    });
}

/// Announcements, heartbeats until all is confirmed, looks at who reads rings.
#[test]
fn instances_that_are_left_alone_allocate_nothing() {
    /// Some of each.
    const A_WHILE: Duration = Duration::from_millis(400);
    let pair = Pair::start(Settings::default());
    let mut topics: Vec<_> =
        TRANSPORTS.map(|transport| pair.topic(&format!("{transport}.silent"))).into();
    becomes_quiet("silence", || {
        for (_, publisher) in &mut topics {
            pair.burst(publisher, SMALL, 1);
        }
        std::thread::sleep(A_WHILE);
    });
}
