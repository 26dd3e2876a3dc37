//! The receiving side of a session: packets in any order become frames in order. Layer: protocol.
//! Owned by the poller that reads the endpoint.
//!
//! What is missing is asked for until it comes, until the sender says that it is gone, or until the
//! configured time is over; then it is lost, and what follows is delivered.
//!
//! A session begins for a receiver where its sender says. Who hears packet 0 first knows that; who
//! hears a later one holds it back and asks. A sender that does not answer for long does not know us,
//! and owes us nothing: we are a guest, who takes what comes and asks for nothing.

use std::time::Duration;

use super::delivery::{Delivery, Sink};
use super::loss::Gaps;
use super::timing::{JOIN_TIMEOUT, LONGEST_PAUSE, REORDER_HOLD, longest_backoff, retry_delay};
use super::window::Window;
use crate::id::{ReceiverId, SessionId};
use crate::random::SplitMix64;
use crate::time::Timestamp;
use crate::wire::control::{Heartbeat, MAX_RANGES, Range, Status, Welcome};
use crate::wire::frame::Frames;

/// Packets after the expected one that a NAK looks at: what it finds beyond would not fit into it
/// anyway, and the time it takes is bounded.
const NAK_SCAN: u64 = 4096;

/// What a receive session has seen. Every field only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReceiveCounters {
    pub(crate) packets: u64,
    pub(crate) packets_lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) malformed: u64,
    /// Frames of no use: parts of incomplete or oversized messages.
    pub(crate) refused: u64,
    /// Packets beyond the window: dropped, and asked for later.
    pub(crate) overruns: u64,
    pub(crate) naks: u64,
}

/// Limits of a receive session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveSettings {
    /// Packets that may be on the way or held after a gap.
    pub(crate) window_packets: u32,
    pub(crate) max_message_bytes: usize,
    /// How long a missing packet is asked for.
    pub(crate) repair_timeout: Duration,
    /// Others may miss the same packets: ask after a random pause.
    pub(crate) is_group: bool,
    /// The set of receivers that this one belongs to; zero is none.
    pub(crate) tag: u32,
}

impl ReceiveSettings {
    /// How long to wait for the word of a sender about where its session begins. Who gets data by
    /// unicast is known to its sender, and waits for that word as for a packet.
    pub(crate) fn join_timeout(&self) -> Duration {
        if self.is_group { JOIN_TIMEOUT } else { self.repair_timeout }
    }
}

/// What a receiver is to the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    /// Nobody has said yet where the session begins for us. Packets are held back, the first one
    /// included, and we ask again at the given time.
    Joining { until: Timestamp, ask_at: Timestamp, pause: Duration },
    /// The sender does not know us.
    Guest,
    /// The sender repeats what we miss.
    Member,
}

/// One incarnation of a publication, as a receiver sees it.
#[derive(Debug)]
pub(crate) struct ReceiveSession {
    session: SessionId,
    receiver: ReceiverId,
    settings: ReceiveSettings,
    /// Next packet to deliver; `None` until anything is heard.
    expected: Option<u64>,
    /// Packets from this one on have been delivered or counted as lost.
    began: u64,
    /// All packets before this one have been sent.
    announced: u64,
    membership: Membership,
    gaps: Gaps,
    window: Window,
    delivery: Delivery,
    /// Round trip and number of receivers as the sender told them.
    rtt: Duration,
    receivers: u32,
    random: SplitMix64,
    /// What the last status said; the next one is due when a quarter of the window is consumed.
    reported: Option<u64>,
    status_due: bool,
    echo: u32,
    counters: ReceiveCounters,
}

impl ReceiveSession {
    /// A session that starts with whatever comes first.
    pub(crate) fn new(session: SessionId, receiver: ReceiverId, settings: ReceiveSettings) -> Self {
        let seed = receiver.instance.as_uuid().as_u64_pair().0 ^ session.0;
        Self {
            session,
            receiver,
            settings,
            expected: None,
            began: 0,
            announced: 0,
            membership: Membership::Member,
            gaps: Gaps::none(),
            window: Window::default(),
            delivery: Delivery::new(settings.max_message_bytes),
            rtt: Duration::ZERO,
            receivers: 1,
            random: SplitMix64::new(seed),
            reported: None,
            status_due: false,
            echo: 0,
            counters: ReceiveCounters::default(),
        }
    }

