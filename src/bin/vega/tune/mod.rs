//! `vega tune`: how topics fall on addresses, ports and streams, and ranges on which they collide
//! less. Layer: bin; runs on the commanding thread.

mod advice;
mod chart;
mod demand;
mod hosts;
mod report;
mod sniff;
mod spread;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use vega::Config;

use self::advice::{Goal, advise, apply, fragment};
pub(crate) use self::demand::Demand;
use self::report::Findings;
pub(crate) use self::report::{number, percent};
pub(crate) use self::spread::Spread;
use crate::answer;
use crate::args::Common;
use crate::output::Output;
use crate::signals;

const EXAMPLES: &str = "\
Examples:
  vega tune --topics topics.txt -c vega.toml
  vega tune --topics topics.txt --target 1% --apply > wider.toml
  vega tune --sniff -c vega.toml --measure 5s --report spread.html

A file of topics has a name in each line, then perhaps a rate per second, then perhaps who listens:

  prices.EURUSD   2000   risk,gui
  orders          50     risk

Places are combinations of group, port and stream. Topics of one place share a session and are packed \
together; those of one socket (group and port) are received together, and who does not want them \
discards them. A topic that is named twice is one, and its rates are added. Exit code 1: there are \
more collisions than the target allows, or fewer ports than the instances of a host need.";

/// The arguments of `vega tune`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// File of topics
    #[arg(long, value_name = "FILE", required_unless_present = "sniff", conflicts_with = "sniff")]
    topics: Option<PathBuf>,
    /// Take the topics that running instances tell of
    #[arg(long)]
    sniff: bool,
    /// How long to listen for instances
    #[arg(long = "for", value_name = "D", default_value = "3s", requires = "sniff",
          value_parser = humantime::parse_duration)]
    listen: Duration,
    /// Then subscribe to their UDP topics for so long, to measure rates
    #[arg(long, value_name = "D", requires = "sniff", value_parser = humantime::parse_duration)]
    measure: Option<Duration>,
    /// Rate per second of the topics for which the file has none
    #[arg(long, value_name = "RATE", requires = "topics", value_parser = rate)]
    rate: Option<f64>,
    /// The part of the topics of a template that may share a place: per cent, or a fraction
    #[arg(long, value_name = "PART", default_value = "5%", value_parser = part)]
    target: f64,
    /// Multicast groups of a template at most, when more are recommended
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    max_groups: u32,
    /// Instances on a host, if they are more than were seen
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    instances_per_host: Option<u64>,
    /// Print the whole configuration with the recommended ranges, comments kept, and nothing else
    #[arg(long)]
    apply: bool,
    /// Write a page with tables and figures, which needs nothing else to be read
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// Runs `vega tune`.
///
/// # Errors
///
/// When topics or configuration cannot be read or have no template, or nobody is heard.
pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let config = common.load()?;
    let base = match &common.config {
        Some(path) => fs::read_to_string(path).with_context(|| path.display().to_string())?,
        None => Config::default_toml().to_owned(),
    };
    let page = match &args.report {
        Some(path) => {
            let file = File::create(path).with_context(|| path.display().to_string())?;
            Some(file)
        }
        None => None,
    };
    let demand = demand(common, args)?;
    let spread = Spread::new(&config, &demand)?;
    let goal = Goal { collisions: args.target, groups: args.max_groups };
    let changes = advise(&base, &demand, &spread, goal)?;
    let whole = apply(&base, &changes)?;
    let toml = if changes.is_empty() { None } else { Some(fragment(&whole)?) };
    let wider = Config::parse(&whole)?;
    let then = if changes.is_empty() { None } else { Some(Spread::new(&wider, &demand)?) };
    let hosts = report::hosts(&config, &demand, args.instances_per_host);
    let findings = Findings::new(&spread, hosts, goal, changes, toml, then.as_ref());
    if let Some(file) = page {
        findings.page().write(file).context("cannot write the page")?;
    }
    let output = Output::new(common);
    if args.apply {
        output.finish(
            &serde_json::json!({ "toml": whole }),
            whole.strip_suffix('\n').unwrap_or(&whole),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    output.finish(&findings, findings.text())?;
    Ok(answer(findings.is_good()))
}

fn demand(common: &Common, args: &Args) -> anyhow::Result<Demand> {
    if let Some(path) = &args.topics {
        return Demand::from_file(path, args.rate);
    }
    let stop = signals::stop_flag()?;
    let demand = sniff::sniff(common, &stop, args.listen, args.measure)?;
    if demand.topics.is_empty() {
        bail!("no topics were heard of within {}", humantime::format_duration(args.listen));
    }
    Ok(demand)
}

fn rate(text: &str) -> anyhow::Result<f64> {
    let rate: f64 = text.parse().context("allowed: a number from 0 on")?;
    ensure!(rate.is_finite() && rate >= 0.0, "allowed: a number from 0 on");
    Ok(rate)
}

/// A part of something: `5%` or `0.05`.
fn part(text: &str) -> anyhow::Result<f64> {
    const ALLOWED: &str = "allowed: 0.001% to 100%, or a fraction such as 0.05";
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let part = number.parse::<f64>().context(ALLOWED)? / whole;
    ensure!((0.000_01..=1.0).contains(&part), "{ALLOWED}");
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_per_cent_or_fractions() {
        assert_eq!(
            [part("5%").unwrap(), part("0.05").unwrap(), part("100%").unwrap()],
            [0.05, 0.05, 1.0]
        );
        for text in ["0", "101%", "-1%", "x", "%", "nan", "2"] {
            assert!(part(text).is_err(), "{text}");
        }
    }
}
