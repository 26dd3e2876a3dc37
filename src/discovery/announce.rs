//! When this instance says that it is there. Layer: discovery (sans-IO). Owned by the conductor,
//! inside [`Discovery`](super::Discovery).
//!
//! The group hears one ANNOUNCE at the start, two repetitions soon after (packets get lost), then
//! one per refresh interval. A newcomer is greeted after a random delay, so that it need not wait
//! for the next interval: alone by unicast, but when many appear at once one packet to the group
//! greets them all. Starts at the same moment thus cost packets in proportion to the instances; of
//! starts one after the other, each costs a greeting from every instance that is there already.

use std::net::SocketAddr;
use std::time::Duration;

use super::jitter::Jitter;
use super::{MIN_REFRESH, Target};
use crate::time::Timestamp;

/// Delays before the repetitions of the first ANNOUNCE.
const OPENING: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];

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

#[derive(Debug)]
pub(super) struct Announcer {
    refresh: Duration,
    /// When the group hears of us next.
    next: Timestamp,
    /// Delays of [`OPENING`] that have been used up.
    opened: usize,
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
            opened: 0,
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

    pub(super) fn poll(&mut self, now: Timestamp, jitter: &mut Jitter) -> Option<Due> {
        let greeting = now >= self.greet_at;
        if now >= self.next || (greeting && self.greet_group) {
            self.schedule_next(now, jitter);
            self.newcomers.clear();
            self.greet_group = false;
            self.greet_at = Timestamp::NEVER;
            return Some(Due { target: Target::Group, direct: false });
        }
        if !greeting {
            return None;
        }
        let newcomer = self.newcomers.pop();
        if self.newcomers.is_empty() {
            self.greet_at = Timestamp::NEVER;
        }
        newcomer.map(|address| Due { target: Target::Unicast(address), direct: true })
    }

    fn schedule_next(&mut self, now: Timestamp, jitter: &mut Jitter) {
        let delay = match OPENING.get(self.opened) {
            Some(delay) => {
                self.opened += 1;
                self.refresh.min(*delay)
            }
            None => self.refresh,
        };
        self.next = now + jitter.around(delay);
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
        for _ in 0..=OPENING.len() {
            now = announcer.next_deadline();
            assert!(announcer.poll(now, jitter).is_some());
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
        assert!(opened < Timestamp::default() + Duration::from_millis(221));
        let mut now = opened;
        for _ in 0..100 {
            let next = announcer.next_deadline();
            let gap = next - now;
            assert!(gap >= REFRESH * 9 / 10 && gap <= REFRESH * 11 / 10);
            assert_eq!(announcer.poll(next, jitter).map(|due| due.target), Some(Target::Group));
            assert_eq!(announcer.poll(next, jitter), None);
            now = next;
        }
    }

    #[test]
    fn an_interval_of_zero_is_not_a_busy_loop() {
        let jitter = &mut Jitter::new(3);
        let mut announcer = Announcer::new(Duration::ZERO, Timestamp::default());
        assert!(announcer.poll(Timestamp::default(), jitter).is_some());
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
        let greeted: Vec<_> = std::iter::from_fn(|| announcer.poll(due, jitter)).collect();
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
        let greeted: Vec<_> = std::iter::from_fn(|| announcer.poll(due, jitter)).collect();
        assert_eq!(greeted, [Due { target: Target::Group, direct: false }]);
    }

    #[test]
    fn a_regular_announce_makes_greetings_unnecessary() {
        let jitter = &mut Jitter::new(6);
        let (mut announcer, _) = settled(jitter);
        let due = announcer.next_deadline();
        announcer.greet(due, address(1), 1, jitter);
        assert!(matches!(announcer.poll(due, jitter), Some(Due { target: Target::Group, .. })));
        assert!(announcer.next_deadline() > due + Duration::from_millis(500));
    }
}