    /// Goes on counting messages where this session was heard last; to be called before anything is
    /// heard.
    pub(crate) fn resume(&mut self, delivery: Delivery) {
        self.delivery = delivery;
    }

    /// What is known of the session's publishers.
    pub(crate) fn into_delivery(self) -> Delivery {
        self.delivery
    }

    pub(crate) const fn counters(&self) -> &ReceiveCounters {
        &self.counters
    }

    /// Packets before this one are dealt with; zero until anything is heard.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn consumed(&self) -> u64 {
        self.expected.unwrap_or_default()
    }

    /// Whether anything has been heard.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) const fn is_known(&self) -> bool {
        self.expected.is_some()
    }

    /// Packets that wait behind a gap.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) const fn held_packets(&self) -> usize {
        self.window.len()
    }

    /// Takes a data packet: its number and what follows its header.
    #[inline]
    pub(crate) fn handle_packet(
        &mut self,
        now: Timestamp,
        sequence: u64,
        frames: &[u8],
        sink: &mut impl Sink,
    ) {
        if self.expected == Some(sequence) && !self.gaps.is_open() && self.is_settled() {
            self.deliver(frames, sink);
            self.expected = Some(sequence + 1);
            self.check_status();
        } else {
            self.handle_out_of_order(now, sequence, frames, sink);
        }
    }

    #[cold]
    fn handle_out_of_order(
        &mut self,
        now: Timestamp,
        sequence: u64,
        frames: &[u8],
        sink: &mut impl Sink,
    ) {
        let expected = self.open(now, sequence);
        let window = u64::from(self.settings.window_packets);
        self.announced = self.announced.max(sequence + 1);
        if sequence < expected {
            self.counters.duplicates += 1;
        } else if sequence == expected && self.is_settled() {
            self.deliver(frames, sink);
            self.pass(sink);
            self.gaps.note_progress();
        } else if sequence - expected < window {
            #[expect(clippy::cast_possible_truncation, reason = "less than the window, a u32")]
            let held = self.window.hold((sequence - expected) as usize, frames);
            if held {
                self.gaps.note_progress();
            } else {
                self.counters.duplicates += 1;
            }
        } else if self.membership == Membership::Guest {
            // The sender has gone on without us: what is missing will not come any more.
            self.give_up(sequence, sink);
            self.deliver(frames, sink);
            self.pass(sink);
        } else {
            self.counters.overruns += 1;
        }
        self.watch_gaps(now);
        self.check_status();
    }

    /// The next packet to deliver. The first thing heard opens the session.
    fn open(&mut self, now: Timestamp, sequence: u64) -> u64 {
        *self.expected.get_or_insert_with(|| {
            self.status_due = true;
            self.began = sequence;
            if sequence == 0 {
                self.delivery.expect_all();
            } else {
                let pause = retry_delay(Duration::ZERO);
                let until = now + self.settings.join_timeout();
                self.membership = Membership::Joining { until, ask_at: now + pause, pause };
            }
            sequence
        })
    }

    /// The sender says how far it has come.
    pub(crate) fn handle_heartbeat(&mut self, now: Timestamp, heartbeat: &Heartbeat) {
        self.open(now, heartbeat.next);
        self.rtt = Duration::from_nanos(heartbeat.rtt_ns);
        self.receivers = heartbeat.receivers;
        self.announced = self.announced.max(heartbeat.next);
        if heartbeat.status_wanted {
            self.status_due = true;
            self.echo = heartbeat.probe;
        }
        self.watch_gaps(now);
    }

    /// The sender says where the session begins for a receiver.
    pub(crate) fn handle_welcome(
        &mut self,
        now: Timestamp,
        welcome: &Welcome,
        sink: &mut impl Sink,
    ) {
        if welcome.receiver != self.receiver || self.membership == Membership::Member {
            return;
        }
        self.open(now, welcome.start);
        if std::mem::replace(&mut self.membership, Membership::Member) == Membership::Guest {
            // What came before the guest did has gone by; the rest it has taken or counted.
            self.counters.packets_lost += self.began.saturating_sub(welcome.start);
            self.note_beginning(welcome.start);
        } else {
            self.begin_at(welcome.start, sink);
        }
        self.status_due = true;
        self.watch_gaps(now);
    }

    /// The sender cannot repeat what was before `oldest`.
    pub(crate) fn handle_gone(&mut self, now: Timestamp, oldest: u64, sink: &mut impl Sink) {
        if self.expected.is_none() || !self.is_settled() {
            return;
        }
        self.announced = self.announced.max(oldest);
        self.give_up(oldest, sink);
        self.gaps.note_progress();
        self.watch_gaps(now);
        self.check_status();
    }

    /// The sender is gone, but for what is still on its way.
    pub(crate) fn handle_goodbye(&mut self, now: Timestamp, sink: &mut impl Sink) {
        let was_settled = self.is_settled();
        self.membership = Membership::Guest;
        if let (false, Some(first)) = (was_settled, self.expected) {
            self.begin_at(first, sink);
        }
        // What was to be asked for is waited for as a guest does.
        self.gaps.update(now, None);
        self.watch_gaps(now);
    }

    /// Gives up what has been missing for too long, and notices what is to be asked for again; to be
    /// called when everything that has arrived is dealt with.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp, sink: &mut impl Sink) {
        let Some(expected) = self.expected else { return };
        if let Membership::Joining { until, ask_at, pause } = self.membership {
            if until <= now {
                self.membership = Membership::Guest;
                self.begin_at(expected, sink);
            } else if ask_at <= now {
                let pause = (pause * 2).min(LONGEST_PAUSE);
                let ask_at = now + pause;
                self.membership = Membership::Joining { until, ask_at, pause };
                self.status_due = true;
            } else {
                return;
            }
        }
        while let Some(until) = self.gaps.given_up(now, self.patience()) {
            self.give_up(until, sink);
        }
        self.gaps.handle_timeout(now);
        self.watch_gaps(now);
        self.check_status();
    }

    /// When [`ReceiveSession::handle_timeout`] or [`ReceiveSession::poll_nak`] has something to do.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Timestamp {
        match self.membership {
            Membership::Joining { until, ask_at, .. } => until.min(ask_at),
            _ => self.gaps.next_deadline(self.patience()),
        }
    }

    /// The status to send to the sender now, if one is due.
    #[inline]
    pub(crate) fn poll_status(&mut self) -> Option<Status> {
        if !self.status_due {
            return None;
        }
        self.status_due = false;
        self.reported = Some(self.expected?);
        let status = self.status();
        self.echo = 0;
        Some(status)
    }

    /// The NAK to send to the sender now, if one is due: a status, with what is missing.
    #[inline]
    pub(crate) fn poll_nak(&mut self, now: Timestamp, missing: &mut Vec<Range>) -> Option<Status> {
        if !self.gaps.is_open() || !self.is_settled() {
            return None;
        }
        self.ask(now, missing)
    }

    #[cold]
    fn ask(&mut self, now: Timestamp, missing: &mut Vec<Range>) -> Option<Status> {
        let expected = self.expected?;
        let from = self.gaps.due(expected)?;
        let window = u64::from(self.settings.window_packets);
        let until = self.announced.min(expected + window.min(NAK_SCAN));
        missing.clear();
        #[expect(clippy::cast_possible_truncation, reason = "distances within the window, a u32")]
        missing.extend(
            self.window
                .missing((from - expected) as usize, until.saturating_sub(expected) as usize)
                .take(MAX_RANGES)
                .map(|(first, count)| Range {
                    first: expected + first as u64,
                    packets: count as u32,
                }),
        );
        let asked = match missing.last() {
            Some(last) if missing.len() == MAX_RANGES => last.end(),
            _ => until,
        };
        let pause = retry_delay(self.rtt) + self.backoff();
        self.gaps.note_asked(now, asked, pause);
        if missing.is_empty() {
            return None;
        }
        self.counters.naks += 1;
        Some(self.status())
    }

    fn status(&self) -> Status {
        Status {
            session: self.session,
            consumed: self.expected.unwrap_or_default(),
            window_packets: self.settings.window_packets,
            echo: self.echo,
            receiver: self.receiver,
            tag: self.settings.tag,
            is_joining: self.membership != Membership::Member,
        }
    }

    #[inline]
    fn is_settled(&self) -> bool {
        !matches!(self.membership, Membership::Joining { .. })
    }

    fn backoff(&mut self) -> Duration {
        if !self.settings.is_group {
            return Duration::ZERO;
        }
        let longest = longest_backoff(self.rtt, self.receivers).as_nanos();
        Duration::from_nanos(self.random.below(u64::try_from(longest).unwrap_or(u64::MAX)))
    }

    const fn patience(&self) -> Duration {
        match self.membership {
            Membership::Guest => REORDER_HOLD,
            _ => self.settings.repair_timeout,
        }
    }

    #[inline]
    fn check_status(&mut self) {
        let (Some(expected), Some(reported)) = (self.expected, self.reported) else { return };
        if expected - reported >= u64::from(self.settings.window_packets / 4) {
            self.status_due = true;
        }
    }

    /// The session began with `start` for us, or with what came before.
    fn note_beginning(&mut self, start: u64) {
        self.began = self.began.min(start);
        if self.began == 0 {
            self.delivery.expect_all();
        }
    }

    /// Joining is over: the first packet to deliver is `start`, or the first one that came.
    fn begin_at(&mut self, start: u64, sink: &mut impl Sink) {
        let Some(first) = self.expected else { return };
        let missed = first.saturating_sub(start);
        self.note_beginning(start);
        // No more than a window can still come, all of it when only a heartbeat has been heard.
        let hoped_for = missed.min(u64::from(self.settings.window_packets));
        #[expect(clippy::cast_possible_truncation, reason = "at most the window, a u32")]
        self.window.retreat(hoped_for as usize);
        self.expected = Some(first - hoped_for);
        self.counters.packets_lost += missed - hoped_for;
        self.reported = self.expected;
        self.deliver_held(sink);
    }

    /// Goes on to `next`: what is held on the way is delivered, what is not is lost.
    fn give_up(&mut self, next: u64, sink: &mut impl Sink) {
        while let Some(expected) = self.expected
            && expected < next
        {
            if self.window.is_empty() {
                self.counters.packets_lost += next - expected;
                self.expected = Some(next);
                self.window.clear();
                break;
            }
            self.counters.packets_lost += 1;
            self.pass(sink);
        }
    }

    /// The expected packet is dealt with: goes on to the next one that is not held.
    fn pass(&mut self, sink: &mut impl Sink) {
        self.expected = self.expected.map(|expected| expected + 1);
        self.window.advance();
        self.deliver_held(sink);
    }

    fn deliver_held(&mut self, sink: &mut impl Sink) {
        while let Some(held) = self.window.take() {
            self.deliver(&held, sink);
            self.window.recycle(held);
            self.window.advance();
            self.expected = self.expected.map(|expected| expected + 1);
        }
    }

    /// Whether something is missing, and since when.
    fn watch_gaps(&mut self, now: Timestamp) {
        let (Some(expected), true) = (self.expected, self.is_settled()) else { return };
        if self.announced <= expected {
            self.gaps.update(now, None);
            return;
        }
        let delay = (self.membership == Membership::Member).then(|| self.backoff());
        let patience = self.patience();
        self.gaps.see(now, (expected, self.announced), patience, || delay);
    }

    #[inline]
    fn deliver(&mut self, frames: &[u8], sink: &mut impl Sink) {
        self.counters.packets += 1;
        for frame in Frames::new(frames) {
            match frame {
                Ok(frame) => {
                    if self.delivery.handle_frame(&frame, sink).is_err() {
                        self.counters.refused += 1;
                    }
                }
                Err(_) => self.counters.malformed += 1,
            }
        }
    }
}

#[cfg(feature = "sim")]
mod inspect;

#[cfg(test)]
#[path = "receiver/tests.rs"]
mod tests;
