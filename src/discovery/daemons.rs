//! The discovery daemons of an instance: who has a ticket from whom, and what goes through them. Layer:
//! discovery (sans-IO). Owned by the conductor, inside [`Discovery`](super::Discovery).
//!
//! Every daemon is registered with at all times, and everything for the group goes through all of them:
//! while one of them lives nothing is lost, and there is nobody to change over to. That a daemon is
//! there shows by its HEARD packets, which name this instance after each of its ANNOUNCEs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::Ledger;
use super::event::Event;
use super::jitter::Jitter;
use crate::id::InstanceId;
use crate::time::Timestamp;
use crate::wire::advert::daemon::{MAX_WHO, Ticket, encode_register, encode_relay, encode_who};

/// The first REGISTER is repeated after this time, then ever later, up to the refresh interval.
const MIN_REGISTER_RETRY: Duration = Duration::from_millis(20);

/// A daemon that answers none of so many announcements is gone.
pub(crate) const LOST_AFTER_INTERVALS: u32 = 5;

/// An instance that has a new ticket introduces itself at once, but not more often than this: a
/// daemon that hands out tickets without end must not make it talk without end.
const MIN_INTRODUCTION: Duration = Duration::from_millis(20);

/// Instances that one daemon is asked about, at most. More are found in the next HEARD.
const MAX_WANTED: usize = 4096;
/// Between two WHOs to one daemon: its answers to one are up to 87 packets.
const WHO_PAUSE: Duration = Duration::from_millis(2);
/// The next WHO waits until so many are left of those that the daemon was asked about before. A daemon
/// with thousands of clients that all ask answers late; who asked again meanwhile would make it later.
const MOST_UNANSWERED: usize = MAX_WHO / 4;
/// Answers may take so many times what those before them took, and this part of a refresh interval.
const PATIENCE: u32 = 4;

/// One daemon, as this instance sees it.
#[derive(Debug)]
struct Link {
    /// `None` while its name is not resolved.
    address: Option<SocketAddr>,
    held: Option<Held>,
    is_up: bool,
    /// When it was last heard.
    heard: Timestamp,
    register_at: Timestamp,
    /// How long to wait after the next REGISTER before the one behind it.
    wait: Duration,
    /// It is to be told of this instance alone; not before this.
    introduce_at: Timestamp,
    introduced: Option<Timestamp>,
    wanted: BTreeSet<InstanceId>,
    who_at: Timestamp,
    questions: Questions,
}

/// Whom a daemon was asked about, and has not described.
#[derive(Debug)]
struct Questions {
    open: BTreeSet<InstanceId>,
    asked_at: Timestamp,
    /// After this they count as lost: the next HEARD names who is there.
    patience: Duration,
    /// Enough has been answered to ask on.
    is_answered: bool,
}

impl Questions {
    const fn none(now: Timestamp) -> Self {
        let open = BTreeSet::new();
        Self { open, asked_at: now, patience: Duration::ZERO, is_answered: true }
    }

    /// Forgets what has been answered, and what will not be any more.
    fn settle(&mut self, now: Timestamp, refresh: Duration, is_news: impl Fn(InstanceId) -> bool) {
        if self.open.is_empty() {
            return;
        }
        let (least, most) = (refresh / PATIENCE, refresh * LOST_AFTER_INTERVALS);
        self.open.retain(|asked| is_news(*asked));
        let took = now.since(self.asked_at);
        if self.open.len() <= MOST_UNANSWERED && !self.is_answered {
            self.is_answered = true;
            self.patience = (took * PATIENCE).clamp(least, most);
        }
        if took >= self.patience {
            self.open.clear();
            if !self.is_answered {
                self.is_answered = true;
                self.patience = (self.patience * 2).min(most);
            }
        }
    }

    fn ask(&mut self, now: Timestamp, refresh: Duration, asked: &[InstanceId]) {
        self.open.extend(asked);
        self.asked_at = now;
        self.is_answered = false;
        self.patience = self.patience.max(refresh / PATIENCE);
    }

