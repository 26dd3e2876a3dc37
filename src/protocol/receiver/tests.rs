//! The receive session against a naive model, and its edges one by one.

use proptest::prelude::*;

use super::*;
use crate::id::{InstanceId, TopicHash};
use crate::protocol::delivery::{Arrival, Loss};
use crate::wire::frame::{FLAG_WHOLE, FrameKind, commit_word};

const START: Timestamp = Timestamp::from_nanos(0);
const US: Duration = Duration::from_micros(1);
const PATIENCE: Duration = Duration::from_millis(80);
const SETTINGS: ReceiveSettings = ReceiveSettings {
    window_packets: 16,
    max_message_bytes: 1000,
    repair_timeout: PATIENCE,
    is_group: false,
    tag: 0,
};

#[derive(Default)]
struct Log {
    delivered: Vec<u64>,
    lost: u64,
}

impl Sink for Log {
    fn deliver(&mut self, arrival: Arrival<'_>) {
        self.delivered.push(arrival.sequence);
    }

    fn lost(&mut self, loss: Loss) {
        self.lost += loss.messages;
    }
}

/// A packet with one message, numbered like the packet (from 1).
fn packet(sequence: u64) -> Vec<u8> {
    let mut frame = commit_word(25, FrameKind::Message, FLAG_WHOLE, 0).to_le_bytes().to_vec();
    frame.extend_from_slice(&TopicHash(1).0.to_le_bytes());
    frame.extend_from_slice(&(sequence + 1).to_le_bytes());
    frame.push(b'x');
    frame
}

fn receiver(byte: u8) -> ReceiverId {
    ReceiverId { instance: InstanceId::from_bytes([byte; 16]), port: 1 }
}

fn me() -> ReceiverId {
    receiver(1)
}

fn session() -> ReceiveSession {
    ReceiveSession::new(SessionId(7), me(), SETTINGS)
}

fn feed(session: &mut ReceiveSession, log: &mut Log, sequences: impl IntoIterator<Item = u64>) {
    for sequence in sequences {
        session.handle_packet(START, sequence, &packet(sequence), log);
    }
}

fn heartbeat(next: u64) -> Heartbeat {
    Heartbeat { next, status_wanted: true, rtt_ns: 10_000, receivers: 1, probe: 3 }
}

fn asked(session: &mut ReceiveSession, now: Timestamp) -> Vec<(u64, u32)> {
    let mut missing = Vec::new();
    session.poll_nak(now, &mut missing);
    missing.iter().map(|range| (range.first, range.packets)).collect()
}

#[test]
fn reordered_packets_are_delivered_in_order_without_loss() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [0, 2, 3, 1, 4]);
    assert_eq!(log.delivered, [1, 2, 3, 4, 5]);
    assert_eq!(log.lost, 0);
    assert_eq!(session.next_deadline(), Timestamp::NEVER);
}

#[test]
fn what_is_missing_is_asked_for_at_once_and_again_later() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [0, 3, 4, 7]);
    assert_eq!(asked(&mut session, START), [(1, 2), (5, 2)]);
    assert_eq!(asked(&mut session, START), []);
    feed(&mut session, &mut log, [1, 2, 9]);
    assert_eq!(log.delivered, [1, 2, 3, 4, 5]);
    assert_eq!(asked(&mut session, START), [(8, 1)], "only what is new");
    let later = session.next_deadline();
    session.handle_packet(later, 10, &packet(10), &mut log);
    assert_eq!(asked(&mut session, later), [], "what was asked for may be behind this one");
    session.handle_timeout(later, &mut log);
    assert_eq!(asked(&mut session, later), [(5, 2), (8, 1)]);
    assert_eq!(session.counters().naks, 3);
}

#[test]
fn a_gap_is_given_up_after_the_configured_time_and_counted_exactly() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [0, 3, 4, 7]);
    session.handle_timeout(START + (PATIENCE - US), &mut log);
    assert_eq!(log.delivered, [1], "not before the time is over");
    // Gaps that opened together are given up together.
    let late = START + PATIENCE * 2;
    session.handle_timeout(late, &mut log);
    session.handle_timeout(late + PATIENCE, &mut log);
    assert_eq!((log.delivered.as_slice(), log.lost), (&[1, 4, 5, 8][..], 4));
    assert_eq!(session.counters().packets_lost, 4);
    assert_eq!(session.next_deadline(), Timestamp::NEVER);
}

