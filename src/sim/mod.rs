//! A deterministic simulator of sessions. Layer: sim, above `protocol`, `request` and `ring`, beside
//! `engine`, which does not see it.
//!
//! Publishers and receivers are the protocol of production: the same rings, send and receive
//! sessions and request tables, driven as the engine drives them, with the same bytes between them.
//! Around them everything is virtual: the clock, the network, the sockets, the processes. One seed
//! decides all of it, so that every run can be repeated.
//!
//! [`run`] draws a scenario from its seed, lets it happen, and checks after every step that messages
//! arrive in order, once, byte by byte, that losses have a reason and are counted exactly, and that
//! feedback, repairs and memory stay within their bounds; and at the end, that work goes on after
//! the last fault, that every request has ended once, and that everything falls silent.
//!
//! [`Client`] is a part of it that can be driven over real sockets, to see what a discovery daemon makes
//! of very many.

mod account;
mod asking;
mod client;
mod crowd;
mod dice;
mod host;
mod meter;
mod network;
mod queue;
mod report;
mod scale;
mod scenario;
mod station;
mod table;
mod verdict;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use thiserror::Error;

pub use client::Client;
pub use report::Report;
pub use scale::{Cost, Costs, Event, Size, discovery};
pub use table::{Row, Table, table};

use scenario::Scenario;
use world::World;

/// A run that went wrong. The text names the seed, the scenario and the command that repeats it.
#[derive(Clone, Debug, Error)]
#[error(
    "seed {seed}: {what}\n  scenario: {scenario}\n  repeat: cargo run --release -- sim --seeds 1 \
     --start {seed}"
)]
#[non_exhaustive]
pub struct Failure {
    /// The seed of the run.
    pub seed: u64,
    /// What went wrong.
    pub what: String,
    /// What was simulated.
    pub scenario: String,
}

/// Simulates what the seed says.
///
/// # Errors
///
/// [`Failure`] when something is wrong with the protocol; a panic of the protocol is one, too.
pub fn run(seed: u64) -> Result<Report, Failure> {
    let scenario = Scenario::draw(seed);
    let told = scenario.to_string();
    let outcome = catch_unwind(AssertUnwindSafe(|| simulate(seed, scenario)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("of unknown kind")))
    });
    outcome.map_err(|what| Failure { seed, what, scenario: told })
}

fn simulate(seed: u64, scenario: Scenario) -> Result<Report, String> {
    let mut world = World::new(seed, scenario);
    world.run_until_silent()?;
    world.check_silent()?;
    let report = Report::of(&mut world);
    world.publish_epilogue()?;
    world.run_until_silent()?;
    world.check_over()?;
    Ok(report)
}
