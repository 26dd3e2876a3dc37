//! Who is told the change log, and how fast. Layer: discovery (sans-IO). Owned by the conductor,
//! inside [`Discovery`](super::Discovery).
//!
//! The group follows the log: every new change is multicast once. Somebody who missed a part asks,
//! and is answered alone with a few pages. When many ask in a short time, the group's cursor goes
//! back to what the neediest of them has, and one transmission serves them all. Where there is no
//! group but daemons that send to one after the other, that saves nothing: each is answered alone.
//!
//! What this costs is bounded whatever anybody sends us: [`BURST_PAGES`] per [`BURST_INTERVAL`] in
//! all, of which the group gets its [`Turn`], so that all who talk to it do not tell more than one can
//! read; at most [`MAX_ANSWER_PAGES`] per ASK, answers to at most [`MAX_ASKERS`] addresses (or
//! [`MAX_ASKERS_WITHOUT_GROUP`]) and one transmission to the group per [`ASK_WINDOW`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::Target;
use super::floor::Turn;
use super::log::{ChangeLog, Cursor};
use crate::id::InstanceId;
use crate::time::Timestamp;

/// Pages in the answer to one ASK of a known instance, which then asks for the rest: 22 KiB, well
/// within the default receive buffer of a socket.
pub(super) const MAX_ANSWER_PAGES: u32 = 16;

/// Pages in the answer to a stranger, whose source address may be forged.
pub(super) const STRANGER_PAGES: u32 = 1;

/// Pages that may leave at once...
const BURST_PAGES: u32 = 16;
/// ... within this time. Together some 22 MB/s.
const BURST_INTERVAL: Duration = Duration::from_millis(1);

/// Addresses that are answered alone within one window; with more of them the group is cheaper.
const MAX_ASKERS: usize = 8;
/// The same where there is none.
const MAX_ASKERS_WITHOUT_GROUP: usize = 128;
const ASK_WINDOW: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Feed {
    has_group: bool,
    group: Cursor,
    answers: VecDeque<Answer>,
    /// Addresses answered alone in this window.
    askers: Vec<SocketAddr>,
    window_end: Timestamp,
    /// The group has been served anew in this window.
    shared: bool,
    /// What may leave in all, and what of it to the group.
    all: Quota,
    turn: Quota,
    /// The group may be told something.
    is_open: bool,
}

/// Pages that may leave before an instant, at which there are new ones.
#[derive(Debug, Default)]
struct Quota {
    left: u32,
    end: Timestamp,
}

impl Quota {
    fn renew(&mut self, now: Timestamp, pages: u32, interval: Duration) {
        if now >= self.end {
            self.end = now + interval;
            self.left = pages;
        }
    }

    /// In the past while something is left.
    fn next(&self) -> Timestamp {
        if self.left > 0 { Timestamp::default() } else { self.end }
    }
}

#[derive(Debug)]
struct Answer {
    to: SocketAddr,
    cursor: Cursor,
    pages_left: u32,
}

/// What becomes of an ASK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reception {
    /// Answered alone.
    Answered,
    /// What is asked for goes to the group.
    Shared,
    /// Too many ask. The asker tries again.
    Deferred,
}

