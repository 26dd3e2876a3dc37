//! The send session: what it says, repeats and refuses, and when. Tests.

use super::*;
use crate::id::InstanceId;
use crate::protocol::flow_control::Strategy;
use crate::protocol::timing::UNKNOWN_RTT;
use crate::wire::control::Status;

const START: Timestamp = Timestamp::from_nanos(1_000_000_000);
const MS: Duration = Duration::from_millis(1);
const US: Duration = Duration::from_micros(1);
const SETTINGS: FlowSettings = FlowSettings {
    strategy: Strategy::Min,
    drops_slow: false,
    window_packets: 10,
    timeout: Duration::from_secs(1),
};

fn receiver(byte: u8) -> ReceiverId {
    ReceiverId { instance: InstanceId::from_bytes([byte; 16]), port: 1 }
}

fn id() -> ReceiverId {
    receiver(1)
}

fn source() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

fn session() -> SendSession {
    SendSession::new(SessionId(7), SETTINGS, 0)
}

fn status(consumed: u64) -> Status {
    Status {
        session: SessionId(7),
        consumed,
        window_packets: 10,
        echo: 0,
        receiver: id(),
        tag: 0,
        is_joining: false,
    }
}

fn hear(session: &mut SendSession, now: Timestamp, status: Status) {
    session.handle_feedback(now, source(), &Feedback { status, missing: &[] });
}

fn nak(session: &mut SendSession, now: Timestamp, first: u64, packets: u32) {
    let missing = &[Range { first, packets }];
    session.handle_feedback(now, source(), &Feedback { status: status(first), missing });
}

fn outputs(session: &mut SendSession, now: Timestamp, oldest: u64) -> Vec<Output> {
    std::iter::from_fn(|| session.poll_transmit(now, oldest, 40)).collect()
}

fn heartbeats(session: &mut SendSession, from: Timestamp, until: Timestamp) -> Vec<Heartbeat> {
    let mut all = Vec::new();
    let mut now = from;
    while now < until {
        session.handle_timeout(now);
        all.extend(outputs(session, now, 0).into_iter().map(|output| match output {
            Output::Heartbeat(heartbeat) => heartbeat,
            other => panic!("{other:?}"),
        }));
        now = now + MS / 10;
    }
    all
}

/// A session with a receiver that is known, at a round trip of 10 µs.
fn joined() -> SendSession {
    let mut session = session();
    session.add_receiver(id(), None, START);
    let [Output::Heartbeat(first)] = outputs(&mut session, START, 0)[..] else { panic!() };
    assert!(first.status_wanted, "a new receiver is told at once");
    hear(&mut session, START + US * 10, Status { echo: first.probe, ..status(0) });
    session.handle_timeout(START + US * 10);
    assert!(session.is_settled());
    session
}

#[test]
fn heartbeats_slow_down_and_stop_once_all_is_confirmed() {
    let mut session = joined();
    session.handle_sent(3);
    let early = heartbeats(&mut session, START, START + MS * 50);
    assert!((7..12).contains(&early.len()), "{early:?}");
    assert!(early.iter().all(|beat| beat.next == 3 && beat.status_wanted));
    assert!(early.iter().all(|beat| beat.rtt_ns == 10_000 && beat.receivers == 1));
    let late = heartbeats(&mut session, START + MS * 200, START + MS * 700);
    assert!((4..=6).contains(&late.len()), "one per 100 ms: {late:?}");
    hear(&mut session, START + MS * 700, status(3));
    assert!(session.is_settled());
    assert!(heartbeats(&mut session, START + MS * 701, START + MS * 3000).is_empty());
}

#[test]
fn a_lost_last_packet_is_announced_after_about_two_round_trips() {
    let mut session = joined();
    session.handle_sent(1);
    session.handle_timeout(START);
    let first = session.next_deadline();
    assert!(first.since(START) <= US * 50, "the shortest there is: {:?}", first.since(START));
    let mut slow = self::session();
    slow.add_receiver(id(), None, START);
    slow.handle_sent(1);
    slow.handle_timeout(START);
    assert!(slow.next_deadline().since(START) <= UNKNOWN_RTT * 2);
}

#[test]
fn without_receivers_heartbeats_stop_by_themselves() {
    let mut session = session();
    session.handle_sent(1);
    let all = heartbeats(&mut session, START, START + MS * 5000);
    assert_eq!(all.len(), UNCONFIRMED_HEARTBEATS as usize);
    assert!(!all[0].status_wanted);
}

#[test]
fn a_session_that_never_sent_and_has_nobody_is_silent() {
    let mut session = session();
    assert!(heartbeats(&mut session, START, START + MS * 500).is_empty());
}

#[test]
fn feedback_of_another_session_is_refused() {
    let mut session = joined();
    session.handle_sent(3);
    hear(&mut session, START, Status { session: SessionId(8), ..status(3) });
    assert_eq!(session.counters().statuses_refused, 1);
    assert_eq!(session.confirmed(), 0);
}

