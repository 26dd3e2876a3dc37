//! The receiving side of a session: packets in any order become frames in order. Layer: protocol.
//! Owned by the poller that reads the endpoint.
//!
//! A packet after a gap is held for [`REORDER_HOLD`]; if the gap is still open then, the missing
//! packets are lost and what follows is delivered.

use std::time::Duration;

use super::delivery::{Delivery, Sink};
use super::window::Window;
use crate::id::{InstanceId, SessionId};
use crate::time::Timestamp;
use crate::wire::control::Status;
use crate::wire::frame::Frames;

/// How long a gap may stay open: longer than any reordering on a local network, short enough not
/// to be felt as an outage.
pub(crate) const REORDER_HOLD: Duration = Duration::from_millis(1);

/// What a receive session has seen. Every field only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReceiveCounters {
    pub(crate) packets: u64,
    pub(crate) packets_lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) malformed: u64,
    /// Frames of no use: parts of incomplete or oversized messages.
    pub(crate) refused: u64,
}

/// Limits of a receive session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveSettings {
    /// Packets that may be on the way or held after a gap.
    pub(crate) window_packets: u32,
    pub(crate) max_message_bytes: usize,
}

/// One incarnation of a publication, as a receiver sees it.
#[derive(Debug)]
pub(crate) struct ReceiveSession {
    session: SessionId,
    receiver: InstanceId,
    settings: ReceiveSettings,
    /// Next packet to deliver; `None` until the first packet is seen.
    expected: Option<u64>,
    /// The sender told that all packets before this one have been sent.
    announced: u64,
    gap_since: Option<Timestamp>,
    window: Window,
    delivery: Delivery,
    /// What the last status said; the next one is due when a quarter of the window is consumed.
    reported: Option<u64>,
    status_due: bool,
    counters: ReceiveCounters,
}

impl ReceiveSession {
    /// A session that starts with whatever packet comes first.
    pub(crate) fn new(session: SessionId, receiver: InstanceId, settings: ReceiveSettings) -> Self {
        Self {
            session,
            receiver,
            settings,
            expected: None,
            announced: 0,
            gap_since: None,
            window: Window::default(),
            delivery: Delivery::new(settings.max_message_bytes),
            reported: None,
            status_due: false,
            counters: ReceiveCounters::default(),
        }
    }

    pub(crate) const fn counters(&self) -> &ReceiveCounters {
        &self.counters
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
        let expected = *self.expected.get_or_insert_with(|| {
            self.status_due = true;
            sequence
        });
        if sequence == expected {
            self.deliver(frames, sink);
            if self.gap_since.is_none() {
                self.expected = Some(expected + 1);
            } else {
                self.pass(sink);
                self.watch_gap(now);
            }
        } else if sequence < expected {
            self.counters.duplicates += 1;
        } else {
            self.handle_early(now, sequence, expected, frames, sink);
        }
        self.check_status();
    }

    #[cold]
    fn handle_early(
        &mut self,
        now: Timestamp,
        sequence: u64,
        expected: u64,
        frames: &[u8],
        sink: &mut impl Sink,
    ) {
        let distance = sequence - expected;
        if distance >= u64::from(self.settings.window_packets) {
            // The sender has gone on without us: what is missing will not come any more.
            self.give_up(sequence, sink);
            self.watch_gap(now);
            self.handle_packet(now, sequence, frames, sink);
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "less than the window, a u32")]
        let held = self.window.hold(distance as usize, frames);
        if !held {
            self.counters.duplicates += 1;
        }
        self.gap_since.get_or_insert(now);
    }

    /// The sender says that everything before `next` has been sent, and may want a status.
    pub(crate) fn handle_heartbeat(&mut self, now: Timestamp, next: u64, status_wanted: bool) {
        let expected = *self.expected.get_or_insert(next);
        self.announced = self.announced.max(next);
        if self.announced > expected {
            self.gap_since.get_or_insert(now);
        }
        self.status_due |= status_wanted;
    }

    /// Gives up gaps that have been open for too long.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp, sink: &mut impl Sink) {
        if self.next_deadline() > now {
            return;
        }
        let Some(expected) = self.expected else { return };
        let next = if self.window.is_empty() {
            self.announced
        } else {
            expected + self.window.gap() as u64
        };
        self.give_up(next, sink);
        self.watch_gap(now);
        self.check_status();
    }

    /// When [`ReceiveSession::handle_timeout`] has something to do.
    pub(crate) fn next_deadline(&self) -> Timestamp {
        self.gap_since.map_or(Timestamp::NEVER, |since| since + REORDER_HOLD)
    }

    /// The status to send to the sender now, if one is due.
    #[inline]
    pub(crate) fn poll_status(&mut self) -> Option<Status> {
        if !self.status_due {
            return None;
        }
        self.status_due = false;
        let consumed = self.expected?;
        self.reported = Some(consumed);
        Some(Status {
            session: self.session,
            consumed,
            window_packets: self.settings.window_packets,
            receiver: self.receiver,
        })
    }

    #[inline]
    fn check_status(&mut self) {
        let (Some(expected), Some(reported)) = (self.expected, self.reported) else { return };
        if expected - reported >= u64::from(self.settings.window_packets / 4) {
            self.status_due = true;
        }
    }

    /// Goes on to `next`: what is held on the way is delivered, what is not is lost.
    fn give_up(&mut self, next: u64, sink: &mut impl Sink) {
        while let Some(expected) = self.expected
            && expected < next
        {
            if self.window.is_empty() {
                self.counters.packets_lost += next - expected;
                self.expected = Some(next);
                break;
            }
            self.counters.packets_lost += 1;
            self.pass(sink);
        }
    }

    /// The expected packet is dealt with: expects the next one, and delivers what is held from
    /// there on without a gap.
    fn pass(&mut self, sink: &mut impl Sink) {
        loop {
            self.expected = self.expected.map(|expected| expected + 1);
            let Some(held) = self.window.advance() else { return };
            self.deliver(&held, sink);
            self.window.recycle(held);
        }
    }

    /// Whether a gap is still open; a new one is as old as `now`.
    fn watch_gap(&mut self, now: Timestamp) {
        let open = !self.window.is_empty() || Some(self.announced) > self.expected;
        self.gap_since = open.then_some(now);
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

#[cfg(test)]
#[path = "receiver/tests.rs"]
mod tests;
