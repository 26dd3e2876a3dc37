//! The sending side of a session: how far it may go, what it repeats, and what it says when it has
//! nothing to send. Layer: protocol. Owned by one lane.
//!
//! Heartbeats tell receivers how far the session has come, so that a lost last packet is noticed.
//! The first follows the last packet after a good round trip, the others ever more slowly, and
//! they stop when every receiver has confirmed everything: an idle, settled session is silent.

use std::net::SocketAddr;
use std::time::Duration;

use super::flow_control::{FlowControl, FlowSettings, Strategy, Verdict};
use super::retransmit::{Repair, Retransmit};
use super::timing::{LONGEST_PAUSE, PROBE_INTERVAL, linger, tail_delay};
use crate::id::{ReceiverId, SessionId};
use crate::time::Timestamp;
use crate::wire::control::{Feedback, Heartbeat, Range, Welcome};

/// Heartbeats after the last packet when no receiver is known that could confirm it.
const UNCONFIRMED_HEARTBEATS: u32 = 8;
/// Receivers that wait to be told where the session begins for them; the others ask again.
const MAX_WELCOMES: usize = 64;

/// Counts of a send session. Every field only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SendCounters {
    pub(crate) heartbeats: u64,
    pub(crate) statuses: u64,
    pub(crate) statuses_refused: u64,
    pub(crate) receivers_dropped: u64,
    pub(crate) naks: u64,
    pub(crate) retransmits: u64,
    /// Packets that were asked for when the ring did not hold them any more.
    pub(crate) gone: u64,
}

impl SendCounters {
    /// Adds what another session has counted.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.heartbeats += other.heartbeats;
        self.statuses += other.statuses;
        self.statuses_refused += other.statuses_refused;
        self.receivers_dropped += other.receivers_dropped;
        self.naks += other.naks;
        self.retransmits += other.retransmits;
        self.gone += other.gone;
    }
}

/// What to send now, beside data, to all receivers of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Heartbeat(Heartbeat),
    Welcome(Welcome),
    /// What was before `oldest` cannot be repeated.
    Gone {
        oldest: u64,
    },
    /// What is not sent goes to [`SendSession::put_back`].
    Repair(Repair),
}

/// One incarnation of a publication, as a group or a single receiver hears it.
#[derive(Debug)]
pub(crate) struct SendSession {
    session: SessionId,
    flow: FlowControl,
    retransmit: Retransmit,
    welcomes: Vec<Welcome>,
    /// Number of the next packet to send.
    next: u64,
    heartbeat_at: Timestamp,
    pause: Duration,
    /// Heartbeats since the last packet.
    repeated: u32,
    /// The last probe, and when it left.
    probe: u32,
    probed_at: Timestamp,
    gone_due: bool,
    gone_at: Option<Timestamp>,
    counters: SendCounters,
}

impl SendSession {
    /// `first` is the first packet to send.
    pub(crate) fn new(session: SessionId, settings: FlowSettings, first: u64) -> Self {
        Self {
            session,
            retransmit: Retransmit::new(settings.window_packets),
            flow: FlowControl::new(settings),
            welcomes: Vec::new(),
            next: first,
            heartbeat_at: Timestamp::NEVER,
            pause: Duration::ZERO,
            repeated: 0,
            probe: 0,
            probed_at: Timestamp::default(),
            gone_due: false,
            gone_at: None,
            counters: SendCounters::default(),
        }
    }

    pub(crate) const fn counters(&self) -> &SendCounters {
        &self.counters
    }

    /// The longest round trip to a receiver; zero until one has been measured.
    pub(super) fn round_trip(&self) -> Duration {
        self.flow.rtt().smoothed()
    }

    /// Number of the next packet to send.
    #[inline]
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// First packet that may not be sent yet.
    #[inline]
    pub(crate) fn limit(&self) -> u64 {
        self.flow.limit()
    }

    /// Packets before this one need not be kept for repairs.
    pub(crate) fn confirmed(&self) -> u64 {
        self.flow.confirmed(self.next)
    }

    /// The same by the receivers that decide under `strategy`; `None` when nobody does.
    pub(super) fn decided(&self, strategy: Strategy) -> Option<u64> {
        self.flow.decided(strategy)
    }

    /// Whether everything before `until` has reached a receiver, or will not.
    pub(crate) fn has_consumed(&self, receiver: ReceiverId, until: u64) -> bool {
        self.flow.has_consumed(receiver, until)
    }

    /// Packets from the next one on are meant for this receiver, too: it is told at once.
    /// `source` is where its feedback comes from, if that is known.
    pub(crate) fn add_receiver(
        &mut self,
        id: ReceiverId,
        source: Option<SocketAddr>,
        now: Timestamp,
    ) {
        if self.flow.add(id, source, self.next, now) {
            self.pause = tail_delay(&self.flow.rtt());
            self.heartbeat_at = now;
        }
    }

    pub(crate) fn remove_receiver(&mut self, id: ReceiverId) {
        self.flow.remove(id);
        self.welcomes.retain(|welcome| welcome.receiver != id);
    }

    /// Packets up to `next` (exclusive) have left. Takes no time: the heartbeat is timed by
    /// [`SendSession::handle_timeout`], which is called soon anyway.
    #[inline]
    pub(crate) const fn handle_sent(&mut self, next: u64) {
        self.retransmit.earn(next - self.next);
        self.next = next;
        self.repeated = 0;
        self.heartbeat_at = Timestamp::NEVER;
    }

    /// Packets before `oldest` cannot be sent any more: they count as sent and lost. Receivers learn
    /// from the next packet or heartbeat that they miss them, ask, and are told that they are gone.
    #[inline]
    pub(super) fn handle_overwritten(&mut self, oldest: u64) {
        self.next = self.next.max(oldest);
    }

