//! What became of the packets of each session: which numbers a capture has, has twice, or lacks. Layer: bin.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;
use vega::inspect::{Body, Packet, SessionId};

/// Sessions, and ways of one session, that are followed.
const MAX_SESSIONS: usize = 4096;
const MAX_WAYS: usize = 256;
/// Gaps of one way that are remembered: what is in others counts as missing for good.
const MAX_GAPS: usize = 4096;

/// All sessions of a capture.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    /// Packets of those beyond the limits.
    untracked: u64,
}

#[derive(Debug, Default)]
struct Session {
    /// By where packets are sent to: the group, or each receiver.
    ways: BTreeMap<SocketAddr, Way>,
    naks: u64,
    asked: u64,
}

/// One session on one of its ways.
#[derive(Debug, Serialize)]
pub(super) struct SessionJson {
    session: String,
    to: String,
    packets: u64,
    first: u64,
    last: u64,
    /// Numbers between the first and the last one that the capture does not have.
    pub(super) missing: u64,
    /// Packets that came after one with a higher number.
    pub(super) late: u64,
    /// Packets that the capture has already.
    pub(super) repeated: u64,
    /// NAKs about the session, on all its ways.
    naks: u64,
    /// Packets that they ask for.
    asked: u64,
}

impl Sessions {
    /// To be told of every packet, with where it was sent to.
    pub(super) fn follow(&mut self, packet: &Packet<'_>, to: SocketAddr) {
        let Some(id) = packet.session() else { return };
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&id) {
            self.untracked += 1;
            return;
        }
        match &packet.body {
            Some(Body::Data { sequence, .. }) => {
                let ways = &mut self.sessions.entry(id).or_default().ways;
                if ways.len() >= MAX_WAYS && !ways.contains_key(&to) {
                    self.untracked += 1;
                } else {
                    ways.entry(to).or_insert_with(|| Way::new(*sequence)).take(*sequence);
                }
            }
            Some(Body::Nak { missing, .. }) => {
                let session = self.sessions.entry(id).or_default();
                session.naks += 1;
                session.asked += missing.iter().map(|range| u64::from(range.packets)).sum::<u64>();
            }
            _ => {}
        }
    }

    pub(super) const fn untracked(&self) -> u64 {
        self.untracked
    }

    /// A row for each way of each session.
    pub(super) fn rows(&self) -> Vec<SessionJson> {
        let ways = self.sessions.iter().flat_map(|(id, session)| {
            session.ways.iter().map(move |(to, way)| (id, session, to, way))
        });
        ways.map(|(id, session, to, way)| SessionJson {
            session: format!("{:#018x}", id.as_u64()),
            to: to.to_string(),
            packets: way.packets,
            first: way.first,
            last: way.next.saturating_sub(1),
            missing: way.missing(),
            late: way.late,
            repeated: way.repeated,
            naks: session.naks,
            asked: session.asked,
        })
        .collect()
    }
}

impl SessionJson {
    pub(super) fn cells(&self) -> [String; 10] {
        let [packets, first, last, missing, late, repeated, naks, asked] = [
            self.packets,
            self.first,
            self.last,
            self.missing,
            self.late,
            self.repeated,
            self.naks,
            self.asked,
        ]
        .map(|number| number.to_string());
        [
            self.session.clone(),
            self.to.clone(),
            packets,
            first,
            last,
            missing,
            late,
            repeated,
            naks,
            asked,
        ]
    }
}

/// The numbers of one way.
#[derive(Debug)]
struct Way {
    packets: u64,
    first: u64,
    next: u64,
    /// What lies between and has not come: from the first number to the one behind the last.
    gaps: BTreeMap<u64, u64>,
    /// In gaps that are not remembered.
    given_up: u64,
    late: u64,
    repeated: u64,
}

impl Way {
    const fn new(first: u64) -> Self {
        Self {
            packets: 0,
            first,
            next: first,
            gaps: BTreeMap::new(),
            given_up: 0,
            late: 0,
            repeated: 0,
        }
    }

    fn take(&mut self, number: u64) {
        self.packets += 1;
        if number >= self.next {
            if number > self.next {
                self.open(self.next, number);
            }
            self.next = number + 1;
        } else if number < self.first {
            // Before the capture began, as far as it can tell.
            self.late += 1;
            if number + 1 < self.first {
                self.open(number + 1, self.first);
            }
            self.first = number;
        } else if self.fill(number) {
            self.late += 1;
        } else {
            self.repeated += 1;
        }
    }

    fn open(&mut self, from: u64, to: u64) {
        if self.gaps.len() < MAX_GAPS {
            self.gaps.insert(from, to);
        } else {
            self.given_up = self.given_up.saturating_add(to - from);
        }
    }

    /// Takes a number out of the gap that it is in; false if it is in none.
    fn fill(&mut self, number: u64) -> bool {
        let Some((&from, &to)) = self.gaps.range(..=number).next_back() else { return false };
        if number >= to {
            return false;
        }
        self.gaps.remove(&from);
        if from < number {
            self.open(from, number);
        }
        if number + 1 < to {
            self.open(number + 1, to);
        }
        true
    }

    fn missing(&self) -> u64 {
        let in_gaps = self.gaps.iter().map(|(from, to)| to - from);
        in_gaps.fold(self.given_up, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Against a set of all numbers.
        #[test]
        fn numbers_add_up(numbers in proptest::collection::vec(0..60_u64, 1..120)) {
            let mut way = Way::new(numbers[0]);
            let mut seen = BTreeSet::new();
            let mut repeated = 0;
            for number in numbers {
                way.take(number);
                repeated += u64::from(!seen.insert(number));
            }
            let span = way.next - way.first;
            prop_assert_eq!((Some(&way.first), Some(&(way.next - 1))), (seen.first(), seen.last()));
            prop_assert_eq!(way.missing(), span - seen.len() as u64);
            prop_assert_eq!((way.repeated, way.packets), (repeated, seen.len() as u64 + repeated));
        }
    }

    #[test]
    fn gaps_are_bounded_and_still_counted() {
        let mut way = Way::new(0);
        for number in 0..3 * MAX_GAPS as u64 {
            way.take(number * 2);
        }
        assert_eq!((way.gaps.len(), way.missing()), (MAX_GAPS, 3 * MAX_GAPS as u64 - 1));
        way.take(u64::MAX / 2);
        assert!(way.missing() > u64::MAX / 4);
    }
}
