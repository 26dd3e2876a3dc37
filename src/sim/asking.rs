//! The requests of one host, in the table of production: each ends exactly once, and no responder
//! is heard twice. Layer: sim. Owned by the host that asks.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::{InstanceId, RequestId};
use crate::request::RequestTable;
use crate::time::Timestamp;

/// Requests that are open at a time: few enough for the limit to be met.
const CAPACITY: usize = 64;
/// Requests that are expired in one go.
const EXPIRY_BATCH: usize = 16;

/// What a request has come to.
#[derive(Debug)]
struct Ask {
    deadline: Timestamp,
    /// Responders to wait for.
    expected: usize,
    answers: BTreeSet<InstanceId>,
    ends: u32,
}

/// All requests of one host.
#[derive(Debug)]
pub(super) struct Asking {
    table: RequestTable<usize>,
    asks: Vec<Ask>,
    expired: Vec<usize>,
    pub(super) answered: u64,
    pub(super) timed_out: u64,
    pub(super) expire_at: Timestamp,
}

impl Asking {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            table: RequestTable::new(CAPACITY, now),
            asks: Vec::new(),
            expired: Vec::new(),
            answered: 0,
            timed_out: 0,
            expire_at: Timestamp::NEVER,
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.asks.len() as u64
    }

    /// Opens a request; `None` when there are too many.
    pub(super) fn open(
        &mut self,
        now: Timestamp,
        timeout: Duration,
        expected: usize,
    ) -> Option<RequestId> {
        let nth = self.asks.len();
        let (id, _) = self.table.register(now, timeout, |_| nth).ok()?;
        let answers = BTreeSet::new();
        self.asks.push(Ask { deadline: now + timeout, expected, answers, ends: 0 });
        Some(id)
    }

    /// The request could not be sent.
    pub(super) fn withdraw(&mut self, id: RequestId) {
        if let Some(nth) = self.table.remove(id) {
            self.asks[nth].ends += 1;
        }
    }

    /// A response: the last of those expected closes the request. One that comes after the end finds
    /// nothing, which is no mistake.
    pub(super) fn answer(&mut self, id: RequestId, responder: InstanceId) -> Result<(), String> {
        let Some(nth) = self.table.get(id).copied() else { return Ok(()) };
        let ask = &mut self.asks[nth];
        if !ask.answers.insert(responder) {
            return Err(format!("request {nth} was answered twice by {responder}"));
        }
        if ask.answers.len() >= ask.expected {
            self.answered += 1;
            self.table.remove(id);
            self.end(nth)?;
        }
        Ok(())
    }

    /// Expires what is due.
    pub(super) fn expire(&mut self, now: Timestamp) -> Result<(), String> {
        while self.table.expire(now, EXPIRY_BATCH, &mut self.expired) {}
        for nth in std::mem::take(&mut self.expired) {
            if now < self.asks[nth].deadline {
                return Err(format!("request {nth} expired too early"));
            }
            self.timed_out += 1;
            self.end(nth)?;
        }
        Ok(())
    }

    pub(super) fn next_deadline(&self) -> Timestamp {
        self.table.next_deadline().unwrap_or(Timestamp::NEVER)
    }

    /// The host is about to die: nothing else may end what is open.
    pub(super) fn close(&mut self) -> Result<(), String> {
        let mut open = Vec::new();
        self.table.drain(&mut open);
        open.into_iter().try_for_each(|nth| self.end(nth))?;
        self.check_over()
    }

    /// Every request has ended once.
    pub(super) fn check_over(&self) -> Result<(), String> {
        let mut all = self.asks.iter().enumerate();
        match all.find(|(_, ask)| ask.ends != 1) {
            Some((nth, ask)) => Err(format!("request {nth} has ended {} times", ask.ends)),
            None if self.table.len() > 0 => Err("the table holds requests that ended".to_owned()),
            None => Ok(()),
        }
    }

    fn end(&mut self, nth: usize) -> Result<(), String> {
        self.asks[nth].ends += 1;
        if self.asks[nth].ends > 1 {
            return Err(format!("request {nth} has ended twice"));
        }
        Ok(())
    }
}
