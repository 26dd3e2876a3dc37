//! Lanes of one ring: who gets what, who holds back whom, and what is counted. Tests.

use std::time::Duration;

use super::*;
use crate::id::{InstanceId, SessionId, TopicHash};
use crate::protocol::flow_control::SLOW_GRACE;
use crate::ring::Layout;
use crate::ring::append::Entry;
use crate::ring::storage::Slots;
use crate::wire::control::{Range, Status};
use crate::wire::frame::{FrameHeader, FrameKind};
use crate::wire::packet::{PacketKind, Prefix};

const START: Timestamp = Timestamp::from_nanos(1_000_000_000);
const MS: Duration = Duration::from_millis(1);
const WINDOW: u32 = 4;
const LAYOUT: Layout = Layout::packets(256, 16);
const SETTINGS: FlowSettings = FlowSettings {
    strategy: Strategy::Min,
    drops_slow: false,
    window_packets: WINDOW,
    timeout: Duration::from_secs(1),
};
const HEADER: PacketHeader = PacketHeader {
    session: SessionId(7),
    sequence: 0,
    stream: 1,
    instance: InstanceId::from_bytes([9; 16]),
};

/// Writes down what is sent to whom; takes a number of runs, and no more.
struct Recorder {
    sent: Vec<(u8, PacketKind, u64)>,
    room: usize,
}

impl Outlet<u8> for Recorder {
    fn send(&mut self, to: &u8, run: &[u8]) -> bool {
        if self.room == 0 {
            return false;
        }
        self.room -= 1;
        for packet in run.chunks(LAYOUT.packet_bytes) {
            let prefix = Prefix::decode(packet).unwrap();
            let header = PacketHeader::decode(&packet[..prefix.length]).unwrap();
            self.sent.push((*to, prefix.kind, header.sequence));
        }
        true
    }
}

struct Stage {
    ring: Appender,
    fan_out: FanOut<u8>,
    outlet: Recorder,
    now: Timestamp,
}

fn id(byte: u8) -> ReceiverId {
    ReceiverId { instance: InstanceId::from_bytes([byte; 16]), port: 1 }
}

fn source(byte: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, byte], 1))
}

fn status(receiver: u8, consumed: u64) -> Status {
    Status {
        session: HEADER.session,
        consumed,
        window_packets: WINDOW,
        echo: 0,
        receiver: id(receiver),
        tag: 0,
        is_joining: false,
    }
}

impl Stage {
    /// Unicast, with receivers 1 to `receivers`.
    fn new(settings: FlowSettings, receivers: u8) -> Self {
        let mut stage = Self {
            ring: Appender::new(Slots::heap(LAYOUT), &HEADER),
            fan_out: FanOut::to_each(HEADER, settings, 8),
            outlet: Recorder { sent: Vec::new(), room: usize::MAX },
            now: START,
        };
        (1..=receivers).for_each(|receiver| stage.add(receiver));
        stage
    }

    fn add(&mut self, receiver: u8) {
        let place = (|| receiver, Some(source(receiver)));
        self.fan_out.add_receiver(id(receiver), place, &self.ring, self.now);
    }

    /// Publishes messages of one packet each, as many as the ring takes; returns how many.
    fn publish(&mut self, messages: u64) -> u64 {
        let payload = vec![0; LAYOUT.whole_body_bytes()];
        for sent in 0..messages {
            if self.ring.append(&message(&payload)).is_err() {
                return sent;
            }
            self.transmit();
        }
        messages
    }

    fn transmit(&mut self) -> Progress {
        self.fan_out.transmit(&mut self.ring, &mut self.outlet)
    }

    fn tell(&mut self) {
        self.fan_out.tell(self.now, &mut self.ring, &mut self.outlet);
    }

    fn hear(&mut self, status: Status) {
        let byte = status.receiver.instance.to_bytes()[0];
        let feedback = Feedback { status, missing: &[] };
        self.fan_out.handle_feedback(self.now, source(byte), &feedback);
        self.fan_out.keep_what_is_needed(&mut self.ring);
    }

