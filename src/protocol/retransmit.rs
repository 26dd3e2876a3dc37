//! What is to be sent again, and what has just been. Layer: protocol. Owned by one send session.
//!
//! Packets are repeated straight from the ring, so this holds numbers only. What requests can
//! trigger is bounded: a packet is not repeated while the last repetition can still be on its way,
//! and all repetitions together do not exceed what was sent for the first time by more than a window
//! in every [`REFILL`].

use std::collections::VecDeque;
use std::time::Duration;

use crate::id::ReceiverId;
use crate::time::Timestamp;
use crate::wire::control::Range;

/// In each such interval a window of packets may be repeated, beside as many as are sent for the
/// first time: forged requests cannot make a sender send more than that.
pub(crate) const REFILL: Duration = Duration::from_millis(10);
/// Ranges that wait; a receiver whose request did not fit asks again.
const MAX_WAITING: usize = 1024;

/// Packets to send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repair {
    pub(crate) first: u64,
    pub(crate) packets: u64,
    /// Who asked. All receivers of the session get the repair.
    pub(crate) receiver: ReceiverId,
}

/// What is known of the packet that has this place in the table.
#[derive(Clone, Copy, Debug)]
struct Mark {
    packet: u64,
    /// When it was last repeated; `None` while it waits to be.
    at: Option<Timestamp>,
}

/// The repairs of one session.
#[derive(Debug)]
pub(super) struct Retransmit {
    waiting: VecDeque<Repair>,
    /// By the packet's place in a table as large as the window, made with the first request.
    marks: Vec<Option<Mark>>,
    window_packets: u32,
    budget: u64,
    refilled_at: Timestamp,
}

