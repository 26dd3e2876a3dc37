//! `vega sniff`: what discovery says, as it is said, without taking part; or what is in a capture. Layer: bin.
//! The sniffer's thread tells what changes; the main thread shows it.

mod filter;
mod line;
mod live;
mod pcap;
mod screen;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use vega::inspect::PacketKind;
use vega::{Sniffer, SnifferEvent, TopicPattern};

use self::filter::Filter;
use self::line::{Line, snapshot_text};
use crate::args::Common;
use crate::inbox::inbox;
use crate::output::Output;
use crate::{answer, clock, signals};

const EXAMPLES: &str = "\
Examples:
  vega sniff -c vega.toml                     a table that follows what happens; q ends it
  vega sniff --log --topic 'prices\\..*'       one line for each event
  vega sniff --once --duration 5s             what there is, after five seconds
  vega sniff --json | jq 'select(.type == \"instance_down\")'
  vega sniff --pcap vega.pcapng               the packets of a capture, and totals
  vega sniff --pcap vega.pcapng --kind nak,gone
  dumpcap -q -i eth0 -f udp -w - | vega sniff --pcap - --topic orders --json

Nobody on the discovery group sees it: it announces nothing, and asks instances by unicast for what
it missed. Discovery daemons serve registered clients only, so there it is one, without topics.
Patterns are regular expressions for the whole name. With --json, one object per line: sniffer_up,
instance_up, instance_down, advertised, withdrawn, topic_conflict, full, daemon_up, daemon_down,
trouble, skipped, and a snapshot at the end; with --pcap packet, fragment, and totals at the end.
docs/guide/sniffer.md has their fields. Exit code 1: --once, and nobody was there; --pcap, and no
packet. A capture that is cut short or damaged is shown up to there, and then the exit code is 2.";

/// How long `--once` listens unless it is told: three announcements.
const ONCE: Duration = Duration::from_secs(3);

/// The arguments of `vega sniff`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only topics whose name matches a regular expression
    #[arg(long, value_name = "PATTERN", value_parser = TopicPattern::regex)]
    topic: Option<TopicPattern>,
    /// Only instances whose name or id matches a regular expression; with --pcap, what they send
    #[arg(long, value_name = "PATTERN", value_parser = TopicPattern::regex)]
    instance: Option<TopicPattern>,
    /// End after this time
    #[arg(long, value_name = "DURATION")]
    duration: Option<humantime::Duration>,
    /// Listen for --duration [default: 3s], and print what there is then
    #[arg(long, conflicts_with = "log")]
    once: bool,
    /// Print a line for each event, also on a terminal
    #[arg(long)]
    log: bool,
    /// Read a capture, pcap or pcapng, instead of listening; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "once", "log"])]
    pcap: Option<PathBuf>,
    /// Only packets of these kinds, such as data, nak or announce
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = pcap::kind, requires = "pcap")]
    kind: Vec<PacketKind>,
    /// Print only what there was in all: kinds, topics, what sessions lack
    #[arg(long, requires = "pcap")]
    summary: bool,
}

/// Runs `vega sniff`.
///
/// # Errors
///
/// When the configuration has problems, a socket cannot be opened, a capture cannot be read to its
/// end, or standard output cannot be written.
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    if let Some(path) = args.pcap {
        let Args { kind: kinds, topic, instance, summary: has_totals_only, .. } = args;
        let view = pcap::View { kinds, topic, instance, has_totals_only };
        return pcap::show(common, &path, view);
    }
    let stop = signals::stop_flag()?;
    let config = common.load()?;
    let (inlet, outlet) = inbox();
    let start = clock::now();
    let listener = move |event: &SnifferEvent| {
        inlet.push(|| (clock::now().duration_since(start), event.clone()));
    };
    let name = format!("vega-sniff-{}", std::process::id());
    let sniffer = Sniffer::builder().name(name).config(config).on_event(listener);
    let sniffer = sniffer.start().context("cannot start")?;
    let filter = Filter::new(args.topic, args.instance);
    let duration = args.duration.map(|duration| *duration);
    if args.once {
        stop.wait(duration.unwrap_or(ONCE));
        let snapshot = filter.snapshot(&sniffer.snapshot());
        sniffer.close();
        let is_empty = snapshot.instances.is_empty();
        Output::new(common).finish(&Line::Snapshot(&snapshot), snapshot_text(&snapshot))?;
        return Ok(answer(!is_empty));
    }
    let has_screen = io::stdout().is_terminal() && io::stdin().is_terminal();
    let code = if has_screen && !args.log && !common.json {
        screen::show(&sniffer, filter, &outlet, (&stop, duration))?
    } else {
        live::print(&sniffer, filter, Output::new(common), (&outlet, &stop, duration))?;
        ExitCode::SUCCESS
    };
    sniffer.close();
    Ok(code)
}