/// Whoever was there from the first packet on knows how many messages came before.
#[test]
fn losses_before_the_first_message_are_reported_as_messages() {
    for is_welcomed in [false, true] {
        let (mut session, mut log) = (session(), Log::default());
        if is_welcomed {
            feed(&mut session, &mut log, [7]);
            session.handle_welcome(START, &Welcome { receiver: me(), start: 0 }, &mut log);
        } else {
            session.handle_heartbeat(START, &heartbeat(0));
            feed(&mut session, &mut log, [7]);
        }
        session.handle_gone(START, 5, &mut log);
        feed(&mut session, &mut log, [5, 6]);
        assert_eq!((log.delivered.as_slice(), log.lost), (&[6, 7, 8][..], 5));
        assert_eq!(session.counters().packets_lost, 5);
    }
}

#[test]
fn what_the_sender_does_not_have_any_more_is_lost_at_once() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [0, 3, 7]);
    session.handle_gone(START, 6, &mut log);
    assert_eq!(log.delivered, [1, 4]);
    assert_eq!(session.counters().packets_lost, 4);
    feed(&mut session, &mut log, [6]);
    assert_eq!((log.delivered.as_slice(), log.lost), (&[1, 4, 7, 8][..], 4));
    session.handle_gone(START, 100, &mut log);
    feed(&mut session, &mut log, [100]);
    assert_eq!((log.delivered.last(), log.lost), (Some(&101), 96));
}

#[test]
fn a_lost_tail_is_noticed_through_the_heartbeat() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [0, 1]);
    session.handle_heartbeat(START, &heartbeat(4));
    assert_eq!(asked(&mut session, START), [(2, 2)]);
    let status = session.poll_status().unwrap();
    assert_eq!((status.consumed, status.echo, status.is_joining), (2, 3, false));
    session.handle_timeout(START + PATIENCE, &mut log);
    assert_eq!(session.counters().packets_lost, 2);
    assert_eq!(session.next_deadline(), Timestamp::NEVER);
}

#[test]
fn packets_beyond_the_window_are_dropped_and_asked_for_when_there_is_room() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [0, 2, 20]);
    assert_eq!(session.counters().overruns, 1);
    assert_eq!(asked(&mut session, START), [(1, 1), (3, 14)], "the window ends at 17");
    feed(&mut session, &mut log, (1..=1).chain(3..=16));
    let later = session.next_deadline();
    assert_eq!(asked(&mut session, later), [(17, 4)]);
}

#[test]
fn a_session_begins_where_the_sender_says() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [5, 6]);
    assert!(log.delivered.is_empty(), "it may have begun before");
    let status = session.poll_status().unwrap();
    assert!(status.is_joining);
    session.handle_timeout(session.next_deadline(), &mut log);
    assert!(session.poll_status().unwrap().is_joining, "asks again");
    session.handle_welcome(START, &Welcome { receiver: me(), start: 3 }, &mut log);
    assert_eq!(asked(&mut session, START), [(3, 2)]);
    assert!(!session.poll_status().unwrap().is_joining);
    feed(&mut session, &mut log, [3, 4]);
    assert_eq!((log.delivered.as_slice(), log.lost), (&[4, 5, 6, 7][..], 0));
}

/// On a busy machine a sender takes its time; what it knows the receiver to miss is not given up
/// meanwhile, and the question is asked again.
#[test]
fn the_word_of_a_slow_sender_is_waited_for() {
    for is_group in [false, true] {
        let settings = ReceiveSettings { is_group, repair_timeout: JOIN_TIMEOUT, ..SETTINGS };
        let mut session = ReceiveSession::new(SessionId(7), me(), settings);
        let mut log = Log::default();
        session.handle_heartbeat(START, &heartbeat(1));
        feed(&mut session, &mut log, [1]);
        let (mut now, mut questions) = (START, 0);
        while session.next_deadline() < START + JOIN_TIMEOUT {
            now = session.next_deadline();
            session.handle_timeout(now, &mut log);
            questions += usize::from(session.poll_status().is_some_and(|status| status.is_joining));
        }
        assert!((10..20).contains(&questions), "{questions}");
        session.handle_welcome(now, &Welcome { receiver: me(), start: 0 }, &mut log);
        feed(&mut session, &mut log, [0]);
        assert_eq!((log.delivered.as_slice(), log.lost), (&[1, 2][..], 0));
        assert_eq!(session.counters().packets_lost, 0);
    }
}

