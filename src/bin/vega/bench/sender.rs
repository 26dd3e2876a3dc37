//! The sending side of a stream: as fast as receivers make room, or each message at its time.
//! Layer: bin; owned by the sending thread.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use vega::{Publisher, SendError};

use super::goal::{Finish, Goal};
use super::load::{Load, STAMP_BYTES};
use super::throughput::Rate;
use crate::clock;

/// Bytes between two looks at the clock; reading it for each small message would slow them down.
const LOOK_BYTES: usize = 64 << 10;
/// Messages between two looks at the clock, at most.
const LOOK_MESSAGES: u64 = 256;
const NS_PER_SECOND: u128 = 1_000_000_000;

/// Sends on all topics in turn.
pub(super) struct Sender<'a> {
    publishers: &'a mut [Publisher],
    /// The publisher whose turn it is.
    turn: usize,
    payload: Vec<u8>,
    look_interval: u64,
    abort: &'a AtomicBool,
    rate: Rate,
}

impl<'a> Sender<'a> {
    pub(super) fn new(load: &Load, publishers: &'a mut [Publisher], abort: &'a AtomicBool) -> Self {
        let look_interval = ((LOOK_BYTES / load.size.max(1)) as u64).clamp(1, LOOK_MESSAGES);
        let (payload, rate) = (load.payload(), Rate::default());
        Self { publishers, turn: 0, payload, look_interval, abort, rate }
    }

    /// Sends as fast as receivers make room.
    ///
    /// # Errors
    ///
    /// When sending fails, and when this is to be given up.
    pub(super) fn stream(&mut self, goal: Goal) -> anyhow::Result<Rate> {
        self.rate = Rate::default();
        let finish = goal.start();
        while !self.is_over(&finish) {
            self.send_one()?;
        }
        self.flush()?;
        Ok(self.rate)
    }

    fn is_over(&self, finish: &Finish) -> bool {
        let sent = self.rate.sent;
        finish.is_counted(sent)
            || sent.is_multiple_of(self.look_interval)
                && finish.is_reached(sent, clock::shared_ns())
    }

    /// Sends `per_second` messages, evenly spaced, each stamped with the time at which it is due.
    /// One that is late is sent at once, and keeps its stamp: what delays the sender is part of the
    /// latency.
    ///
    /// # Errors
    ///
    /// As [`Sender::stream`].
    pub(super) fn keep_pace(&mut self, per_second: u64, goal: Goal) -> anyhow::Result<Rate> {
        self.rate = Rate::default();
        let (begin_ns, finish) = (clock::shared_ns(), goal.start());
        while self.wait_until(due_ns(begin_ns, self.rate.sent, per_second), &finish) {
            let due_ns = due_ns(begin_ns, self.rate.sent, per_second);
            if let Some(stamp) = self.payload.first_chunk_mut::<STAMP_BYTES>() {
                *stamp = due_ns.to_le_bytes();
            }
            self.send_one()?;
        }
        self.flush()?;
        Ok(self.rate)
    }

    /// Spins until a message is due. False when there is none to be sent any more.
    fn wait_until(&mut self, due_ns: u64, finish: &Finish) -> bool {
        loop {
            let now_ns = clock::shared_ns();
            self.rate.late_ns = now_ns.saturating_sub(due_ns);
            if finish.is_reached(self.rate.sent, now_ns) || self.abort.load(Ordering::Relaxed) {
                return false;
            }
            if now_ns >= due_ns {
                return true;
            }
            std::hint::spin_loop();
        }
    }

    #[inline]
    fn send_one(&mut self) -> anyhow::Result<()> {
        match self.publishers[self.turn].send(&self.payload) {
            Ok(_) => {}
            Err(SendError::BackPressured) => self.send_patiently()?,
            Err(error) => return Err(error.into()),
        }
        self.rate.sent += 1;
        self.turn += 1;
        if self.turn == self.publishers.len() {
            self.turn = 0;
        }
        Ok(())
    }

    #[cold]
    fn send_patiently(&mut self) -> anyhow::Result<()> {
        self.rate.back_pressured += 1;
        let Self { publishers, payload, abort, .. } = self;
        let publisher = &mut publishers[self.turn];
        insist(abort, || publisher.send(payload).map(drop))
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let Self { publishers, abort, .. } = self;
        publishers.iter_mut().try_for_each(|publisher| insist(abort, || publisher.flush()))
    }
}

/// When the message of this number is due.
fn due_ns(begin_ns: u64, number: u64, per_second: u64) -> u64 {
    let after = u128::from(number) * NS_PER_SECOND / u128::from(per_second);
    // Beyond what is left of 584 years, it is never due.
    begin_ns.saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
}

/// Tries until receivers have made room.
fn insist(
    abort: &AtomicBool,
    mut attempt: impl FnMut() -> Result<(), SendError>,
) -> anyhow::Result<()> {
    loop {
        match attempt() {
            Err(SendError::BackPressured) => {}
            result => return Ok(result?),
        }
        if abort.load(Ordering::Relaxed) {
            bail!("given up while receivers made no room");
        }
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_evenly_without_drift() {
        assert_eq!(
            [0, 1, 2, 3].map(|number| due_ns(7, number, 3)),
            [7, 333_333_340, 666_666_673, 1_000_000_007]
        );
        assert_eq!(due_ns(7, u64::MAX, 1), u64::MAX);
    }
}
