//! The sending side of a session: how far it may go, and what it says when it has nothing to send.
//! Layer: protocol. Owned by one publication.
//!
//! Heartbeats tell receivers how far the session has come, so that a lost last packet is noticed.
//! They start [`FIRST_HEARTBEAT`] after the last packet, come ever more slowly, and stop when every
//! receiver has confirmed everything: an idle, settled session is silent.

use std::time::Duration;

use super::flow_control::FlowControl;
use crate::id::{InstanceId, SessionId};
use crate::time::Timestamp;
use crate::wire::control::Status;

/// Pause between the last packet and the first heartbeat.
pub(crate) const FIRST_HEARTBEAT: Duration = Duration::from_millis(1);
/// Longest pause between heartbeats.
pub(crate) const SLOWEST_HEARTBEAT: Duration = Duration::from_millis(100);
/// Heartbeats after the last packet when no receiver is known that could confirm it.
const UNCONFIRMED_HEARTBEATS: u32 = 8;

/// Counts of a send session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SendCounters {
    pub(crate) heartbeats: u64,
    pub(crate) statuses: u64,
    pub(crate) statuses_refused: u64,
    pub(crate) receivers_dropped: u64,
}

/// What to tell the receivers now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    /// Number of the next packet: all before it have been sent.
    pub(crate) next: u64,
    pub(crate) status_wanted: bool,
}

/// One incarnation of a publication.
#[derive(Debug)]
pub(crate) struct SendSession {
    session: SessionId,
    flow: FlowControl,
    /// Number of the next packet to send.
    next: u64,
    heartbeat_at: Timestamp,
    pause: Duration,
    /// Heartbeats since the last packet.
    repeated: u32,
    counters: SendCounters,
}

impl SendSession {
    pub(crate) const fn new(session: SessionId, flow: FlowControl) -> Self {
        Self {
            session,
            flow,
            next: 0,
            heartbeat_at: Timestamp::NEVER,
            pause: FIRST_HEARTBEAT,
            repeated: 0,
            counters: SendCounters {
                heartbeats: 0,
                statuses: 0,
                statuses_refused: 0,
                receivers_dropped: 0,
            },
        }
    }

    pub(crate) const fn counters(&self) -> &SendCounters {
        &self.counters
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

    /// Every packet before this one can be forgotten.
    pub(crate) fn confirmed(&self) -> u64 {
        self.flow.confirmed(self.next)
    }

    pub(crate) fn add_receiver(&mut self, id: InstanceId, now: Timestamp) {
        self.flow.add(id, self.next, now);
    }

    pub(crate) fn remove_receiver(&mut self, id: InstanceId) {
        self.flow.remove(id);
    }

    /// Packets up to `next` (exclusive) have left. Takes no time: the heartbeat is timed by
    /// [`SendSession::handle_timeout`], which the conductor calls anyway.
    #[inline]
    pub(crate) const fn handle_sent(&mut self, next: u64) {
        self.next = next;
        self.repeated = 0;
        self.heartbeat_at = Timestamp::NEVER;
    }

    /// Feedback of a receiver. False when it is not for this session or not believable.
    pub(crate) fn handle_status(&mut self, now: Timestamp, status: &Status) -> bool {
        let accepted = status.session == self.session
            && self.flow.handle_status(
                status.receiver,
                status.consumed,
                status.window_packets,
                self.next,
                now,
            );
        if accepted {
            self.counters.statuses += 1;
        } else {
            self.counters.statuses_refused += 1;
        }
        accepted
    }

    /// Times heartbeats and drops silent receivers; to be called every few milliseconds at most.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        self.counters.receivers_dropped += self.flow.handle_timeout(now, self.next) as u64;
        if self.is_settled() {
            self.heartbeat_at = Timestamp::NEVER;
        } else if self.heartbeat_at == Timestamp::NEVER {
            self.pause = FIRST_HEARTBEAT;
            self.heartbeat_at = now + self.pause;
        }
    }

    /// The heartbeat that is due, if one is.
    pub(crate) fn poll_heartbeat(&mut self, now: Timestamp) -> Option<Heartbeat> {
        if self.heartbeat_at > now {
            return None;
        }
        self.repeated += 1;
        self.pause = (self.pause * 2).min(SLOWEST_HEARTBEAT);
        self.heartbeat_at = now + self.pause;
        self.counters.heartbeats += 1;
        Some(Heartbeat { next: self.next, status_wanted: self.confirmed() < self.next })
    }

    /// Nothing is left to tell: everything sent has been confirmed, or told often enough.
    pub(crate) fn is_settled(&self) -> bool {
        if self.next == 0 {
            return true;
        }
        if self.flow.limit() == u64::MAX {
            return self.repeated >= UNCONFIRMED_HEARTBEATS;
        }
        self.confirmed() == self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_nanos(0);
    const MS: Duration = Duration::from_millis(1);

    fn receiver() -> InstanceId {
        InstanceId::from_bytes([1; 16])
    }

    fn session() -> SendSession {
        SendSession::new(SessionId(7), FlowControl::new(10, Duration::from_secs(1)))
    }

    fn status(consumed: u64) -> Status {
        Status { session: SessionId(7), consumed, window_packets: 10, receiver: receiver() }
    }

    fn heartbeats(session: &mut SendSession, from: Timestamp, until: Timestamp) -> Vec<Heartbeat> {
        let mut all = Vec::new();
        let mut now = from;
        while now < until {
            session.handle_timeout(now);
            all.extend(session.poll_heartbeat(now));
            now = now + MS;
        }
        all
    }

    #[test]
    fn heartbeats_slow_down_and_stop_once_all_is_confirmed() {
        let mut session = session();
        session.add_receiver(receiver(), START);
        session.handle_sent(3);
        let early = heartbeats(&mut session, START, START + MS * 50);
        assert!((4..8).contains(&early.len()), "{early:?}");
        assert!(early.iter().all(|beat| *beat == Heartbeat { next: 3, status_wanted: true }));
        let late = heartbeats(&mut session, START + MS * 200, START + MS * 700);
        assert!((4..=6).contains(&late.len()), "one per 100 ms: {late:?}");
        assert!(session.handle_status(START + MS * 700, &status(3)));
        assert!(session.is_settled());
        assert!(heartbeats(&mut session, START + MS * 701, START + MS * 3000).is_empty());
    }

    #[test]
    fn without_receivers_heartbeats_stop_by_themselves() {
        let mut session = session();
        session.handle_sent(1);
        let all = heartbeats(&mut session, START, START + MS * 5000);
        assert_eq!(all.len(), UNCONFIRMED_HEARTBEATS as usize);
        assert!(!all[0].status_wanted);
    }

    #[test]
    fn a_session_that_never_sent_is_silent() {
        let mut session = session();
        session.add_receiver(receiver(), START);
        assert!(heartbeats(&mut session, START, START + MS * 500).is_empty());
    }

    #[test]
    fn feedback_of_another_session_is_refused() {
        let mut session = session();
        session.add_receiver(receiver(), START);
        session.handle_sent(3);
        let stale = Status { session: SessionId(8), ..status(3) };
        assert!(!session.handle_status(START, &stale));
        assert_eq!(session.counters().statuses_refused, 1);
        assert_eq!(session.confirmed(), 0);
    }
}
