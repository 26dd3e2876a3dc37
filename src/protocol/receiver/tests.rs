//! The receive session against a naive model, and its edges one by one.

use proptest::prelude::*;

use super::*;
use crate::id::TopicHash;
use crate::protocol::delivery::{Arrival, Loss};
use crate::wire::frame::{FLAG_WHOLE, FrameKind, commit_word};

const START: Timestamp = Timestamp::from_nanos(0);

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

fn session() -> ReceiveSession {
    let settings = ReceiveSettings { window_packets: 16, max_message_bytes: 1000 };
    ReceiveSession::new(SessionId(7), InstanceId::from_bytes([1; 16]), settings)
}

fn feed(session: &mut ReceiveSession, log: &mut Log, sequences: impl IntoIterator<Item = u64>) {
    for sequence in sequences {
        session.handle_packet(START, sequence, &packet(sequence), log);
    }
}

#[test]
fn reordered_packets_are_delivered_in_order_without_loss() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [5, 7, 8, 6, 9]);
    assert_eq!(log.delivered, [6, 7, 8, 9, 10]);
    assert_eq!(log.lost, 0);
    assert_eq!(session.next_deadline(), Timestamp::NEVER);
}

#[test]
fn a_gap_is_given_up_after_the_hold_and_counted_exactly() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [0, 3, 4, 7]);
    assert_eq!(log.delivered, [1]);
    session.handle_timeout(START, &mut log);
    assert_eq!(log.delivered, [1], "not before the hold is over");
    session.handle_timeout(START + REORDER_HOLD, &mut log);
    assert_eq!((log.delivered.as_slice(), log.lost), (&[1, 4, 5][..], 2));
    session.handle_timeout(START + REORDER_HOLD * 2, &mut log);
    assert_eq!((log.delivered.as_slice(), log.lost), (&[1, 4, 5, 8][..], 4));
    assert_eq!(session.counters().packets_lost, 4);
    assert_eq!(session.next_deadline(), Timestamp::NEVER);
}

#[test]
fn a_lost_tail_is_noticed_through_the_heartbeat() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [0, 1]);
    session.handle_heartbeat(START, 4, true);
    session.handle_timeout(START + REORDER_HOLD, &mut log);
    assert_eq!(session.counters().packets_lost, 2);
    assert_eq!(session.poll_status().unwrap().consumed, 4);
    feed(&mut session, &mut log, [4]);
    assert_eq!((log.delivered.as_slice(), log.lost), (&[1, 2, 5][..], 2));
}

#[test]
fn a_jump_beyond_the_window_goes_on_at_once() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [0, 2, 1000, 1001]);
    assert_eq!(log.delivered, [1, 3, 1001, 1002]);
    assert_eq!(session.counters().packets_lost, 998);
    assert_eq!(log.lost, 998);
}

#[test]
fn late_join_loses_nothing_and_duplicates_are_dropped() {
    let (mut session, mut log) = (session(), Log::default());
    feed(&mut session, &mut log, [100, 100, 99, 102, 102, 101]);
    assert_eq!((log.delivered.as_slice(), log.lost), (&[101, 102, 103][..], 0));
    assert_eq!(session.counters().duplicates, 3);
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
    session.handle_heartbeat(START, 5, false);
    assert_eq!(session.poll_status(), None);
    session.handle_heartbeat(START, 5, true);
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
                now = now + REORDER_HOLD;
                session.handle_timeout(now, &mut log);
            }
        }
        while session.next_deadline() != Timestamp::NEVER {
            now = now + REORDER_HOLD;
            session.handle_timeout(now, &mut log);
        }
        prop_assert!(log.delivered.windows(2).all(|pair| pair[0] < pair[1]));
        let first = log.delivered[0];
        let last = *log.delivered.last().unwrap();
        prop_assert_eq!(log.delivered.len() as u64 + log.lost, last - first + 1);
        prop_assert_eq!(session.counters().packets_lost, log.lost);
    }
}
