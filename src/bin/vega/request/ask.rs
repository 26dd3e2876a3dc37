//! `vega request`: sends a request and prints the responses. Layer: bin.

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;

use anyhow::Context;
use crossbeam_channel::select;
use serde::Serialize;
use vega::{Instance, InstanceId};

use super::collector::{Collected, Collector, Outcome, Reply};
use crate::answer;
use crate::args::Common;
use crate::output::{Format, Output, PayloadJson, count, hex, milliseconds, note, one_line};
use crate::signals::{self, StopFlag};
use crate::subscribers::{WaitArgs, Waited};

const EXAMPLES: &str = "\
Examples:
  vega request quotes EURUSD                      all responses within half a second
  vega request quotes EURUSD --expect 1           the first one
  vega request quotes EURUSD --timeout 1s --extend 200ms
                                                  as long as they keep coming
  vega request quotes EURUSD --expect 3 --json | jq -r 'select(.type == \"response\").payload'

Exit code 1: no response came, or fewer than --expect. Lines have number, responder, time since the
request, and payload. JSON has one object per response, and one of type end.";

/// The arguments of `vega request`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RequestArgs {
    /// Topic to ask on
    topic: String,
    /// What to send
    #[arg(allow_negative_numbers = true)]
    body: String,
    /// How long the request stays open
    #[arg(long, value_name = "DURATION", default_value = "500ms")]
    timeout: humantime::Duration,
    /// Let every response keep the request open for this long from then on
    #[arg(long, value_name = "DURATION")]
    extend: Option<humantime::Duration>,
    /// Close the request after N responses
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    expect: Option<u64>,
    /// How to print responses; raw is the bytes and a line feed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Runs `vega request`.
///
/// # Errors
///
/// When the request cannot be sent, or standard output cannot be written.
pub(crate) fn request(common: &Common, args: RequestArgs) -> anyhow::Result<ExitCode> {
    let stop = signals::stop_flag()?;
    let instance = common.start("request")?;
    let mut publisher = instance.publisher(&args.topic)?;
    let mut printer = Printer::new(common, args.format);
    match args.wait.wait(&instance, &publisher, &stop) {
        Waited::Ready => {}
        Waited::TooFew => return printer.end(Outcome::NotSent, 0, &args),
        Waited::Stopped => return printer.end(Outcome::Interrupted, 0, &args),
    }
    printer.learn_names(&instance);
    let (collector, collected) = Collector::new(args.extend.map(Into::into), args.expect);
    let request = publisher
        .request(args.body.as_bytes(), args.timeout.into(), collector)
        .context("cannot send the request")?;
    let outcome = printer.print_until_end(&instance, &collected, &stop)?;
    request.close();
    // After this, no callback runs: what there is has been collected.
    instance.close()?;
    for reply in collected.replies.receiver.try_iter() {
        printer.print(&instance, &reply)?;
    }
    match collected.replies.take_skipped() {
        0 => {}
        skipped => {
            let skipped = count(skipped, "response");
            note(format_args!("{skipped} skipped: standard output is slower than they come"));
        }
    }
    printer.end(outcome, request.number_of_responses(), &args)
}

/// Prints responses under the names of their responders.
struct Printer {
    output: Output,
    format: Format,
    /// Kept, because a responder may be gone by the time its response is printed.
    names: HashMap<InstanceId, String>,
}

impl Printer {
    fn new(common: &Common, format: Format) -> Self {
        Self { output: Output::new(common), format, names: HashMap::new() }
    }

    fn learn_names(&mut self, instance: &Instance) {
        let names = instance.peers().into_iter().map(|peer| (peer.id(), peer.name().to_owned()));
        self.names.extend(names);
    }

    fn print_until_end(
        &mut self,
        instance: &Instance,
        collected: &Collected,
        stop: &StopFlag,
    ) -> io::Result<Outcome> {
        let Collected { replies, ended } = collected;
        loop {
            if replies.receiver.is_empty() {
                self.output.flush()?;
            }
            select! {
                // The sender lives in the request, and the request outlives this loop.
                recv(replies.receiver) -> reply => if let Ok(reply) = reply {
                    self.print(instance, &reply)?;
                },
                recv(ended) -> outcome => return Ok(outcome.unwrap_or(Outcome::Expired)),
                recv(stop.raised()) -> _ => return Ok(Outcome::Interrupted),
            }
        }
    }

    fn print(&mut self, instance: &Instance, reply: &Reply) -> io::Result<()> {
        if !self.names.contains_key(&reply.responder) {
            self.learn_names(instance);
        }
        let Reply { number, responder, elapsed, payload } = reply;
        // Discovery may not know a responder that has just started, and names may be empty.
        let name = self.names.get(responder).filter(|name| !name.is_empty());
        if self.output.is_json() {
            return self.output.json(&Line::Response {
                number: *number,
                responder: responder.to_string(),
                name: name.map(String::as_str),
                elapsed_ms: milliseconds(*elapsed),
                payload: match self.format {
                    Format::Hex => PayloadJson::in_hex(payload),
                    Format::Text | Format::Raw => PayloadJson::new(payload),
                },
            });
        }
        let shown = match self.format {
            Format::Raw => return self.output.line(payload),
            Format::Text => one_line(payload),
            Format::Hex => hex(payload),
        };
        let name = name.map_or_else(|| responder.to_string(), |name| one_line(name.as_bytes()));
        self.output.text(format_args!("#{number} {name} {elapsed:.1?} {shown}"))
    }

    /// Says how it ended. The exit code says whether enough came.
    fn end(
        mut self,
        outcome: Outcome,
        responses: u64,
        args: &RequestArgs,
    ) -> anyhow::Result<ExitCode> {
        if self.output.is_json() {
            self.output.json(&Line::End { outcome, responses })?;
        }
        self.output.flush()?;
        let came = count(responses, "response");
        match (outcome, args.expect) {
            (Outcome::Complete, _) => note(format_args!("closed after {came}")),
            (Outcome::Expired, Some(expected)) => {
                note(format_args!("timeout: {came} of {expected} expected"));
            }
            (Outcome::Expired, None) => note(format_args!("timeout after {came}")),
            (Outcome::Interrupted, _) => note(format_args!("interrupted after {came}")),
            // Said already.
            (Outcome::NotSent, _) => {}
        }
        Ok(answer(responses >= args.expect.unwrap_or(1)))
    }
}

/// One line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Response {
        number: u64,
        responder: String,
        name: Option<&'a str>,
        elapsed_ms: f64,
        #[serde(flatten)]
        payload: PayloadJson<'a>,
    },
    End {
        outcome: Outcome,
        responses: u64,
    },
}
