//! Readers of shared rings whose process is stopped: before they have read anything, while they wait, in
//! the middle of reading. What is whole, what is lost, and what they are told. Tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use vega::{Counter, Instance, Publisher, SendError};

use crate::support::{
    Behaviour, Host, Journal, Place, Report, SetOnDrop, Settings, WAIT, eventually, payload,
};

const TOPIC: &str = "ipc.stream";
/// More often than a ring of these tests has slots.
const LAPS: u64 = 1000;

/// A ring of 128 KiB that waits for a stopped reader as `slow_consumer` says, for 100 ms either way.
fn impatient(slow_consumer: &'static str) -> Place {
    let settings = Settings { window: "64KiB", slow_consumer, ..Settings::default() };
    Place::with(Settings { reader_timeout: "100ms", ..settings })
}

/// A publisher in this process, and a process that reads it.
fn pair(place: &Place) -> (Instance, Publisher, Host) {
    let sender = place.start("sender");
    let mut reader = Host::start(place, "reader");
    reader.subscribe(TOPIC, Behaviour::Collect);
    let publisher = sender.publisher(TOPIC).unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    (sender, publisher, reader)
}

fn send(publisher: &mut Publisher, bytes: usize) {
    publisher.send_blocking(&payload::numbered(publisher.sequence(), bytes), WAIT).unwrap();
}

/// Sends until a stopped reader is cut off, and then so much that all is overwritten that it can have
/// been reading.
fn pass_over(sender: &Instance, publisher: &mut Publisher) {
    let cut_off = sender.counters().get(Counter::ReadersReclaimed);
    while sender.counters().get(Counter::ReadersReclaimed) == cut_off {
        send(publisher, 1000);
    }
    for _ in 0..LAPS {
        send(publisher, 1000);
    }
}

/// Sends until the reader knows of all that was sent before; what it has not received was reported to
/// it, and counted.
fn expect_account(publisher: &mut Publisher, reader: &mut Host) -> Report {
    let mut report = Report::default();
    eventually("all is accounted for", || {
        send(publisher, 1000);
        report = reader.report(TOPIC);
        report.lost > 0 && report.received + report.lost == publisher.sequence()
    });
    eventually("the counters say the same", || {
        reader.counter(Counter::MessagesLost) == report.lost
            && reader.counter(Counter::MessagesReceived) == report.received
    });
    report
}

/// Beside what was missing between two messages, if the reader was too slow again.
fn expect_loss_before_the_first(report: &Report) {
    assert_eq!((report.damaged, report.disordered), (0, 0), "{report:?}");
    assert!(report.lost - report.missing >= LAPS, "{report:?}");
}

/// However long the pause, as long as it is shorter than `reader_timeout`.
#[test]
fn a_stopped_reader_holds_back_the_publisher_and_loses_nothing() {
    let place = Place::with(Settings { window: "64KiB", ..Settings::default() });
    let (sender, mut publisher, mut reader) = pair(&place);
    // Before its first message, and between two.
    for _ in 0..3 {
        reader.stop();
        let refused = loop {
            let number = publisher.sequence();
            if let Err(error) = publisher.send(&payload::numbered(number, 1000)) {
                break error;
            }
            assert!(number < 1_000_000, "nobody holds back the publisher");
        };
        assert_eq!(refused, SendError::BackPressured);
        reader.go_on();
        eventually("there is room again", || {
            publisher.send(&payload::numbered(publisher.sequence(), 1000)).is_ok()
        });
        let sent = publisher.sequence();
        assert_eq!(reader.expect(TOPIC, sent), Report::complete(sent));
    }
    assert_eq!(sender.counters().get(Counter::ReadersReclaimed), 0);
}

#[test]
fn who_is_cut_off_before_its_first_message_is_told_how_many_it_missed() {
    for slow_consumer in ["hold", "drop"] {
        let place = impatient(slow_consumer);
        let (sender, mut publisher, mut reader) = pair(&place);
        reader.stop();
        pass_over(&sender, &mut publisher);
        reader.go_on();
        let report = expect_account(&mut publisher, &mut reader);
        expect_loss_before_the_first(&report);
    }
}

