//! Ctrl-C, SIGTERM and SIGHUP become a flag that commands wait on. Layer: bin. The signal thread
//! raises it; any thread may look.

use std::convert::Infallible;
use std::sync::OnceLock;
use std::time::Duration;
use std::{process, thread};

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What shells report for a process that a signal ended: this, and the number of the signal.
const ENDED_BY: i32 = 128;
/// What they report when its terminal is gone.
pub(crate) const HUNG_UP: u8 = 129;

/// The first signal.
static FIRST: OnceLock<i32> = OnceLock::new();

/// Raised once the user wants the command to end. Clones are the same flag.
#[derive(Clone, Debug)]
pub(crate) struct StopFlag {
    /// Nothing ever comes out; it is disconnected when the flag is raised.
    raised: Receiver<Infallible>,
}

/// Catches the signals that ask a process to end. A second Ctrl-C or SIGTERM ends it at once, in
/// case the clean end takes too long. SIGHUP is no impatient user: whoever closes a terminal sends
/// several, and some service managers add one to their SIGTERM. Where it was ignored when the process
/// began, as `nohup` has it, it stays so. To be called once.
///
/// # Errors
///
/// When the operating system refuses the handler.
pub(crate) fn stop_flag() -> anyhow::Result<StopFlag> {
    const REFUSED: &str = "signals cannot be caught";
    let (sender, raised) = crossbeam_channel::bounded(0);
    let mut signals = Signals::new([SIGINT, SIGTERM]).context(REFUSED)?;
    if !ignores_hang_up() {
        signals.add_signal(SIGHUP).context(REFUSED)?;
    }
    let watch = move || {
        let mut sender = Some(sender);
        let mut is_asked = false;
        for signal in signals.forever() {
            FIRST.get_or_init(|| signal);
            drop(sender.take());
            if signal != SIGHUP {
                if is_asked {
                    process::exit(ENDED_BY + signal);
                }
                is_asked = true;
            }
        }
    };
    thread::Builder::new().name("vega-signals".to_owned()).spawn(watch).context(REFUSED)?;
    Ok(StopFlag { raised })
}

/// Whether whoever started this process has it ignore SIGHUP. Only Linux tells without unsafe code;
/// elsewhere it does not.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status).is_some_and(|signals| signals & (1 << (SIGHUP - 1)) != 0)
}

/// The signals that a process ignores, a bit each, in what Linux says of it.
fn ignored(status: &str) -> Option<u64> {
    let digits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(digits.trim(), 16).ok()
}

impl StopFlag {
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Whether it is the end of the terminal that raised it.
    pub(crate) fn is_hang_up(&self) -> bool {
        self.is_raised() && FIRST.get() == Some(&SIGHUP)
    }

    /// Waits for at most `timeout`. Returns whether the flag is raised.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        self.raised.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }

    /// For `select!`: ready when the flag is raised.
    pub(crate) const fn raised(&self) -> &Receiver<Infallible> {
        &self.raised
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_status_of_the_process() {
        let status = "Name:\tvega\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored(status), Some(0x1001));
        assert_eq!(ignored("Name:\tSigIgn:\n"), None);
    }
}
