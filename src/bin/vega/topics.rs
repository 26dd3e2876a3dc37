//! `vega topics`: where topics travel. Layer: bin.

use std::process::ExitCode;

use serde::Serialize;
use vega::{RouteError, TopicRoute};

use crate::answer;
use crate::args::Common;
use crate::output::{Output, Table, note};

const EXAMPLES: &str = "\
Examples:
  vega topics prices.EURUSD unicast.orders ipc.books
  vega topics -c vega.toml prices.EURUSD --json

The port of a unicast topic is the one that a subscriber tries first. Exit code 1: there is no
pattern for one of the topics.";

/// The arguments of `vega topics`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Topics to look up
    #[arg(value_name = "TOPIC", required = true)]
    topics: Vec<String>,
}

/// Runs `vega topics`.
///
/// # Errors
///
/// When the configuration has problems, or standard output cannot be written.
pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let config = common.load()?;
    let routes: Vec<_> = args.topics.iter().map(|topic| (topic, config.route(topic))).collect();
    let mut output = Output::new(common);
    if common.json {
        let entries: Vec<_> =
            routes.iter().map(|(topic, route)| Entry::new(topic, route)).collect();
        output.json(&entries)?;
    } else {
        let found: Vec<_> = routes.iter().filter_map(|(_, route)| route.as_ref().ok()).collect();
        if !found.is_empty() {
            output.text(table(&found))?;
        }
    }
    output.flush()?;
    let failures = routes.iter().filter_map(|(_, route)| route.as_ref().err());
    failures.clone().for_each(note);
    Ok(answer(failures.count() == 0))
}

fn table(routes: &[&TopicRoute<'_>]) -> Table {
    fn shown(value: Option<impl ToString>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    let header = ["topic", "template", "transport", "address", "port", "stream", "hash"];
    let mut table = Table::new(&header).right(&[4, 5]);
    for route in routes {
        table.row([
            route.topic().to_owned(),
            route.template().to_owned(),
            route.transport().to_string(),
            shown(route.address()),
            shown(route.port()),
            shown(route.stream()),
            format!("{:016x}", route.hash()),
        ]);
    }
    table
}

/// One topic in JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Route {
        topic: &'a str,
        template: &'a str,
        transport: String,
        address: Option<String>,
        port: Option<u16>,
        stream: Option<u32>,
        /// In hexadecimal digits: a JSON number holds 53 bits in most languages.
        hash: String,
    },
    Unknown {
        topic: &'a str,
        error: String,
    },
}

impl<'a> Entry<'a> {
    fn new(topic: &'a str, route: &'a Result<TopicRoute<'_>, RouteError>) -> Self {
        match route {
            Ok(route) => Self::Route {
                topic,
                template: route.template(),
                transport: route.transport().to_string(),
                address: route.address().map(|address| address.to_string()),
                port: route.port(),
                stream: route.stream(),
                hash: format!("{:016x}", route.hash()),
            },
            Err(error) => Self::Unknown { topic, error: error.to_string() },
        }
    }
}