    /// Data packets that went to a receiver since the last call of this.
    fn taken(&mut self, receiver: u8) -> Vec<u64> {
        let is_it = |it: &mut (u8, PacketKind, u64)| it.0 == receiver && it.1 == PacketKind::Data;
        self.outlet.sent.extract_if(.., is_it).map(|(_, _, packet)| packet).collect()
    }

    fn heartbeats(&mut self, receiver: u8) -> usize {
        let is_it =
            |it: &mut (u8, PacketKind, u64)| it.0 == receiver && it.1 == PacketKind::Heartbeat;
        self.outlet.sent.extract_if(.., is_it).count()
    }
}

const fn message(payload: &[u8]) -> Entry<'_> {
    Entry {
        kind: FrameKind::Message,
        publisher: 0,
        topic: TopicHash(1),
        sequence: 1,
        prefix: &[],
        payload,
    }
}

#[test]
fn a_slow_receiver_holds_back_the_others_only_with_a_full_ring() {
    let mut stage = Stage::new(SETTINGS, 2);
    for packet in 0..16 {
        assert_eq!(stage.publish(1), 1);
        stage.hear(status(2, packet + 1));
    }
    assert_eq!(stage.taken(1), [0, 1, 2, 3], "its window");
    assert_eq!(stage.taken(2), (0..16).collect::<Vec<_>>());
    assert_eq!(stage.publish(1), 0, "the ring is full of what one has not confirmed");
    stage.hear(status(1, 3));
    assert!(stage.fan_out.is_released());
    assert_eq!(stage.publish(9), 3);
    assert_eq!(stage.taken(1), [4, 5, 6]);
}

#[test]
fn without_receivers_nothing_is_sent_and_nothing_is_kept() {
    let mut stage = Stage::new(SETTINGS, 0);
    assert_eq!(stage.publish(100), 100);
    stage.now = START + MS * 1000;
    stage.tell();
    assert!(stage.outlet.sent.is_empty());
    assert!(stage.fan_out.is_settled() && !stage.fan_out.has_waiting(&stage.ring));
    assert_eq!(stage.fan_out.sent, 100, "counted all the same");
    stage.add(1);
    assert_eq!(stage.publish(2), 2);
    assert_eq!(stage.taken(1), [100, 101], "nothing from before");
}

#[test]
fn what_goes_out_on_several_lanes_is_counted_once() {
    let mut stage = Stage::new(SETTINGS, 3);
    stage.ring.append(&message(&[0; 10])).unwrap();
    let once = stage.transmit();
    let bytes = stage.ring.closed_run(0, 1).0.len() as u64;
    assert_eq!(once, Progress { packets: 1, bytes });
    assert_eq!(stage.outlet.sent.len(), 3);
    assert_eq!(stage.transmit(), Progress::default());
}

/// Alone the open packet would cost a call of its own after each full run.
#[test]
fn a_run_of_closed_packets_leaves_the_open_one_to_grow() {
    let mut stage = Stage::new(SETTINGS, 1);
    let payload = [0; 10];
    while stage.ring.open_packet() < 2 {
        stage.ring.append(&message(&payload)).unwrap();
    }
    let closed = stage.fan_out.transmit_closed(&mut stage.ring, &mut stage.outlet);
    assert_eq!((closed.packets, stage.taken(1)), (2, vec![0, 1]));
    assert!(stage.fan_out.has_waiting(&stage.ring));
    stage.ring.append(&message(&payload)).unwrap();
    assert_eq!(stage.transmit().packets, 1);
    assert_eq!(stage.taken(1), [2], "both messages in one packet");
    assert!(!stage.fan_out.has_waiting(&stage.ring));
}

