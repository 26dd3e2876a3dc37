//! The raw open loop: a datagram, or a message in memory, for each message at its time. Layer: bin. Two
//! threads, one on each core.
//!
//! What it shows is what the machine takes: the same schedule and the same clock, and no engine. What
//! its percentiles have in common with the engine's is not the engine's.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;

use super::link::{self, Receiver, Sender};
use super::words::{self, Reader, Writer};
use super::{QUIET, sides};
use crate::bench::goal::Goal;
use crate::bench::latency::Latency;
use crate::bench::load::{STAMP_BYTES, TransportArg};
use crate::bench::rounds::Bench;
use crate::bench::schedule::Schedule;
use crate::clock;

/// How long messages are sent that do not count, before those that do.
const WARM_UP: Duration = Duration::from_millis(50);
/// The stamp of a message that does not count.
const NO_STAMP: u64 = 0;

/// Runs one round at this rate.
///
/// # Errors
///
/// When the system refuses a socket or a thread, and when the user wants to stop.
pub(crate) fn round(bench: &Bench, per_second: u64, goal: Goal) -> anyhow::Result<Latency> {
    let size = bench.load.size;
    let (sent, mut latency) = match bench.load.transport {
        TransportArg::Ipc => {
            let (writer, reader) = words::ring(size);
            let mut way = Words(writer);
            sides::run(
                bench,
                || keep_pace(bench, per_second, goal, |stamp| way.send(stamp)),
                |ended| Ok(read(reader, ended)),
            )?
        }
        transport => {
            let (sender, receiver) = link::open(transport, bench.is_ipv6()?, false)?;
            let mut way = Datagrams { sender, payload: bench.load.payload() };
            sides::run(
                bench,
                || keep_pace(bench, per_second, goal, |stamp| way.send(stamp)),
                |ended| receive(receiver, size, ended),
            )?
        }
    };
    if bench.stop.is_raised() {
        bail!("interrupted");
    }
    // Nothing holds the sender back: what the socket has no room for is gone.
    latency.lose_many(sent.saturating_sub(latency.count()));
    Ok(latency)
}

/// Sends at even distances, first to warm up. Returns how many were sent that count.
fn keep_pace(
    bench: &Bench,
    per_second: u64,
    goal: Goal,
    mut send: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<u64> {
    let mut counted = 0;
    for (goal, counts) in [(Goal::Duration(WARM_UP), false), (goal, true)] {
        let schedule = Schedule::start(per_second, goal);
        let (mut number, mut late_ns) = (0, 0);
        while let Some(due_ns) = schedule.wait_for(number, &mut late_ns, || bench.stop.is_raised())
        {
            send(if counts { due_ns } else { NO_STAMP })?;
            number += 1;
        }
        counted = if counts { number } else { 0 };
    }
    Ok(counted)
}

struct Words(Writer);

impl Words {
    fn send(&mut self, stamp: u64) -> io::Result<()> {
        self.0.stamp(stamp);
        while !self.0.write() {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

struct Datagrams {
    sender: Sender,
    payload: Vec<u8>,
}

impl Datagrams {
    fn send(&mut self, stamp: u64) -> io::Result<()> {
        if let Some(first) = self.payload.first_chunk_mut::<STAMP_BYTES>() {
            *first = stamp.to_le_bytes();
        }
        self.sender.send(&self.payload)
    }
}

fn record(latency: &mut Latency, stamp: u64) {
    if stamp != NO_STAMP {
        latency.record(clock::shared_ns().saturating_sub(stamp));
    }
}

fn read(mut reader: Reader, ended: &AtomicBool) -> Latency {
    let mut latency = Latency::new();
    loop {
        // Asked first: what was written before the end is seen after it.
        let is_over = ended.load(Ordering::Acquire);
        match reader.read() {
            Some(message) => {
                std::hint::black_box(message.sum);
                record(&mut latency, message.stamp);
            }
            None if is_over => return latency,
            None => std::hint::spin_loop(),
        }
    }
}

fn receive(mut receiver: Receiver, size: usize, ended: &AtomicBool) -> io::Result<Latency> {
    let mut buffer = vec![0; size];
    let mut latency = Latency::new();
    let mut quiet_since = None;
    loop {
        if receiver.receive(&mut buffer)?.is_some() {
            quiet_since = None;
            let stamp = buffer.first_chunk::<STAMP_BYTES>();
            record(&mut latency, stamp.map_or(NO_STAMP, |stamp| u64::from_le_bytes(*stamp)));
        } else if ended.load(Ordering::Acquire) {
            let now = clock::now();
            if now.duration_since(*quiet_since.get_or_insert(now)) > QUIET {
                return Ok(latency);
            }
        }
    }
}
