//! The sending side of a stream: as fast as receivers make room, or each message at its time.
//! Layer: bin; owned by the sending thread.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use vega::{Publisher, SendError};

use super::goal::{Finish, Goal};
use super::load::{Load, STAMP_BYTES};
use super::schedule::Schedule;
use super::throughput::Rate;
use crate::clock;

/// Bytes between two looks at the clock; reading it for each small message would slow them down.
const LOOK_BYTES: usize = 64 << 10;
/// Messages between two looks at the clock, at most.
const LOOK_MESSAGES: u64 = 256;

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
        let schedule = Schedule::start(per_second, goal);
        let abort = self.abort;
        let is_given_up = || abort.load(Ordering::Relaxed);
        while let Some(due_ns) =
            schedule.wait_for(self.rate.sent, &mut self.rate.late_ns, is_given_up)
        {
            if let Some(stamp) = self.payload.first_chunk_mut::<STAMP_BYTES>() {
                *stamp = due_ns.to_le_bytes();
            }
            self.send_one()?;
        }
        self.flush()?;
        Ok(self.rate)
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
