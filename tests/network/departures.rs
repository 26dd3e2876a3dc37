//! Each role is killed in the middle of its work, on a network that loses some: the others go on.
//! Tests.

use vega::Counter;

use crate::lab::Lab;
use crate::support::{Behaviour, Host, Report, Settings, Tally, eventually};

const TRANSPORTS: [&str; 2] = ["unicast", "multicast"];
const PER_MILLE: u32 = 10;
const SOME: u64 = 1000;
/// Several windows.
const MANY: u64 = 50_000;

/// Plays on three hosts, where a silent peer is taken for gone after seconds: once on each
/// transport, with a topic of it.
fn on_each_transport(play: impl Fn(&Lab, &str)) {
    for transport in TRANSPORTS {
        let settings = Settings { timeout: "2s", ..Settings::default() };
        let Some(lab) = Lab::new(3, settings) else { return };
        lab.lose_everywhere(PER_MILLE);
        play(&lab, &format!("{transport}.topic"));
    }
}

/// Processes on the hosts 2 and 3: one to be killed, and one that goes on.
fn doomed_and_survivor(lab: &Lab) -> (Host, Host) {
    (lab.start(2, "killed"), lab.start(3, "survivor"))
}

#[test]
fn a_killed_publisher_leaves_the_others_publishing() {
    on_each_transport(|lab, topic| {
        let mut receiver = lab.start(1, "receiver");
        receiver.subscribe(topic, Behaviour::Collect);
        let mut publishers = [lab.start(2, "killed"), lab.start(3, "bystander")];
        for publisher in &mut publishers {
            publisher.publish(topic);
            publisher.wait_for_subscribers(topic, 1);
            publisher.send_mixed(topic, SOME);
        }
        receiver.expect(topic, 2 * SOME);
        let [mut killed, mut bystander] = publishers;
        killed.begin_sending(topic, MANY);
        killed.kill();
        bystander.send_mixed(topic, MANY);
        eventually("the dead one is forgotten", || receiver.peers() == 1);
        let mut successor = lab.start(2, "successor");
        successor.publish(topic);
        successor.wait_for_subscribers(topic, 1);
        successor.send_mixed(topic, SOME);
        // How many of the dead one's messages got out is its secret; of the others all arrive.
        receiver.expect(topic, 3 * SOME + MANY);
        let report = settled(&mut receiver, topic);
        assert_eq!((report.damaged, report.disordered), (0, 0), "{topic}: {report:?}");
        assert_eq!(report.lost, report.missing, "{topic}: {report:?}");
    });
}

/// A report after which nothing came.
fn settled(host: &mut Host, topic: &str) -> Report {
    let mut last = host.report(topic);
    eventually("it is silent", || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let report = host.report(topic);
        std::mem::replace(&mut last, report) == report
    });
    last
}

#[test]
fn a_killed_subscriber_does_not_hold_back_the_others() {
    on_each_transport(|lab, topic| {
        let mut sender = lab.start(1, "sender");
        let (mut killed, mut survivor) = doomed_and_survivor(lab);
        for host in [&mut killed, &mut survivor] {
            host.subscribe(topic, Behaviour::Collect);
        }
        sender.publish(topic);
        sender.wait_for_subscribers(topic, 2);
        sender.send_mixed(topic, SOME);
        killed.expect(topic, SOME);
        sender.begin_sending(topic, MANY);
        killed.kill();
        sender.finish_sending();
        let all = SOME + MANY;
        assert_eq!(survivor.expect(topic, all), Report::complete(all), "{topic}");
        eventually("one is left", || sender.subscribers(topic) == 1);
        // Who takes its place gets what is sent from then on.
        let mut successor = lab.start(2, "successor");
        successor.subscribe(topic, Behaviour::Collect);
        sender.wait_for_subscribers(topic, 2);
        sender.send_mixed(topic, SOME);
        assert_eq!(successor.expect(topic, SOME), Report::complete(SOME), "{topic}");
        assert_eq!(survivor.expect(topic, all + SOME), Report::complete(all + SOME), "{topic}");
    });
}

#[test]
fn a_killed_responder_leaves_the_others_answering() {
    on_each_transport(|lab, topic| {
        let mut asker = lab.start(1, "asker");
        let (mut killed, mut survivor) = doomed_and_survivor(lab);
        for host in [&mut killed, &mut survivor] {
            host.subscribe(topic, Behaviour::RespondLarge(200));
        }
        asker.publish(topic);
        asker.wait_for_subscribers(topic, 2);
        assert_eq!(asker.ask_all(topic, SOME, 2), Tally::complete(SOME), "{topic}");
        killed.kill();
        assert_eq!(asker.ask_all(topic, SOME, 1), Tally::complete(SOME), "{topic}");
        assert_eq!(survivor.report(topic), Report::complete(2 * SOME), "{topic}");
    });
}

#[test]
fn a_killed_requester_leaves_the_others_asking() {
    on_each_transport(|lab, topic| {
        let mut responder = lab.start(1, "responder");
        responder.subscribe(topic, Behaviour::RespondLarge(200));
        let (mut killed, mut survivor) = doomed_and_survivor(lab);
        for asker in [&mut killed, &mut survivor] {
            asker.publish(topic);
            asker.wait_for_subscribers(topic, 1);
            assert_eq!(asker.ask_all(topic, SOME, 1), Tally::complete(SOME), "{topic}");
        }
        killed.begin_asking(topic, MANY);
        let before = responder.counter(Counter::ResponsesSent);
        eventually("it asks", || responder.counter(Counter::ResponsesSent) > before);
        killed.kill();
        assert_eq!(survivor.ask_all(topic, SOME, 1), Tally::complete(SOME), "{topic}");
        eventually("all are counted", || survivor.counter(Counter::ResponsesReceived) == 2 * SOME);
    });
}
