//! The `vega` command line: parse, run, exit code. Layer: bin; sees only the public API.
//!
//! Exit codes: 0 done, 1 the command ran and the answer is no (a timeout without responses, a
//! demo or a configuration with faults), 2 the command could not run.

mod args;
mod bench;
mod config;
mod demo;
mod output;
mod pubsub;
mod request;
mod topics;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vega: {error:#}");
            ExitCode::from(2)
        }
    }
}
