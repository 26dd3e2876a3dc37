//! The wheel alone: exact ticks at every level, cheap idle stretches, work done ahead.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::random::SplitMix64;

struct Bench {
    wheel: Wheel,
    inserted: u32,
}

impl Bench {
    fn starting_at(tick: u64) -> Self {
        Self { wheel: Wheel::new(at(tick), 0), inserted: 0 }
    }

    fn insert(&mut self, now: Timestamp, deadline: Timestamp) -> u32 {
        let index = self.inserted;
        self.inserted += 1;
        self.wheel.insert(index, now, deadline);
        index
    }

    /// One call without a limit: what expires at `now`.
    fn advance(&mut self, now: Timestamp) -> Vec<u32> {
        let mut expired = Vec::new();
        let more = self.wheel.advance(now, usize::MAX, |due| expired.extend(indices(due)));
        assert!(!more);
        expired
    }

    /// Goes to sleep until the wheel asks to be called, as a thread would, until something expires.
    /// Returns what, when, and the number of calls.
    fn run(&mut self) -> (Vec<u32>, Timestamp, usize) {
        for calls in 1..=LEVELS as usize + 1 {
            let now = self.wheel.next_wake().expect("a timer is left");
            let expired = self.advance(now);
            if !expired.is_empty() {
                return (expired, now, calls);
            }
            assert!(self.wheel.next_wake() > Some(now), "no progress at {now:?}");
        }
        panic!("more calls than levels");
    }

    fn occupied_slots(&self) -> u32 {
        self.wheel.occupied.iter().map(Bits::count).sum()
    }
}

fn indices(due: &[Entry]) -> impl Iterator<Item = u32> {
    due.iter().map(|entry| entry.index)
}

fn at(tick: u64) -> Timestamp {
    Timestamp::from_nanos(tick.saturating_mul(TICK_NANOS))
}

#[test]
fn a_timer_expires_at_the_first_tick_that_is_not_before_its_deadline() {
    for (deadline, tick) in [(0, 0), (1, 1), (TICK_NANOS, 1), (TICK_NANOS + 1, 2)] {
        let mut bench = Bench::starting_at(0);
        bench.insert(at(0), Timestamp::from_nanos(deadline));
        if tick > 0 {
            let just_before = Timestamp::from_nanos(tick * TICK_NANOS - 1);
            assert!(bench.advance(just_before).is_empty(), "{deadline} early");
        }
        assert_eq!(bench.advance(at(tick)), [0], "{deadline} late");
    }
}

#[test]
fn deadlines_around_the_borders_of_every_level_are_exact() {
    for level in 0..LEVELS {
        let width = 1_u64 << shift(level);
        for start in [0, 1, width - 1, width, 255 * width, 3 * width + 1] {
            for slots in [1, 2, 64, 255, 256, 257, 510, 511, 512, 513] {
                for tick in [slots * width - 1, slots * width, slots * width + 1] {
                    let (start, tick) = (start.min(LAST_TICK - 1), (start + tick).min(LAST_TICK));
                    let mut bench = Bench::starting_at(start);
                    bench.insert(at(start), at(tick));
                    if tick == LAST_TICK {
                        assert!(bench.advance(Timestamp::NEVER).is_empty());
                        continue;
                    }
                    let (_, expired_at, _) = bench.run();
                    assert_eq!(expired_at, at(tick.max(start)), "level {level} from {start}");
                    assert_eq!(bench.occupied_slots(), 0);
                }
            }
        }
    }
}

#[test]
fn a_distant_timer_costs_at_most_one_wake_up_per_level() {
    let mut bench = Bench::starting_at(12_345);
    bench.insert(at(12_345), at(LAST_TICK - 1));
    let (_, expired_at, calls) = bench.run();
    assert_eq!(expired_at, at(LAST_TICK - 1));
    assert!(calls <= LEVELS as usize, "{calls} calls");
}

#[test]
fn a_second_costs_two_wake_ups() {
    let mut bench = Bench::starting_at(1_000_003);
    let now = at(1_000_003);
    bench.insert(now, now + Duration::from_secs(1));
    assert_eq!(bench.run().2, 2);
}

#[test]
fn never_comes_after_the_end_of_time() {
    let mut bench = Bench::starting_at(0);
    bench.insert(at(0), Timestamp::NEVER);
    assert!(bench.wheel.next_wake() <= Some(Timestamp::NEVER));
    assert!(bench.advance(Timestamp::NEVER).is_empty());
    assert_eq!(bench.wheel.next_wake(), Some(Timestamp::NEVER));
}

#[test]
fn a_jump_over_all_levels_expires_everything_in_order_of_time() {
    let mut bench = Bench::starting_at(7);
    let ticks = [1 << 40, 8, 1 << 20, 5_000, 40, 1 << 46, 71, 300];
    for tick in ticks {
        bench.insert(at(7), at(tick));
    }
    let order = bench.advance(Timestamp::NEVER).into_iter().map(|index| ticks[index as usize]);
    assert!(order.is_sorted());
    assert_eq!(bench.wheel.next_wake(), None);
}

