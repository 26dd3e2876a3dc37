//! `vega sub`: prints what arrives on topics. Layer: bin. Pollers fill an inbox; the main thread
//! prints.

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use crossbeam_channel::{Receiver, never, select};
use vega::{Instance, PatternSubscription, SharedListener, Subscription, TopicPattern};

use super::arrival::{Arrival, Reporter};
use super::printer::Printer;
use crate::answer;
use crate::args::Common;
use crate::inbox::{Outlet, inbox};
use crate::output::{Format, Output, note};
use crate::signals::{self, StopFlag};

const EXAMPLES: &str = "\
Examples:
  vega sub prices.EURUSD prices.USDJPY
  vega sub prices.EURUSD --count 10 --duration 5s     exit code 1 if they do not come in time
  vega sub --filter 'prices.*' --regex 'orders\\.(eu|us)'     all topics that match, as they appear
  vega sub prices.EURUSD --json | jq .payload
  vega sub orders --format raw | vega pub orders.copy

Text and hex lines have topic, sequence number and payload. JSON has one object per line; its type
is message, request, lost (on the way here) or skipped (because standard output is too slow).
Standard error gets losses as text. A message that several arguments match is printed once.";

/// The arguments of `vega sub`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SubArgs {
    /// Topics to subscribe to
    #[arg(value_name = "TOPIC", required_unless_present_any = ["regex", "filter"])]
    topics: Vec<String>,
    /// All topics whose whole name matches a regular expression
    #[arg(long, value_name = "PATTERN", value_parser = TopicPattern::regex)]
    regex: Vec<TopicPattern>,
    /// All topics that match token by token: * is any token, > at the end one or more
    #[arg(long, value_name = "PATTERN", value_parser = TopicPattern::filter)]
    filter: Vec<TopicPattern>,
    /// End after N messages and requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time; exit with 1 if --count is not reached by then
    #[arg(long, value_name = "DURATION")]
    duration: Option<humantime::Duration>,
    /// How to print payloads; raw is the bytes and a line feed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs `vega sub`.
///
/// # Errors
///
/// When a topic or a pattern cannot be subscribed to, or standard output cannot be written.
pub(crate) fn subscribe(common: &Common, args: SubArgs) -> anyhow::Result<ExitCode> {
    let stop = signals::stop_flag()?;
    let instance = common.start("sub")?;
    let (inlet, outlet) = inbox();
    // One for all: where arguments overlap, it is called once.
    let reporter = SharedListener::new(Reporter::new(inlet));
    let subscriptions = args
        .topics
        .iter()
        .map(|topic| subscribe_to(&instance, topic, &reporter))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let patterns = args
        .regex
        .into_iter()
        .chain(args.filter)
        .map(|pattern| {
            note(format_args!("listening to all topics that match {pattern}"));
            Ok(instance.subscribe_pattern(pattern, reporter.clone())?)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    drop(reporter);
    let time_is_up = args.duration.map_or_else(never, |limit| crossbeam_channel::after(*limit));
    let mut printer = Printer::new(Output::new(common), args.format, args.count);
    let stopped = print_until(&mut printer, &outlet, &stop, &time_is_up)?;
    subscriptions.into_iter().for_each(Subscription::unsubscribe);
    patterns.into_iter().for_each(PatternSubscription::unsubscribe);
    // What had arrived before the end.
    while printer.wants_more()
        && let Ok(arrival) = outlet.receiver.try_recv()
    {
        printer.print(&arrival)?;
    }
    printer.skipped(outlet.take_skipped())?;
    printer.flush()?;
    instance.close()?;
    note(printer.summary());
    Ok(answer(stopped || printer.has_all()))
}

fn subscribe_to(
    instance: &Instance,
    topic: &str,
    reporter: &SharedListener,
) -> anyhow::Result<Subscription> {
    let subscription = instance.subscribe(topic, reporter.clone())?;
    let transport = subscription.transport();
    match subscription.address() {
        Some(address) => note(format_args!("listening to {topic} by {transport} at {address}")),
        None => note(format_args!("listening to {topic} by {transport}")),
    }
    Ok(subscription)
}

/// Prints until the count is reached, the time is up, or the user wants to end. True for the last.
fn print_until(
    printer: &mut Printer,
    outlet: &Outlet<Arrival>,
    stop: &StopFlag,
    time_is_up: &Receiver<Instant>,
) -> io::Result<bool> {
    while printer.wants_more() {
        // Asked first: where messages never pause, `select` might not come to it.
        if stop.is_raised() {
            return Ok(true);
        }
        if time_is_up.try_recv().is_ok() {
            return Ok(false);
        }
        let arrival = match outlet.receiver.try_recv() {
            Ok(arrival) => arrival,
            Err(_) => {
                printer.flush()?;
                select! {
                    recv(outlet.receiver) -> arrival => match arrival {
                        Ok(arrival) => arrival,
                        // Nothing comes any more when all subscriptions have ended.
                        Err(_) => return Ok(false),
                    },
                    recv(stop.raised()) -> _ => return Ok(true),
                    recv(time_is_up) -> _ => return Ok(false),
                }
            }
        };
        printer.skipped(outlet.take_skipped())?;
        printer.print(&arrival)?;
    }
    Ok(false)
}
