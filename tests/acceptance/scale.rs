//! Point 16: hundreds of topics, ten instances, and what discovery costs once they know each
//! other; thousands of topics between two, one by one and by a pattern. Tests.

use std::process::Command;
use std::time::{Duration, Instant};

use vega::Counter;

use crate::support::{Behaviour, Host, Place, Report, Settings, TRANSPORTS, eventually};

const TOPICS: usize = 500;
const HOSTS: usize = 10;
/// Each instance publishes its share of the topics, and listens to all of them.
const SHARE: usize = TOPICS / HOSTS;

fn topic(index: usize) -> String {
    format!("multicast.topic-{index}")
}

/// The topics that a host publishes.
fn share_of(host: usize) -> impl Iterator<Item = String> {
    (host * SHARE..(host + 1) * SHARE).map(topic)
}

fn start_host(place: &Place, index: usize) -> Host {
    let mut host = Host::start(place, &format!("host-{index}"));
    share_of(index).for_each(|topic| host.publish(&topic));
    (0..TOPICS).for_each(|index| host.subscribe(&topic(index), Behaviour::Collect));
    host
}

#[test]
fn hundreds_of_topics_match_between_ten_processes_and_then_cost_nothing() {
    let lonely_place = Place::new();
    let mut lonely = Host::start(&lonely_place, "host-0");
    lonely.publish(&topic(0));
    let bytes_with_one_topic = settled_packet_bytes(&mut lonely);
    drop(lonely);

    let place = Place::new();
    let mut hosts: Vec<_> = std::thread::scope(|scope| {
        let place = &place;
        let start = |index| scope.spawn(move || start_host(place, index));
        let starting: Vec<_> = (0..HOSTS).map(start).collect();
        starting.into_iter().map(|host| host.join().unwrap()).collect()
    });
    for (index, host) in hosts.iter_mut().enumerate() {
        for topic in share_of(index) {
            host.wait_for_subscribers(&topic, HOSTS);
            host.send(&topic, 1, 20);
        }
    }
    for host in &mut hosts {
        assert_eq!(host.peers(), HOSTS - 1);
        for topic in (0..TOPICS).map(topic) {
            host.wait_for_publishers(&topic, 1);
            assert_eq!(host.expect(&topic, 1), Report::complete(1), "{topic}");
        }
    }
    assert_eq!(settled_packet_bytes(&mut hosts[0]), bytes_with_one_topic);
}

/// Each of thousands of topics has its subscriber, and its message arrives. How many there are is up to
/// `VEGA_SCALE_TOPICS`, and within what time, on a machine that has nothing else to do, to
/// `VEGA_SCALE_SECONDS`. Topics by UDP share sockets; each ring takes a descriptor and a mapping in each
/// process that has it, so that shared memory has as many as the former may be.
#[test]
#[expect(clippy::disallowed_methods, reason = "nothing depends on the time unless it is asked for")]
fn thousands_of_topics_between_two_processes_are_all_active() {
    const DEFAULT_TOPICS: usize = 5_000;
    let wanted = std::env::var("VEGA_SCALE_TOPICS").map(|topics| topics.parse().unwrap());
    let wanted = wanted.unwrap_or(DEFAULT_TOPICS);
    for transport in TRANSPORTS {
        let place = Place::with(Settings {
            window: "64KiB",
            unicast_ports: "35008-35015",
            ..Settings::default()
        });
        let (mut sender, mut receiver) =
            (Host::start(&place, "sender"), Host::start(&place, "receiver"));
        let topics = match transport {
            "ipc" => wanted.min(sender.spare_files()),
            _ => wanted,
        };
        let topics: Vec<_> = (0..topics).map(|it| format!("{transport}.topic-{it}")).collect();
        let started = Instant::now();
        std::thread::scope(|scope| {
            let publish = || topics.iter().for_each(|topic| sender.publish(topic));
            let publishing = std::thread::Builder::new().spawn_scoped(scope, publish).unwrap();
            for topic in &topics {
                receiver.subscribe(topic, Behaviour::Collect);
            }
            publishing.join().unwrap();
        });
        for topic in &topics {
            sender.wait_for_subscribers(topic, 1);
            sender.send(topic, 1, 100);
        }
        let active = started.elapsed();
        for topic in &topics {
            assert_eq!(receiver.expect(topic, 1), Report::complete(1), "{topic}");
        }
        println!("{transport}: {} topics of {wanted} are active after {active:?}", topics.len());
        if let Ok(seconds) = std::env::var("VEGA_SCALE_SECONDS") {
            let most = Duration::from_secs(seconds.parse().unwrap());
            assert!(
                active <= most && topics.len() == wanted,
                "{transport}: {active:?}, not {most:?}"
            );
        }
        for host in [&mut sender, &mut receiver] {
            assert_eq!(host.counter(Counter::TopicConflicts), 0);
        }
    }
}