/// What was sent before it came is no loss, whatever the packet begins with that was open then: nothing
/// but a claim that was given up, in the end.
#[test]
fn who_joins_later_and_is_cut_off_at_once_is_told_what_it_missed_from_then_on() {
    for slow_consumer in ["hold", "drop"] {
        for before in [1, 7, 100] {
            let place = impatient(slow_consumer);
            let sender = place.start("sender");
            let mut publisher = sender.publisher(TOPIC).unwrap();
            for _ in 0..before {
                send(&mut publisher, 1000);
            }
            if before > 1 {
                let all = publisher.max_claim_bytes();
                publisher.try_claim(all).unwrap().abort();
            }
            let mut reader = Host::start(&place, "reader");
            reader.subscribe(TOPIC, Behaviour::Collect);
            assert!(publisher.wait_for_subscribers(1, WAIT));
            reader.stop();
            pass_over(&sender, &mut publisher);
            reader.go_on();
            let mut report = Report::default();
            eventually("all from then on is accounted for", || {
                send(&mut publisher, 1000);
                report = reader.report(TOPIC);
                report.lost > 0 && report.received + report.lost == publisher.sequence() - before
            });
            expect_loss_before_the_first(&report);
        }
    }
}

/// A publisher streams on while the process that reads is stopped and goes on, again and again, each
/// time until it has been cut off and overwritten. Returns what the reader says in the end.
fn stopped_again_and_again(slow_consumer: &'static str, bytes: usize, stops: u64) -> Report {
    let place = impatient(slow_consumer);
    let (sender, mut publisher, mut reader) = pair(&place);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = SetOnDrop(&is_over);
        let streaming = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                send(&mut publisher, bytes);
            }
        });
        for stop in 0..stops {
            // Then it is reading, and stops where it happens to be.
            let some = payload::mixed(stop) % 100;
            let received = reader.report(TOPIC).received;
            reader.expect(TOPIC, received + some);
            let cut_off = sender.counters().get(Counter::ReadersReclaimed);
            reader.stop();
            eventually("it is cut off", || {
                sender.counters().get(Counter::ReadersReclaimed) > cut_off
            });
            let sent = sender.counters().get(Counter::MessagesSent);
            eventually("all is overwritten", || {
                sender.counters().get(Counter::MessagesSent) > sent + LAPS
            });
            reader.go_on();
        }
        drop(end);
        streaming.join().unwrap();
    });
    expect_account(&mut publisher, &mut reader)
}

/// Messages that take more than one packet are put together in memory of the reader's own.
#[test]
fn long_messages_are_whole_or_lost_wherever_their_reader_is_stopped() {
    for slow_consumer in ["hold", "drop"] {
        let report = stopped_again_and_again(slow_consumer, 40_000, 20);
        assert_eq!((report.damaged, report.disordered), (0, 0), "{report:?}");
        assert_eq!(report.missing, report.lost, "{report:?}");
    }
}

/// A short message is read where it lies: the one whose callback was stopped for longer than publishers
/// wait may be overwritten under its eyes. The others are whole, and the numbers are exact in any case.
#[test]
fn short_messages_are_whole_or_lost_but_for_the_one_in_a_callback() {
    const STOPS: u64 = 20;
    for slow_consumer in ["hold", "drop"] {
        let report = stopped_again_and_again(slow_consumer, 1000, STOPS);
        assert_eq!((report.disordered, report.missing), (0, report.lost), "{report:?}");
        assert!(report.damaged <= STOPS, "{report:?}");
    }
}

/// The subscriber takes a publisher that is stopped for gone, after the discovery timeout. What that one
/// sends as soon as it goes on, before they have heard of each other again, is in the ring all the same.
#[test]
fn a_publisher_that_was_out_of_sight_loses_nothing() {
    let place = Place::with(Settings { timeout: "1s", ..Settings::default() });
    let receiver = place.start("receiver");
    let mut sender = Host::start(&place, "sender");
    let journal = Journal::new(TOPIC);
    let subscription = receiver.subscribe(TOPIC, journal.clone()).unwrap();
    sender.publish(TOPIC);
    sender.wait_for_subscribers(TOPIC, 1);
    let mut sent = 0;
    for _ in 0..2 {
        assert!(subscription.wait_for_publishers(1, WAIT));
        sender.send(TOPIC, 10, 100);
        sender.stop();
        eventually("it is taken for gone", || subscription.publishers() == 0);
        sender.go_on();
        sender.send(TOPIC, 100, 100);
        sent += 110;
        assert_eq!(journal.expect(sent), Report::complete(sent));
    }
    assert!(subscription.wait_for_publishers(1, WAIT));
    sender.kill();
    eventually("it is gone", || subscription.publishers() == 0 && place.rings().is_empty());
    assert_eq!(receiver.counters().get(Counter::MessagesLost), 0);
}
