//! What a session delivers, in which order, and what it reports as lost. Tests.

use super::*;
use crate::wire::frame::{FLAG_BEGIN, FLAG_END, FLAG_WHOLE};

#[derive(Default)]
struct Log(Vec<String>);

impl Sink for Log {
    fn deliver(&mut self, arrival: Arrival<'_>) {
        let body = String::from_utf8_lossy(arrival.body);
        self.0.push(format!("{}.{}:{body}", arrival.publisher, arrival.sequence));
    }

    fn lost(&mut self, loss: Loss) {
        self.0.push(format!("{} lost {}", loss.publisher, loss.messages));
    }
}

fn frame(publisher: u32, sequence: u64, fragment: Option<Fragment>, body: &[u8]) -> Frame<'_> {
    let mut flags = FLAG_WHOLE;
    if let Some(Fragment { total, offset }) = fragment {
        flags = 0;
        flags |= if offset == 0 { FLAG_BEGIN } else { 0 };
        flags |= if offset as usize + body.len() == total as usize { FLAG_END } else { 0 };
    }
    let header =
        FrameHeader { kind: FrameKind::Message, flags, publisher, topic: TopicHash(9), sequence };
    Frame { header, fragment, body }
}

fn part(total: u32, offset: u32) -> Option<Fragment> {
    Some(Fragment { total, offset })
}

#[test]
fn losses_are_exact_per_publisher_and_come_first() {
    let (mut delivery, mut log) = (Delivery::new(100), Log::default());
    for (publisher, sequence) in [(0, 5), (1, 1), (0, 6), (0, 10), (1, 2), (1, 4)] {
        delivery.handle_frame(&frame(publisher, sequence, None, b"m"), &mut log).unwrap();
    }
    let expected = ["0.5:m", "1.1:m", "0.6:m", "0 lost 3", "0.10:m", "1.2:m", "1 lost 1", "1.4:m"];
    assert_eq!(log.0, expected);
}

#[test]
fn duplicates_are_refused_and_do_not_move_the_count() {
    let (mut delivery, mut log) = (Delivery::new(100), Log::default());
    for sequence in [3, 4] {
        delivery.handle_frame(&frame(0, sequence, None, b""), &mut log).unwrap();
    }
    assert_eq!(delivery.handle_frame(&frame(0, 3, None, b""), &mut log), Err(Refusal::Duplicate));
    delivery.handle_frame(&frame(0, 5, None, b""), &mut log).unwrap();
    assert_eq!(log.0, ["0.3:", "0.4:", "0.5:"]);
}

#[test]
fn a_message_with_a_missing_part_is_one_loss() {
    let (mut delivery, mut log) = (Delivery::new(100), Log::default());
    delivery.handle_frame(&frame(0, 1, None, b"a"), &mut log).unwrap();
    delivery.handle_frame(&frame(0, 2, part(6, 0), b"12"), &mut log).unwrap();
    let missing_middle = frame(0, 2, part(6, 4), b"56");
    assert_eq!(delivery.handle_frame(&missing_middle, &mut log), Err(Refusal::Orphan));
    delivery.handle_frame(&frame(0, 3, None, b"c"), &mut log).unwrap();
    assert_eq!(log.0, ["0.1:a", "0 lost 1", "0.3:c"]);
}

#[test]
fn parts_of_two_publishers_may_alternate() {
    let (mut delivery, mut log) = (Delivery::new(100), Log::default());
    delivery.handle_frame(&frame(0, 1, part(4, 0), b"ab"), &mut log).unwrap();
    delivery.handle_frame(&frame(1, 1, part(4, 0), b"AB"), &mut log).unwrap();
    delivery.handle_frame(&frame(0, 1, part(4, 2), b"cd"), &mut log).unwrap();
    delivery.handle_frame(&frame(1, 1, part(4, 2), b"CD"), &mut log).unwrap();
    assert_eq!(log.0, ["0.1:abcd", "1.1:ABCD"]);
}

#[test]
fn a_late_joiner_in_the_middle_of_a_message_reports_nothing() {
    let (mut delivery, mut log) = (Delivery::new(100), Log::default());
    let tail = frame(0, 7, part(4, 2), b"cd");
    assert_eq!(delivery.handle_frame(&tail, &mut log), Err(Refusal::Orphan));
    delivery.handle_frame(&frame(0, 8, None, b"x"), &mut log).unwrap();
    assert_eq!(log.0, ["0.8:x"]);
}