#[test]
fn a_session_whose_first_packets_are_lost_is_joined_through_the_heartbeat() {
    let (mut session, mut log) = (session(), Log::default());
    session.handle_heartbeat(START, &heartbeat(2));
    assert!(session.poll_status().unwrap().is_joining);
    session.handle_welcome(START, &Welcome { receiver: me(), start: 0 }, &mut log);
    assert_eq!(asked(&mut session, START), [(0, 2)]);
    feed(&mut session, &mut log, [1, 0]);
    assert_eq!(log.delivered, [1, 2]);
}

#[test]
fn a_guest_takes_what_comes_and_becomes_a_member_when_welcomed() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [100, 100, 99, 102, 102]);
    session.handle_timeout(START + PATIENCE, &mut log);
    assert_eq!((log.delivered.as_slice(), log.lost), (&[101][..], 0));
    assert_eq!(asked(&mut session, START + PATIENCE * 2), [], "it is owed nothing");
    session.handle_timeout(START + PATIENCE + REORDER_HOLD, &mut log);
    assert_eq!((log.delivered.as_slice(), log.lost), (&[101, 103][..], 1));
    feed(&mut session, &mut log, [1000]);
    assert_eq!((log.delivered.last(), log.lost), (Some(&1001), 898));
    session.handle_welcome(START, &Welcome { receiver: me(), start: 1001 }, &mut log);
    feed(&mut session, &mut log, [1002]);
    assert_eq!(asked(&mut session, START + PATIENCE * 3), [(1001, 1)]);
}

#[test]
fn what_a_guest_has_taken_is_not_lost_when_it_is_welcomed() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [100]);
    session.handle_timeout(START + PATIENCE, &mut log);
    feed(&mut session, &mut log, 101..=110);
    session.handle_welcome(START, &Welcome { receiver: me(), start: 105 }, &mut log);
    assert_eq!(session.counters().packets_lost, 0);
    session.handle_goodbye(START, &mut log);
    let earlier = Welcome { receiver: me(), start: 98 };
    session.handle_welcome(START, &earlier, &mut log);
    assert_eq!(session.counters().packets_lost, 2, "98 and 99");
    session.handle_goodbye(START, &mut log);
    session.handle_welcome(START, &earlier, &mut log);
    assert_eq!(session.counters().packets_lost, 2, "counted once");
}

#[test]
fn a_whole_window_before_the_first_heartbeat_is_asked_for() {
    let (mut session, mut log) = (session(), Log::default());
    session.handle_heartbeat(START, &heartbeat(100 + u64::from(SETTINGS.window_packets)));
    session.handle_welcome(START, &Welcome { receiver: me(), start: 100 }, &mut log);
    assert_eq!(asked(&mut session, START), [(100, SETTINGS.window_packets)]);
    assert_eq!(session.counters().packets_lost, 0);
}

#[test]
fn of_what_lies_more_than_a_window_back_only_the_rest_is_lost() {
    let (mut session, mut log) = (session(), Log::default());
    session.handle_heartbeat(START, &heartbeat(100));
    session.handle_welcome(START, &Welcome { receiver: me(), start: 10 }, &mut log);
    assert_eq!(session.counters().packets_lost, 90 - 16);
    assert_eq!(asked(&mut session, START), [(84, 16)]);
}

#[test]
fn the_welcome_of_somebody_else_changes_nothing() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [5]);
    let other = Welcome { receiver: receiver(9), start: 5 };
    session.handle_welcome(START, &other, &mut log);
    assert!(log.delivered.is_empty());
}

#[test]
fn after_a_goodbye_nothing_is_asked_for() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [0, 2]);
    session.handle_goodbye(START, &mut log);
    assert_eq!(asked(&mut session, START), []);
    session.handle_timeout(START + REORDER_HOLD, &mut log);
    assert_eq!((log.delivered.as_slice(), log.lost), (&[1, 3][..], 1));
    assert_eq!(session.next_deadline(), Timestamp::NEVER);
}

