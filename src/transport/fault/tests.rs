//! The injector on its own: rates, order, bounds, and that a seed repeats all of it. Tests.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::config::Config;

const SOURCE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
const PACKETS: u64 = 100_000;

/// The `[fault]` table with these keys.
fn config(keys: &str) -> FaultConfig {
    Config::parse(&format!("[fault]\n{keys}")).unwrap().fault
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_nanos(1000 * micros)
}

/// A socket's side: what came out, by the number that each datagram carries, and when.
struct Inbox {
    injector: FaultInjector,
    out: Vec<(u64, Timestamp)>,
}

impl Inbox {
    fn new(keys: &str, seed: u64) -> Self {
        Self { injector: FaultInjector::new(config(keys), seed), out: Vec::new() }
    }

    fn take_due(&mut self, now: Timestamp) {
        while let Some(packet) = self.injector.poll_due(now) {
            assert_eq!(packet.source, SOURCE);
            self.out.push((u64::from_le_bytes((*packet.bytes).try_into().unwrap()), now));
        }
    }

    fn receive(&mut self, number: u64, now: Timestamp) {
        self.take_due(now);
        if self.injector.handle_packet(now, SOURCE, &number.to_le_bytes()) {
            self.out.push((number, now));
        }
    }

    /// One datagram per microsecond, and then until nothing is held any more.
    fn play(keys: &str, seed: u64, packets: u64) -> Self {
        let mut inbox = Self::new(keys, seed);
        let mut now = 0;
        for number in 0..packets {
            now += 1;
            inbox.receive(number, at(now));
        }
        while inbox.injector.is_holding() {
            now += 1;
            inbox.take_due(at(now));
        }
        inbox
    }

    fn numbers(&self) -> Vec<u64> {
        self.out.iter().map(|(number, _)| *number).collect()
    }

    fn counts(&self) -> FaultCounts {
        self.injector.counts()
    }
}

/// Six standard deviations of the count of events of this probability among [`PACKETS`].
fn assert_rate(count: u64, probability: f64) {
    let expected = PACKETS as f64 * probability;
    let spread = 6.0 * (expected * (1.0 - probability)).sqrt();
    assert!((count as f64 - expected).abs() <= spread, "{count} instead of {expected}");
}

#[test]
fn losses_have_the_rate_that_is_asked_for_and_the_rest_passes_in_order() {
    for (text, probability) in [("0.1%", 0.001), ("1%", 0.01), ("20%", 0.2), ("90%", 0.9)] {
        let inbox = Inbox::play(&format!("loss = '{text}'"), 1, PACKETS);
        let counts = inbox.counts();
        assert_rate(counts.dropped, probability);
        assert_eq!(inbox.out.len() as u64 + counts.dropped, PACKETS);
        assert!(inbox.out.is_sorted() && (counts.duplicated, counts.delayed) == (0, 0));
    }
}

#[test]
fn all_or_nothing_is_exact() {
    assert_eq!(Inbox::play("loss = 1", 1, PACKETS).out, []);
    assert_eq!(Inbox::play("seed = 3", 1, 1000).numbers(), (0..1000).collect::<Vec<_>>());
    let twice = Inbox::play("duplicate = 1", 1, 1000);
    assert_eq!(twice.numbers(), (0..2000).map(|at| at / 2).collect::<Vec<_>>());
    assert_eq!(twice.counts().duplicated, 1000);
}

#[test]
fn duplicates_have_the_rate_that_is_asked_for() {
    let inbox = Inbox::play("duplicate = '5%'", 2, PACKETS);
    assert_rate(inbox.counts().duplicated, 0.05);
    assert_eq!(inbox.out.len() as u64, PACKETS + inbox.counts().duplicated);
    assert!(inbox.out.is_sorted(), "a copy follows its original at once");
}