#[test]
fn who_is_left_out_gets_heartbeats_and_no_data_until_it_answers() {
    let mut stage = Stage::new(SETTINGS, 1);
    stage.publish(6);
    assert_eq!(stage.taken(1), [0, 1, 2, 3]);
    stage.now = START + SETTINGS.timeout;
    stage.tell();
    assert_eq!(stage.fan_out.counters().receivers_dropped, 1);
    assert_eq!(stage.publish(20), 20, "it holds back nobody");
    assert!(!stage.fan_out.has_waiting(&stage.ring) && !stage.fan_out.is_settled());
    stage.heartbeats(1);
    for _ in 0..1000 {
        stage.now = stage.now + MS;
        stage.tell();
    }
    let beats = stage.heartbeats(1);
    assert!((9..=20).contains(&beats), "one per 100 ms in the end: {beats}");
    assert_eq!(stage.taken(1), [0; 0]);
    // Packets 0 to 9 have been overwritten; it asks for those that it has been told of.
    let missing = &[Range { first: 4, packets: 4 }];
    let feedback = Feedback { status: status(1, 4), missing };
    stage.fan_out.handle_feedback(stage.now, source(1), &feedback);
    stage.tell();
    assert!(stage.outlet.sent.contains(&(1, PacketKind::Gone, 10)), "{:?}", stage.outlet.sent);
    stage.hear(status(1, 10));
    stage.transmit();
    assert_eq!(stage.taken(1), [10, 11, 12, 13], "what the ring holds");
    assert_eq!(stage.publish(1), 0, "it counts again: the publisher waits for it");
    assert_eq!(stage.fan_out.counters().gone, 4);
}

#[test]
fn a_slow_receiver_that_is_dropped_does_not_come_back_before_it_is_near_the_others() {
    let mut stage = Stage::new(FlowSettings { drops_slow: true, ..SETTINGS }, 2);
    for packet in 0..16 {
        stage.publish(1);
        stage.hear(status(2, packet + 1));
    }
    assert_eq!(stage.publish(1), 0);
    stage.tell();
    stage.now = START + SLOW_GRACE;
    stage.tell();
    assert_eq!(stage.fan_out.counters().receivers_dropped, 1);
    // Slowly it goes on, and loses what the others do not wait for.
    for packet in 16..32 {
        assert_eq!(stage.publish(1), 1);
        stage.hear(status(2, packet + 1));
        stage.hear(status(1, 2));
    }
    stage.taken(1);
    let lost_until = stage.ring.oldest_packet();
    assert_eq!(lost_until, 16);
    stage.hear(status(1, 16));
    stage.transmit();
    assert_eq!(stage.taken(1), [16, 17, 18, 19]);
    assert_eq!(stage.publish(8), 8, "only the other holds back the ring");
    stage.hear(status(2, 36));
    stage.transmit();
    stage.hear(status(2, 40));
    for consumed in [20, 24, 28, 32, 36] {
        stage.hear(status(1, consumed));
        stage.transmit();
    }
    assert_eq!(stage.publish(100), 12, "near the others it counts like them");
    assert_eq!(stage.fan_out.counters().receivers_dropped, 1, "once");
}

#[test]
fn the_strategy_says_which_lanes_the_ring_waits_for() {
    for (strategy, expected) in
        [(Strategy::Min, 16), (Strategy::Max, 24), (Strategy::Tagged(7), 20)]
    {
        let mut stage = Stage::new(FlowSettings { strategy, ..SETTINGS }, 3);
        stage.publish(4);
        for (receiver, consumed, tag) in [(1, 0, 0), (2, 4, 7), (3, 4, 0)] {
            stage.hear(Status { tag, ..status(receiver, consumed) });
        }
        stage.publish(4);
        stage.hear(status(3, 8));
        let accepted = 8 + stage.publish(100);
        assert_eq!(accepted, expected, "{strategy:?}");
        // Each has what its own window let through, whoever decides.
        assert_eq!(stage.taken(1), [0, 1, 2, 3]);
        assert_eq!(stage.taken(2), (0..8).collect::<Vec<_>>());
        assert_eq!(stage.taken(3), (0..12).collect::<Vec<_>>());
    }
}

