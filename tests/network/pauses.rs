//! Stopped processes and pulled cables: what is shorter than the timeouts costs nothing but time,
//! what is longer costs exactly what is reported. Tests.

use std::time::Duration;

use vega::Counter;

use crate::lab::Lab;
use crate::support::{Behaviour, Host, Report, Settings, accounted_for, eventually};

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
        receiver.stop();
        sender.begin_sending(&topic, MANY);
        std::thread::sleep(PAUSE);
        receiver.go_on();
        sender.finish_sending();
        expect_all(&mut sender, &mut receiver, &topic);
    }
}

/// With `slow_consumer = "drop"` the publisher and the others go on meanwhile, and who was stopped is
/// told to the last message what it missed.
#[test]
fn a_subscriber_that_is_stopped_is_left_out_where_that_is_wanted() {
    const PAUSE: Duration = Duration::from_secs(2);
    const ROUNDS: u32 = 100;
    let settings = Settings { slow_consumer: "drop", ..Settings::default() };
    for transport in TRANSPORTS {
        let Some(lab) = Lab::new(3, settings) else { return };
        let topic = format!("{transport}.stream");
        let (mut sender, mut stopped) = pair(&lab, &topic);
        let mut quick = lab.start(3, "quick");
        quick.subscribe(&topic, Behaviour::Collect);
        sender.wait_for_subscribers(&topic, 2);
        stopped.stop();
        // Round by round: without pauses the publisher is faster than any subscriber, and the quick
        // one would keep its window full, too.
        for round in 1..=u64::from(ROUNDS) {
            const EACH: u64 = MANY / ROUNDS as u64;
            sender.send_mixed(&topic, EACH);
            let all = round * EACH;
            assert_eq!(quick.expect(&topic, all), Report::complete(all), "{topic}");
            std::thread::sleep(PAUSE / ROUNDS);
        }
        assert_eq!(sender.counter(Counter::ReceiversDropped), 1, "{topic}");
        stopped.go_on();
        let sent = expect_exact_loss(&mut sender, &mut stopped, &topic, SOME + MANY);
        let all = sent - SOME;
        assert_eq!(quick.expect(&topic, all), Report::complete(all), "{topic}");
    }
}

/// What of `sent` messages has not arrived is reported, to the last one, and counted. Returns how
/// many were sent by then.
fn expect_exact_loss(sender: &mut Host, receiver: &mut Host, topic: &str, sent: u64) -> u64 {
    let send_one = || sender.send(topic, 1, 500);
    let (report, sent) = accounted_for(topic, sent, send_one, || receiver.report(topic));
    eventually("the counters say the same", || {
        receiver.counter(Counter::MessagesLost) == report.lost
            && receiver.counter(Counter::MessagesReceived) == report.received
            && receiver.counter(Counter::PacketsLost) > 0
    });
    sent
}

#[test]
fn a_publisher_that_is_stopped_goes_on_where_it_was() {
    const PAUSE: Duration = Duration::from_secs(1);
    for transport in TRANSPORTS {
        let Some(lab) = Lab::new(2, Settings::default()) else { return };
        let topic = format!("{transport}.stream");
        let (mut sender, mut receiver) = pair(&lab, &topic);
        sender.begin_sending(&topic, MANY);
        sender.stop();
        std::thread::sleep(PAUSE);
        sender.go_on();
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

/// Beyond the timeouts the receiver is passed over, and told to the last message what it missed. Only the
/// cable may be the reason for that: a busy machine holds up a report or a repair, too, and the timeouts
/// are longer than that.
#[test]
fn a_link_that_is_down_for_too_long_costs_exactly_what_is_reported() {
    let settings = Settings { receiver_timeout: "2s", repair_timeout: "2s", ..Settings::default() };
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
        expect_exact_loss(&mut sender, &mut receiver, &topic, SOME + MANY);
        let report = receiver.report(&topic);
        // And it is a receiver like any other again.
        sender.send_mixed(&topic, MANY);
        let again = receiver.expect(&topic, report.received + MANY);
        assert_eq!(again.lost, report.lost, "{topic}");
    }
}

/// Data gets through, with gaps, and feedback does not: what cannot be asked for is given up, and to the
/// publisher the receiver is silent. A busy machine can hold up a repair, or a report, for a while: the
/// timeouts are longer than that.
#[test]
fn feedback_that_is_lost_for_too_long_costs_exactly_what_is_reported() {
    let settings = Settings { receiver_timeout: "2s", repair_timeout: "2s", ..Settings::default() };
    for transport in TRANSPORTS {
        let Some(lab) = Lab::new(2, settings) else { return };
        let topic = format!("{transport}.stream");
        let (mut sender, mut receiver) = pair(&lab, &topic);
        lab.lose(2, 50);
        lab.deafen(1);
        sender.send_mixed(&topic, MANY);
        assert_eq!(sender.counter(Counter::ReceiversDropped), 1, "{topic}");
        lab.lose_no_more(1);
        let sent = expect_exact_loss(&mut sender, &mut receiver, &topic, SOME + MANY);
        let before = receiver.report(&topic);
        assert_eq!(before.received + before.lost, sent, "{topic}");
        // From now on every loss is repaired, although some is lost still.
        sender.send_mixed(&topic, MANY);
        let after = receiver.expect(&topic, before.received + MANY);
        assert_eq!(after.lost, before.lost, "{topic}");
    }
}

/// Cut off for longer than discovery waits, the two take each other for gone: what is under way then is
/// lost, and nobody is held back. Afterwards they meet anew, at the live edge, and the subscriber is
/// told how many messages it missed.
#[test]
fn peers_that_have_lost_each_other_meet_again() {
    let settings = Settings { timeout: "2s", ..Settings::default() };
    for (transport, unplugged) in [("unicast", 2), ("multicast", 1)] {
        let Some(lab) = Lab::new(2, settings) else { return };
        let topic = format!("{transport}.stream");
        let (mut sender, mut receiver) = pair(&lab, &topic);
        lab.unplug(unplugged);
        // Returns when all is accepted, the last of it when the receiver is forgotten.
        sender.send_mixed(&topic, MANY);
        eventually("they forget each other", || sender.peers() + receiver.peers() == 0);
        lab.plug(unplugged);
        sender.wait_for_subscribers(&topic, 1);
        sender.send_mixed(&topic, SOME);
        // What the ring still held may come all the same; the rest is reported, to the last one.
        let send_one = || sender.send(&topic, 1, 500);
        let all = 2 * SOME + MANY;
        let (report, sent) = accounted_for(&topic, all, send_one, || receiver.report(&topic));
        assert_eq!(report.received + report.lost, sent, "{topic}: {report:?}");
        assert!(report.received >= 2 * SOME && report.lost > 0, "{topic}: {report:?}");
        eventually("the counter says the same", || {
            receiver.counter(Counter::MessagesLost) == report.lost
        });
    }
}
