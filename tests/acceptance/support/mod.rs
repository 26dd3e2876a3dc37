//! What the acceptance tests are made of. Tests.
//!
//! A test owns a [`Place`]: a loopback address, ports, multicast groups and a directory that no
//! other test has. It starts instances there, in its own process or in others: a [`Host`] is a
//! child process with one instance inside, which it commands line by line ([`role`]). Both sides
//! send the payloads of [`payload`] and write down what arrives in a [`Journal`], so that "all of
//! it, once, in order, byte for byte" is one comparison.

pub(crate) mod daemon;
mod host;
mod journal;
mod listeners;
mod moments;
pub(crate) mod payload;
mod place;
mod reports;
pub(crate) mod role;
mod tally;
mod watch;

use std::time::Duration;

pub(crate) use daemon::DaemonProcess;
pub(crate) use host::{Behaviour, Host};
pub(crate) use journal::{Journal, Report, accounted_for, eventually};
pub(crate) use listeners::description;
pub(crate) use moments::{MOMENTS, STAGED, at_every_moment};
pub(crate) use place::{Place, Ports, Settings, TRANSPORTS, socket_at, socket_on};
pub(crate) use reports::Reports;
pub(crate) use tally::Tally;
pub(crate) use watch::{Happening, Watch};

/// How long a test waits for what must happen: many times what it takes on a busy machine, because
/// nothing is learnt from a tighter limit.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// Whether this machine has IPv6. If not, the test that asks says so where people see it.
#[expect(clippy::disallowed_methods, reason = "asks the system, and receives nothing")]
pub(crate) fn has_ipv6() -> bool {
    use std::io::Write as _;

    let Err(reason) = std::net::UdpSocket::bind(("::1", 0)) else { return true };
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Not by a macro: the harness would keep that to itself.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: no IPv6 here: {reason}");
    false
}

/// Waits for an item of a channel; what does not come is a failure of the test.
pub(crate) fn next<T>(channel: &crossbeam_channel::Receiver<T>, what: &str) -> T {
    channel.recv_timeout(WAIT).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Tells other threads that a test is over, also when an assertion fails: a scope waits for them.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a std::sync::atomic::AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
