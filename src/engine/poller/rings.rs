//! The rings that a poller reads, and how often it looks at them. Layer: engine. Owned by one poller.

use std::collections::HashMap;

use super::PollerParts;
use crate::engine::dispatch::Dispatch;
use crate::engine::ring_endpoint::{RingEndpoint, RingState};
use crate::id::SessionId;
use crate::transport::finish_loads;

/// How often rings are looked at in one cycle that finds nothing, if they are few.
const MOST_LOOKS: usize = 128;
/// Looks that a cycle has for all rings together, as long as each has one: the more rings, the longer
/// sockets and commands would wait for their turn, and the less often a ring has something.
const LOOKS_PER_CYCLE: usize = 16 * MOST_LOOKS;

/// All rings of one poller.
pub(super) struct Rings {
    rings: Vec<RingEndpoint>,
    /// Where each is in there.
    places: HashMap<SessionId, usize>,
    /// How often a cycle that finds nothing looks at all of them.
    looks: usize,
}

impl Rings {
    pub(super) fn new() -> Self {
        Self { rings: Vec::new(), places: HashMap::new(), looks: 0 }
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.rings.is_empty()
    }

    /// A writer that was taken for gone may come back before its ring has been read empty: reading
    /// then goes on where it was.
    pub(super) fn attach(&mut self, ring: RingEndpoint) {
        match self.places.get(&ring.session()) {
            Some(at) => self.rings[*at].reopen(),
            None => {
                self.places.insert(ring.session(), self.rings.len());
                self.rings.push(ring);
                self.looks = looks(self.rings.len());
            }
        }
    }

    /// Nothing more will be written to a ring: it goes once it has been read empty.
    pub(super) fn close(&mut self, session: SessionId) {
        if let Some(at) = self.places.get(&session) {
            self.rings[*at].close();
        }
    }

    /// Nobody listens to a ring any more.
    pub(super) fn drop_ring(&mut self, session: SessionId) {
        if let Some(at) = self.places.get(&session) {
            self.remove(*at);
        }
    }

    fn remove(&mut self, at: usize) -> RingEndpoint {
        let removed = self.rings.swap_remove(at);
        self.places.remove(&removed.session());
        if let Some(moved) = self.rings.get(at) {
            self.places.insert(moved.session(), at);
        }
        self.looks = looks(self.rings.len());
        removed
    }

    /// Rings cost nanoseconds to look at, sockets a system call: so rings are looked at many times
    /// in between. True when there was something.
    #[inline]
    pub(super) fn poll_often(&mut self, dispatch: &mut Dispatch, parts: &PollerParts) -> bool {
        // Nothing but the looks themselves stands between two of them: whoever waits here sees a message
        // as soon as it can be seen.
        let found = (0..self.looks).find_map(|look| {
            let due = self.rings.iter_mut().position(|ring| ring.is_due(&parts.clock));
            if due.is_none() {
                finish_loads();
            }
            due.map(|at| (at, look == 0))
        });
        found.is_some_and(|(at, at_once)| self.read_from(at, at_once, dispatch, parts))
    }

    /// Looks at each ring once, whatever was to be let go ahead. True when there was something.
    #[inline]
    pub(super) fn poll(&mut self, dispatch: &mut Dispatch, parts: &PollerParts) -> bool {
        let found = self.rings.iter().position(RingEndpoint::has_something);
        found.is_some_and(|at| self.read_from(at, false, dispatch, parts))
    }

    /// Reads a ring that is due, and those behind it that are; `at_once` if it was when it was first looked at.
    /// True when there was something.
    #[inline(always)]
    fn read_from(
        &mut self,
        first: usize,
        at_once: bool,
        dispatch: &mut Dispatch,
        parts: &PollerParts,
    ) -> bool {
        let mut worked = self.read(first, at_once, dispatch, parts);
        let mut at = first + 1;
        while at < self.rings.len() {
            if self.rings[at].is_due(&parts.clock) {
                worked |= self.read(at, at_once, dispatch, parts);
            }
            at += 1;
        }
        worked
    }

    /// Reads one. True when there was something.
    #[inline]
    fn read(
        &mut self,
        at: usize,
        at_once: bool,
        dispatch: &mut Dispatch,
        parts: &PollerParts,
    ) -> bool {
        let state = self.rings[at].read(at_once, dispatch, &parts.counters, &parts.clock);
        match state {
            RingState::Idle => false,
            RingState::Busy => true,
            RingState::Drained | RingState::Lost => {
                self.end(at, state, parts);
                false
            }
        }
    }

    /// A ring is not read any more. The last one takes its place, and its turn in the next cycle.
    #[cold]
    fn end(&mut self, at: usize, state: RingState, parts: &PollerParts) {
        let ring = self.remove(at);
        if state == RingState::Lost {
            parts.reports.ring_lost(ring.session(), ring.into_delivery());
        }
    }

    /// Asks all writers to wake this poller at a port. False when they cannot be relied upon.
    pub(super) fn park(&self, port: u16) -> bool {
        let mut is_reliable = true;
        for ring in &self.rings {
            is_reliable &= ring.entry().park(port);
        }
        is_reliable
    }

    pub(super) fn unpark(&self) {
        for ring in &self.rings {
            ring.entry().unpark();
        }
    }
}

/// How often so many rings are looked at in one cycle.
fn looks(rings: usize) -> usize {
    LOOKS_PER_CYCLE.checked_div(rings).map_or(0, |each| each.clamp(1, MOST_LOOKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rings_are_looked_at_often_and_many_once() {
        assert_eq!(looks(0), 0);
        for few in 1..=16 {
            assert_eq!(looks(few), MOST_LOOKS);
        }
        assert_eq!(looks(5_000), 1);
        assert!((1..5_000).all(|rings| looks(rings) * rings <= LOOKS_PER_CYCLE.max(rings)));
    }
}
