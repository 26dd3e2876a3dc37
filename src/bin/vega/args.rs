//! The command line as `clap` sees it. Layer: bin. Each command's own arguments are in its file.

use std::path::PathBuf;
use std::process::{self, ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};
use vega::{Config, Instance};

use crate::notes::Notes;
use crate::{bench, config, daemon, demo, pubsub, request, sim, sniff, stat, top, topics, tune};

const EXAMPLES: &str = "\
Examples:
  vega demo                                  what it does, in ten seconds
  vega sub prices.EURUSD                     in one terminal
  vega pub prices.EURUSD 1.0842 1.0843       in another
  vega respond quotes --body 'bid 1.0842'
  vega request quotes EURUSD --timeout 500ms

Exit codes: 0 done; 1 the answer is no, such as a request without responses; 2 could not run.
VEGA_LOG=debug shows log lines on standard error.";

/// Low-latency publish/subscribe and multi-response requests over multicast, unicast and shared
/// memory
#[derive(Debug, Parser)]
#[command(name = "vega", version, propagate_version = true, after_help = EXAMPLES)]
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
    #[arg(short = 'c', long = "config", value_name = "FILE", global = true, display_order = 900)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON for machines on standard output, and nothing else there
    #[arg(long, global = true, display_order = 901)]
    pub(crate) json: bool,
}

impl Common {
    /// The configuration that the command line names.
    ///
    /// # Errors
    ///
    /// All problems of the file, one per line.
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        let Some(path) = &self.config else { return Ok(Config::default()) };
        Config::from_file(path).map_err(|error| {
            let count = error.problems().len();
            let problems = if count == 1 { "a problem" } else { "problems" };
            anyhow::anyhow!("the configuration has {problems}\n{error}")
        })
    }

    /// Starts the instance of a command. Peers see the command and its process in the name.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration, or what cannot be opened.
    pub(crate) fn start(&self, command: &str) -> anyhow::Result<Instance> {
        self.start_as(format!("vega-{command}-{}", process::id()))
    }

    /// As [`Common::start`], with a name of the user's choice.
    ///
    /// # Errors
    ///
    /// As [`Common::start`].
    pub(crate) fn start_as(&self, name: impl Into<String>) -> anyhow::Result<Instance> {
        let builder = Instance::builder().name(name).config(self.load()?);
        builder.listener(Notes).start().context("cannot start")
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows three transports and multi-response requests at work between separate processes
    Demo(demo::Args),
    /// Publishes messages on a topic
    Pub(pubsub::PubArgs),
    /// Prints what arrives on topics
    Sub(pubsub::SubArgs),
    /// Sends a request and prints the responses
    Request(request::RequestArgs),
    /// Answers the requests of a topic
    Respond(request::RespondArgs),
    /// Lets instances find each other on networks without multicast
    Daemon(daemon::Args),
    /// Watches who is there and what they publish and subscribe, without taking part
    Sniff(sniff::Args),
    /// Shows what the instances of this host have counted
    Stat(stat::Args),
    /// Watches the instances of this host: rates, latency, losses
    Top(top::Args),
    /// Measures latency and throughput between two processes
    Bench(bench::Args),
    /// Simulates sessions on bad networks, each repeatable by its seed, or discovery of thousands
    Sim(sim::Args),
    /// Shows where topics travel: template, address, port, stream
    Topics(topics::Args),
    /// Shows how topics share places, and ranges on which they collide less
    Tune(tune::Args),
    /// Checks, prints and imports configuration files
    Config(config::Args),
}

impl Cli {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let common = &self.common;
        match self.command {
            Command::Demo(args) => demo::run(common, args),
            Command::Pub(args) => pubsub::publish(common, args),
            Command::Sub(args) => pubsub::subscribe(common, args),
            Command::Request(args) => request::request(common, args),
            Command::Respond(args) => request::respond(common, args),
            Command::Daemon(args) => daemon::run(common, args),
            Command::Sniff(args) => sniff::run(common, args),
            Command::Stat(args) => stat::run(common, &args),
            Command::Top(args) => top::run(common, &args),
            Command::Bench(args) => bench::run(common, args),
            Command::Sim(args) => sim::run(common, &args),
            Command::Topics(args) => topics::run(common, &args),
            Command::Tune(args) => tune::run(common, &args),
            Command::Config(args) => config::run(common, args),
        }
    }
}