#[test]
fn receivers_of_a_group_ask_after_different_pauses() {
    let settings = ReceiveSettings { is_group: true, ..SETTINGS };
    let deadlines: Vec<_> = (0..20_u8)
        .map(|byte| {
            let mut session = ReceiveSession::new(SessionId(7), receiver(byte), settings);
            let mut log = Log::default();
            let many = Heartbeat { receivers: 64, rtt_ns: 1_000_000, ..heartbeat(0) };
            session.handle_heartbeat(START, &many);
            feed(&mut session, &mut log, [1]);
            session.next_deadline()
        })
        .collect();
    let distinct: std::collections::HashSet<_> = deadlines.iter().collect();
    assert_eq!(distinct.len(), 20);
    let longest = longest_backoff(US * 1000, 64);
    assert!(deadlines.iter().all(|at| at.since(START) <= longest));
}

#[test]
fn a_status_is_due_at_once_and_after_a_quarter_of_the_window() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [0]);
    assert_eq!(session.poll_status().unwrap().consumed, 1);
    feed(&mut session, &mut log, 1..4);
    assert_eq!(session.poll_status(), None);
    feed(&mut session, &mut log, [4]);
    assert_eq!(session.poll_status().unwrap().consumed, 5);
    session.handle_heartbeat(START, &Heartbeat { status_wanted: false, ..heartbeat(5) });
    assert_eq!(session.poll_status(), None);
    session.handle_heartbeat(START, &heartbeat(5));
    assert_eq!(session.poll_status().unwrap().consumed, 5);
}

proptest! {
    /// Whatever is dropped, doubled or reordered: deliveries are in order, without duplicates, and
    /// delivered plus lost is everything between the first and the last.
    #[test]
    fn delivered_and_lost_add_up(
        order in proptest::collection::vec((0..40_u64, any::<bool>()), 1..200),
    ) {
        let (mut session, mut log) = (session(), Log::default());
        let mut now = START;
        for (sequence, wait) in order {
            session.handle_packet(now, sequence, &packet(sequence), &mut log);
            if wait {
                now = now + PATIENCE;
                session.handle_timeout(now, &mut log);
            }
        }
        while session.next_deadline() != Timestamp::NEVER {
            now = now + PATIENCE;
            asked(&mut session, now);
            session.handle_timeout(now, &mut log);
        }
        prop_assert!(log.delivered.windows(2).all(|pair| pair[0] < pair[1]));
        if let (Some(first), Some(last)) = (log.delivered.first(), log.delivered.last()) {
            prop_assert_eq!(log.delivered.len() as u64 + log.lost, last - first + 1);
        }
    }

    /// A sender that answers every request: whatever the network drops, everything arrives, and
    /// what is asked for is what is missing.
    #[test]
    fn with_repairs_everything_arrives(
        drops in proptest::collection::vec(any::<bool>(), 64),
        start in 0..3_u64,
    ) {
        const PACKETS: u64 = 30;
        // Each repair that is lost doubles the pause: a dozen in a row take longer than any patience.
        let settings = ReceiveSettings { repair_timeout: Duration::MAX, ..SETTINGS };
        let mut session = ReceiveSession::new(SessionId(7), me(), settings);
        let mut log = Log::default();
        let mut drops = drops.into_iter().cycle();
        let mut now = START;
        let (mut next, mut consumed) = (start, start);
        for _ in 0..100_000 {
            if log.delivered.last() == Some(&PACKETS) {
                break;
            }
            now = now + US * 200;
            if next < PACKETS && next < consumed + 16 {
                if !drops.next().unwrap() {
                    session.handle_packet(now, next, &packet(next), &mut log);
                }
                next += 1;
            } else {
                session.handle_heartbeat(now, &heartbeat(next));
            }
            session.handle_timeout(now, &mut log);
            if let Some(status) = session.poll_status() {
                if status.is_joining {
                    session.handle_welcome(now, &Welcome { receiver: me(), start }, &mut log);
                } else {
                    consumed = consumed.max(status.consumed);
                }
            }
            for (first, packets) in asked(&mut session, now) {
                for sequence in first..first + u64::from(packets) {
                    prop_assert!(sequence < next && !log.delivered.contains(&(sequence + 1)));
                    if !drops.next().unwrap() {
                        session.handle_packet(now, sequence, &packet(sequence), &mut log);
                    }
                }
            }
        }
        let all_dropped = drops.take(64).all(|drop| drop);
        if !all_dropped {
            prop_assert_eq!(&log.delivered, &(start + 1..=PACKETS).collect::<Vec<_>>());
            prop_assert_eq!((log.lost, session.counters().packets_lost), (0, 0));
        }
    }
}
