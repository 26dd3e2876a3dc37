//! Who sets the limit, and who is left out. Tests.

use super::*;
use crate::id::InstanceId;
use crate::id::SessionId;

const SECOND: Duration = Duration::from_secs(1);
const START: Timestamp = Timestamp::from_nanos(0);

fn id(byte: u8) -> ReceiverId {
    ReceiverId { instance: InstanceId::from_bytes([byte; 16]), port: 1 }
}

fn source(byte: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, byte], 1))
}

fn flow(strategy: Strategy) -> FlowControl {
    let drops_slow = false;
    FlowControl::new(FlowSettings { strategy, drops_slow, window_packets: 10, timeout: SECOND })
}

fn status(receiver: u8, consumed: u64) -> Status {
    Status {
        session: SessionId(1),
        consumed,
        window_packets: 10,
        echo: 0,
        receiver: id(receiver),
        tag: 0,
        is_joining: false,
    }
}

fn hear(flow: &mut FlowControl, now: Timestamp, status: &Status, sent: u64) -> Verdict {
    let byte = status.receiver.instance.to_bytes()[0];
    flow.handle_status(now, source(byte), status, sent)
}

#[test]
fn the_slowest_receiver_sets_the_limit() {
    let mut flow = flow(Strategy::Min);
    assert_eq!(flow.limit(), u64::MAX);
    flow.add(id(1), None, 5, START);
    flow.add(id(2), None, 5, START);
    assert_eq!(flow.limit(), 15);
    assert_eq!(hear(&mut flow, START, &status(1, 12), 14), Verdict::Accepted);
    assert_eq!(flow.limit(), 15);
    assert_eq!(hear(&mut flow, START, &status(2, 8), 14), Verdict::Accepted);
    assert_eq!((flow.limit(), flow.confirmed(14)), (18, 8));
    flow.remove(id(2));
    assert_eq!(flow.limit(), 22);
}

#[test]
fn the_fastest_or_the_tagged_set_it_when_asked_to() {
    let mut fastest = flow(Strategy::Max);
    let mut tagged = flow(Strategy::Tagged(7));
    for flow in [&mut fastest, &mut tagged] {
        flow.add(id(1), None, 0, START);
        flow.add(id(2), None, 0, START);
        hear(flow, START, &Status { tag: 7, ..status(1, 3) }, 10);
        hear(flow, START, &status(2, 6), 10);
    }
    assert_eq!((fastest.limit(), fastest.confirmed(10)), (16, 6));
    assert_eq!((tagged.limit(), tagged.confirmed(10)), (13, 3));
    tagged.remove(id(1));
    assert_eq!((tagged.limit(), tagged.confirmed(10)), (u64::MAX, 10));
    assert!(!tagged.is_complete(10), "it is still told that it misses something");
}

#[test]
fn no_receiver_raises_the_window() {
    let mut flow = flow(Strategy::Min);
    flow.add(id(1), None, 0, START);
    hear(&mut flow, START, &Status { window_packets: u32::MAX, ..status(1, 0) }, 0);
    assert_eq!(flow.limit(), 10);
}

#[test]
fn strangers_impostors_and_impossible_claims_change_nothing() {
    let mut flow = flow(Strategy::Min);
    flow.add(id(1), None, 0, START);
    flow.add(id(2), Some(source(2)), 0, START);
    assert_eq!(flow.handle_status(START, source(9), &status(2, 4), 5), Verdict::Refused);
    assert_eq!(hear(&mut flow, START, &status(2, 5), 5), Verdict::Accepted);
    assert_eq!(hear(&mut flow, START, &status(9, 3), 5), Verdict::Refused);
    assert_eq!(hear(&mut flow, START, &status(1, 6), 5), Verdict::Refused);
    assert_eq!(hear(&mut flow, START, &status(1, 1), 5), Verdict::Accepted);
    assert_eq!(flow.handle_status(START, source(9), &status(1, 4), 5), Verdict::Refused);
    assert_eq!(flow.limit(), 11);
}

#[test]
fn who_asks_where_to_begin_confirms_nothing() {
    let mut flow = flow(Strategy::Min);
    flow.add(id(1), None, 3, START);
    let asking = Status { is_joining: true, ..status(1, 7) };
    assert_eq!(hear(&mut flow, START, &asking, 9), Verdict::Asks { start: 3 });
    assert_eq!((flow.limit(), flow.is_complete(3)), (13, false));
    assert_eq!(hear(&mut flow, START, &status(1, 5), 9), Verdict::Accepted);
    assert_eq!(hear(&mut flow, START, &asking, 9), Verdict::Asks { start: 7 }, "again");
    assert_eq!(flow.limit(), 15);
}

#[test]
fn a_silent_receiver_is_left_out_until_it_has_caught_up() {
    let mut flow = flow(Strategy::Min);
    flow.add(id(1), None, 0, START);
    hear(&mut flow, START, &status(1, 0), 0);
    assert_eq!(flow.handle_timeout(START + SECOND * 5, 0), 0, "owes nothing");
    assert_eq!(flow.handle_timeout(START + SECOND * 5, 3), 0, "heard until now");
    assert_eq!(flow.handle_timeout(START + SECOND * 6, 3), 1);
    assert_eq!(flow.limit(), u64::MAX);
    hear(&mut flow, START + SECOND * 7, &status(1, 3), 100);
    assert_eq!(flow.limit(), u64::MAX, "too far behind");
    hear(&mut flow, START + SECOND * 7, &status(1, 95), 100);
    assert_eq!(flow.limit(), 105);
}

#[test]
fn a_slow_receiver_is_left_out_only_when_that_is_wanted_and_it_does_not_catch_up() {
    for drops_slow in [false, true] {
        let settings = FlowSettings {
            strategy: Strategy::Min,
            drops_slow,
            window_packets: 10,
            timeout: SECOND,
        };
        let mut flow = FlowControl::new(settings);
        for receiver in [1, 2] {
            flow.add(id(receiver), None, 0, START);
            hear(&mut flow, START, &status(receiver, 0), 10);
        }
        hear(&mut flow, START, &status(2, 10), 10);
        flow.handle_blocked(START);
        hear(&mut flow, START + SLOW_GRACE / 2, &status(1, 5), 10);
        assert_eq!(flow.handle_timeout(START + SLOW_GRACE * 2, 10), 0, "it has caught up");
        flow.handle_blocked(START + SLOW_GRACE * 2);
        hear(&mut flow, START + SLOW_GRACE * 3, &status(1, 6), 15);
        let dropped = flow.handle_timeout(START + SLOW_GRACE * 3, 15);
        assert_eq!(dropped, usize::from(drops_slow));
    }
}

#[test]
fn who_comes_back_is_given_the_same_grace_again() {
    let mut flow = FlowControl::new(FlowSettings {
        strategy: Strategy::Min,
        drops_slow: true,
        window_packets: 10,
        timeout: SECOND,
    });
    flow.add(id(1), None, 0, START);
    hear(&mut flow, START, &status(1, 0), 10);
    flow.handle_blocked(START);
    let mut now = START + SLOW_GRACE;
    assert_eq!(flow.handle_timeout(now, 10), 1);
    hear(&mut flow, now, &status(1, 3), 10);
    assert_eq!((flow.handle_timeout(now, 10), flow.limit()), (0, 13), "back, and not out again");
    flow.handle_blocked(now);
    now = now + SLOW_GRACE;
    assert_eq!(flow.handle_timeout(now, 13), 1);
}