impl Feed {
    pub(super) fn new(has_group: bool) -> Self {
        Self {
            has_group,
            group: Cursor::default(),
            answers: VecDeque::new(),
            askers: Vec::new(),
            window_end: Timestamp::default(),
            shared: false,
            all: Quota::default(),
            turn: Quota::default(),
            is_open: false,
        }
    }

    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        to: SocketAddr,
        cursor: Cursor,
        pages: u32,
        log: &ChangeLog,
    ) -> Reception {
        let group_is_served = self.group.have < log.head();
        if group_is_served && self.group.have <= cursor.have {
            return Reception::Shared;
        }
        self.open_window(now);
        if !self.askers.contains(&to) {
            let limit = if self.has_group { MAX_ASKERS } else { MAX_ASKERS_WITHOUT_GROUP };
            if self.askers.len() >= limit {
                if group_is_served || self.shared || !self.has_group {
                    return Reception::Deferred;
                }
                self.shared = true;
                // Ahead of the log is nobody who heard it from us: the group never goes there.
                self.group = if cursor.have > log.head() { Cursor::default() } else { cursor };
                return Reception::Shared;
            }
            self.askers.push(to);
        }
        // A second ASK of the same asker knows better what is missing.
        self.answers.retain(|answer| answer.to != to);
        self.answers.push_back(Answer { to, cursor, pages_left: pages });
        Reception::Answered
    }

    /// Answers that still wait count for the next window, which bounds their number.
    fn open_window(&mut self, now: Timestamp) {
        if now >= self.window_end {
            self.window_end = now + ASK_WINDOW;
            self.shared = false;
            self.askers.clear();
            self.askers.extend(self.answers.iter().map(|answer| answer.to));
        }
    }

    /// From now on the group is told the log.
    pub(super) const fn open(&mut self) {
        self.is_open = true;
    }

    /// Writes the next page that is due. `talkers` are the others that tell the group something now.
    pub(super) fn poll(
        &mut self,
        now: Timestamp,
        talkers: u32,
        instance: InstanceId,
        log: &ChangeLog,
        buffer: &mut Vec<u8>,
    ) -> Option<Target> {
        let group_is_due = self.group_is_due(log);
        if !group_is_due && self.answers.is_empty() {
            return None;
        }
        self.all.renew(now, BURST_PAGES, BURST_INTERVAL);
        if self.all.left == 0 {
            return None;
        }
        if group_is_due {
            let Turn { pages, interval } = Turn::among(talkers);
            self.turn.renew(now, pages, interval);
            if self.turn.left > 0 {
                self.turn.left -= 1;
                self.all.left -= 1;
                log.write_page(instance, &mut self.group, false, buffer);
                return Some(Target::Group);
            }
        }
        let answer = self.answers.front_mut()?;
        self.all.left -= 1;
        let to = answer.to;
        answer.pages_left = answer.pages_left.saturating_sub(1);
        let last = answer.pages_left == 0;
        if log.write_page(instance, &mut answer.cursor, last, buffer) || last {
            self.answers.pop_front();
        }
        Some(Target::Unicast(to))
    }

    fn group_is_due(&self, log: &ChangeLog) -> bool {
        self.is_open && self.group.have < log.head()
    }

    /// In the past when a page can leave at once.
    pub(super) fn next_deadline(&self, log: &ChangeLog) -> Timestamp {
        if !self.answers.is_empty() {
            self.all.next()
        } else if self.group_is_due(log) {
            self.all.next().max(self.turn.next())
        } else {
            Timestamp::NEVER
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Transport;
    use crate::discovery::Advert;
    use crate::id::TopicHash;
    use crate::wire::advert::{AdvertKind, DiscoveryView, parse};

    const INSTANCE: InstanceId = InstanceId::from_bytes([1; 16]);

    fn log_of(topics: usize) -> ChangeLog {
        let mut log = ChangeLog::default();
        for index in 0..topics {
            let topic = format!("some.topic.with.a.usual.name.{index}");
            let advert = Advert {
                kind: AdvertKind::Subscriber,
                transport: Transport::Unicast,
                hash: TopicHash::of(&topic),
                topic: topic.into(),
                locator: None,
                session: None,
            };
            log.add(&advert).unwrap();
        }
        log
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    /// Everything the feed has to say, with the time moved on as it demands.
    fn drain(feed: &mut Feed, now: &mut Timestamp, log: &ChangeLog) -> Vec<(Target, bool)> {
        let (mut pages, mut buffer) = (Vec::new(), Vec::new());
        loop {
            while let Some(target) = feed.poll(*now, 0, INSTANCE, log, &mut buffer) {
                let Ok(DiscoveryView::Changes(page)) = parse(&buffer) else { panic!("no page") };
                pages.push((target, page.end));
            }
            let deadline = feed.next_deadline(log);
            if deadline == Timestamp::NEVER {
                return pages;
            }
            assert!(deadline > *now, "poll said that nothing is due");
            *now = deadline;
        }
    }

    fn caught_up(log: &ChangeLog) -> (Feed, Timestamp) {
        let (mut feed, mut now) = (Feed::new(true), Timestamp::from_nanos(1));
        feed.open();
        drain(&mut feed, &mut now, log);
        (feed, now)
    }

    #[test]
    fn pages_are_paced() {
        let log = log_of(5_000);
        let (mut feed, mut now) = (Feed::new(true), Timestamp::from_nanos(1));
        feed.open();
        let start = now;
        let pages = drain(&mut feed, &mut now, &log);
        let bursts = pages.len().div_ceil(16);
        assert!(bursts > 10);
        assert_eq!(now - start, BURST_INTERVAL * u32::try_from(bursts - 1).unwrap());
        assert_eq!(pages.iter().filter(|(_, end)| *end).count(), 1);
    }

    #[test]
    fn who_shares_the_group_with_many_tells_it_page_by_page() {
        const TALKERS: u32 = 200;
        let log = log_of(500);
        let (mut feed, mut now) = (Feed::new(true), Timestamp::from_nanos(1));
        feed.open();
        let (mut pages, mut buffer, start) = (0, Vec::new(), now);
        while feed.next_deadline(&log) != Timestamp::NEVER {
            now = now.max(feed.next_deadline(&log));
            while feed.poll(now, TALKERS, INSTANCE, &log, &mut buffer).is_some() {
                pages += 1;
            }
        }
        assert!(pages > 5);
        assert_eq!(now - start, Turn::among(TALKERS).interval * (pages - 1));
    }

    /// Through daemons, one more page to the group would be one to each of hundreds.
    #[test]
    fn without_a_group_each_who_asks_is_answered_alone() {
        let log = log_of(1);
        let mut feed = Feed::new(false);
        feed.open();
        let (mut now, whole) = (Timestamp::from_nanos(1), Cursor::default());
        drain(&mut feed, &mut now, &log);
        let ports = 1..=u16::try_from(MAX_ASKERS_WITHOUT_GROUP).unwrap();
        for port in ports.clone() {
            assert_eq!(feed.ask(now, address(port), whole, 1, &log), Reception::Answered);
        }
        assert_eq!(feed.ask(now, address(9_999), whole, 1, &log), Reception::Deferred);
        let told = drain(&mut feed, &mut now, &log);
        assert!(told.into_iter().eq(ports.map(|port| (Target::Unicast(address(port)), true))));
    }

    #[test]
    fn an_answer_ends_after_its_pages_and_says_so() {
        let log = log_of(5_000);
        let (mut feed, mut now) = caught_up(&log);
        let whole = Cursor::default();
        for (pages, port) in [(MAX_ANSWER_PAGES, 1), (STRANGER_PAGES, 2)] {
            assert_eq!(feed.ask(now, address(port), whole, pages, &log), Reception::Answered);
            let told = drain(&mut feed, &mut now, &log);
            assert_eq!(told.len(), usize::try_from(pages).unwrap());
            assert_eq!(told.last(), Some(&(Target::Unicast(address(port)), true)));
            assert!(told[..told.len() - 1].iter().all(|(_, end)| !end));
        }
    }

    #[test]
    fn a_crowd_of_askers_is_served_through_the_group() {
        let log = log_of(10);
        let (mut feed, mut now) = caught_up(&log);
        let mut receptions = Vec::new();
        for port in 1..=100 {
            receptions.push(feed.ask(now, address(port), Cursor::default(), 16, &log));
        }
        assert!(receptions[..MAX_ASKERS].iter().all(|one| *one == Reception::Answered));
        assert!(receptions[MAX_ASKERS..].iter().all(|one| *one == Reception::Shared));
        let told = drain(&mut feed, &mut now, &log);
        assert_eq!(told.len(), MAX_ASKERS + 1);
        assert_eq!(feed.ask(now, address(200), Cursor::default(), 16, &log), Reception::Deferred);
        assert_eq!(feed.ask(now, address(1), Cursor::default(), 16, &log), Reception::Answered);
        now = now + ASK_WINDOW;
        assert_eq!(feed.ask(now, address(200), Cursor::default(), 16, &log), Reception::Answered);
    }

    #[test]
    fn nonsense_cursors_neither_stall_nor_spin() {
        let log = log_of(10);
        let (mut feed, mut now) = caught_up(&log);
        let nonsense = Cursor { have: u64::MAX, horizon: u64::MAX };
        for port in 1..=20 {
            feed.ask(now, address(port), nonsense, 16, &log);
        }
        assert_eq!(drain(&mut feed, &mut now, &log).len(), MAX_ASKERS + 1);
        assert_eq!(feed.group.have, log.head());
    }

    #[test]
    fn answers_that_nobody_fetches_do_not_pile_up() {
        let log = log_of(10);
        let (mut feed, mut now) = caught_up(&log);
        for port in 1..1_000 {
            feed.ask(now, address(port), Cursor { have: 5, horizon: 0 }, 16, &log);
            now = now + ASK_WINDOW;
        }
        assert!(feed.answers.len() <= MAX_ASKERS);
        assert!(feed.askers.len() <= MAX_ASKERS);
    }
}