/// One subscription hears what nobody has named to it: a thousand topics of a publisher's process, those
/// that are born later, and those that end no more, each message once.
#[test]
fn one_pattern_hears_a_thousand_topics_of_another_process_as_they_come_and_go() {
    const TOPICS: usize = 1_000;
    for transport in TRANSPORTS {
        let place = Place::with(Settings {
            window: "64KiB",
            unicast_ports: "35008-35015",
            ..Settings::default()
        });
        let [mut sender, mut receiver] = ["sender", "receiver"]
            .map(|name| Host::try_start_by(with_all_files(), name, &place.config_text()).unwrap());
        if transport == "ipc" {
            assert!(sender.spare_files() > TOPICS, "each ring takes a descriptor");
        }
        let pattern = format!(r"{transport}\.topic-\d+");
        let topic = |index: usize| format!("{transport}.topic-{index:04}");
        let mut topics: Vec<_> = (0..TOPICS).map(topic).collect();
        // The second half finds the pattern there.
        topics[..TOPICS / 2].iter().for_each(|topic| sender.publish(topic));
        receiver.subscribe_regex(&pattern);
        topics[TOPICS / 2..].iter().for_each(|topic| sender.publish(topic));
        sender.publish(&format!("{transport}.topic-one"));
        sender.publish(&format!("{transport}.topic-0001.more"));
        for topic in &topics {
            sender.wait_for_subscribers(topic, 1);
            sender.send(topic, 1, 100);
        }
        for topic in &topics {
            assert_eq!(receiver.expect(topic, 1), Report::complete(1), "{topic}");
        }
        assert_eq!(receiver.matched(&pattern), topics);

        let (born, withdrawn) = (topic(TOPICS), topics.remove(TOPICS / 3));
        sender.publish(&born);
        sender.unpublish(&withdrawn);
        topics.push(born.clone());
        eventually("one comes and one goes", || receiver.matched(&pattern) == topics);
        sender.wait_for_subscribers(&born, 1);
        topics.iter().for_each(|topic| sender.send(topic, 1, 100));
        for topic in &topics {
            let count = if *topic == born { 1 } else { 2 };
            assert_eq!(receiver.expect(topic, count), Report::complete(count), "{topic}");
        }
        assert_eq!(receiver.report(&withdrawn), Report::complete(1), "{withdrawn}");
        assert_eq!(receiver.counter(Counter::PatternMatches), TOPICS as u64 + 1);
        assert_eq!(receiver.counter(Counter::PatternRefusals), 0);

        receiver.unsubscribe_regex(&pattern);
        for topic in &topics {
            eventually("the pattern has left", || sender.subscribers(topic) == 0);
        }
    }
}

/// This very program, with as many files as the system allows it.
fn with_all_files() -> Command {
    let mut command = Command::new("sh");
    let raise = r#"ulimit -S -n "$(ulimit -H -n)"; exec "$0" "$@""#;
    command.args(["-c", raise]).arg(std::env::current_exe().unwrap());
    command
}

/// Waits until discovery sends one packet per interval and nothing else, and returns the size of
/// these packets.
fn settled_packet_bytes(host: &mut Host) -> u64 {
    const INTERVALS: u32 = 15;
    /// Announcements come a tenth of the interval earlier or later.
    const MOST: u64 = INTERVALS as u64 * 10 / 9 + 2;
    let refresh = Duration::from_millis(100);
    let mut packet_bytes = 0;
    eventually("discovery settles", || {
        let before = discovery_sent(host);
        // Not a wait for something to be ready: this is the time over which is measured. It can
        // get longer on a busy machine, and then the attempt is repeated.
        std::thread::sleep(refresh * INTERVALS);
        let after = discovery_sent(host);
        let (packets, bytes) = (after.0 - before.0, after.1 - before.1);
        packet_bytes = bytes / packets.max(1);
        packets > 0 && packets <= MOST && bytes.is_multiple_of(packets) && packet_bytes < 200
    });
    packet_bytes
}

/// Packets and bytes, with no packet that left between the one counter and the other: fifteen
/// packets with the bytes of sixteen would look like larger ones.
fn discovery_sent(host: &mut Host) -> (u64, u64) {
    let mut read =
        || (host.counter(Counter::DiscoverySent), host.counter(Counter::DiscoveryBytesSent));
    let mut last = read();
    loop {
        let now = read();
        if now == last {
            return now;
        }
        last = now;
    }
}
