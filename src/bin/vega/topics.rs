//! `vega topics`: where topics travel, and with which others. Layer: bin.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use vega::{Config, TopicRoute};

use crate::answer;
use crate::args::Common;
use crate::output::{Output, Table, note};
use crate::tune::{Demand, Spread, number, percent};

const EXAMPLES: &str = "\
Examples:
  vega topics prices.EURUSD unicast.orders ipc.books
  vega topics -c vega.toml prices.EURUSD --json
  vega topics -c vega.toml --topics topics.txt

With several topics: \"place\" are those that share group, port and stream with a topic, \"socket\" \
those that share only group and port, \"foreign\" what somebody who listens to it alone discards of \
what arrives: by the rates of the file, or each topic counting as one. The port of a unicast topic is \
the one that a subscriber tries first. A narrow terminal does without \"family\" and \"transport\", and names \
are cut where even that is too much; in a pipe and with --json everything is there. Exit code 1: there is \
no pattern for one of the topics.";

/// Columns of the table that the template and the address tell, too.
const SPARE: &[usize] = &[3, 2];

/// The arguments of `vega topics`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Topics to look up
    #[arg(value_name = "TOPIC", required_unless_present = "file")]
    topics: Vec<String>,
    /// File of topics, with rates if it has them: see `vega tune`
    #[arg(long = "topics", value_name = "FILE", conflicts_with = "topics")]
    file: Option<PathBuf>,
}

/// Runs `vega topics`.
///
/// # Errors
///
/// When the configuration has problems, or standard output cannot be written.
pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let config = common.load()?;
    let demand = match &args.file {
        Some(path) => Demand::from_file(path, None)?,
        None => Demand::of_names(args.topics.iter().map(String::as_str)),
    };
    let (known, unknown) = demand.routed(&config);
    let spread = Spread::new(&config, &known)?;
    let mut output = Output::new(common);
    if common.json {
        let mut entries = Vec::new();
        for topic in demand.names() {
            entries.push(match (config.route(topic), known.position(topic)) {
                (Ok(route), Some(index)) => Entry::route(route, &spread, index),
                (Ok(_), None) => continue,
                (Err(error), _) => Entry::Unknown { topic, error: error.to_string() },
            });
        }
        output.json(&entries)?;
    } else if known.names().next().is_some() {
        output.text(table(&config, &known, &spread)?)?;
    }
    output.flush()?;
    unknown.iter().for_each(note);
    Ok(answer(unknown.is_empty()))
}

fn table(config: &Config, demand: &Demand, spread: &Spread<'_>) -> anyhow::Result<Table> {
    fn shown(value: Option<impl ToString>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    let header = ["topic", "template", "transport", "family", "address", "port", "stream"];
    // Alone, a topic shares nothing with anybody, and there is room for its hash.
    let is_alone = demand.names().nth(1).is_none();
    let further: &[&str] = if is_alone { &["hash"] } else { &["place", "socket", "foreign"] };
    let right: &[usize] = if is_alone { &[5, 6] } else { &[5, 6, 7, 8, 9] };
    let mut table = Table::new(&[&header[..], further].concat()).right(right).spare(SPARE);
    for (index, topic) in demand.names().enumerate() {
        let route = config.route(topic)?;
        let mut cells = vec![
            route.topic().to_owned(),
            route.template().to_owned(),
            route.transport().to_string(),
            shown(family(&route)),
            shown(route.address()),
            shown(route.port()),
            shown(route.stream()),
        ];
        if is_alone {
            cells.push(format!("{:016x}", route.hash()));
        } else {
            let (place, socket) = spread.neighbours(index);
            let heard = spread.heard(&[index]);
            let foreign =
                format!("{} ({})", number(heard.foreign()), percent(heard.foreign_share()));
            cells.extend([place.len().to_string(), socket.len().to_string(), foreign]);
        }
        table.row(cells);
    }
    Ok(table)
}

/// The version of IP that carries a topic; `None` for shared memory.
fn family(route: &TopicRoute<'_>) -> Option<&'static str> {
    route.port()?;
    Some(if route.is_ipv6() { "ipv6" } else { "ipv4" })
}

/// One topic in JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Route {
        topic: &'a str,
        template: &'a str,
        transport: String,
        /// Of its sockets: who has others in another family cannot meet it.
        family: Option<&'static str>,
        address: Option<String>,
        port: Option<u16>,
        stream: Option<u32>,
        /// In hexadecimal digits: a JSON number holds 53 bits in most languages.
        hash: String,
        /// Other topics that were asked for: of the same group, port and stream, and of the same group
        /// and port only.
        same_place: Vec<&'a str>,
        same_socket: Vec<&'a str>,
        /// What somebody who listens to this topic alone discards, and its part of what arrives.
        foreign: f64,
        foreign_share: f64,
    },
    Unknown {
        topic: &'a str,
        error: String,
    },
}

impl<'a> Entry<'a> {
    fn route(route: TopicRoute<'a>, spread: &Spread<'a>, index: usize) -> Self {
        let (same_place, same_socket) = spread.neighbours(index);
        let heard = spread.heard(&[index]);
        Self::Route {
            topic: route.topic(),
            template: route.template(),
            transport: route.transport().to_string(),
            family: family(&route),
            address: route.address().map(|address| address.to_string()),
            port: route.port(),
            stream: route.stream(),
            hash: format!("{:016x}", route.hash()),
            same_place,
            same_socket,
            foreign: heard.foreign(),
            foreign_share: heard.foreign_share(),
        }
    }
}
