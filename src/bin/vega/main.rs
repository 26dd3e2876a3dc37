//! The `vega` command line: parse, run, exit code. Layer: bin; sees only the public API.
//!
//! Exit codes: 0 done, 1 the command ran and the answer is no (a timeout without responses, a
//! demo or a configuration with faults), 2 the command could not run.

mod args;
mod bench;
mod clock;
mod config;
mod demo;
mod logging;
mod output;
mod pubsub;
mod request;
mod signals;
mod stage;
mod topics;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    logging::start();
    match cli.run() {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(format_args!("{error:#}"));
            ExitCode::from(2)
        }
    }
}
