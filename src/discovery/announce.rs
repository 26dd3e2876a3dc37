//! When this instance says that it is there. Layer: discovery (sans-IO). Owned by the conductor,
//! inside [`Discovery`](super::Discovery).
//!
//! An instance says at once that it is there, and listens for a moment. Then the group hears of it
//! again, together with the beginning of its log, once more soon after (packets get lost), and from
//! then on once per refresh interval. Where many start at the same moment, that second time is spread
//! over as long as it takes to read the logs of all: see [`super::floor`].
//!
//! A newcomer is greeted after a random delay, so that it need not wait for the next interval: alone
//! by unicast, but when many appear at once one packet to the group greets them all. Starts at the
//! same moment thus cost packets in proportion to the instances; of starts one after the other, each
//! costs a greeting from every instance that is there already.

use std::net::SocketAddr;
use std::time::Duration;

use super::floor::Turn;
use super::jitter::Jitter;
use super::{MIN_REFRESH, Target};
use crate::time::Timestamp;

/// Between the first ANNOUNCE and the log: others that start now are heard, and what an application
/// publishes right after its start goes into the same packet.
const LISTENING: Duration = Duration::from_millis(2);
/// Before the third ANNOUNCE, give or take a half: a crowd that started together is spread out.
const REPETITION: Duration = Duration::from_millis(150);

/// A greeting waits at random up to this long, plus a share per known instance...
const GREETING_SPREAD: Duration = Duration::from_millis(10);
/// ... because each of them greets the same newcomer...
const GREETING_SPREAD_PER_PEER: Duration = Duration::from_millis(1);
/// ... but a newcomer never waits longer than this.
const MAX_GREETING_SPREAD: Duration = Duration::from_millis(400);

/// More newcomers than this within one greeting delay are greeted through the group.
const MAX_GREETINGS: usize = 4;

/// An ANNOUNCE that is due, and whether it goes to a newcomer alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) target: Target,
    pub(super) direct: bool,
}

/// How an instance makes itself known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// It has said nothing yet.
    Silent,
    /// It has said that it is there, and hears who else talks.
    Listening,
    /// It knows how many do, and waits for its turn.
    Waiting,
    /// Its log is being told, and it will be announced once more.
    Telling,
    Over,
}

#[derive(Debug)]
pub(super) struct Announcer {
    refresh: Duration,
    /// When the group hears of us next.
    next: Timestamp,
    opening: Opening,
    newcomers: Vec<SocketAddr>,
    /// There are more newcomers than the list has room for.
    greet_group: bool,
    /// `NEVER` while nobody waits for a greeting.
    greet_at: Timestamp,
}

impl Announcer {
    pub(super) fn new(refresh: Duration, now: Timestamp) -> Self {
        Self {
            refresh: refresh.max(MIN_REFRESH),
            next: now,
            opening: Opening::Silent,
            newcomers: Vec::with_capacity(MAX_GREETINGS),
            greet_group: false,
            greet_at: Timestamp::NEVER,
        }
    }

    /// Somebody appeared who may not know us yet.
    pub(super) fn greet(
        &mut self,
        now: Timestamp,
        newcomer: SocketAddr,
        peers: usize,
        jitter: &mut Jitter,
    ) {
        if self.greet_at == Timestamp::NEVER {
            let share =
                GREETING_SPREAD_PER_PEER.saturating_mul(u32::try_from(peers).unwrap_or(u32::MAX));
            let spread = (GREETING_SPREAD + share).min(MAX_GREETING_SPREAD);
            self.greet_at = now + jitter.below(spread);
        }
        if self.newcomers.len() < MAX_GREETINGS {
            self.newcomers.push(newcomer);
        } else {
            self.greet_group = true;
        }
    }

