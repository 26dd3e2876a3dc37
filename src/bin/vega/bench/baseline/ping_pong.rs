//! The raw ping-pong: what a round trip costs that does nothing else. Layer: bin. Two threads spin
//! or block, one on each core; the commanding thread waits.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::link::{self, Receiver, Sender};
use crate::bench::goal::Goal;
use crate::bench::latency::Latency;
use crate::bench::load::TransportArg;
use crate::bench::recorder::{LOOK_INTERVAL, Recorder};
use crate::bench::round_trip::Kind;
use crate::bench::rounds::{Bench, pin};
use crate::clock;

/// A datagram that has not come back after so long is lost.
const LOST_AFTER: Duration = Duration::from_secs(1);
/// Looks between two at the clock.
const SPINS: u32 = 1 << 14;

/// Plays one round.
///
/// # Errors
///
/// When the system refuses a socket or a thread, and when nothing comes back.
pub(crate) fn round(bench: &Bench, kind: Kind, goal: Goal) -> anyhow::Result<Latency> {
    let out = bench.load.transport;
    let back = match kind {
        Kind::Echo => out,
        Kind::Request => TransportArg::Unicast,
    };
    let blocks = bench.load.blocks();
    let is_ipv6 = bench.is_ipv6()?;
    let (ping_out, ping_in) = link::open(out, is_ipv6, blocks)?;
    let (pong_out, pong_in) = link::open(back, is_ipv6, blocks)?;
    let payload = bench.load.payload();
    let size = payload.len();
    let (recorder, outcome) = Recorder::new(goal);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let latency = (|| {
            let cores = bench.cores;
            let stop = &stop;
            thread::Builder::new().name("raw-pong".to_owned()).spawn_scoped(scope, move || {
                pin(cores.map(|cores| cores.peer));
                if let Err(error) = echo(ping_in, pong_out, size, stop) {
                    tracing::error!(%error, "the raw echo ended");
                }
            })?;
            let pause = bench.load.pause;
            let player = Player { recorder, sender: ping_out, receiver: pong_in, payload, pause };
            thread::Builder::new().name("raw-ping".to_owned()).spawn_scoped(scope, move || {
                pin(cores.map(|cores| cores.own));
                player.play(stop);
            })?;
            outcome.wait(LOOK_INTERVAL, || match bench.stop.is_raised() {
                true => anyhow::bail!("interrupted"),
                false => Ok(()),
            })
        })();
        // Also when a thread did not start: the scope waits for the other one.
        stop.store(true, Ordering::Relaxed);
        latency
    })
}

fn echo(
    mut receiver: Receiver,
    mut sender: Sender,
    size: usize,
    stop: &AtomicBool,
) -> io::Result<()> {
    // One byte even for empty messages: without room, a datagram cannot be told from an error.
    let mut buffer = vec![0; size.max(1)];
    while !stop.load(Ordering::Relaxed) {
        match receiver.receive(&mut buffer)? {
            Some(bytes) => sender.send(&buffer[..bytes])?,
            None => std::hint::spin_loop(),
        }
    }
    Ok(())
}

struct Player {
    recorder: Recorder,
    sender: Sender,
    receiver: Receiver,
    payload: Vec<u8>,
    pause: Option<Duration>,
}

impl Player {
    fn play(mut self, stop: &AtomicBool) {
        let mut buffer = vec![0; self.payload.len().max(1)];
        while !stop.load(Ordering::Relaxed) {
            if let Some(pause) = self.pause {
                thread::sleep(pause);
            }
            self.recorder.send();
            let came = self
                .sender
                .send(&self.payload)
                .and_then(|()| wait_for(&mut self.receiver, &mut buffer, stop));
            let wanted = match came {
                Ok(true) => self.recorder.receive(clock::shared_ns()),
                Ok(false) => self.recorder.lose(),
                Err(error) => return self.recorder.fail(error),
            };
            if !wanted {
                return;
            }
        }
    }
}

/// Whether something came in time.
fn wait_for(receiver: &mut Receiver, buffer: &mut [u8], stop: &AtomicBool) -> io::Result<bool> {
    let begin = clock::now();
    let looks = if receiver.blocks() { 1 } else { SPINS };
    loop {
        for _ in 0..looks {
            if receiver.receive(buffer)?.is_some() {
                return Ok(true);
            }
            std::hint::spin_loop();
        }
        if stop.load(Ordering::Relaxed) || clock::now().duration_since(begin) > LOST_AFTER {
            return Ok(false);
        }
    }
}
