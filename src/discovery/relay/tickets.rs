//! Proof that a client receives what is sent to its address, without a record of who asked. Layer:
//! discovery (sans-IO). Owned by the daemon's thread, inside [`Relay`](super::Relay).

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::Duration;

use super::allowance::Allowance;
use crate::time::Timestamp;
use crate::wire::advert::daemon::Ticket;

/// A ticket is good for this long at least, and for twice as long at most.
const LIFE: Duration = Duration::from_mins(1);
/// Tickets that wait to be sent.
const MAX_WAITING: usize = 1024;
/// Tickets per second, to all strangers together: each costs no more than the packet that asked.
const PER_SECOND: u32 = 8192;

/// What a ticket is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reception {
    Good,
    /// Still good, and to be replaced.
    Old,
    Refused,
}

/// Hands out tickets, and knows its own.
#[derive(Debug)]
pub(super) struct Tickets {
    /// What they are hashed with.
    secret: RandomState,
    /// Who gets one next.
    waiting: VecDeque<SocketAddr>,
    allowance: Allowance,
}

impl Tickets {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            secret: RandomState::new(),
            waiting: VecDeque::new(),
            allowance: Allowance::new(PER_SECOND, now),
        }
    }

    pub(super) fn judge(&self, now: Timestamp, source: SocketAddr, ticket: Ticket) -> Reception {
        if self.ticket(now, source, 0) == Some(ticket) {
            Reception::Good
        } else if self.ticket(now, source, 1) == Some(ticket) {
            Reception::Old
        } else {
            Reception::Refused
        }
    }

    /// Has one sent to an address. False when that would be too many.
    #[must_use = "what is not given is counted"]
    pub(super) fn give(&mut self, now: Timestamp, to: SocketAddr) -> bool {
        let gives =
            self.waiting.len() < MAX_WAITING && self.allowance.take(now, 1, PER_SECOND, PER_SECOND);
        if gives {
            self.waiting.push_back(to);
        }
        gives
    }

    /// Whether none waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next one to be sent, and where to.
    pub(super) fn poll(&mut self, now: Timestamp) -> Option<(SocketAddr, Ticket)> {
        let to = self.waiting.pop_front()?;
        Some((to, self.ticket(now, to, 0)?))
    }

    /// That of an address in this minute, or so many minutes ago.
    fn ticket(&self, now: Timestamp, address: SocketAddr, ago: u64) -> Option<Ticket> {
        let minute = u128::from(now.as_nanos()) / LIFE.as_nanos();
        let minute = minute.checked_sub(ago.into())?;
        Some(Ticket(self.secret.hash_one((address, minute))))
    }
}
