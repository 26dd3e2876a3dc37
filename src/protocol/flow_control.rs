//! How far a sender may go. Layer: protocol. Owned by one send session.
//!
//! The slowest receiver sets the limit: what it has consumed plus its window. A receiver counts from
//! when discovery names it, so that a burst right after cannot overrun it before its first status;
//! one that stays silent while it holds the others back is dropped until it is heard again.

use std::time::Duration;

use crate::id::InstanceId;
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug)]
struct Receiver {
    id: InstanceId,
    consumed: u64,
    window_packets: u32,
    /// Last time that this receiver made progress, or had nothing to do.
    heard: Timestamp,
    dropped: bool,
}

/// The `min` strategy: as fast as the slowest receiver.
#[derive(Debug)]
pub(crate) struct FlowControl {
    receivers: Vec<Receiver>,
    initial_window_packets: u32,
    timeout: Duration,
}

impl FlowControl {
    pub(crate) const fn new(initial_window_packets: u32, timeout: Duration) -> Self {
        Self { receivers: Vec::new(), initial_window_packets, timeout }
    }

    /// Discovery has found a receiver; packets from `next` on are meant for it.
    pub(crate) fn add(&mut self, id: InstanceId, next: u64, now: Timestamp) {
        if self.find(id).is_some() {
            return;
        }
        self.receivers.push(Receiver {
            id,
            consumed: next,
            window_packets: self.initial_window_packets,
            heard: now,
            dropped: false,
        });
    }

    pub(crate) fn remove(&mut self, id: InstanceId) {
        self.receivers.retain(|receiver| receiver.id != id);
    }

    /// A status of a receiver that discovery knows. `sent` bounds what it can have consumed. False
    /// when the status is not believable.
    pub(crate) fn handle_status(
        &mut self,
        id: InstanceId,
        consumed: u64,
        window_packets: u32,
        sent: u64,
        now: Timestamp,
    ) -> bool {
        let Some(receiver) = self.find(id) else { return false };
        if consumed > sent {
            return false;
        }
        receiver.consumed = receiver.consumed.max(consumed);
        receiver.window_packets = window_packets.max(1);
        receiver.heard = now;
        receiver.dropped = false;
        true
    }

    /// First packet that may not be sent yet; `u64::MAX` without receivers.
    pub(crate) fn limit(&self) -> u64 {
        self.active()
            .map(|receiver| receiver.consumed + u64::from(receiver.window_packets))
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Every packet before this one has been consumed by all receivers; `sent` without receivers.
    pub(crate) fn confirmed(&self, sent: u64) -> u64 {
        self.active().map(|receiver| receiver.consumed).min().unwrap_or(sent)
    }

    /// Drops receivers that owe a status for longer than the timeout, and says how many.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp, sent: u64) -> usize {
        let timeout = self.timeout;
        let mut dropped = 0;
        for receiver in &mut self.receivers {
            if receiver.consumed >= sent {
                receiver.heard = now;
            } else if !receiver.dropped && now.since(receiver.heard) >= timeout {
                receiver.dropped = true;
                dropped += 1;
            }
        }
        dropped
    }

    fn active(&self) -> impl Iterator<Item = &Receiver> {
        self.receivers.iter().filter(|receiver| !receiver.dropped)
    }

    fn find(&mut self, id: InstanceId) -> Option<&mut Receiver> {
        self.receivers.iter_mut().find(|receiver| receiver.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const START: Timestamp = Timestamp::from_nanos(0);

    fn id(byte: u8) -> InstanceId {
        InstanceId::from_bytes([byte; 16])
    }

    #[test]
    fn the_slowest_receiver_sets_the_limit() {
        let mut flow = FlowControl::new(10, SECOND);
        assert_eq!(flow.limit(), u64::MAX);
        flow.add(id(1), 5, START);
        flow.add(id(2), 5, START);
        assert_eq!(flow.limit(), 15);
        assert!(flow.handle_status(id(1), 12, 20, 14, START));
        assert_eq!(flow.limit(), 15);
        assert!(flow.handle_status(id(2), 8, 20, 14, START));
        assert_eq!((flow.limit(), flow.confirmed(14)), (28, 8));
        flow.remove(id(2));
        assert_eq!(flow.limit(), 32);
    }

    #[test]
    fn strangers_and_impossible_claims_change_nothing() {
        let mut flow = FlowControl::new(10, SECOND);
        flow.add(id(1), 0, START);
        assert!(!flow.handle_status(id(9), 3, 100, 5, START));
        assert!(!flow.handle_status(id(1), 6, 100, 5, START));
        assert_eq!(flow.limit(), 10);
    }

    #[test]
    fn a_silent_receiver_is_dropped_and_comes_back_when_heard() {
        let mut flow = FlowControl::new(10, SECOND);
        flow.add(id(1), 0, START);
        assert_eq!(flow.handle_timeout(START + SECOND * 5, 0), 0, "owes nothing");
        assert_eq!(flow.handle_timeout(START + SECOND * 5, 3), 0, "heard until now");
        assert_eq!(flow.handle_timeout(START + SECOND * 6, 3), 1);
        assert_eq!(flow.limit(), u64::MAX);
        assert!(flow.handle_status(id(1), 3, 10, 3, START + SECOND * 7));
        assert_eq!(flow.limit(), 13);
    }
}
