//! The raw stream: what sockets and memory carry in one direction. Layer: bin. Two threads, one on
//! each core; the commanding thread waits.
//!
//! The sockets carry full packets, whatever the message size, a run of them per system call where
//! the system can do that: what an engine that packs messages cannot exceed. Nothing holds the
//! sender back, so what counts is what arrives.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;

use super::link::{self, Receiver, Sender};
use super::words::{self, Reader, Writer};
use super::{QUIET, sides};
use crate::bench::goal::{Finish, Goal};
use crate::bench::load::{MAX_DATAGRAM_BYTES, TransportArg};
use crate::bench::rounds::Bench;
use crate::bench::throughput::Rate;
use crate::clock;
use crate::signals::StopFlag;

/// As large as the engine's packets are by default.
const DEFAULT_PACKET_BYTES: usize = 1408;
/// What the kernel takes as one run, if it fits into the largest datagram.
const MAX_RUN_PACKETS: usize = 64;
/// Room for what the kernel hands over in one call.
const BUFFER_BYTES: usize = 1 << 16;
/// Messages in memory between two looks at the clock.
const LOOK_MESSAGES: u64 = 256;

/// Streams one round.
///
/// # Errors
///
/// When the system refuses a socket or a thread, and when the user wants to stop.
pub(crate) fn round(bench: &Bench, goal: Goal) -> anyhow::Result<Rate> {
    let (size, stop) = (bench.load.size, &bench.stop);
    let (sent, received) = match bench.load.transport {
        TransportArg::Ipc => {
            let (writer, reader) = words::ring(size);
            sides::run(
                bench,
                || Ok(fill(writer, goal.start(), stop)),
                |ended| Ok(drain(reader, size, ended)),
            )?
        }
        transport => {
            let (sender, receiver) = link::open(transport, bench.is_ipv6()?, false)?;
            let packet_bytes = bench.load.packet_size.unwrap_or(DEFAULT_PACKET_BYTES);
            let packets = match sends_runs(&sender, &receiver, packet_bytes)? {
                true => (MAX_DATAGRAM_BYTES / packet_bytes).clamp(1, MAX_RUN_PACKETS),
                false => 1,
            };
            let run = vec![0x55; packets * packet_bytes];
            let goal = in_runs(goal, size, run.len());
            sides::run(
                bench,
                || Ok(pour(sender, &run, goal.start(), stop)? * packets as u64),
                |ended| catch(receiver, packet_bytes, ended),
            )?
        }
    };
    if bench.stop.is_raised() {
        bail!("interrupted");
    }
    Ok(Rate { sent, ..received })
}

/// Writes messages into memory; returns how many.
fn fill(mut writer: Writer, finish: Finish, stop: &StopFlag) -> u64 {
    let mut written = 0;
    while !finish.is_counted(written) {
        if written % LOOK_MESSAGES == 0
            && (stop.is_raised() || finish.is_reached(written, clock::shared_ns()))
        {
            break;
        }
        while !writer.write() {
            std::hint::spin_loop();
        }
        written += 1;
    }
    written
}

fn drain(mut reader: Reader, size: usize, ended: &AtomicBool) -> Rate {
    let mut rate = Rate::default();
    let mut begin_ns = 0;
    loop {
        // Asked first: what was written before the end is seen after it.
        let is_over = ended.load(Ordering::Acquire);
        match reader.read() {
            Some(message) => {
                std::hint::black_box(message.sum);
                rate.received += 1;
                if rate.received == 1 {
                    begin_ns = clock::shared_ns();
                }
            }
            None if is_over => break,
            None => std::hint::spin_loop(),
        }
    }
    // The first message starts the clock, and is no part of what the clock measures.
    rate.timed = rate.received.saturating_sub(1);
    rate.timed_bytes = rate.timed * size as u64;
    rate.elapsed_ns = clock::shared_ns() - begin_ns;
    rate
}

/// What is to be sent, in calls instead of messages.
fn in_runs(goal: Goal, size: usize, run_bytes: usize) -> Goal {
    match goal {
        Goal::Count(count) => {
            let bytes = count.saturating_mul(size as u64);
            Goal::Count(bytes.div_ceil(run_bytes as u64).max(2))
        }
        Goal::Duration(_) => goal,
    }
}

/// Sends runs; returns how many.
fn pour(mut sender: Sender, run: &[u8], finish: Finish, stop: &StopFlag) -> io::Result<u64> {
    let mut runs = 0;
    while !stop.is_raised() && !finish.is_reached(runs, clock::shared_ns()) {
        sender.send(run)?;
        runs += 1;
    }
    Ok(runs)
}

fn catch(mut receiver: Receiver, packet_bytes: usize, ended: &AtomicBool) -> io::Result<Rate> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut rate = Rate::default();
    let (mut begin_ns, mut end_ns) = (0, 0);
    let mut quiet_since = None;
    loop {
        if let Some(bytes) = receiver.receive(&mut buffer)? {
            end_ns = clock::shared_ns();
            quiet_since = None;
            rate.received += bytes.div_ceil(packet_bytes) as u64;
            if begin_ns == 0 {
                begin_ns = end_ns;
            } else {
                rate.timed_bytes += bytes as u64;
            }
        } else if ended.load(Ordering::Acquire) {
            let now = clock::now();
            if now.duration_since(*quiet_since.get_or_insert(now)) > QUIET {
                break;
            }
        }
    }
    rate.timed = rate.timed_bytes / packet_bytes as u64;
    rate.elapsed_ns = end_ns - begin_ns;
    Ok(rate)
}

/// Asks the kernel to cut runs into packets, and to hand them over as runs. False where it sends
/// packet by packet.
#[cfg(target_os = "linux")]
fn sends_runs(sender: &Sender, receiver: &Receiver, packet_bytes: usize) -> io::Result<bool> {
    use nix::sys::socket::{setsockopt, sockopt};

    let (Sender::Udp(sender, _), Receiver::Udp { socket: receiver, .. }) = (sender, receiver)
    else {
        return Ok(false);
    };
    let packet_bytes = i32::try_from(packet_bytes).map_err(io::Error::other)?;
    setsockopt(sender, sockopt::UdpGsoSegment, &packet_bytes)?;
    setsockopt(receiver, sockopt::UdpGroSegment, &true)?;
    Ok(true)
}

/// Asks the kernel to cut runs into packets. This one does not.
#[cfg(not(target_os = "linux"))]
fn sends_runs(_sender: &Sender, _receiver: &Receiver, _packet_bytes: usize) -> io::Result<bool> {
    Ok(false)
}
