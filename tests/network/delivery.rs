//! Everything arrives in order and byte for byte, whatever the network loses. Tests.

use std::time::{Duration, Instant};

use vega::Counter;

use crate::lab::{Lab, Runs};
use crate::support::{Behaviour, Host, Report, Settings, WAIT, eventually};

/// How many messages, if the environment does not say: a test takes a few seconds.
const MESSAGES: u64 = 20_000;
/// Overrides [`MESSAGES`].
const MESSAGES_KEY: &str = "VEGA_NETWORK_MESSAGES";
/// For the test that takes minutes: a failure of one in a million would show.
const FULL_SIZE: u64 = 10_000_000;

fn messages() -> u64 {
    match std::env::var(MESSAGES_KEY) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{MESSAGES_KEY}={text}: {error}")),
        Err(_) => MESSAGES,
    }
}

/// A publisher on host 1 sends messages of mixed sizes to a subscriber on each other host, and all
/// of them get everything. Returns the publisher and the subscribers, these with their hosts.
fn deliver(
    lab: &Lab,
    transport: &str,
    receivers: usize,
    messages: u64,
) -> (Host, Vec<(usize, Host)>) {
    let topic = format!("{transport}.stream");
    let mut sender = lab.start(1, "sender");
    let mut hosts: Vec<_> =
        (2..receivers + 2).map(|host| (host, lab.start(host, &format!("host{host}")))).collect();
    for (_, host) in &mut hosts {
        host.subscribe(&topic, Behaviour::Collect);
    }
    sender.publish(&topic);
    sender.wait_for_subscribers(&topic, receivers);
    sender.send_mixed(&topic, messages);
    for (number, host) in &mut hosts {
        let report = wait_while_it_moves(host, &topic, messages);
        let context = format!("{transport} at host {number} of {receivers}");
        assert_eq!(report, Report::complete(messages), "{context}");
        // Counted once for all that a closed gap sets free.
        eventually(&format!("{context}: all are counted"), || {
            host.counter(Counter::MessagesReceived) == messages
        });
        assert_eq!(host.counter(Counter::MessagesLost), 0, "{context}");
        assert_eq!(host.counter(Counter::PacketsLost), 0, "{context}");
    }
    assert_eq!(sender.counter(Counter::MessagesSent), messages);
    assert_eq!(sender.counter(Counter::RepairsGone), 0);
    assert_eq!(sender.counter(Counter::ReceiversDropped), 0);
    (sender, hosts)
}

fn sum(hosts: &mut [(usize, Host)], counter: Counter) -> u64 {
    hosts.iter_mut().map(|(_, host)| host.counter(counter)).sum()
}

/// Of all repetitions, each receiver lost some like other packets, and had some already; the others
/// took the place of packets that it had lost. The kernel is the witness.
fn expect_balance(lab: &Lab, sender: &mut Host, hosts: &mut [(usize, Host)]) {
    let repeated = sender.counter(Counter::Retransmits);
    for (number, host) in hosts {
        eventually("the last repetitions arrive", || {
            let useless = host.counter(Counter::Duplicates) + host.counter(Counter::Overruns);
            let lost = lab.dropped(*number) + host.counter(Counter::SocketDrops);
            repeated <= useless + lost
        });
    }
}

/// Waits for so many messages, as long as more and more of them come.
#[expect(clippy::disallowed_methods, reason = "bounds waiting; decides nothing else")]
fn wait_while_it_moves(host: &mut Host, topic: &str, messages: u64) -> Report {
    /// Asking wakes the process; it has better things to do.
    const POLLING_PAUSE: Duration = Duration::from_millis(10);
    let (mut last, mut moved) = (host.report(topic), Instant::now());
    while last.received < messages && moved.elapsed() < WAIT {
        std::thread::sleep(POLLING_PAUSE);
        let report = host.report(topic);
        if report != last {
            (last, moved) = (report, Instant::now());
        }
    }
    last
}

/// Unicast to one, multicast to three, with so many of a thousand datagrams lost at every host.
fn everything_arrives(per_mille: u32, runs: Runs, messages: u64) {
    for (transport, receivers) in [("unicast", 1), ("multicast", 3)] {
        let Some(lab) = Lab::with(receivers + 1, Settings::default(), runs) else { return };
        lab.lose_everywhere(per_mille);
        let (mut sender, mut hosts) = deliver(&lab, transport, receivers, messages);
        let heard = sender.counter(Counter::NaksReceived);
        let asked = sum(&mut hosts, Counter::NaksSent);
        let repeated = sender.counter(Counter::Retransmits);
        let dropped: u64 = hosts.iter().map(|(number, _)| lab.dropped(*number)).sum();
        let context = format!("{transport}: {dropped} dropped, {asked} asked, {heard} heard");
        assert!(dropped > 0 && heard > 0 && heard <= asked && repeated > 0, "{context}");
        // Of a whole run, the kernel counts one packet.
        if runs == Runs::Split {
            expect_balance(&lab, &mut sender, &mut hosts);
        }
    }
}

#[test]
fn everything_arrives_at_a_tenth_of_a_percent() {
    // Twenty thousand messages are less than three thousand packets: all of them would get through in
    // one run of fifteen, and nothing would be repaired.
    everything_arrives(1, Runs::Split, 10 * messages());
}

#[test]
fn everything_arrives_at_one_percent() {
    everything_arrives(10, Runs::Split, messages());
}

#[test]
fn everything_arrives_at_five_percent() {
    everything_arrives(50, Runs::Split, messages());
}

#[test]
fn everything_arrives_at_twenty_percent() {
    everything_arrives(200, Runs::Split, messages());
}

/// Up to 64 packets in a row are lost at once.
#[test]
fn everything_arrives_when_whole_runs_are_lost() {
    everything_arrives(50, Runs::Whole, messages());
}

/// Takes minutes: `cargo test --release --test network -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn ten_million_messages_arrive_at_five_percent() {
    everything_arrives(50, Runs::Split, FULL_SIZE);
}

/// The network loses nothing, and so nothing is asked for or sent twice.
#[test]
fn nothing_is_repaired_where_nothing_is_lost() {
    let Some(lab) = Lab::new(4, Settings::default()) else { return };
    lab.lose_everywhere(0);
    let (mut sender, mut hosts) = deliver(&lab, "multicast", 3, messages());
    // A socket that overflows on a busy machine is a loss, too.
    if sum(&mut hosts, Counter::SocketDrops) == 0 {
        assert_eq!(sum(&mut hosts, Counter::NaksSent), 0);
        assert_eq!(sender.counter(Counter::Retransmits), 0);
    }
}