impl Retransmit {
    pub(super) const fn new(window_packets: u32) -> Self {
        Self {
            waiting: VecDeque::new(),
            marks: Vec::new(),
            window_packets,
            budget: window_packets as u64,
            refilled_at: Timestamp::from_nanos(0),
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether what receivers have asked for takes no more memory than it may.
    #[cfg(feature = "sim")]
    pub(super) fn is_bounded(&self) -> bool {
        // What the socket did not take comes on top.
        self.waiting.len() <= MAX_WAITING + 1
            && self.marks.len() <= self.window_packets.next_power_of_two() as usize
    }

    /// A receiver asks for packets that have been sent. Returns how many it will get.
    pub(super) fn request(
        &mut self,
        now: Timestamp,
        receiver: ReceiverId,
        missing: Range,
        linger: Duration,
    ) -> u64 {
        if self.marks.is_empty() {
            self.marks.resize(self.window_packets.next_power_of_two() as usize, None);
        }
        let (mut granted, mut open) = (0, None);
        for packet in missing.first..missing.end().min(missing.first + self.marks.len() as u64) {
            if self.waiting.len() >= MAX_WAITING {
                break;
            }
            let mark = place(&mut self.marks, packet);
            let is_under_way = mark.is_some_and(|mark| {
                mark.packet == packet && mark.at.is_none_or(|at| now.since(at) < linger)
            });
            if is_under_way {
                self.wait(open.take(), receiver);
                continue;
            }
            *mark = Some(Mark { packet, at: None });
            granted += 1;
            open = Some(open.map_or((packet, 1), |(first, count)| (first, count + 1)));
        }
        self.wait(open, receiver);
        granted
    }

    /// Packets are repeated at the given time, or wait again.
    fn note(&mut self, repair: Repair, at: Option<Timestamp>) {
        for packet in repair.first..repair.first + repair.packets {
            let mark = place(&mut self.marks, packet);
            // A later packet may have taken the place.
            if mark.is_none_or(|mark| mark.packet <= packet) {
                *mark = Some(Mark { packet, at });
            }
        }
    }

    fn wait(&mut self, range: Option<(u64, u64)>, receiver: ReceiverId) {
        if let Some((first, packets)) = range {
            self.waiting.push_back(Repair { first, packets, receiver });
        }
    }

    /// Packets have been sent for the first time: as many may be repeated.
    #[inline]
    pub(super) const fn earn(&mut self, packets: u64) {
        let budget = self.budget + packets;
        let window = self.window_packets as u64;
        self.budget = if budget < window { budget } else { window };
    }

    /// Forgets what is before `oldest`, and says how many of these packets were still wanted: a
    /// repair that another receiver of the group got has served who asked later, too.
    /// `has` says whether a receiver has everything before a packet.
    pub(super) fn forget_before(
        &mut self,
        oldest: u64,
        has: impl Fn(ReceiverId, u64) -> bool,
    ) -> u64 {
        let mut wanted = 0;
        let Self { waiting, marks, .. } = self;
        waiting.retain_mut(|repair| {
            let gone = oldest.saturating_sub(repair.first).min(repair.packets);
            for packet in repair.first..repair.first + gone {
                // Does not wait any more: who asks again is to be told again.
                place(marks, packet).take_if(|mark| mark.packet == packet);
            }
            repair.first += gone;
            repair.packets -= gone;
            if gone > 0 && !has(repair.receiver, repair.first) {
                wanted += gone;
            }
            repair.packets > 0
        });
        wanted
    }

    /// What may be sent again now, at most `most` packets in one piece.
    pub(super) fn poll(&mut self, now: Timestamp, most: u64) -> Option<Repair> {
        let next = *self.waiting.front()?;
        self.refill(now);
        let packets = next.packets.min(most).min(self.budget);
        if packets == 0 {
            return None;
        }
        self.budget -= packets;
        if packets == next.packets {
            self.waiting.pop_front();
        } else if let Some(rest) = self.waiting.front_mut() {
            rest.first += packets;
            rest.packets -= packets;
        }
        let repair = Repair { packets, ..next };
        self.note(repair, Some(now));
        Some(repair)
    }

    /// The socket took no more: this much is still to be done.
    pub(super) fn put_back(&mut self, repair: Repair) {
        self.budget += repair.packets;
        self.note(repair, None);
        self.waiting.push_front(repair);
    }

    fn refill(&mut self, now: Timestamp) {
        let window = u64::from(self.window_packets);
        let elapsed = now.since(self.refilled_at).min(REFILL).as_nanos();
        let earned = elapsed * u128::from(window) / REFILL.as_nanos();
        if earned > 0 {
            self.earn(u64::try_from(earned).unwrap_or(window));
            self.refilled_at = now;
        }
    }
}

/// The place of a packet in a table whose length is a power of two.
#[expect(clippy::cast_possible_truncation, reason = "masked by a length")]
fn place(marks: &mut [Option<Mark>], packet: u64) -> &mut Option<Mark> {
    let mask = marks.len() as u64 - 1;
    &mut marks[(packet & mask) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::InstanceId;

    const START: Timestamp = Timestamp::from_nanos(1_000_000_000);
    const LINGER: Duration = Duration::from_millis(1);

    fn id(byte: u8) -> ReceiverId {
        ReceiverId { instance: InstanceId::from_bytes([byte; 16]), port: 1 }
    }

    fn range(first: u64, packets: u32) -> Range {
        Range { first, packets }
    }

    fn all(retransmit: &mut Retransmit, now: Timestamp) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| retransmit.poll(now, 40))
            .map(|repair| (repair.first, repair.packets))
            .collect()
    }

    #[test]
    fn what_is_under_way_is_not_repeated() {
        let mut retransmit = Retransmit::new(64);
        assert_eq!(retransmit.request(START, id(1), range(10, 3), LINGER), 3);
        assert_eq!(retransmit.request(START, id(2), range(11, 4), LINGER), 2);
        assert_eq!(all(&mut retransmit, START), [(10, 3), (13, 2)]);
        assert_eq!(retransmit.request(START + LINGER, id(2), range(11, 1), LINGER), 1);
        assert_eq!(all(&mut retransmit, START + LINGER), [(11, 1)]);
    }

    #[test]
    fn what_waits_for_its_turn_does_not_wait_twice() {
        let mut retransmit = Retransmit::new(64);
        retransmit.request(START, id(1), range(0, 64), LINGER);
        retransmit.request(START, id(1), range(64, 64), LINGER);
        assert_eq!(all(&mut retransmit, START), [(0, 40), (40, 24)]);
        let later = START + LINGER;
        assert_eq!(retransmit.request(later, id(1), range(64, 64), LINGER), 0);
        assert_eq!(retransmit.waiting.len(), 1);
        retransmit.earn(64);
        assert_eq!(all(&mut retransmit, later), [(64, 40), (104, 24)]);
        assert_eq!(retransmit.request(later, id(1), range(64, 64), LINGER), 0, "on its way");
        assert_eq!(retransmit.request(later + LINGER, id(1), range(64, 64), LINGER), 64);
    }

    #[test]
    fn no_more_than_a_window_is_repeated_in_an_interval() {
        let mut retransmit = Retransmit::new(64);
        assert_eq!(retransmit.request(START, id(1), range(0, u32::MAX), LINGER), 64);
        assert_eq!(retransmit.request(START, id(1), range(64, 64), LINGER), 64);
        assert_eq!(all(&mut retransmit, START), [(0, 40), (40, 24)]);
        assert!(retransmit.is_waiting());
        assert_eq!(all(&mut retransmit, START + REFILL / 2), [(64, 32)]);
        assert_eq!(all(&mut retransmit, START + REFILL), [(96, 32)]);
    }

    #[test]
    fn what_is_sent_for_the_first_time_pays_for_repairs() {
        let mut retransmit = Retransmit::new(64);
        retransmit.request(START, id(1), range(0, 64), LINGER);
        retransmit.request(START, id(1), range(64, 64), LINGER);
        assert_eq!(all(&mut retransmit, START), [(0, 40), (40, 24)]);
        retransmit.earn(10);
        assert_eq!(all(&mut retransmit, START), [(64, 10)]);
        retransmit.earn(1000);
        assert_eq!(retransmit.budget, 64);
    }

    #[test]
    fn what_is_gone_costs_nothing() {
        let mut retransmit = Retransmit::new(64);
        for first in [0, 10, 30] {
            retransmit.request(START, id(1), range(first, 10), LINGER);
        }
        assert_eq!(retransmit.forget_before(35, |_, _| false), 25);
        assert_eq!((all(&mut retransmit, START), retransmit.budget), (vec![(35, 5)], 59));
    }

    #[test]
    fn who_asks_again_for_what_is_gone_is_heard_again() {
        let mut retransmit = Retransmit::new(64);
        for _ in 0..2 {
            assert_eq!(retransmit.request(START, id(1), range(0, 10), LINGER), 10);
            assert_eq!(retransmit.forget_before(10, |_, _| false), 10);
        }
    }

    #[test]
    fn what_the_socket_did_not_take_comes_first_again() {
        let mut retransmit = Retransmit::new(64);
        retransmit.request(START, id(1), range(0, 2), LINGER);
        retransmit.request(START, id(1), range(5, 2), LINGER);
        let repair = retransmit.poll(START, 40).unwrap();
        retransmit.put_back(repair);
        assert_eq!(all(&mut retransmit, START), [(0, 2), (5, 2)]);
    }

    #[test]
    fn waiting_ranges_are_bounded() {
        let mut retransmit = Retransmit::new(1 << 20);
        for nth in 0..MAX_WAITING as u64 * 2 {
            retransmit.request(START, id(1), range(nth * 2, 1), LINGER);
        }
        assert_eq!(retransmit.waiting.len(), MAX_WAITING);
    }
}