    /// There is more to send than receivers allow.
    pub(crate) fn handle_blocked(&mut self, now: Timestamp) {
        self.flow.handle_blocked(now);
    }

    /// Feedback of a receiver, which came from `source`. What is not for this session or not
    /// believable is counted and changes nothing.
    pub(crate) fn handle_feedback(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        feedback: &Feedback<'_>,
    ) {
        let Feedback { status, missing } = feedback;
        let verdict = if status.session == self.session {
            self.flow.handle_status(now, source, status, self.next)
        } else {
            Verdict::Refused
        };
        match verdict {
            Verdict::Refused => {
                self.counters.statuses_refused += 1;
                return;
            }
            Verdict::Accepted => {}
            Verdict::Asks { start } => {
                let is_waiting =
                    self.welcomes.iter().any(|welcome| welcome.receiver == status.receiver);
                if !is_waiting && self.welcomes.len() < MAX_WELCOMES {
                    self.welcomes.push(Welcome { receiver: status.receiver, start });
                }
            }
        }
        self.counters.statuses += 1;
        if status.echo != 0 && status.echo == self.probe {
            self.flow.sample_rtt(status.receiver, now.since(self.probed_at));
        }
        if !missing.is_empty() {
            self.counters.naks += 1;
            self.repeat(now, status.receiver, missing);
        }
    }

    /// One NAK gets a window of packets at most: more could not have been on the way.
    fn repeat(&mut self, now: Timestamp, receiver: ReceiverId, missing: &[Range]) {
        let linger = linger(&self.flow.rtt());
        let mut left = self.flow.settings().window_packets;
        for range in missing {
            let sent = self.next.saturating_sub(range.first);
            let packets = u64::from(range.packets.min(left)).min(sent);
            let packets = u32::try_from(packets).unwrap_or(u32::MAX);
            if packets > 0 {
                let asked = Range { first: range.first, packets };
                self.retransmit.request(now, receiver, asked, linger);
                left -= packets;
            }
        }
    }

    /// Times heartbeats and leaves out receivers that hold the others back; to be called every few
    /// milliseconds at most.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        self.counters.receivers_dropped += self.flow.handle_timeout(now, self.next) as u64;
        if self.is_settled() {
            self.heartbeat_at = Timestamp::NEVER;
        } else if self.heartbeat_at == Timestamp::NEVER {
            self.pause = tail_delay(&self.flow.rtt());
            let probe_at = self.probed_at + PROBE_INTERVAL;
            self.heartbeat_at = (now + self.pause).min(probe_at.max(now));
        }
    }

    /// When [`SendSession::poll_transmit`] has something, should nothing else happen.
    pub(crate) fn next_deadline(&self) -> Timestamp {
        if !self.welcomes.is_empty() || self.gone_due || self.retransmit.is_waiting() {
            return Timestamp::default();
        }
        self.heartbeat_at
    }

    /// What to send now. `oldest` is the first packet that the ring still holds; repairs come in
    /// pieces of at most `most` packets.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Timestamp,
        oldest: u64,
        most: u64,
    ) -> Option<Output> {
        if let Some(welcome) = self.welcomes.pop() {
            return Some(Output::Welcome(welcome));
        }
        if self.retransmit.is_waiting() {
            let flow = &self.flow;
            let gone = self.retransmit.forget_before(oldest, |id, until| flow.is_past(id, until));
            self.counters.gone += gone;
            self.gone_due |= gone > 0;
            if let Some(repair) = self.retransmit.poll(now, most) {
                self.counters.retransmits += repair.packets;
                return Some(Output::Repair(repair));
            }
        }
        let gone_lingers = self.gone_at.is_some_and(|at| now.since(at) < linger(&self.flow.rtt()));
        if std::mem::take(&mut self.gone_due) && !gone_lingers {
            self.gone_at = Some(now);
            return Some(Output::Gone { oldest });
        }
        self.poll_heartbeat(now).map(Output::Heartbeat)
    }

    /// The socket took only the packets before `rest`.
    pub(crate) fn put_back(&mut self, rest: Repair) {
        self.counters.retransmits -= rest.packets;
        self.retransmit.put_back(rest);
    }

    fn poll_heartbeat(&mut self, now: Timestamp) -> Option<Heartbeat> {
        if self.heartbeat_at > now {
            return None;
        }
        self.repeated += 1;
        self.heartbeat_at = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.counters.heartbeats += 1;
        // Zero is no probe.
        self.probe = self.probe.wrapping_add(1).max(1);
        self.probed_at = now;
        let rtt = self.round_trip();
        Some(Heartbeat {
            next: self.next,
            // Who was left out comes back with its answer, or learns what it has missed.
            status_wanted: !self.flow.have_all_caught_up(self.next),
            rtt_ns: u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX),
            receivers: u32::try_from(self.flow.count()).unwrap_or(u32::MAX),
            probe: self.probe,
        })
    }

    /// Every receiver has all that was sent.
    pub(crate) fn is_complete(&self) -> bool {
        self.flow.is_complete(self.next)
    }

    /// Nothing is left to tell: everything sent has been confirmed, or told often enough.
    pub(crate) fn is_settled(&self) -> bool {
        if self.next_deadline() == Timestamp::default() {
            return false;
        }
        if self.flow.is_empty() {
            return self.next == 0 || self.repeated >= UNCONFIRMED_HEARTBEATS;
        }
        // Who was left out learns of the last packets from heartbeats alone.
        self.flow.have_all_caught_up(self.next)
    }
}

#[cfg(feature = "sim")]
mod inspect;

#[cfg(test)]
#[path = "sender/tests.rs"]
mod tests;
