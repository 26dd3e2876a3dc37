//! The two threads of a baseline in one direction. Layer: bin. Each side has a core of its own; the
//! commanding thread waits.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::bail;

use crate::bench::rounds::{Bench, pin};

/// Runs both sides to their ends; returns what each says. The receiver is told when the sender has
/// ended.
///
/// # Errors
///
/// What either side says, and when the system refuses a thread.
pub(super) fn run<S: Send, R: Send>(
    bench: &Bench,
    send: impl FnOnce() -> io::Result<S> + Send,
    receive: impl FnOnce(&AtomicBool) -> io::Result<R> + Send,
) -> anyhow::Result<(S, R)> {
    let ended = AtomicBool::new(false);
    let (ended, cores) = (&ended, bench.cores);
    thread::scope(|scope| {
        let receiving =
            thread::Builder::new().name("raw-in".to_owned()).spawn_scoped(scope, move || {
                pin(cores.map(|cores| cores.peer));
                receive(ended)
            })?;
        let sending =
            thread::Builder::new().name("raw-out".to_owned()).spawn_scoped(scope, move || {
                pin(cores.map(|cores| cores.own));
                send()
            });
        let sent = sending.map(thread::ScopedJoinHandle::join);
        // Also when there is no sender: the scope waits for the receiver.
        ended.store(true, Ordering::Release);
        let (Ok(sent), Ok(received)) = (sent?, receiving.join()) else {
            bail!("a thread of the baseline panicked");
        };
        Ok((sent?, received?))
    })
}
