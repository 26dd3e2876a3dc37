//! UDP with one system call per packet, as on systems and devices that offer no better: all that works
//! between processes works so, too, on both sides or on one of them. Tests.

use std::process::Command;

use vega::{Counter, Transport};

use crate::support::{Behaviour, Host, Place, Report, Reports, Settings, Tally, eventually};

/// How the two sides pass the kernel.
const PAIRS: [[&str; 2]; 3] = [["off", "off"], ["off", "auto"], ["auto", "off"]];
const UDP: [&str; 2] = ["multicast", "unicast"];
const MESSAGES: u64 = 5000;
const REQUESTS: u64 = 300;
const MIB: usize = 1 << 20;

/// Two processes whose sockets differ. What `more` says is for the second one.
fn pair([first, second]: [&'static str; 2], more: &str) -> (Place, Host, Host) {
    let mut place = Place::with(Settings { offload: first, ..Settings::default() });
    let sender = Host::start(&place, "sender");
    place.settings.offload = second;
    let config = format!("{}{more}", place.config_text());
    let command = Command::new(std::env::current_exe().unwrap());
    let receiver = Host::try_start_by(command, "receiver", &config).unwrap();
    (place, sender, receiver)
}

#[test]
fn messages_of_all_sizes_arrive_without_offload_on_either_side() {
    for ways in PAIRS {
        let (_place, mut sender, mut receiver) = pair(ways, "");
        for transport in UDP {
            let topic = format!("{transport}.stream");
            receiver.subscribe(&topic, Behaviour::Collect);
            sender.publish(&topic);
            sender.wait_for_subscribers(&topic, 1);
            sender.send_mixed(&topic, MESSAGES);
            sender.send(&topic, 2, MIB);
            let all = MESSAGES + 2;
            assert_eq!(receiver.expect(&topic, all), Report::complete(all), "{topic} {ways:?}");
        }
        assert_eq!(sender.counter(Counter::OffloadsRefused), 0, "what is off is not refused");
        for (side, way) in [&mut sender, &mut receiver].into_iter().zip(ways) {
            let is_missing = side.counter(Counter::OffloadsMissing) > 0;
            assert_eq!(is_missing, way == "off" || cfg!(not(target_os = "linux")), "{ways:?}");
        }
    }
}

#[test]
fn requests_are_answered_without_offload_on_either_side() {
    for ways in PAIRS {
        let (_place, mut asker, mut responder) = pair(ways, "");
        for transport in UDP {
            let topic = format!("{transport}.quotes");
            // Larger than a packet, so that answers leave as runs.
            responder.subscribe(&topic, Behaviour::RespondLarge(5000));
            asker.publish(&topic);
            asker.wait_for_subscribers(&topic, 1);
            let tally = asker.ask_all(&topic, REQUESTS, 1);
            assert_eq!(tally, Tally::complete(REQUESTS), "{topic} {ways:?}");
        }
    }
}

#[test]
fn losses_are_repaired_without_offload_on_either_side() {
    for ways in PAIRS {
        let (_place, mut sender, mut receiver) = pair(ways, "[fault]\nseed = 1\nloss = '5%'\n");
        for transport in UDP {
            let topic = format!("{transport}.stream");
            receiver.subscribe(&topic, Behaviour::Collect);
            sender.publish(&topic);
            sender.wait_for_subscribers(&topic, 1);
            sender.send_mixed(&topic, MESSAGES);
            let report = receiver.expect(&topic, MESSAGES);
            assert_eq!(report, Report::complete(MESSAGES), "{topic} {ways:?}");
        }
        assert!(receiver.counter(Counter::FaultsDropped) > 0);
        eventually("repairs are counted", || sender.counter(Counter::Retransmits) > 0);
    }
}

/// Which way it is stands in one line of the log, with the identity of the instance.
#[test]
fn an_instance_says_how_udp_passes_the_kernel() {
    let reports = Reports::collect();
    for (offload, expected) in [("off", ["sendto", "recvmsg"]), ("auto", best())] {
        let place = Place::with(Settings { offload, ..Settings::default() });
        let instance = place.start("one");
        let id = instance.id().to_string();
        let [sends, receives] = expected;
        let line = [&*id, &format!("sends=\"{sends}\""), &format!("receives=\"{receives}\"")];
        assert_eq!(reports.count(&line), 1, "{offload}");
        let publisher = instance.publisher("multicast.topic").unwrap();
        assert_eq!(publisher.transport(), Transport::Multicast);
        assert_eq!(reports.count(&[&id, "sends="]), 1, "once, whatever is opened later");
    }
}

/// What this system offers on loopback.
fn best() -> [&'static str; 2] {
    if cfg!(target_os = "linux") { ["UDP_SEGMENT", "UDP_GRO"] } else { ["sendto", "recvmsg"] }
}
