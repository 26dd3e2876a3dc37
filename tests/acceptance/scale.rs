//! Point 16: hundreds of topics, ten instances, and what discovery costs once they know each
//! other. Tests.

use std::time::Duration;

use vega::{Counter, Instance, Publisher, Subscription};

use crate::support::{Behaviour, Host, Journal, Place, Report, WAIT, eventually, payload};

const TOPICS: usize = 500;
const HOSTS: usize = 5;
const LOCAL: usize = 5;
/// Each instance publishes its share of the topics, and listens to all of them.
const SHARE: usize = TOPICS / (HOSTS + LOCAL);

fn topic(index: usize) -> String {
    format!("multicast.topic-{index}")
}

struct Local {
    instance: Instance,
    publishers: Vec<Publisher>,
    subscriptions: Vec<(Subscription, Journal)>,
}

impl Local {
    fn start(place: &Place, index: usize) -> Self {
        let instance = place.start(&format!("local-{index}"));
        let share = (HOSTS + index) * SHARE..(HOSTS + index + 1) * SHARE;
        let publishers = share.map(|index| instance.publisher(&topic(index)).unwrap()).collect();
        let subscribe = |index| {
            let journal = Journal::new(&topic(index));
            (instance.subscribe(&topic(index), journal.clone()).unwrap(), journal)
        };
        let subscriptions = (0..TOPICS).map(subscribe).collect();
        Self { instance, publishers, subscriptions }
    }
}

fn start_host(place: &Place, index: usize) -> Host {
    let mut host = Host::start(place, &format!("host-{index}"));
    for index in index * SHARE..(index + 1) * SHARE {
        host.publish(&topic(index));
    }
    for index in 0..TOPICS {
        host.subscribe(&topic(index), Behaviour::Collect);
    }
    host
}

#[test]
fn hundreds_of_topics_match_between_ten_instances_and_then_cost_nothing() {
    let lonely_place = Place::new();
    let lonely = lonely_place.start("local-0");
    let _publisher = lonely.publisher(&topic(0)).unwrap();
    let bytes_with_one_topic = settled_packet_bytes(&lonely);

    let place = Place::new();
    let (mut hosts, mut locals) = std::thread::scope(|scope| {
        let place = &place;
        let hosts: Vec<_> =
            (0..HOSTS).map(|index| scope.spawn(move || start_host(place, index))).collect();
        let locals: Vec<_> = (0..LOCAL).map(|index| Local::start(place, index)).collect();
        (hosts.into_iter().map(|host| host.join().unwrap()).collect::<Vec<_>>(), locals)
    });
    for local in &mut locals {
        for publisher in &mut local.publishers {
            assert!(publisher.wait_for_subscribers(HOSTS + LOCAL, WAIT), "{publisher:?}");
            publisher.send(&payload::numbered(1, 20)).unwrap();
        }
    }
    for (index, host) in hosts.iter_mut().enumerate() {
        for index in index * SHARE..(index + 1) * SHARE {
            host.wait_for_subscribers(&topic(index), HOSTS + LOCAL);
            host.send(&topic(index), 1, 20);
        }
    }
    for local in &locals {
        assert_eq!(local.instance.peers().len(), HOSTS + LOCAL - 1);
        for (subscription, journal) in &local.subscriptions {
            assert!(subscription.wait_for_publishers(1, WAIT));
            assert_eq!(journal.expect(1), Report::complete(1));
        }
    }
    for host in &mut hosts {
        for index in 0..TOPICS {
            assert_eq!(host.expect(&topic(index), 1), Report::complete(1));
        }
    }
    assert_eq!(settled_packet_bytes(&locals[0].instance), bytes_with_one_topic);
}

/// Waits until discovery sends one packet per interval and nothing else, and returns the size of
/// these packets.
fn settled_packet_bytes(instance: &Instance) -> u64 {
    const INTERVALS: u32 = 15;
    /// Announcements come a tenth of the interval earlier or later.
    const MOST: u64 = INTERVALS as u64 * 10 / 9 + 2;
    let refresh = Duration::from_millis(100);
    let mut bytes = 0;
    eventually("discovery settles", || {
        let before = instance.counters();
        // Not a wait for something to be ready: this is the time over which is measured. It can
        // get longer on a busy machine, and then the attempt is repeated.
        std::thread::sleep(refresh * INTERVALS);
        let after = instance.counters();
        let increase = |counter| after.get(counter) - before.get(counter);
        let packets = increase(Counter::DiscoverySent);
        let sent = increase(Counter::DiscoveryBytesSent);
        bytes = sent / packets.max(1);
        packets > 0 && packets <= MOST && sent.is_multiple_of(packets) && bytes < 200
    });
    bytes
}
