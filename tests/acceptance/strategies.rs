//! Whose reports limit a publisher (`flow_control`), and what it costs those whose do not. Tests.

use vega::{Counter, Instance, Publisher, SendError};

use crate::support::{
    Behaviour, Host, Place, Report, Settings, WAIT, accounted_for, eventually, payload,
};

const TRANSPORTS: [&str; 2] = ["multicast", "unicast"];
const TAG: u32 = 7;
const BYTES: usize = 1000;
/// Rounds of messages before anything is measured: several windows, so that all have said what they
/// are and how far they have come.
const ROUNDS: u64 = 16;
/// Half of a window: nobody can lose of it, however slow.
const ROUND: u64 = 32;
/// More than the window, the ring and all buffers on the way hold.
const MANY: u64 = 40_000;
/// Longer than the test: nobody is left out for being silent.
const NEVER: &str = "1h";

fn settings(flow_control: &'static str) -> Settings {
    Settings { window: "64KiB", receiver_timeout: NEVER, flow_control, ..Settings::default() }
}

/// A publisher that waits for room as long as it takes.
struct Sender {
    instance: Instance,
    publisher: Publisher,
}

impl Sender {
    /// A publisher whose first messages two subscribers have taken, in step.
    fn start(place: &Place, topic: &str, hosts: &mut [&mut Host; 2]) -> Self {
        let instance = place.start("sender");
        let publisher = instance.publisher(topic).unwrap();
        assert!(publisher.wait_for_subscribers(2, WAIT));
        let mut sender = Self { instance, publisher };
        for round in 1..=ROUNDS {
            sender.send(ROUND);
            let all = round * ROUND;
            for host in &mut *hosts {
                assert_eq!(host.expect(topic, all), Report::complete(all), "{topic}");
            }
        }
        sender
    }

    fn send(&mut self, count: u64) {
        for _ in 0..count {
            self.publisher.send_blocking(&self.payload(), WAIT).unwrap();
        }
    }

    /// Sends until there is no room, and none is made for a while.
    fn fill(&mut self) {
        const A_WHILE: std::time::Duration = std::time::Duration::from_millis(300);
        for _ in 0..MANY {
            match self.publisher.send_blocking(&self.payload(), A_WHILE) {
                Ok(_) => {}
                Err(error) => return assert_eq!(error, SendError::BackPressured),
            }
        }
        panic!("nobody holds back the publisher");
    }

    fn payload(&self) -> Vec<u8> {
        payload::numbered(self.publisher.sequence(), BYTES)
    }

    fn sent(&self) -> u64 {
        self.publisher.sequence()
    }

    fn counter(&self, counter: Counter) -> u64 {
        self.instance.counters().get(counter)
    }
}

/// What did not arrive is reported, to the last message, and counted.
fn expect_exact_loss(sender: &mut Sender, host: &mut Host, topic: &str) {
    let (sent, report) = (sender.sent(), || host.report(topic));
    let (report, _) = accounted_for(topic, sent, || sender.send(1), report);
    eventually("the counters say the same", || {
        host.counter(Counter::MessagesLost) == report.lost
            && host.counter(Counter::MessagesReceived) == report.received
            && host.counter(Counter::PacketsLost) > 0
    });
    assert!(sender.counter(Counter::RepairsGone) > 0, "{topic}");
}

#[test]
fn the_fastest_sets_the_pace_with_max() {
    for transport in TRANSPORTS {
        let place = Place::with(settings("max"));
        let topic = format!("{transport}.stream");
        let (mut quick, mut stopped) =
            (Host::start(&place, "quick"), Host::start(&place, "stopped"));
        quick.subscribe(&topic, Behaviour::Collect);
        stopped.subscribe(&topic, Behaviour::Collect);
        let mut sender = Sender::start(&place, &topic, &mut [&mut quick, &mut stopped]);
        stopped.stop();
        sender.send(MANY);
        let all = sender.sent();
        assert_eq!(quick.expect(&topic, all), Report::complete(all), "{topic}");
        // It was not left out: it never counted.
        assert_eq!(sender.counter(Counter::ReceiversDropped), 0, "{topic}");
        stopped.go_on();
        expect_exact_loss(&mut sender, &mut stopped, &topic);
        let all = sender.sent();
        assert_eq!(quick.expect(&topic, all), Report::complete(all), "{topic}");
    }
}

#[test]
fn only_who_has_the_tag_holds_back_with_tagged() {
    for transport in TRANSPORTS {
        let place = Place::with(settings("tagged:7"));
        let topic = format!("{transport}.stream");
        let (mut tagged, mut other) =
            (Host::start_tagged(&place, "tagged", TAG), Host::start_tagged(&place, "other", 8));
        tagged.subscribe(&topic, Behaviour::Collect);
        other.subscribe(&topic, Behaviour::Collect);
        let mut sender = Sender::start(&place, &topic, &mut [&mut tagged, &mut other]);
        other.stop();
        sender.send(MANY);
        let all = sender.sent();
        assert_eq!(tagged.expect(&topic, all), Report::complete(all), "{topic}");
        other.go_on();
        expect_exact_loss(&mut sender, &mut other, &topic);

        tagged.stop();
        sender.fill();
        tagged.go_on();
        sender.send(ROUNDS * ROUND);
        let all = sender.sent();
        assert_eq!(tagged.expect(&topic, all), Report::complete(all), "{topic}");
        assert_eq!(tagged.counter(Counter::PacketsLost), 0, "{topic}");
        assert_eq!(sender.counter(Counter::ReceiversDropped), 0, "{topic}");
    }
}