#[test]
fn missing_packets_are_repeated_once_per_round_trip() {
    let mut session = joined();
    session.handle_sent(8);
    nak(&mut session, START, 2, 3);
    nak(&mut session, START, 2, 3);
    let repair = Repair { first: 2, packets: 3, receiver: id() };
    assert_eq!(outputs(&mut session, START, 0)[0], Output::Repair(repair));
    assert_eq!(session.counters().retransmits, 3);
    nak(&mut session, START + US * 20, 2, 3);
    assert_eq!(outputs(&mut session, START + US * 20, 0)[0], Output::Repair(repair));
}

#[test]
fn what_was_never_sent_is_not_repeated() {
    let mut session = joined();
    session.handle_sent(8);
    nak(&mut session, START, 6, 1000);
    let repair = Repair { first: 6, packets: 2, receiver: id() };
    assert_eq!(outputs(&mut session, START, 0)[0], Output::Repair(repair));
    nak(&mut session, START, 8, 1);
    assert!(outputs(&mut session, START, 0).is_empty());
}

#[test]
fn what_the_ring_does_not_hold_is_said_to_be_gone() {
    let mut session = joined();
    session.handle_sent(9);
    nak(&mut session, START, 2, 6);
    let repair = Repair { first: 5, packets: 3, receiver: id() };
    let said = outputs(&mut session, START, 5);
    assert_eq!(said[..2], [Output::Repair(repair), Output::Gone { oldest: 5 }]);
    assert_eq!(session.counters().gone, 3);
}

/// The repair that somebody else of the group got has served it meanwhile.
#[test]
fn what_the_receiver_has_got_since_it_asked_is_not_gone() {
    let mut session = joined();
    session.handle_sent(9);
    nak(&mut session, START, 2, 3);
    hear(&mut session, START, status(6));
    assert!(outputs(&mut session, START, 6).is_empty());
    assert_eq!((session.counters().gone, session.counters().retransmits), (0, 0));
}

/// It heard the session before discovery named it, and does not know from where on it counts.
#[test]
fn a_receiver_that_wants_more_than_was_meant_for_it_is_told_what_is_gone() {
    let mut session = session();
    session.handle_sent(6);
    session.add_receiver(id(), None, START);
    outputs(&mut session, START, 6);
    nak(&mut session, START, 2, 3);
    assert_eq!(outputs(&mut session, START, 6), [Output::Gone { oldest: 6 }]);
}

#[test]
fn strangers_get_nothing() {
    let mut session = joined();
    session.handle_sent(9);
    let status = Status { receiver: receiver(9), ..status(0) };
    let missing = &[Range { first: 0, packets: 5 }];
    session.handle_feedback(START, source(), &Feedback { status, missing });
    hear(&mut session, START, Status { is_joining: true, ..status });
    assert!(outputs(&mut session, START, 0).is_empty());
    assert_eq!(session.counters().statuses_refused, 2);
}

#[test]
fn a_receiver_is_told_where_it_begins_as_often_as_it_asks() {
    let mut session = session();
    session.handle_sent(4);
    session.add_receiver(id(), None, START);
    session.handle_sent(6);
    for _ in 0..2 {
        hear(&mut session, START, Status { is_joining: true, ..status(6) });
        hear(&mut session, START, Status { is_joining: true, ..status(6) });
        let welcome = Output::Welcome(Welcome { receiver: id(), start: 4 });
        assert_eq!(outputs(&mut session, START, 0)[0], welcome);
    }
    assert_eq!(session.confirmed(), 4);
}

#[test]
fn a_receiver_that_was_left_out_is_still_asked_how_far_it_is() {
    let mut session = session();
    session.add_receiver(id(), None, START);
    session.handle_sent(3);
    session.handle_timeout(START + SETTINGS.timeout);
    assert_eq!(session.counters().receivers_dropped, 1);
    let later = START + SETTINGS.timeout + MS * 200;
    session.handle_timeout(later);
    let beats = heartbeats(&mut session, later, later + MS);
    assert!(!beats.is_empty() && beats.iter().all(|beat| beat.status_wanted), "{beats:?}");
    hear(&mut session, later, status(3));
    assert!(session.is_complete());
    session.handle_timeout(later);
    assert!(session.is_settled());
}

/// Nobody else waits for anything, and still it has to learn of the last packets.
#[test]
fn a_session_is_not_silent_while_a_receiver_that_was_left_out_lacks_something() {
    let mut session = joined();
    session.handle_sent(3);
    session.handle_timeout(START + SETTINGS.timeout * 2);
    assert_eq!(session.counters().receivers_dropped, 1);
    let later = START + SETTINGS.timeout * 9;
    let beats = heartbeats(&mut session, later, later + MS * 1000);
    assert!((10..20).contains(&beats.len()), "about one in 100 ms: {}", beats.len());
    assert!(!session.is_settled());
    session.remove_receiver(id());
    heartbeats(&mut session, later, later + MS * 1000);
    assert!(session.is_settled());
}
