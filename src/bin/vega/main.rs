//! The `vega` command line: parse, run, exit code. Layer: bin; sees only the public API.
//!
//! Exit codes: 0 done, 1 the command ran and the answer is no (a timeout without responses, a
//! demo or a configuration with faults), 2 the command could not run.

mod args;
mod bench;
mod bounded;
mod clock;
mod config;
mod daemon;
mod demo;
#[cfg(test)]
mod drawn;
mod inbox;
mod logging;
mod notes;
mod output;
mod pubsub;
mod request;
mod screen;
mod signals;
mod sim;
mod sniff;
mod stage;
mod stat;
mod subscribers;
mod top;
mod topics;
mod tune;

use std::process::ExitCode;

use clap::Parser;

/// The command ran, and the answer is no.
const ANSWER_IS_NO: u8 = 1;
/// The command could not run. `clap` ends with the same code when arguments are wrong.
const COULD_NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    logging::start();
    match cli.run() {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(output::explain(&error));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

/// The exit code of a command that ran.
fn answer(is_yes: bool) -> ExitCode {
    if is_yes { ExitCode::SUCCESS } else { ExitCode::from(ANSWER_IS_NO) }
}
