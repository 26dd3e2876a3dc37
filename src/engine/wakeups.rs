//! What a thread that moves datagrams sleeps with: its sockets, whoever tells it something, and a timer.
//! Layer: engine. Owned by the conductor of an instance, by the thread of a discovery daemon or of a
//! sniffer.

use std::io;
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::counters::{Counter, Counters};
use crate::transport::Alarm;

/// Under which such a poll reports that somebody has told the thread something. Sockets have others.
pub(super) const WAKE: Token = Token(0);
const ALARM: Token = Token(usize::MAX);
/// Of few sockets: all of them are looked at anyway.
const MOST_EVENTS: usize = 16;
/// A thread looks around at least this often.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A poll, and the timer that ends its waits.
pub(super) struct Wakeups {
    poll: Poll,
    alarm: Alarm,
    events: Events,
}

impl Wakeups {
    /// Takes a poll with which everything else that may wake the thread has been registered.
    ///
    /// # Errors
    ///
    /// What the operating system says when it gives no timer.
    pub(super) fn new(poll: Poll) -> io::Result<Self> {
        let alarm = Alarm::open(&poll, ALARM)?;
        Ok(Self { poll, alarm, events: Events::with_capacity(MOST_EVENTS) })
    }

    /// Waits until something happens or the time is over, at most [`LONGEST_WAIT`].
    pub(super) fn wait(&mut self, timeout: Duration, counters: &Counters) {
        let timeout = timeout.min(LONGEST_WAIT);
        if let Err(error) = self.alarm.poll(&mut self.poll, &mut self.events, timeout) {
            counters.add(Counter::ReceiveErrors, 1);
            tracing::error!(%error, "polling failed");
        }
    }
}