#[test]
fn who_is_owed_everything_is_told_what_is_missing_before_the_first_message() {
    let (mut delivery, mut log) = (Delivery::new(100), Log::default());
    delivery.handle_frame(&frame(0, 3, None, b"c"), &mut log).unwrap();
    let tail = frame(3, 1, part(4, 2), b"cd");
    assert_eq!(delivery.handle_frame(&tail, &mut log), Err(Refusal::Orphan));
    delivery.expect_all();
    for (publisher, sequence) in [(0, 4), (1, 1), (2, 4), (3, 2)] {
        delivery.handle_frame(&frame(publisher, sequence, None, b"m"), &mut log).unwrap();
    }
    let expected = ["0.3:c", "0.4:m", "1.1:m", "2 lost 3", "2.4:m", "3 lost 1", "3.2:m"];
    assert_eq!(log.0, expected);
}

#[test]
fn who_joined_in_the_middle_is_owed_what_follows_and_what_is_begun_again() {
    for is_begun_again in [false, true] {
        let (mut delivery, mut log) = (Delivery::new(100), Log::default());
        delivery.expect_from(8);
        let tail = frame(0, 7, part(4, 2), b"cd");
        assert_eq!(delivery.handle_frame(&tail, &mut log), Err(Refusal::Duplicate));
        if is_begun_again {
            delivery.handle_frame(&frame(0, 7, part(4, 0), b"ab"), &mut log).unwrap();
            delivery.handle_frame(&tail, &mut log).unwrap();
            assert_eq!(log.0, ["0.7:abcd"]);
            log.0.clear();
        }
        delivery.handle_frame(&frame(0, 9, None, b"x"), &mut log).unwrap();
        let again = delivery.handle_frame(&frame(0, 7, None, b"abcd"), &mut log);
        assert_eq!(again, Err(Refusal::Duplicate));
        assert_eq!(log.0, ["0 lost 1", "0.9:x"]);
    }
}

/// What it is read from lasts until so many losses have been told; then it is overwritten.
struct Overwritten {
    log: Log,
    after_losses: usize,
}

impl Sink for Overwritten {
    fn deliver(&mut self, arrival: Arrival<'_>) {
        self.log.deliver(arrival);
    }

    fn lost(&mut self, loss: Loss) {
        self.log.lost(loss);
    }

    fn is_intact(&self) -> bool {
        self.log.0.iter().filter(|entry| entry.contains("lost")).count() < self.after_losses
    }
}

#[test]
fn what_is_overwritten_while_a_loss_is_told_is_lost_too() {
    let mut delivery = Delivery::new(100);
    let mut sink = Overwritten { log: Log::default(), after_losses: 1 };
    delivery.handle_frame(&frame(0, 1, None, b"a"), &mut sink).unwrap();
    let next = delivery.handle_frame(&frame(0, 4, None, b"?"), &mut sink);
    assert_eq!(next, Err(Refusal::Overwritten));
    sink.after_losses = usize::MAX;
    delivery.handle_frame(&frame(0, 6, None, b"f"), &mut sink).unwrap();
    assert_eq!(sink.log.0, ["0.1:a", "0 lost 2", "0 lost 2", "0.6:f"]);
}

#[test]
fn a_message_that_was_overwritten_before_its_last_part_is_lost() {
    let mut delivery = Delivery::new(100);
    let mut sink = Overwritten { log: Log::default(), after_losses: usize::MAX };
    delivery.handle_frame(&frame(0, 1, None, b"a"), &mut sink).unwrap();
    delivery.handle_frame(&frame(0, 2, part(4, 0), b"ab"), &mut sink).unwrap();
    sink.after_losses = 0;
    let last = delivery.handle_frame(&frame(0, 2, part(4, 2), b"??"), &mut sink);
    assert_eq!(last, Err(Refusal::Overwritten));
    sink.after_losses = usize::MAX;
    delivery.drop_parts();
    delivery.handle_frame(&frame(0, 3, None, b"c"), &mut sink).unwrap();
    assert_eq!(sink.log.0, ["0.1:a", "0 lost 1", "0.3:c"]);
}

#[test]
fn what_is_too_large_becomes_a_loss() {
    let (mut delivery, mut log) = (Delivery::new(3), Log::default());
    delivery.handle_frame(&frame(0, 1, None, b"a"), &mut log).unwrap();
    let large = frame(0, 2, part(4, 0), b"ab");
    assert_eq!(delivery.handle_frame(&large, &mut log), Err(Refusal::TooLarge));
    delivery.handle_frame(&frame(0, 3, None, b"c"), &mut log).unwrap();
    assert_eq!(log.0, ["0.1:a", "0 lost 1", "0.3:c"]);
}
