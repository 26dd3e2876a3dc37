//! Stopped processes and pulled cables: what is shorter than the timeouts costs nothing but time,
//! what is longer costs exactly what is reported. Tests.

use std::time::Duration;

use vega::Counter;

use crate::lab::{Lab, go_on, stop};
use crate::support::{Behaviour, Host, Report, Settings, eventually};

const TRANSPORTS: [&str; 2] = ["unicast", "multicast"];
/// Before the pause.
const SOME: u64 = 1000;
/// During the pause: several windows of it.
const MANY: u64 = 50_000;

/// A publisher on host 1 and a subscriber on host 2 that have exchanged [`SOME`] messages.
fn pair(lab: &Lab, topic: &str) -> (Host, Host) {
    let (mut sender, mut receiver) = (lab.start(1, "sender"), lab.start(2, "receiver"));
    receiver.subscribe(topic, Behaviour::Collect);
    sender.publish(topic);
    sender.wait_for_subscribers(topic, 1);
    sender.send_mixed(topic, SOME);
    assert_eq!(receiver.expect(topic, SOME), Report::complete(SOME));
    (sender, receiver)
}

/// Nothing is lost, and the publisher was held back meanwhile.
fn expect_all(sender: &mut Host, receiver: &mut Host, topic: &str) {
    let all = SOME + MANY;
    assert_eq!(receiver.expect(topic, all), Report::complete(all), "{topic}");
    assert_eq!(receiver.counter(Counter::PacketsLost), 0, "{topic}");
    assert!(sender.counter(Counter::BackPressured) > 0, "{topic}");
    assert_eq!(sender.counter(Counter::ReceiversDropped), 0, "{topic}");
}

#[test]
fn a_subscriber_that_is_stopped_holds_back_the_publisher_and_loses_nothing() {
    const PAUSE: Duration = Duration::from_secs(2);
    for transport in TRANSPORTS {
        let Some(lab) = Lab::new(2, Settings::default()) else { return };
        let topic = format!("{transport}.stream");
        let (mut sender, mut receiver) = pair(&lab, &topic);
        stop(&receiver);
        sender.begin_sending(&topic, MANY);
        std::thread::sleep(PAUSE);
        go_on(&receiver);
        sender.finish_sending();
        expect_all(&mut sender, &mut receiver, &topic);
    }
}

#[test]
fn a_publisher_that_is_stopped_goes_on_where_it_was() {
    const PAUSE: Duration = Duration::from_secs(1);
    for transport in TRANSPORTS {
        let Some(lab) = Lab::new(2, Settings::default()) else { return };
        let topic = format!("{transport}.stream");
        let (mut sender, mut receiver) = pair(&lab, &topic);
        sender.begin_sending(&topic, MANY);
        stop(&sender);
        std::thread::sleep(PAUSE);
        go_on(&sender);
        sender.finish_sending();
        let all = SOME + MANY;
        assert_eq!(receiver.expect(&topic, all), Report::complete(all), "{topic}");
    }
}

/// The cable of the sender or of the receiver: what either of them says is lost.
#[test]
fn a_link_that_is_down_for_seconds_costs_no_message() {
    const PAUSE: Duration = Duration::from_secs(3);
    for (transport, unplugged) in [("unicast", 2), ("multicast", 1)] {
        let Some(lab) = Lab::new(2, Settings::default()) else { return };
        let topic = format!("{transport}.stream");
        let (mut sender, mut receiver) = pair(&lab, &topic);
        lab.unplug(unplugged);
        sender.begin_sending(&topic, MANY);
        std::thread::sleep(PAUSE);
        lab.plug(unplugged);
        sender.finish_sending();
        expect_all(&mut sender, &mut receiver, &topic);
        assert!(sender.counter(Counter::Retransmits) > 0, "{topic}");
    }
}

/// Beyond the timeouts the receiver is passed over, and told to the last message what it missed.
#[test]
fn a_link_that_is_down_for_too_long_costs_exactly_what_is_reported() {
    let settings =
        Settings { receiver_timeout: "300ms", repair_timeout: "300ms", ..Settings::default() };
    for transport in TRANSPORTS {
        let Some(lab) = Lab::new(2, settings) else { return };
        let topic = format!("{transport}.stream");
        let (mut sender, mut receiver) = pair(&lab, &topic);
        lab.unplug(2);
        // Returns when all is accepted: the receiver holds back nobody any more.
        sender.send_mixed(&topic, MANY);
        assert_eq!(sender.counter(Counter::ReceiversDropped), 1, "{topic}");
        lab.plug(2);
        // What is sent from now on arrives, and with it the report.
        let mut sent = SOME + MANY;
        eventually("all is accounted for", || {
            sender.send(&topic, 1, 500);
            sent += 1;
            let report = receiver.report(&topic);
            report.lost > 0 && report.received + report.lost == sent
        });
        let report = receiver.report(&topic);
        assert_eq!((report.damaged, report.disordered), (0, 0), "{topic}: {report:?}");
        assert_eq!(report.missing, report.lost, "{topic}");
        eventually("the counters say the same", || {
            receiver.counter(Counter::MessagesLost) == report.lost
                && receiver.counter(Counter::PacketsLost) > 0
        });
        // And it is a receiver like any other again.
        sender.send_mixed(&topic, MANY);
        let again = receiver.expect(&topic, report.received + MANY);
        assert_eq!(again.lost, report.lost, "{topic}");
    }
}
