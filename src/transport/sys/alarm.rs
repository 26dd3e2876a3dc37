//! A timer that a poll can wait for. Layer: transport/sys; belongs to the thread that waits.
//!
//! A poll takes its timeout in whole milliseconds, and repairs are due after a fraction of one.
#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "timerfd has no safe wrapper here"))]

use std::io;
use std::time::Duration;

use mio::{Events, Poll, Token};

/// Shorter waits are timed by the alarm, longer ones by the poll itself: a millisecond more does not
/// matter there.
const COARSE: Duration = Duration::from_millis(10);

/// Makes a poll return after a time that is finer than its own timeout.
#[derive(Debug)]
pub(crate) struct Alarm {
    #[cfg(target_os = "linux")]
    timer: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
impl Alarm {
    /// An alarm that wakes a poll with `token`.
    ///
    /// # Errors
    ///
    /// What the system says when it gives no timer, or does not let it be polled.
    pub(crate) fn open(poll: &Poll, token: Token) -> io::Result<Self> {
        use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: the call takes no pointers.
        let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if timer < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else's.
        let timer = unsafe { OwnedFd::from_raw_fd(timer) };
        let fd = timer.as_raw_fd();
        // Polls report edges: each time that the timer is set is one, and nothing has to be read.
        poll.registry().register(&mut mio::unix::SourceFd(&fd), token, mio::Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// Sets the alarm; one that was set before is forgotten. False when the system refuses.
    fn set(&self, after: Duration) -> bool {
        use std::os::fd::AsRawFd;

        let once = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec {
                tv_sec: 0,
                // Less than a second; zero would stop the timer.
                tv_nsec: libc::c_long::from(after.subsec_nanos().max(1).cast_signed()),
            },
        };
        // SAFETY: `once` is valid for reads, and no old value is asked for.
        unsafe {
            let timer = self.timer.as_raw_fd();
            libc::timerfd_settime(timer, 0, &raw const once, std::ptr::null_mut()) == 0
        }
    }
}

/// This system has none: the poll wakes by its own timeout.
#[cfg(not(target_os = "linux"))]
impl Alarm {
    /// # Errors
    ///
    /// None on this system.
    pub(crate) fn open(_: &Poll, _: Token) -> io::Result<Self> {
        Ok(Self {})
    }

    fn set(&self, _: Duration) -> bool {
        false
    }
}

impl Alarm {
    /// Waits for events until `timeout` is over.
    ///
    /// # Errors
    ///
    /// What the system says when the poll fails; not when a signal ends it.
    pub(crate) fn poll(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        timeout: Duration,
    ) -> io::Result<()> {
        let is_fine = !timeout.is_zero() && timeout < COARSE && self.set(timeout);
        match poll.poll(events, Some(if is_fine { COARSE } else { timeout })) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Clock;

    const ALARM: Token = Token(7);

    #[test]
    fn a_wait_lasts_as_long_as_it_is_asked_to_every_time() {
        let clock = Clock::start();
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(4);
        let alarm = Alarm::open(&poll, ALARM).unwrap();
        for micros in [300, 20, 1500, 12_000, 100, 0] {
            let wait = Duration::from_micros(micros);
            let start = clock.now();
            alarm.poll(&mut poll, &mut events, wait).unwrap();
            let took = clock.now().since(start);
            assert!(took >= wait, "{wait:?} took {took:?}");
            let by_alarm = cfg!(target_os = "linux") && !wait.is_zero() && wait < COARSE;
            assert_eq!(events.iter().any(|event| event.token() == ALARM), by_alarm, "{wait:?}");
        }
    }
}
