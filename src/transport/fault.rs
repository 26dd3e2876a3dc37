//! What befalls received datagrams when a configuration asks for faults. Layer: transport
//! (sans-IO). Owned by the socket that it was made for.
//!
//! A [`FaultInjector`] decides for each datagram by its number and the seed alone: each takes the
//! same count of random numbers, so neither the time nor the fate of others changes what is drawn
//! for it. The time only says when a datagram that is held comes out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{FaultConfig, Probability};
use crate::random::SplitMix64;
use crate::time::Timestamp;

/// Datagrams that one socket holds at most; further ones pass at once. Some windows of the default
/// size, and no more memory than a socket buffer takes.
const MAX_HELD: usize = 4096;
/// How many later datagrams overtake one that is reordered, at most.
const REORDER_DEPTH: u64 = 3;
/// How long one that is reordered waits to be overtaken.
const REORDER_HOLD: Duration = Duration::from_millis(1);

/// A datagram that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) source: SocketAddr,
    pub(super) bytes: Box<[u8]>,
}

/// What was done so far, in datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FaultCounts {
    pub(super) dropped: u64,
    pub(super) duplicated: u64,
    /// Held for a delay or to be overtaken; copies not among them.
    pub(super) delayed: u64,
}

/// One that waits until others have overtaken it.
#[derive(Debug)]
struct Aside {
    /// How many still have to come.
    overtakers: u64,
    due: Timestamp,
    packet: Packet,
}

/// The faults of one socket.
#[derive(Debug)]
pub(super) struct FaultInjector {
    config: FaultConfig,
    random: SplitMix64,
    /// By the time at which they come out; those of one time in the order in which they came.
    held: BTreeMap<(Timestamp, u64), Packet>,
    /// In the order in which they came.
    aside: Vec<Aside>,
    /// Datagrams that were ever held: keeps the order of those that are due at the same time.
    order: u64,
    counts: FaultCounts,
}

/// What was drawn for one datagram.
struct Fate {
    is_lost: bool,
    is_duplicated: bool,
    /// How many are to overtake it, if it is reordered.
    overtakers: Option<u64>,
    delay: Duration,
    delay_of_copy: Duration,
}

impl FaultInjector {
    /// `seed` decides, not the one of `config`, from which those of several sockets are derived.
    pub(super) const fn new(config: FaultConfig, seed: u64) -> Self {
        Self {
            config,
            random: SplitMix64::new(seed),
            held: BTreeMap::new(),
            aside: Vec::new(),
            order: 0,
            counts: FaultCounts { dropped: 0, duplicated: 0, delayed: 0 },
        }
    }

    /// Decides about a datagram that was received. True when it passes at once; otherwise it is
    /// lost, or comes out of [`FaultInjector::poll_due`] later. To be called after what is due
    /// already has been taken.
    pub(super) fn handle_packet(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        let fate = self.draw();
        if fate.is_lost {
            self.counts.dropped += 1;
            return false;
        }
        let packet = || Packet { source, bytes: bytes.into() };
        let due = now + fate.delay;
        let passes =
            !self.has_room() || (fate.delay == Duration::ZERO && fate.overtakers.is_none());
        match fate.overtakers {
            _ if passes => self.overtake(now),
            Some(overtakers) => self.aside.push(Aside { overtakers, due, packet: packet() }),
            None => {
                self.hold(due, packet());
                self.overtake(due);
            }
        }
        self.counts.delayed += u64::from(!passes);
        if fate.is_duplicated && self.has_room() {
            self.hold(now + fate.delay_of_copy, packet());
            self.counts.duplicated += 1;
        }
        passes
    }

    /// The next held datagram whose time has come.
    pub(super) fn poll_due(&mut self, now: Timestamp) -> Option<Packet> {
        self.release(|aside| (aside.due + REORDER_HOLD <= now).then_some(now));
        let first = self.held.first_entry()?;
        let (due, _) = *first.key();
        (due <= now).then(|| first.remove())
    }

    /// Whether [`FaultInjector::poll_due`] will give more.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty() || !self.aside.is_empty()
    }

    pub(super) const fn counts(&self) -> FaultCounts {
        self.counts
    }

    fn has_room(&self) -> bool {
        self.held.len() + self.aside.len() < MAX_HELD
    }

    fn hold(&mut self, due: Timestamp, packet: Packet) {
        self.held.insert((due, self.order), packet);
        self.order += 1;
    }

    /// Another datagram, which comes out at `due`, goes ahead of those that were set aside.
    fn overtake(&mut self, due: Timestamp) {
        self.release(|aside| {
            aside.overtakers -= 1;
            (aside.overtakers == 0).then(|| due.max(aside.due))
        });
    }

    /// Lets those come out for which `when` names a time.
    fn release(&mut self, mut when: impl FnMut(&mut Aside) -> Option<Timestamp>) {
        let mut at = 0;
        while let Some(aside) = self.aside.get_mut(at) {
            match when(aside) {
                Some(due) => {
                    let aside = self.aside.remove(at);
                    self.hold(due, aside.packet);
                }
                None => at += 1,
            }
        }
    }

    fn draw(&mut self) -> Fate {
        let FaultConfig { loss, duplicate, reorder, .. } = self.config;
        let [is_lost, is_duplicated, is_reordered] =
            [loss, duplicate, reorder].map(|probability| self.happens(probability));
        let overtakers = 1 + self.random.below(REORDER_DEPTH);
        let [delay, delay_of_copy] = [(); 2].map(|()| self.delay());
        let overtakers = is_reordered.then_some(overtakers);
        Fate { is_lost, is_duplicated, overtakers, delay, delay_of_copy }
    }

    fn happens(&mut self, probability: Probability) -> bool {
        self.random.below(Probability::WHOLE.into()) < probability.parts().into()
    }

    fn delay(&mut self) -> Duration {
        let jitter = u64::try_from(self.config.jitter.as_nanos()).unwrap_or(u64::MAX);
        self.config.delay + Duration::from_nanos(self.random.below(jitter))
    }
}

#[cfg(test)]
mod tests;
