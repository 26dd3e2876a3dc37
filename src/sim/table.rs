//! Throughput and latency over loss, round trip and window, in virtual time. Layer: sim.

use std::fmt;
use std::time::Duration;

use super::scenario::Scenario;
use super::world::World;

/// Lost packets per million, in each direction.
const LOSSES: &[u32] = &[0, 1_000, 10_000, 50_000];
/// Time of a packet in one direction, in microseconds.
const DELAYS: &[u64] = &[10, 100, 1_000];
/// Windows in packets.
const WINDOWS: &[usize] = &[16, 128];
const MESSAGES: u64 = 3_000;
/// Longest pause between messages when latency is measured.
const PACE: Duration = Duration::from_micros(400);

/// What one combination of loss, round trip and window achieves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Row {
    /// Packets lost in each direction, per million.
    pub loss_ppm: u32,
    /// Round trip without loss.
    pub round_trip: Duration,
    /// Packets that may be on the way.
    pub window_packets: usize,
    /// Messages per second of virtual time, sent as fast as back pressure allows.
    pub messages_per_second: u64,
    /// Median time from acceptance to delivery at a slow pace.
    pub p50: Duration,
    /// The same for one in a hundred messages.
    pub p99: Duration,
}

/// The rows for all combinations, as a table in Markdown when displayed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Table {
    /// Ordered by loss, round trip and window.
    pub rows: Vec<Row>,
}

/// Simulates one publisher and three receivers of a group for all combinations. The same on every
/// machine.
///
/// # Errors
///
/// What is wrong with the protocol.
pub fn table() -> Result<Table, String> {
    let mut rows = Vec::new();
    for &loss_ppm in LOSSES {
        for &micros in DELAYS {
            for &window_packets in WINDOWS {
                let delay = Duration::from_micros(micros);
                let scenario = Scenario::measured(loss_ppm, delay, window_packets, MESSAGES);
                let (_, elapsed) = measure(scenario.clone())?;
                let (mut delays, _) = measure(Scenario { gap: PACE, ..scenario })?;
                delays.sort_unstable();
                let per_second = u128::from(MESSAGES) * 1_000_000_000 / elapsed.as_nanos();
                rows.push(Row {
                    loss_ppm,
                    round_trip: delay * 2,
                    window_packets,
                    messages_per_second: u64::try_from(per_second).unwrap_or(u64::MAX),
                    p50: delays[delays.len() / 2],
                    p99: delays[delays.len() * 99 / 100],
                });
            }
        }
    }
    Ok(Table { rows })
}

/// Delays of all messages at all receivers, and the time from the first message to the last one.
fn measure(scenario: Scenario) -> Result<(Vec<Duration>, Duration), String> {
    let mut world = World::new(1, scenario);
    world.run_until_silent()?;
    world.check_silent()?;
    let accounts = world.hosts.iter().flat_map(|host| host.heard.values());
    let delays: Vec<_> = accounts.flat_map(|heard| heard.account.delays.iter().copied()).collect();
    let first =
        world.stations.iter().flat_map(|it| it.books.iter().flatten()).map(|it| it.at).min();
    let last = world.hosts.iter().map(|host| host.delivered_at).max();
    match (first, last) {
        (Some(first), Some(last)) if !delays.is_empty() => Ok((delays, last.since(first))),
        _ => Err("nothing was delivered".to_owned()),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| loss | round trip | window | messages/s | p50 | p99 |")?;
        write!(f, "|---:|---:|---:|---:|---:|---:|")?;
        for row in &self.rows {
            write!(
                f,
                "\n| {}.{} % | {} µs | {} | {} | {} µs | {} µs |",
                row.loss_ppm / 10_000,
                row.loss_ppm / 1_000 % 10,
                row.round_trip.as_micros(),
                row.window_packets,
                row.messages_per_second,
                row.p50.as_micros(),
                row.p99.as_micros()
            )?;
        }
        Ok(())
    }
}
