//! Everything arrives in order and byte for byte, whatever the network loses. Tests.

use std::time::{Duration, Instant};

use vega::Counter;

use crate::lab::{Lab, Runs};
use crate::support::{Behaviour, Host, Report, Settings, WAIT};

/// How many messages, if the environment does not say: a test takes a few seconds.
const MESSAGES: u64 = 20_000;
/// Overrides [`MESSAGES`].
const MESSAGES_KEY: &str = "VEGA_NETWORK_MESSAGES";
/// What version 0.2 has to deliver at 5 % loss.
const FULL_SIZE: u64 = 10_000_000;

fn messages() -> u64 {
    match std::env::var(MESSAGES_KEY) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{MESSAGES_KEY}={text}: {error}")),
        Err(_) => MESSAGES,
    }
}

/// What all receivers of a run say together.
#[derive(Debug, Default)]
struct Totals {
    /// Datagrams that the kernel dropped on purpose.
    dropped: u64,
    naks: u64,
    duplicates: u64,
    socket_drops: u64,
}

/// A publisher on host 1 sends messages of mixed sizes to a subscriber on each other host.
fn deliver(lab: &Lab, transport: &str, receivers: usize, messages: u64) -> (Host, Totals) {
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
    let mut totals = Totals::default();
    for (number, host) in &mut hosts {
        let report = wait_while_it_moves(host, &topic, messages);
        let context = format!("{transport} at host {number} of {receivers}");
        assert_eq!(report, Report::complete(messages), "{context}");
        assert_eq!(host.counter(Counter::MessagesReceived), messages, "{context}");
        assert_eq!(host.counter(Counter::MessagesLost), 0, "{context}");
        assert_eq!(host.counter(Counter::PacketsLost), 0, "{context}");
        totals.dropped += lab.dropped(*number);
        totals.naks += host.counter(Counter::NaksSent);
        totals.duplicates += host.counter(Counter::Duplicates);
        totals.socket_drops += host.counter(Counter::SocketDrops);
    }
    assert_eq!(sender.counter(Counter::MessagesSent), messages);
    assert_eq!(sender.counter(Counter::RepairsGone), 0);
    assert_eq!(sender.counter(Counter::ReceiversDropped), 0);
    (sender, totals)
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
        let (mut sender, totals) = deliver(&lab, transport, receivers, messages);
        let context = format!("{transport}, {per_mille} of 1000 lost: {totals:?}");
        let asked = sender.counter(Counter::NaksReceived);
        let repeated = sender.counter(Counter::Retransmits);
        assert!(totals.dropped > 0, "{context}");
        assert!(totals.naks > 0 && asked > 0 && repeated > 0, "{context}, {asked}, {repeated}");
        assert!(asked <= totals.naks, "{context}: {asked}");
    }
}

#[test]
fn everything_arrives_at_a_tenth_of_a_percent() {
    everything_arrives(1, Runs::Split, messages());
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
    let (mut sender, totals) = deliver(&lab, "multicast", 3, messages());
    assert_eq!(totals.dropped, 0);
    // A socket that overflows on a busy machine is a loss, too.
    if totals.socket_drops == 0 {
        assert_eq!((totals.naks, sender.counter(Counter::Retransmits)), (0, 0), "{totals:?}");
    }
}
