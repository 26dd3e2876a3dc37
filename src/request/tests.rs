//! The table: completion rules, and a comparison with a model that keeps deadlines in a sorted map.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::wheel::TICK_NANOS;
use super::*;

const TICK: Duration = Duration::from_nanos(TICK_NANOS);
const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

fn table(capacity: usize) -> RequestTable<RequestId> {
    RequestTable::new(capacity, START)
}

fn open(table: &mut RequestTable<RequestId>, now: Timestamp, timeout: Duration) -> RequestId {
    let (id, kept) = table.register(now, timeout, |id| id).unwrap();
    assert_eq!(id, kept);
    id
}

/// Everything that expires at `now`, asked for in small portions.
fn expire_all(table: &mut RequestTable<RequestId>, now: Timestamp) -> Vec<RequestId> {
    let mut expired = Vec::new();
    while table.expire(now, 3, &mut expired) {}
    expired
}

#[test]
fn an_id_is_a_generation_above_a_slot_index() {
    let mut table = table(4);
    assert_eq!(open(&mut table, START, TICK).as_u64(), 1 << 32);
    let second = open(&mut table, START, TICK);
    assert_eq!(second.as_u64(), 1 << 32 | 1);
    table.remove(second);
    assert_eq!(open(&mut table, START, TICK).as_u64(), 2 << 32 | 1);
}

#[test]
fn a_zero_timeout_is_refused_before_anything_is_made() {
    let mut table = table(4);
    let refused = table.register(START, Duration::ZERO, |_| panic!("made"));
    assert_eq!(refused, Err(RegisterError::ZeroTimeout));
    assert_eq!(table.len(), 0);
}

#[test]
fn a_full_table_refuses_until_a_request_ends() {
    let mut table = table(2);
    let first = open(&mut table, START, TICK);
    open(&mut table, START, TICK * 2);
    let refused = table.register(START, TICK, |_| panic!("made"));
    assert_eq!(refused, Err(RegisterError::Full { limit: 2 }));

    table.remove(first);
    open(&mut table, START, TICK * 2);
    expire_all(&mut table, START + TICK * 3);
    open(&mut table, START, TICK);
    open(&mut table, START, TICK);
}

#[test]
fn no_capacity_refuses_everything_and_too_much_is_cut() {
    let refused = table(0).register(START, TICK, |id| id);
    assert_eq!(refused, Err(RegisterError::Full { limit: 0 }));
    assert_eq!(format!("{:?}", table(2)), "RequestTable { open: 0, capacity: 2, .. }");
    assert_eq!(RequestTable::<()>::new(usize::MAX, START).capacity, MAX_CAPACITY);
}

#[test]
fn a_closed_request_never_expires() {
    let mut table = table(4);
    let id = open(&mut table, START, TICK);
    assert_eq!(table.remove(id), Some(id));
    assert_eq!(table.remove(id), None);
    assert_eq!(table.next_deadline(), None);
    assert!(expire_all(&mut table, Timestamp::NEVER).is_empty());
}

#[test]
fn an_expired_request_cannot_be_found_closed_or_revived() {
    let mut table = table(4);
    let id = open(&mut table, START, TICK);
    assert_eq!(table.get(id), Some(&id));
    let now = START + TICK * 2;
    assert_eq!(expire_all(&mut table, now), [id]);
    assert_eq!(table.get(id), None);
    assert!(!table.reset(id, now, TICK));
    assert_eq!(table.remove(id), None);
    assert_eq!(table.len(), 0);
}

#[test]
fn a_reset_moves_the_deadline_both_ways() {
    let mut table = table(4);
    let id = open(&mut table, START, Duration::from_secs(1));
    assert!(table.reset(id, START, Duration::from_secs(10)));
    assert!(expire_all(&mut table, START + Duration::from_secs(9)).is_empty());
    let now = START + Duration::from_secs(9);
    assert!(table.reset(id, now, TICK * 2));
    assert!(expire_all(&mut table, now + TICK).is_empty());
    assert_eq!(expire_all(&mut table, now + TICK * 3), [id]);
}

#[test]
fn a_reset_to_zero_makes_a_request_due() {
    let mut table = table(4);
    let id = open(&mut table, START, Duration::MAX);
    assert!(table.reset(id, START, Duration::ZERO));
    assert_eq!(expire_all(&mut table, START + TICK), [id]);
}

#[test]
fn a_call_expires_no_more_than_its_limit() {
    let mut table = table(10);
    for _ in 0..10 {
        open(&mut table, START, TICK);
    }
    let now = START + TICK * 2;
    let mut expired = Vec::new();
    assert!(table.expire(now, 0, &mut expired));
    assert!(expired.is_empty());
    assert!(table.expire(now, 9, &mut expired));
    assert_eq!(expired.len(), 9);
    assert!(!table.expire(now, 1, &mut expired));
    assert_eq!(expired.len(), 10);
    assert!(!table.expire(now, 0, &mut expired));
}

