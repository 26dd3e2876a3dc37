//! When a poller may wait, over real sockets. Tests.

use super::*;
use crate::config::IdleKind;
use crate::engine::dispatch::Ticket;
use crate::engine::endpoint::tests::{Nobody, OWN, endpoint, socket};
use crate::engine::heartbeats::PendingCall;
use crate::id::{SessionId, TopicHash};
use crate::protocol::delivery::Delivery;

impl Reports for Nobody {
    fn listening(&self, _: TopicHash, _: Ticket) {}

    fn looked_up(&self, _: Box<PendingCall>) {}

    fn ring_lost(&self, _: SessionId, _: Delivery) {}
}

fn parts() -> PollerParts {
    let (counters, clock) = (Arc::new(Counters::new()), Clock::start());
    PollerParts {
        instance: OWN,
        counters: Arc::clone(&counters),
        requests: Arc::new(RequestProcessor::new(OWN, 1, Arc::clone(&counters), clock)),
        responder: Arc::new(Nobody),
        reports: Arc::new(Nobody),
        tending: Arc::new(Tending::new(None)),
        ring_wake: socket(),
        clock,
    }
}

fn blocking() -> PollerConfig {
    PollerConfig { name: "default".to_owned(), idle: IdleKind::Block, core: None }
}

/// A poller that blocks, with as many sockets that are silent.
fn poller(sockets: usize) -> (PollerHandle, Poller) {
    let parts = parts();
    let counters = Arc::clone(&parts.counters);
    let (handle, mut poller) = Poller::open(0, &blocking(), parts).unwrap();
    for id in (EndpointId::FIRST_TOPIC..).take(sockets) {
        poller.add_socket(endpoint(id, socket(), Duration::MAX, &counters));
    }
    assert!(!poller.work());
    (handle, poller)
}

/// The kernel tells of a command once. With many sockets it is asked in every cycle, after commands
/// have been taken: a poller that waited then would let the command wait with it.
#[test]
fn a_poller_that_is_told_of_a_command_does_not_wait_before_it_has_taken_it() {
    let (handle, mut poller) = poller(DIRECT_SOCKETS + 1);
    poller.take_commands();
    assert_eq!(poller.patience(), LONGEST_WAIT);
    handle.submit(Command::Stop);
    for _ in 0..2 {
        assert!(!poller.work());
        assert_eq!(poller.patience(), Duration::ZERO);
    }
    poller.take_commands();
    assert!(poller.is_stopping);
    assert_eq!(poller.patience(), LONGEST_WAIT);
}

/// Nobody holds what woke it once it has been told.
#[test]
fn a_poller_stops_when_it_is_told_to_and_not_when_it_would_look_around() {
    let in_time = (0..20).filter(|_| {
        let parts = parts();
        let clock = parts.clock;
        let (handle, thread) = start(0, &blocking(), parts).unwrap();
        // Most of the time it is waiting by now.
        thread::sleep(Duration::from_millis(5));
        let told = clock.now();
        handle.submit(Command::Stop);
        drop(handle);
        thread.join().unwrap();
        clock.now().since(told) < LONGEST_WAIT / 2
    });
    assert_eq!(in_time.count(), 20);
}