    /// Whether the group may be told the log: not before it has heard of this instance and this
    /// instance of those that start with it.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.opening, Opening::Telling | Opening::Over)
    }

    /// What is due. `talkers` are the others that tell the group something now.
    pub(super) fn poll(
        &mut self,
        now: Timestamp,
        talkers: u32,
        jitter: &mut Jitter,
    ) -> Option<Due> {
        if self.opening == Opening::Listening && now >= self.next {
            self.opening = Opening::Waiting;
            if talkers > 0 {
                self.next = now + jitter.below(Turn::among(talkers).interval);
            }
        }
        let greeting = now >= self.greet_at;
        if now >= self.next || (greeting && self.greet_group && self.is_open()) {
            self.schedule_next(now, jitter);
            self.forget_newcomers();
            return Some(Due { target: Target::Group, direct: false });
        }
        if !greeting {
            return None;
        }
        if self.greet_group {
            // The opening is not over: the group hears of us in a moment anyway.
            self.forget_newcomers();
            return None;
        }
        let newcomer = self.newcomers.pop();
        if self.newcomers.is_empty() {
            self.greet_at = Timestamp::NEVER;
        }
        newcomer.map(|address| Due { target: Target::Unicast(address), direct: true })
    }

    fn forget_newcomers(&mut self) {
        self.newcomers.clear();
        self.greet_group = false;
        self.greet_at = Timestamp::NEVER;
    }

    fn schedule_next(&mut self, now: Timestamp, jitter: &mut Jitter) {
        let (opening, delay) = match self.opening {
            Opening::Silent => (Opening::Listening, LISTENING.min(self.refresh)),
            Opening::Listening | Opening::Waiting => {
                let half = REPETITION.min(self.refresh) / 2;
                (Opening::Telling, half + jitter.below(2 * half))
            }
            Opening::Telling | Opening::Over => (Opening::Over, jitter.around(self.refresh)),
        };
        self.opening = opening;
        self.next = now + delay;
    }

    pub(super) fn next_deadline(&self) -> Timestamp {
        self.next.min(self.greet_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: Duration = Duration::from_secs(1);

    fn settled(jitter: &mut Jitter) -> (Announcer, Timestamp) {
        let mut announcer = Announcer::new(REFRESH, Timestamp::default());
        let mut now = Timestamp::default();
        for _ in 0..3 {
            now = announcer.next_deadline();
            assert!(announcer.poll(now, 0, jitter).is_some());
        }
        (announcer, now)
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn the_opening_is_quick_and_then_the_interval_rules() {
        let jitter = &mut Jitter::new(3);
        let (mut announcer, opened) = settled(jitter);
        assert!(opened < Timestamp::default() + LISTENING + REPETITION * 3 / 2);
        let mut now = opened;
        for _ in 0..100 {
            let next = announcer.next_deadline();
            let gap = next - now;
            assert!(gap >= REFRESH * 9 / 10 && gap <= REFRESH * 11 / 10);
            assert_eq!(announcer.poll(next, 0, jitter).map(|due| due.target), Some(Target::Group));
            assert_eq!(announcer.poll(next, 0, jitter), None);
            now = next;
        }
    }

    #[test]
    fn who_starts_in_a_crowd_waits_for_its_turn() {
        const TALKERS: u32 = 2_000;
        let turn = Turn::among(TALKERS).interval;
        let listened = Timestamp::default() + LISTENING;
        let mut early = 0;
        for seed in 0..100 {
            let jitter = &mut Jitter::new(seed);
            let mut announcer = Announcer::new(REFRESH, Timestamp::default());
            assert!(announcer.poll(Timestamp::default(), 0, jitter).is_some());
            assert_eq!(announcer.next_deadline(), listened);
            assert_eq!(announcer.poll(listened, TALKERS, jitter), None);
            assert!(!announcer.is_open());
            let due = announcer.next_deadline();
            assert!(due - listened < turn);
            early += usize::from(due - listened < turn / 2);
            assert!(announcer.poll(due, TALKERS, jitter).is_some() && announcer.is_open());
        }
        assert!((30..=70).contains(&early), "{early} of 100 in the first half");
    }

    #[test]
    fn nobody_is_greeted_by_a_group_that_is_about_to_hear_of_us() {
        let jitter = &mut Jitter::new(7);
        let (start, mut announcer) =
            (Timestamp::default(), Announcer::new(REFRESH, Timestamp::default()));
        assert!(announcer.poll(start, 0, jitter).is_some());
        for port in 1..200 {
            announcer.greet(start, address(port), 0, jitter);
        }
        let (mut now, mut sent) = (start, Vec::new());
        while sent.len() < 2 {
            now = now.max(announcer.next_deadline());
            sent.extend(announcer.poll(now, 2_000, jitter).map(|due| (now, due.target)));
        }
        assert!(sent.iter().all(|(_, target)| *target == Target::Group));
        assert!(sent[1].0 - sent[0].0 >= REPETITION / 2, "its turn, and the repetition");
    }

    #[test]
    fn an_interval_of_zero_is_not_a_busy_loop() {
        let jitter = &mut Jitter::new(3);
        let mut announcer = Announcer::new(Duration::ZERO, Timestamp::default());
        assert!(announcer.poll(Timestamp::default(), 0, jitter).is_some());
        assert!(announcer.next_deadline() > Timestamp::default());
    }

    #[test]
    fn a_few_newcomers_are_greeted_one_by_one() {
        let jitter = &mut Jitter::new(4);
        let (mut announcer, now) = settled(jitter);
        announcer.greet(now, address(1), 1, jitter);
        announcer.greet(now, address(2), 2, jitter);
        let due = announcer.next_deadline();
        assert!(due <= now + Duration::from_millis(12));
        let greeted: Vec<_> = std::iter::from_fn(|| announcer.poll(due, 0, jitter)).collect();
        let direct = |port| Due { target: Target::Unicast(address(port)), direct: true };
        assert_eq!(greeted, [direct(2), direct(1)]);
        assert!(announcer.next_deadline() > due + Duration::from_millis(500));
    }

    #[test]
    fn a_crowd_is_greeted_through_the_group() {
        let jitter = &mut Jitter::new(5);
        let (mut announcer, now) = settled(jitter);
        for port in 1..200 {
            announcer.greet(now, address(port), 200, jitter);
        }
        let due = announcer.next_deadline();
        let greeted: Vec<_> = std::iter::from_fn(|| announcer.poll(due, 0, jitter)).collect();
        assert_eq!(greeted, [Due { target: Target::Group, direct: false }]);
    }

    #[test]
    fn a_regular_announce_makes_greetings_unnecessary() {
        let jitter = &mut Jitter::new(6);
        let (mut announcer, _) = settled(jitter);
        let due = announcer.next_deadline();
        announcer.greet(due, address(1), 1, jitter);
        assert!(matches!(announcer.poll(due, 0, jitter), Some(Due { target: Target::Group, .. })));
        assert!(announcer.next_deadline() > due + Duration::from_millis(500));
    }
}