    fn next_deadline(&self) -> Timestamp {
        if self.open.is_empty() { Timestamp::NEVER } else { self.asked_at + self.patience }
    }
}

/// What a daemon gave us.
#[derive(Clone, Copy, Debug)]
struct Held {
    daemon: InstanceId,
    ticket: Ticket,
}

impl Link {
    fn new(address: Option<SocketAddr>, now: Timestamp) -> Self {
        Self {
            address,
            held: None,
            is_up: false,
            heard: now,
            register_at: now,
            wait: MIN_REGISTER_RETRY,
            introduce_at: Timestamp::NEVER,
            introduced: None,
            wanted: BTreeSet::new(),
            who_at: now,
            questions: Questions::none(now),
        }
    }

    /// Begins to ask for a ticket.
    fn start_over(&mut self, now: Timestamp) {
        self.held = None;
        self.register_at = now;
        self.wait = MIN_REGISTER_RETRY;
        self.introduce_at = Timestamp::NEVER;
        self.wanted.clear();
        self.questions = Questions::none(now);
    }

    /// Whether the daemon is to be asked about somebody, as soon as there may be another WHO.
    fn has_questions(&self) -> bool {
        !self.wanted.is_empty() && self.questions.is_answered
    }

    /// Where it is and what it gave us, if it did.
    fn open(&self) -> Option<(SocketAddr, Ticket)> {
        Some((self.address?, self.held?.ticket))
    }

    fn next_deadline(&self, lost_after: Duration) -> Timestamp {
        if self.address.is_none() {
            return Timestamp::NEVER;
        }
        if self.held.is_none() {
            return self.register_at;
        }
        let who = if self.has_questions() { self.who_at } else { Timestamp::NEVER };
        let lost = if self.is_up { self.heard + lost_after } else { Timestamp::NEVER };
        self.introduce_at.min(who).min(self.questions.next_deadline()).min(lost)
    }
}

/// What is due, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// The datagram in the buffer goes there.
    Send(SocketAddr),
    /// An ANNOUNCE is to be relayed by this daemon alone: see [`Daemons::relay_by`].
    Introduce(usize),
}

#[derive(Debug)]
pub(super) struct Daemons {
    refresh: Duration,
    links: Vec<Link>,
    /// A packet for all, and the first daemon that it has not been given to.
    packet: Vec<u8>,
    next: usize,
}