#[test]
fn a_late_call_keeps_the_order_of_timers_that_wait_on_different_levels() {
    let mut bench = Bench::starting_at(0);
    let coarse = bench.insert(at(0), at(70));
    let fine = bench.insert(at(20), at(80));
    assert_eq!(bench.advance(at(1_000)), [coarse, fine]);
}

#[test]
fn inserting_after_an_idle_stretch_starts_from_now() {
    let mut bench = Bench::starting_at(0);
    let now = 1 << 36;
    bench.insert(at(now), at(now + 5));
    assert_eq!(bench.wheel.next_wake(), Some(at(now + 5)));
}

#[test]
fn a_deadline_in_the_past_is_due_at_once() {
    let mut bench = Bench::starting_at(0);
    bench.advance(at(1_000));
    bench.insert(at(900), at(950));
    assert_eq!(bench.wheel.next_wake(), Some(at(1_000)));
    assert_eq!(bench.advance(at(1_000)), [0]);
}

#[test]
fn time_that_stands_still_or_goes_back_expires_nothing_new() {
    let mut bench = Bench::starting_at(100);
    bench.insert(at(100), at(101));
    for tick in [100, 100, 50, 0] {
        assert!(bench.advance(at(tick)).is_empty());
    }
    assert_eq!(bench.advance(at(101)), [0]);
    assert!(bench.advance(at(101)).is_empty());
}

#[test]
fn a_crowded_slot_is_emptied_ahead_of_its_time_and_delays_nothing() {
    let mut bench = Bench::starting_at(0);
    let width = 1 << shift(2);
    let start = 10 * width;
    for offset in 0..1_000 {
        bench.insert(at(0), at(start + offset));
    }
    // Called when asked, a whole slot early, it takes many portions to bring the crowd closer.
    let wake = bench.wheel.next_wake().unwrap();
    assert_eq!(wake, at(start - width));
    let due_meanwhile = bench.insert(wake, wake + Duration::from_nanos(TICK_NANOS));
    let mut expired = Vec::new();
    let mut portion = |bench: &mut Bench, now| {
        bench.wheel.advance(now, 10, |due| expired.extend(indices(due).map(|index| (index, now))))
    };
    assert!(portion(&mut bench, wake));
    let later = wake + Duration::from_nanos(TICK_NANOS);
    assert!(portion(&mut bench, later));
    let mut portions = 2;
    while portion(&mut bench, later) {
        portions += 1;
    }
    assert!(portions >= 100, "{portions}");
    // The timer that fell due between two portions did not wait for the rest of the crowd.
    assert_eq!(expired, [(due_meanwhile, later)]);
}

#[test]
fn removal_from_either_end_and_the_middle_keeps_the_list() {
    for removed in 0..3 {
        let mut bench = Bench::starting_at(0);
        for _ in 0..3 {
            bench.insert(at(0), at(5));
        }
        bench.wheel.remove(removed);
        let left: Vec<_> = (0..3).filter(|index| *index != removed).collect();
        let mut expired = bench.advance(at(5));
        expired.sort_unstable();
        assert_eq!(expired, left);
        assert_eq!(bench.occupied_slots(), 0);
    }
}

#[test]
fn removing_the_last_timer_leaves_nothing_to_wake_for() {
    let mut bench = Bench::starting_at(0);
    for tick in [3, 300, 1 << 30] {
        let index = bench.insert(at(0), at(tick));
        bench.wheel.remove(index);
        assert_eq!(bench.wheel.next_wake(), None);
    }
}

#[test]
fn lists_of_many_blocks_lose_nobody_whoever_leaves() {
    let mut random = SplitMix64::new(3);
    let mut bench = Bench::starting_at(0);
    let mut left = BTreeMap::new();
    for _ in 0..4_000 {
        // Few ticks near by and far away: long lists, on two levels.
        let tick = 1 + random.below(5) + 600 * random.below(2);
        left.insert(bench.insert(at(0), at(tick)), tick);
        if random.below(3) == 0 {
            let index = u32::try_from(random.below(bench.inserted.into())).unwrap();
            if left.remove(&index).is_some() {
                bench.wheel.remove(index);
            }
        }
    }
    let blocks = bench.wheel.lists.count();
    for tick in 1..=605 {
        let mut expired = bench.advance(at(tick));
        expired.sort_unstable();
        let due: Vec<_> =
            left.extract_if(.., |_, due| *due == tick).map(|(index, _)| index).collect();
        assert_eq!(expired, due, "tick {tick}");
    }
    assert!(left.is_empty());
    assert_eq!(bench.occupied_slots(), 0);

    // What the crowd has left is used again, and is enough for as many.
    for _ in 0..2_000 {
        bench.insert(at(605), at(700 + random.below(5)));
    }
    bench.wheel.clear();
    assert_eq!(bench.wheel.next_wake(), None);
    assert_eq!(bench.wheel.lists.count(), blocks);
}
