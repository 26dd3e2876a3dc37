//! Simulated sessions: seeds by the thousand, those that once failed, and the table in
//! `docs/simulation.md`; simulated discovery, and the tables in `docs/scale.md`. Tests.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::fs;
use std::path::Path;
use std::thread;

use vega::sim::{self, Cost, Costs, Event, Size};

const SEEDS: u64 = 2_400;
/// Seeds are shared out to so many threads.
const THREADS: u64 = 2;

/// Seeds that once failed, and what they found.
const REGRESSIONS: &[(u64, &str)] = &[
    (23, "what a guest was given was counted as lost when it was welcomed"),
    (24, "a full ring that was closed took its oldest packet for overwritten, and panicked"),
    (667, "a first window of which only the heartbeat arrived was given up at once"),
    (2661, "the same, by disorder alone"),
    (2668, "of a session that began more than a window back, the last window was given up, too"),
    (1008, "who was left out while its answers were lost was not asked again, and lost in silence"),
    (3057, "the same on a group"),
    (
        14725,
        "who was left out did not hear of the last packets: the session fell silent without it",
    ),
    (
        15272,
        "who heard a session before discovery named it was not told what was gone, and stalled it",
    ),
    (8827, "the same"),
    (32703, "parts of a message hid how many messages had been lost before it"),
    (
        30635,
        "the simulator forgot when the packets before a welcome were missed, and took a gap that was \
         given up in time for one given up at once",
    ),
    (
        736_048,
        "the simulator forgot that with a welcome the window begins anew, with gaps of its own",
    ),
];

#[test]
fn thousands_of_scenarios_hold() {
    let run = |first: u64| {
        let seeds = (first..SEEDS).step_by(THREADS.try_into().unwrap());
        seeds.filter_map(|seed| sim::run(seed).err()).collect::<Vec<_>>()
    };
    let failures: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|first| scope.spawn(move || run(first))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let shown: Vec<_> = failures.iter().take(10).map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), shown.join("\n"));
}

#[test]
fn what_once_failed_does_not_fail_again() {
    for (seed, found) in REGRESSIONS {
        if let Err(failure) = sim::run(*seed) {
            panic!("once, {found}\n{failure}");
        }
    }
}

#[test]
fn a_seed_repeats_everything() {
    for seed in [1, 77] {
        let [one, two] = [sim::run(seed), sim::run(seed)].map(Result::unwrap);
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
    }
}

#[test]
fn the_table_in_the_documents_is_what_the_simulator_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/simulation.md");
    let document = fs::read_to_string(path).unwrap();
    let table = sim::table().unwrap().to_string();
    assert!(document.contains(&table), "`vega sim --table` says now:\n{table}");
}

/// Sizes of `docs/scale.md` that any machine simulates in a moment, and those that take minutes.
const SMALL: &[Size] = &[Size::new(1_000, 20), Size::new(1_000, 100)];
const LARGE: &[Size] = &[Size::new(10_000, 200), Size::new(1_000, 2_000)];

/// First announcements of the same instant that a socket of the default size holds, more or less.
const HELD: u64 = 250;

/// What one event of a domain costs at most, per instance: see `docs/scale.md`.
fn check_bounds(costs: &Costs) {
    let (n, adverts) = (costs.size.instances as u64, 3 * costs.size.topics as u64);
    // Pages of the log of one instance, and of all: 19 adverts of 70 bytes fill one.
    let pages = n * (adverts / n).div_ceil(19).max(1);
    for cost in &costs.costs {
        let Cost { event, time, datagrams, peak_datagrams, dropped, .. } = *cost;
        let missed = if event == Event::Start { n * n.saturating_sub(HELD) } else { 0 };
        assert!(dropped <= missed, "{event}: {dropped} dropped, more was told than can be read");
        let (most, peak) = match event {
            // Three announcements and a greeting of each, all logs once, and some of them again.
            Event::Start => (4 * n + 2 * pages, 200 + 2 * n),
            Event::Steady => (12 * n, 50 + n / 10),
            // A newcomer is greeted by all, and asks each for its log.
            Event::Join => (3 * n + 2 * pages, 200 + n / 4),
            // Halves greet each other, and tell each other everything.
            Event::Heal => (6 * n + 3 * pages, 400 + n),
            _ => panic!("an unknown event: {event}"),
        };
        assert!(datagrams <= most, "{event}: {datagrams} datagrams (allowed: {most})");
        assert!(peak_datagrams <= peak, "{event}: {peak_datagrams} in 10 ms (allowed: {peak})");
        let limit = if event == Event::Steady { 10_000 } else { 2_000 };
        assert!(time.as_millis() <= limit, "{event} takes {time:?}");
    }
}

fn check_scale(sizes: &[Size]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scale.md");
    let document = fs::read_to_string(path).unwrap();
    for size in sizes {
        let costs = sim::discovery(*size).unwrap();
        check_bounds(&costs);
        let Size { topics, instances, .. } = size;
        let command = format!("vega sim --discovery --topics {topics} --instances {instances}");
        assert!(document.contains(&costs.to_string()), "`{command}` says now:\n{costs}");
    }
    assert!(document.contains(Costs::HEADER), "the columns are now\n{}", Costs::HEADER);
}

#[test]
fn discovery_of_many_is_bounded_and_as_documented() {
    check_scale(SMALL);
}

#[test]
#[ignore = "takes minutes and gigabytes: cargo test --release --test sim -- --ignored"]
fn discovery_of_very_many_is_bounded_and_as_documented() {
    check_scale(LARGE);
}