impl Daemons {
    /// Daemons whose addresses are not known yet are `None`.
    pub(super) fn new(addresses: &[Option<SocketAddr>], refresh: Duration, now: Timestamp) -> Self {
        Self {
            refresh,
            links: addresses.iter().map(|address| Link::new(*address, now)).collect(),
            packet: Vec::new(),
            next: addresses.len(),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// A name was resolved, perhaps to another address than before.
    pub(super) fn moved(&mut self, index: usize, address: SocketAddr, now: Timestamp) {
        if let Some(link) = self.links.get_mut(index)
            && link.address != Some(address)
        {
            link.address = Some(address);
            link.start_over(now);
        }
    }

    /// Which daemon sends from an address.
    pub(super) fn position(&self, source: SocketAddr) -> Option<usize> {
        self.links.iter().position(|link| link.address == Some(source))
    }

    /// Daemons that are up now.
    pub(super) fn up(&self) -> impl Iterator<Item = usize> {
        (0..).zip(&self.links).filter(|(_, link)| link.is_up).map(|(index, _)| index)
    }

    /// A daemon gave a ticket: its first one, or a fresh one, or it is another daemon than before.
    pub(super) fn ticket(
        &mut self,
        (index, now): (usize, Timestamp),
        daemon: InstanceId,
        ticket: Ticket,
        ledger: &mut Ledger,
    ) {
        let Some(link) = self.links.get_mut(index) else { return };
        link.held = Some(Held { daemon, ticket });
        link.wait = MIN_REGISTER_RETRY;
        let earliest = link.introduced.map_or(now, |last| last + MIN_INTRODUCTION);
        link.introduce_at = earliest.max(now);
        self.heard(index, now, ledger);
    }

    /// A daemon has named this instance among those that it heard. One that was there before it says
    /// nothing about this one.
    pub(super) fn confirmed(
        &mut self,
        index: usize,
        daemon: InstanceId,
        now: Timestamp,
        ledger: &mut Ledger,
    ) {
        let held = self.links.get(index).and_then(|link| link.held);
        if held.is_some_and(|held| held.daemon == daemon) {
            self.heard(index, now, ledger);
        }
    }

    fn heard(&mut self, index: usize, now: Timestamp, ledger: &mut Ledger) {
        let Some(link) = self.links.get_mut(index) else { return };
        link.heard = now;
        if !link.is_up
            && let (Some(address), Some(held)) = (link.address, link.held)
        {
            link.is_up = true;
            ledger.events.push(Event::DaemonUp { index, address, daemon: held.daemon });
        }
    }

    /// A daemon named an instance that nobody here knows.
    pub(super) fn want(&mut self, index: usize, instance: InstanceId) {
        let is_known = |link: &Link| {
            link.wanted.contains(&instance) || link.questions.open.contains(&instance)
        };
        if self.links.iter().any(is_known) {
            return;
        }
        if let Some(link) = self.links.get_mut(index)
            && link.wanted.len() < MAX_WANTED
        {
            link.wanted.insert(instance);
        }
    }

    /// Gives up daemons that were silent for too long.
    pub(super) fn expire(&mut self, now: Timestamp, ledger: &mut Ledger) {
        let lost_after = self.lost_after();
        for (index, link) in self.links.iter_mut().enumerate() {
            if link.is_up && link.heard + lost_after <= now {
                link.is_up = false;
                link.start_over(now);
                ledger.counters.daemons_lost += 1;
                ledger.events.push(Event::DaemonDown { index });
            }
        }
    }

    fn lost_after(&self) -> Duration {
        self.refresh * LOST_AFTER_INTERVALS
    }

    /// Whether the packet for all before this one has been given to every daemon.
    pub(super) fn has_spread(&self) -> bool {
        self.next >= self.links.len()
    }

    /// Gives a packet to all daemons, one by one with [`Daemons::poll_spread`].
    pub(super) fn spread(&mut self, packet: &[u8]) {
        self.packet.clear();
        self.packet.extend_from_slice(packet);
        self.next = 0;
    }

    /// Writes the packet for all, for the next daemon that takes it.
    pub(super) fn poll_spread(&mut self, buffer: &mut Vec<u8>) -> Option<SocketAddr> {
        while let Some(link) = self.links.get(self.next) {
            self.next += 1;
            if let Some((address, ticket)) = link.open() {
                encode_relay(ticket, &self.packet, buffer);
                return Some(address);
            }
        }
        None
    }

    /// Wraps a packet for one daemon alone.
    pub(super) fn relay_by(
        &mut self,
        index: usize,
        packet: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        let (address, ticket) = self.links.get(index)?.open()?;
        encode_relay(ticket, packet, buffer);
        Some(address)
    }

    /// What is due: a REGISTER, a WHO, an introduction. `is_news` says of whom nothing is known by now.
    pub(super) fn poll(
        &mut self,
        now: Timestamp,
        instance: InstanceId,
        is_news: impl Fn(InstanceId) -> bool,
        jitter: &mut Jitter,
        buffer: &mut Vec<u8>,
    ) -> Option<Errand> {
        let refresh = self.refresh;
        for (index, link) in self.links.iter_mut().enumerate() {
            let Some(address) = link.address else { continue };
            let Some(held) = link.held else {
                if link.register_at <= now {
                    link.register_at = now + jitter.around(link.wait);
                    link.wait = (link.wait * 2).min(refresh);
                    encode_register(instance, buffer);
                    return Some(Errand::Send(address));
                }
                continue;
            };
            if link.introduce_at <= now {
                link.introduce_at = Timestamp::NEVER;
                link.introduced = Some(now);
                return Some(Errand::Introduce(index));
            }
            link.questions.settle(now, refresh, &is_news);
            if link.who_at <= now && link.has_questions() {
                link.wanted.retain(|wanted| is_news(*wanted));
                let asked = std::iter::from_fn(|| link.wanted.pop_first()).take(MAX_WHO);
                let asked: Vec<_> = asked.collect();
                if !asked.is_empty() {
                    encode_who(held.ticket, asked.iter().copied(), buffer);
                    link.questions.ask(now, refresh, &asked);
                    link.who_at = now + WHO_PAUSE;
                    return Some(Errand::Send(address));
                }
            }
        }
        None
    }

    pub(super) fn next_deadline(&self) -> Timestamp {
        let lost_after = self.lost_after();
        let deadlines = self.links.iter().map(|link| link.next_deadline(lost_after));
        deadlines.min().unwrap_or(Timestamp::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::advert::daemon::{DaemonView, parse};

    const ME: InstanceId = InstanceId::from_bytes([1; 16]);
    const DAEMON: InstanceId = InstanceId::from_bytes([9; 16]);
    const REFRESH: Duration = Duration::from_secs(1);

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn one() -> (Daemons, Ledger, Jitter) {
        let daemons = Daemons::new(&[Some(address(1))], REFRESH, Timestamp::default());
        (daemons, Ledger::default(), Jitter::new(1))
    }

    fn poll(daemons: &mut Daemons, now: Timestamp, jitter: &mut Jitter) -> Option<Errand> {
        daemons.poll(now, ME, |_| true, jitter, &mut Vec::new())
    }

    #[test]
    fn a_silent_daemon_is_asked_ever_more_rarely() {
        let (mut daemons, _, mut jitter) = one();
        let (mut now, mut asked) = (Timestamp::default(), 0);
        while now.as_nanos() < 10_000_000_000 {
            assert_eq!(poll(&mut daemons, now, &mut jitter), Some(Errand::Send(address(1))));
            assert_eq!(poll(&mut daemons, now, &mut jitter), None);
            assert!(daemons.next_deadline() > now);
            now = daemons.next_deadline();
            asked += 1;
        }
        assert!((12..=20).contains(&asked), "{asked}");
    }

    #[test]
    fn tickets_without_end_do_not_make_it_talk_without_end() {
        let (mut daemons, mut ledger, mut jitter) = one();
        let mut introductions = 0;
        for micros in (0..1_000_000).step_by(100) {
            let now = Timestamp::from_nanos(micros * 1_000);
            daemons.ticket((0, now), DAEMON, Ticket(micros), &mut ledger);
            while let Some(errand) = poll(&mut daemons, now, &mut jitter) {
                assert_eq!(errand, Errand::Introduce(0));
                introductions += 1;
            }
        }
        assert!((2..=50).contains(&introductions), "{introductions}");
        assert!(matches!(ledger.events.pop(), Some(Event::DaemonUp { index: 0, .. })));
        assert_eq!(ledger.events.pop(), None);
    }

    #[test]
    fn a_daemon_that_answers_no_more_is_given_up_and_asked_again() {
        let (mut daemons, mut ledger, mut jitter) = one();
        let start = Timestamp::default();
        daemons.ticket((0, start), DAEMON, Ticket(1), &mut ledger);
        assert_eq!(poll(&mut daemons, start, &mut jitter), Some(Errand::Introduce(0)));
        let end = start + REFRESH * LOST_AFTER_INTERVALS;
        assert_eq!(daemons.next_deadline(), end);
        daemons.expire(end, &mut ledger);
        assert_eq!(daemons.up().count(), 0);
        assert_eq!(ledger.counters.daemons_lost, 1);
        assert_eq!(poll(&mut daemons, end, &mut jitter), Some(Errand::Send(address(1))));
        daemons.spread(b"for all");
        assert_eq!(daemons.poll_spread(&mut Vec::new()), None, "nobody has given a ticket");
    }

    #[test]
    fn questions_are_asked_once_bounded_and_paced() {
        let (mut daemons, mut ledger, mut jitter) = one();
        let mut now = Timestamp::default();
        daemons.ticket((0, now), DAEMON, Ticket(1), &mut ledger);
        assert_eq!(poll(&mut daemons, now, &mut jitter), Some(Errand::Introduce(0)));
        for number in 0..10_000_u128 {
            for _ in 0..2 {
                daemons.want(0, InstanceId::from_bytes(number.to_be_bytes()));
            }
        }
        let (mut asked, mut packets, mut buffer) = (BTreeSet::new(), 0, Vec::new());
        while !daemons.links[0].wanted.is_empty() {
            let before = asked.clone();
            let is_news = |instance| !before.contains(&instance);
            while daemons.poll(now, ME, is_news, &mut jitter, &mut buffer).is_some() {
                let Ok(DaemonView::Who(who)) = parse(&buffer) else { panic!("no WHO") };
                asked.extend(who.instances());
                packets += 1;
            }
            now = now + WHO_PAUSE;
        }
        assert_eq!((asked.len(), packets), (MAX_WANTED, MAX_WANTED.div_ceil(MAX_WHO)));
        assert_eq!(now - Timestamp::default(), WHO_PAUSE * u32::try_from(packets).unwrap());
    }

    /// A daemon that is late is asked no more before it has answered, and with ever more patience; one
    /// that answers is asked on, even if it does not know all.
    #[test]
    fn a_daemon_that_is_late_is_not_asked_twice() {
        let (mut daemons, mut ledger, mut jitter) = one();
        let mut now = Timestamp::default();
        daemons.ticket((0, now), DAEMON, Ticket(1), &mut ledger);
        assert_eq!(poll(&mut daemons, now, &mut jitter), Some(Errand::Introduce(0)));
        let all = (0..200_u128).map(|number| InstanceId::from_bytes(number.to_be_bytes()));
        let mut times = Vec::new();
        let start = now;
        while now - start < REFRESH * 60 {
            all.clone().for_each(|instance| daemons.want(0, instance));
            if poll(&mut daemons, now, &mut jitter).is_some() {
                times.push(now);
                assert_eq!(poll(&mut daemons, now + WHO_PAUSE, &mut jitter), None, "asked twice");
            }
            now = daemons.next_deadline().min(now + REFRESH).max(now + WHO_PAUSE);
            // It is there: that is not the question here.
            daemons.confirmed(0, DAEMON, now, &mut ledger);
        }
        let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.is_sorted() && pauses[0] < REFRESH, "{pauses:?}");
        assert_eq!(pauses.last(), Some(&(REFRESH * LOST_AFTER_INTERVALS)));
        // Most are described: the others are asked about next, and those that are not, later again.
        let open = daemons.links[0].questions.open.clone();
        let described: BTreeSet<_> = open.iter().skip(MOST_UNANSWERED).copied().collect();
        let is_news = |instance| !described.contains(&instance);
        let asked = daemons.poll(now, ME, is_news, &mut jitter, &mut Vec::new());
        assert_eq!(asked, Some(Errand::Send(address(1))));
        assert!(open.iter().take(MOST_UNANSWERED).all(|instance| {
            daemons.want(0, *instance);
            !daemons.links[0].wanted.contains(instance)
        }));
    }

    #[test]
    fn an_address_that_changes_is_registered_with_anew() {
        let (mut daemons, mut ledger, mut jitter) = one();
        let now = Timestamp::default();
        daemons.ticket((0, now), DAEMON, Ticket(1), &mut ledger);
        daemons.moved(0, address(1), now);
        assert!(daemons.links[0].held.is_some(), "it is where it was");
        daemons.moved(0, address(2), now);
        assert_eq!((daemons.position(address(1)), daemons.position(address(2))), (None, Some(0)));
        assert_eq!(poll(&mut daemons, now, &mut jitter), Some(Errand::Send(address(2))));
    }
}