#[test]
fn equal_deadlines_expire_together() {
    let mut table = table(100);
    let opened: HashSet<_> =
        (0..100).map(|_| open(&mut table, START, Duration::from_secs(3))).collect();
    let just_before = Duration::from_secs(3) - Duration::from_nanos(1);
    assert!(expire_all(&mut table, START + just_before).is_empty());
    let expired = expire_all(&mut table, START + just_before + TICK);
    assert_eq!(expired.len(), opened.len());
    assert_eq!(HashSet::from_iter(expired), opened);
}

#[test]
fn an_endless_timeout_never_expires_but_can_be_closed_and_shortened() {
    let mut table = table(4);
    let closed = open(&mut table, START, Duration::MAX);
    let shortened = open(&mut table, START, Duration::MAX);
    assert!(expire_all(&mut table, Timestamp::from_nanos(1 << 63)).is_empty());
    assert_eq!(table.remove(closed), Some(closed));
    assert!(table.reset(shortened, Timestamp::from_nanos(1 << 63), TICK));
    assert_eq!(expire_all(&mut table, Timestamp::NEVER), [shortened]);
}

#[test]
fn a_panic_while_a_request_is_made_registers_nothing() {
    let mut table = table(1);
    let attempt = std::panic::AssertUnwindSafe(|| {
        table.register(START, TICK, |_| -> RequestId { panic!("no request") })
    });
    assert!(std::panic::catch_unwind(attempt).is_err());
    assert_eq!(table.len(), 0);
    assert_eq!(table.next_deadline(), None);
    open(&mut table, START, TICK);
}

#[test]
fn drain_ends_every_request_and_leaves_a_working_table() {
    let mut table = table(8);
    let opened: HashSet<_> =
        [TICK, TICK * 100, Duration::MAX].map(|timeout| open(&mut table, START, timeout)).into();
    let mut drained = Vec::new();
    table.drain(&mut drained);
    assert_eq!(drained.into_iter().collect::<HashSet<_>>(), opened);
    assert_eq!((table.len(), table.next_deadline()), (0, None));
    assert!(opened.iter().all(|id| table.get(*id).is_none()));

    let id = open(&mut table, START, TICK);
    assert!(!opened.contains(&id));
    assert_eq!(expire_all(&mut table, START + TICK * 2), [id]);
}

/// One step of a random history. A position counts over all ids ever given out, ended ones too.
#[derive(Clone, Debug)]
enum Step {
    Register {
        timeout: Duration,
    },
    Reset {
        position: usize,
        timeout: Duration,
    },
    Remove {
        position: usize,
    },
    /// Time passes, then one call of `expire`.
    Expire {
        after: Duration,
        limit: usize,
    },
    /// Sleeps until `next_deadline`, then expires all there is.
    Wake,
    Forge {
        id: u64,
    },
}

/// Spans of every magnitude, at and around powers of two ticks, where the levels meet.
fn span() -> impl Strategy<Value = Duration> {
    let border = (0_u32..46, 1_u64..66, 0_u64..3);
    prop_oneof![
        4 => (1..TICK_NANOS * 200).prop_map(Duration::from_nanos),
        4 => border.prop_map(|(power, slots, offset)| {
            let nanos = (u128::from(slots) * u128::from(TICK_NANOS)) << power;
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).saturating_add(offset);
            Duration::from_nanos(nanos - 1)
        }),
        1 => Just(Duration::MAX),
    ]
}

