//! The command line as `clap` sees it. Layer: bin. Each command's own arguments are in its file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vega::Config;

/// Low-latency publish/subscribe and multi-response requests over multicast, unicast and shared
/// memory
#[derive(Debug, Parser)]
#[command(name = "vega", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What all commands have in common.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
    /// Configuration file; without it, everything stays on the loopback interface
    #[arg(short = 'c', long = "config", value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON for machines on standard output, and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Common {
    /// The configuration that the command line names.
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        Ok(match &self.config {
            Some(path) => Config::from_file(path)?,
            None => Config::default(),
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows three transports and multi-response requests at work between separate processes
    Demo(crate::demo::Args),
    /// Publishes messages on a topic
    Pub(crate::pubsub::PubArgs),
    /// Prints what arrives on a topic
    Sub(crate::pubsub::SubArgs),
    /// Sends a request and prints the responses
    Request(crate::request::RequestArgs),
    /// Answers the requests of a topic
    Respond(crate::request::RespondArgs),
    /// Measures latency and throughput between two processes
    Bench(crate::bench::Args),
    /// Shows where topics travel: template, address, port, stream
    Topics(crate::topics::Args),
    /// Checks a configuration file, or prints the default one
    Config(crate::config::Args),
}

impl Cli {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let common = &self.common;
        match self.command {
            Command::Demo(args) => crate::demo::run(common, args),
            Command::Pub(args) => crate::pubsub::publish(common, args),
            Command::Sub(args) => crate::pubsub::subscribe(common, args),
            Command::Request(args) => crate::request::request(common, args),
            Command::Respond(args) => crate::request::respond(common, args),
            Command::Bench(args) => crate::bench::run(common, args),
            Command::Topics(args) => crate::topics::run(common, args),
            Command::Config(args) => crate::config::run(common, args),
        }
    }
}