#[test]
fn one_that_is_reordered_is_overtaken_by_one_to_three() {
    let inbox = Inbox::play("reorder = '1%'", 3, PACKETS);
    assert_rate(inbox.counts().delayed, 0.01);
    let numbers = inbox.numbers();
    let mut depths = [0_u64; 4];
    for (place, number) in numbers.iter().enumerate() {
        let later = numbers[..place].iter().rev().take(16).filter(|before| *before > number);
        let depth = later.count();
        // Those that wait at the same time are no overtakers, and come out together.
        depths[depth.min(3)] += u64::from(depth > 0);
        assert!(depth <= 5, "{number} was overtaken by {depth}");
    }
    assert!(depths[1..].iter().all(|count| *count > 200), "{depths:?}");
    let mut sorted = numbers;
    sorted.sort_unstable();
    assert_eq!(sorted, (0..PACKETS).collect::<Vec<_>>(), "none is lost, none comes twice");
}

#[test]
fn one_that_nobody_overtakes_comes_after_its_time() {
    let mut inbox = Inbox::new("reorder = 1", 4);
    inbox.receive(0, at(0));
    inbox.take_due(at(999));
    assert!(inbox.out.is_empty() && inbox.injector.is_holding());
    inbox.take_due(at(1000));
    assert_eq!(inbox.out, [(0, at(1000))]);
    assert!(!inbox.injector.is_holding());
}

#[test]
fn a_delay_keeps_the_order_and_a_jitter_does_not() {
    let inbox = Inbox::play("delay = '50us'", 5, 1000);
    let expected: Vec<_> = (0..1000).map(|number| (number, at(number + 51))).collect();
    assert_eq!(inbox.out, expected);
    assert_eq!(inbox.counts().delayed, 1000);
    let inbox = Inbox::play("delay = '50us'\njitter = '20us'", 5, 1000);
    assert!(!inbox.numbers().is_sorted());
    for (number, out_at) in inbox.out {
        // Time advances by a microsecond, so what is due in between comes out after it.
        assert!((at(number + 51)..=at(number + 71)).contains(&out_at), "{number}: {out_at:?}");
    }
}

#[test]
fn one_that_is_reordered_behind_a_delay_is_overtaken_all_the_same() {
    let inbox = Inbox::play("delay = '500us'\nreorder = '10%'", 6, 2000);
    let overtaken = inbox.numbers().windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(overtaken > 100, "{overtaken}");
    assert!(inbox.out.iter().all(|(number, out_at)| *out_at >= at(number + 501)));
}

#[test]
fn a_full_store_lets_everything_pass() {
    let mut inbox = Inbox::new("delay = '10s'\nduplicate = '50%'\nreorder = '50%'", 7);
    for number in 0..3 * MAX_HELD as u64 {
        inbox.receive(number, at(number));
        assert!(inbox.injector.held.len() + inbox.injector.aside.len() <= MAX_HELD);
    }
    let counts = inbox.counts();
    assert_eq!(counts.delayed + counts.duplicated, MAX_HELD as u64);
    assert_eq!(inbox.out.len() as u64, 3 * MAX_HELD as u64 - counts.delayed);
}

#[test]
fn a_seed_repeats_everything_and_another_does_not() {
    const ALL: &str =
        "loss = '3%'\nduplicate = '4%'\nreorder = '5%'\ndelay = '7us'\njitter = '9us'";
    let (once, again) = (Inbox::play(ALL, 8, 10_000), Inbox::play(ALL, 8, 10_000));
    assert_eq!((&once.out, once.counts()), (&again.out, again.counts()));
    assert_ne!(once.out, Inbox::play(ALL, 9, 10_000).out);
}

/// A test of a lossy network that turns reordering on meets the losses that it met before.
#[test]
fn faults_of_one_kind_do_not_change_those_of_another() {
    let lost = |keys: &str| {
        let mut arrived = Inbox::play(keys, 10, 10_000).numbers();
        arrived.sort_unstable();
        arrived.dedup();
        arrived
    };
    let plain = lost("loss = '10%'");
    assert_eq!(plain, lost("loss = '10%'\nreorder = '20%'\nduplicate = '5%'\njitter = '50us'"));
}