fn passing() -> impl Strategy<Value = Duration> {
    prop_oneof![
        2 => Just(Duration::ZERO),
        6 => (0..TICK_NANOS * 100).prop_map(Duration::from_nanos),
        2 => (0_u64..5_000).prop_map(Duration::from_millis),
        1 => (0_u64..1 << 50).prop_map(Duration::from_nanos),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let position = any::<prop::sample::Index>().prop_map(|index| index.index(1 << 16));
    prop_oneof![
        6 => span().prop_map(|timeout| Step::Register { timeout }),
        3 => (position.clone(), span())
            .prop_map(|(position, timeout)| Step::Reset { position, timeout }),
        2 => position.prop_map(|position| Step::Remove { position }),
        4 => (passing(), 0_usize..8).prop_map(|(after, limit)| Step::Expire { after, limit }),
        2 => Just(Step::Wake),
        1 => (1_u64..1 << 34).prop_map(|id| Step::Forge { id }),
    ]
}

/// The table next to what it should be.
struct Comparison {
    table: RequestTable<RequestId>,
    now: Timestamp,
    deadlines: BTreeMap<RequestId, Timestamp>,
    given_out: Vec<RequestId>,
    most_open: usize,
}

impl Comparison {
    const CAPACITY: usize = 12;

    fn new() -> Self {
        Self {
            table: table(Self::CAPACITY),
            now: START,
            deadlines: BTreeMap::new(),
            given_out: Vec::new(),
            most_open: 0,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Register { timeout } => self.register(timeout),
            Step::Reset { position, timeout } => self.reset(position, timeout),
            Step::Remove { position } => self.remove(position),
            Step::Expire { after, limit } => {
                self.now = self.now + after;
                self.expire(limit);
            }
            Step::Wake => self.wake(),
            Step::Forge { id } => {
                let id = RequestId(id);
                assert_eq!(self.table.get(id).is_some(), self.deadlines.contains_key(&id));
            }
        }
        self.compare();
    }

    fn register(&mut self, timeout: Duration) {
        let result = self.table.register(self.now, timeout, |id| id);
        if timeout.is_zero() {
            assert_eq!(result, Err(RegisterError::ZeroTimeout));
        } else if self.deadlines.len() == Self::CAPACITY {
            assert_eq!(result, Err(RegisterError::Full { limit: Self::CAPACITY }));
        } else {
            let (id, kept) = result.unwrap();
            assert_eq!(id, kept);
            assert!(!self.given_out.contains(&id), "{id} was given out twice");
            self.given_out.push(id);
            self.deadlines.insert(id, self.now + timeout);
            self.most_open = self.most_open.max(self.deadlines.len());
            let index = (id.as_u64() & 0xffff_ffff) as usize;
            assert!(index < self.most_open, "slot {index} although others are vacant");
        }
    }

    fn reset(&mut self, position: usize, timeout: Duration) {
        let Some(id) = self.pick(position) else { return };
        let open = self.deadlines.contains_key(&id);
        assert_eq!(self.table.reset(id, self.now, timeout), open);
        if open {
            self.deadlines.insert(id, self.now + timeout);
        }
    }

    fn remove(&mut self, position: usize) {
        let Some(id) = self.pick(position) else { return };
        let open = self.deadlines.remove(&id).is_some();
        assert_eq!(self.table.remove(id), open.then_some(id));
    }

    fn expire(&mut self, limit: usize) -> bool {
        let mut expired = Vec::new();
        let more = self.table.expire(self.now, limit, &mut expired);
        assert!(expired.len() <= limit);
        for id in expired {
            let deadline = self.deadlines.remove(&id).expect("ended before");
            assert!(deadline <= self.now, "{id} is early");
        }
        if !more {
            for (id, deadline) in &self.deadlines {
                // What is due in the last tick of all time is due when that ends: never.
                let tick_end = *deadline + TICK;
                assert!(tick_end > self.now || tick_end == Timestamp::NEVER, "{id} is late");
            }
            let later = |next| next > self.now || next == Timestamp::NEVER;
            assert!(self.table.next_deadline().is_none_or(later));
        }
        more
    }

    fn wake(&mut self) {
        let Some(next) = self.table.next_deadline() else { return };
        let first = *self.deadlines.values().min().expect("nothing is open");
        assert!(next <= first + TICK, "asks to be called too late");
        self.now = self.now.max(next);
        // Each call moves or expires one request, and none moves more often than ten times.
        let calls = (0..=10 * Self::CAPACITY).take_while(|_| self.expire(1)).count();
        assert!(calls <= 10 * Self::CAPACITY, "no progress");
    }

    fn pick(&self, position: usize) -> Option<RequestId> {
        let count = self.given_out.len();
        (count > 0).then(|| self.given_out[position % count])
    }

    fn compare(&self) {
        assert_eq!(self.table.len(), self.deadlines.len());
        assert_eq!(self.table.next_deadline().is_some(), !self.deadlines.is_empty());
        for id in &self.given_out {
            assert_eq!(self.table.get(*id), self.deadlines.get_key_value(id).map(|(id, _)| id));
        }
    }
}

/// Found once in some fifty thousand cases: a clock that stands still at the end of time.
#[test]
fn what_is_due_in_the_last_tick_of_all_time_is_due_when_that_ends() {
    let mut comparison = Comparison::new();
    comparison.now = Timestamp::from_nanos(u64::MAX - TICK_NANOS / 2);
    comparison.take(Step::Register { timeout: Duration::from_nanos(1) });
    assert_eq!(comparison.table.next_deadline(), Some(Timestamp::NEVER));
    comparison.take(Step::Expire { after: TICK, limit: 1 });
    assert_eq!((comparison.now, comparison.table.len()), (Timestamp::NEVER, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_sorted_map_of_deadlines(steps in prop::collection::vec(step(), 1..150)) {
        let mut comparison = Comparison::new();
        for step in steps {
            comparison.take(step);
        }
    }
}