#[test]
fn feedback_goes_to_the_lane_of_its_receiver() {
    let mut stage = Stage::new(SETTINGS, 2);
    stage.publish(4);
    stage.hear(status(1, 2));
    stage.hear(status(9, 2));
    let impostor = Feedback { status: status(2, 4), missing: &[] };
    stage.fan_out.handle_feedback(stage.now, source(3), &impostor);
    assert_eq!(
        (stage.fan_out.has_consumed(id(1), 2), stage.fan_out.has_consumed(id(2), 1)),
        (true, false)
    );
    let counters = stage.fan_out.counters();
    assert_eq!((counters.statuses, counters.statuses_refused), (1, 2));
    // Nothing that was counted goes with a lane.
    stage.fan_out.remove_receiver(id(1));
    stage.fan_out.remove_receiver(id(2));
    assert_eq!(stage.fan_out.counters(), counters);
    assert!(stage.fan_out.has_consumed(id(2), u64::MAX), "nobody waits for who has gone");
}

#[test]
fn receivers_of_their_own_get_repairs_of_their_own() {
    let mut stage = Stage::new(SETTINGS, 2);
    stage.publish(3);
    stage.outlet.sent.clear();
    for receiver in [1, 2] {
        let missing = &[Range { first: 1, packets: 1 }];
        let feedback = Feedback { status: status(receiver, 1), missing };
        stage.fan_out.handle_feedback(stage.now, source(receiver), &feedback);
    }
    stage.tell();
    assert_eq!((stage.taken(1), stage.taken(2)), (vec![1], vec![1]));
    assert_eq!(stage.fan_out.counters().retransmits, 2);
}

#[test]
fn when_the_outlet_is_full_those_who_got_nothing_come_first() {
    let mut stage = Stage::new(SETTINGS, 3);
    stage.outlet.room = 1;
    stage.publish(1);
    assert_eq!(stage.taken(1), [0]);
    assert!(stage.fan_out.has_waiting(&stage.ring));
    stage.outlet.room = 2;
    stage.publish(1);
    assert_eq!((stage.taken(2), stage.taken(3)), (vec![0, 1], vec![0, 1]));
    stage.outlet.room = 1;
    stage.transmit();
    assert_eq!(stage.taken(1), [1]);
    assert!(!stage.fan_out.has_waiting(&stage.ring));
}

/// A claim is memory that a user writes: it is not reused, whoever comes and goes meanwhile.
#[test]
fn a_claim_is_kept_whatever_lanes_there_are() {
    let mut stage = Stage::new(SETTINGS, 0);
    let header = FrameHeader {
        kind: FrameKind::Message,
        flags: 0,
        publisher: 0,
        topic: TopicHash(1),
        sequence: 0,
    };
    let claim = stage.ring.claim(&header, LAYOUT.whole_body_bytes()).unwrap();
    assert_eq!(stage.publish(100), 15, "the rest of the ring");
    stage.add(1);
    stage.tell();
    assert_eq!(stage.publish(1), 0);
    assert_eq!(stage.taken(1), [0; 0]);
    stage.ring.commit_claim(claim, 1);
    stage.transmit();
    assert_eq!(stage.taken(1), [0, 1, 2, 3]);
}

#[test]
fn a_group_is_one_lane_with_all_its_receivers() {
    let mut stage = Stage::new(SETTINGS, 0);
    stage.fan_out = FanOut::to_group(HEADER, SETTINGS, 8, 0);
    stage.add(1);
    stage.add(2);
    stage.publish(10);
    stage.hear(status(1, 4));
    stage.transmit();
    assert_eq!(stage.taken(0), [0, 1, 2, 3], "the slowest limits all");
    stage.fan_out.remove_receiver(id(2));
    stage.transmit();
    assert_eq!(stage.taken(0), [4, 5, 6, 7]);
    assert_eq!((stage.taken(1), stage.taken(2)), (vec![], vec![]));
}
