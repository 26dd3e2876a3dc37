//! One way out of a packet ring: a send session and where its packets go. Layer: protocol. Owned by
//! one [`FanOut`](super::fan_out::FanOut).
//!
//! A lane leads to a group, whatever the number of receivers there, or to exactly one receiver. It
//! has its own place in the ring, its own window and its own timers: what holds it back holds back
//! no other lane, until the ring is full of what it has not confirmed.

use super::flow_control::{FlowSettings, Strategy};
use super::retransmit::Repair;
use super::sender::{Output, SendSession};
use crate::id::ReceiverId;
use crate::ring::append::Appender;
use crate::time::Timestamp;
use crate::wire::control::encode_gone;
use crate::wire::packet::PacketHeader;

/// What a lane says in one go before others get their turn.
const MAX_OUTPUTS: usize = 64;

/// Where packets leave. `D` says where a lane leads.
pub(crate) trait Outlet<D> {
    /// Sends a run of packets. False when nothing more can be sent now; a part of the run may have
    /// gone all the same.
    fn send(&mut self, to: &D, run: &[u8]) -> bool;
}

/// What went out for the first time, on whichever lane was the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// A send session and where its packets go.
#[derive(Debug)]
pub(super) struct Lane<D> {
    pub(super) session: SendSession,
    to: D,
    /// Who is at the end; `None` for a group.
    receiver: Option<ReceiverId>,
    /// The last transmission left packets behind that its receiver did not take.
    was_blocked: bool,
    /// It was left out, and must not hold back the others before it is near them again.
    is_behind: bool,
}

impl<D> Lane<D> {
    pub(super) const fn new(session: SendSession, to: D, receiver: Option<ReceiverId>) -> Self {
        Self { session, to, receiver, was_blocked: false, is_behind: false }
    }

    pub(super) const fn receiver(&self) -> Option<ReceiverId> {
        self.receiver
    }

    /// Number of the next packet to send.
    #[inline]
    pub(super) const fn next(&self) -> u64 {
        self.session.next()
    }

    /// First packet that may not be sent yet. To a group packets go whoever is there; a receiver that
    /// is left out gets none.
    #[inline]
    pub(super) fn limit(&self) -> u64 {
        let limit = self.session.limit();
        if limit == u64::MAX && self.receiver.is_some() { self.next() } else { limit }
    }

    /// Whether anybody is there to be sent to.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.receiver.is_none() || self.session.limit() != u64::MAX
    }

    /// Whether it has a say in what the ring keeps. A group always has, whoever is there.
    #[inline]
    pub(super) fn is_abreast(&self, strategy: Strategy) -> bool {
        self.receiver.is_none() || self.decided(strategy).is_some()
    }

    /// Whether there are packets before `end` that it would take, or takes later.
    #[inline]
    pub(super) fn is_waiting(&self, end: u64) -> bool {
        self.next() < end && self.is_open()
    }

    /// Whether its receiver is what packets before `end` wait for.
    #[inline]
    pub(super) fn is_blocked(&self, end: u64) -> bool {
        self.is_waiting(end) && self.next() >= self.limit()
    }

    /// Whether packets can go again that its receiver did not take before.
    pub(super) fn is_released(&self) -> bool {
        self.was_blocked && self.next() < self.limit()
    }

    /// Everything before is confirmed, as far as this lane has a say in what the ring keeps.
    pub(super) fn decided(&self, strategy: Strategy) -> Option<u64> {
        if self.is_behind { None } else { self.session.decided(strategy) }
    }

    /// Whether the lane keeps others from getting what they would take. A group does so with its
    /// window, a receiver of its own with a ring that is full.
    pub(super) fn is_holding(&self, ring: &Appender, strategy: Strategy) -> bool {
        if !self.is_blocked(ring.open_packet()) {
            return false;
        }
        // Whoever is far behind: several slow receivers do not follow each other's grace.
        let far = ring.layout().slots as u64 / 2;
        let is_far = |confirmed| confirmed + far <= ring.open_packet();
        self.receiver.is_none()
            || ring.free_packets() == 0 && self.decided(strategy).is_some_and(is_far)
    }

    /// Whether the lane counts for the others, now that their `front` is there. Where slow receivers
    /// are to be dropped, one that was left out comes back only within a window of the front.
    pub(super) fn settle_place(&mut self, front: u64, settings: &FlowSettings) {
        if !self.is_open() {
            self.is_behind = true;
        } else if self.is_behind {
            let reach = self.session.confirmed() + u64::from(settings.window_packets);
            self.is_behind = settings.drops_slow && reach < front;
        }
    }

    /// Sends closed packets before `end`, at most `most` in one run, as far as the receiver and the
    /// outlet take them, and counts those from `counted` on. False when the outlet takes no more.
    #[inline]
    pub(super) fn transmit(
        &mut self,
        ring: &Appender,
        (end, most): (u64, u64),
        outlet: &mut impl Outlet<D>,
        (counted, progress): (u64, &mut Progress),
    ) -> bool {
        self.session.handle_overwritten(ring.oldest_packet());
        let (first, limit) = (self.next(), self.limit());
        let until = end.min(limit);
        let mut next = first;
        while next < until {
            let (run, count) = ring.closed_run(next, (until - next).min(most));
            if !outlet.send(&self.to, run) {
                break;
            }
            let known = counted.saturating_sub(next);
            if known < count {
                progress.packets += count - known;
                // All packets of a run but the last are of full length.
                progress.bytes += run.len() as u64 - known * ring.layout().packet_bytes as u64;
            }
            next += count;
        }
        if next > first {
            self.session.handle_sent(next);
        }
        self.was_blocked = next < end && next >= limit;
        next >= until
    }

    /// Sends what the session has to say beside data.
    pub(super) fn tell(
        &mut self,
        now: Timestamp,
        ring: &Appender,
        (header, most): (PacketHeader, u64),
        outlet: &mut impl Outlet<D>,
    ) {
        let oldest = ring.oldest_packet();
        self.session.handle_overwritten(oldest);
        self.session.handle_timeout(now);
        for _ in 0..MAX_OUTPUTS {
            let Some(output) = self.session.poll_transmit(now, oldest, most) else { return };
            // What is not sent now comes again by itself, but for repairs.
            match output {
                Output::Heartbeat(heartbeat) => outlet.send(&self.to, &heartbeat.encode(header)),
                Output::Gone { oldest } => outlet.send(&self.to, &encode_gone(header, oldest)),
                Output::Welcome(welcome) => outlet.send(&self.to, &welcome.encode(header)),
                Output::Repair(repair) if self.repair(repair, ring, outlet) => true,
                Output::Repair(_) => return,
            };
        }
    }

    /// Sends packets again, straight from the ring. False when the outlet takes no more.
    fn repair(&mut self, repair: Repair, ring: &Appender, outlet: &mut impl Outlet<D>) -> bool {
        let Repair { mut first, mut packets, receiver } = repair;
        while packets > 0 {
            let (run, count) = ring.closed_run(first, packets);
            if !outlet.send(&self.to, run) {
                self.session.put_back(Repair { first, packets, receiver });
                return false;
            }
            (first, packets) = (first + count, packets - count);
        }
        true
    }
}
