//! `vega respond`: answers the requests of a topic, from the main thread. Layer: bin.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, never, select};
use serde::Serialize;
use vega::{Delivery, OwnedRequest, RespondError};

use super::body::Body;
use crate::args::Common;
use crate::clock;
use crate::output::{Output, PayloadJson, count, milliseconds, note, one_line};
use crate::signals::{self, StopFlag};

/// Requests that wait in the channel, and as many again that are being answered.
const MAX_REQUESTS: usize = 16 * 1024;
/// Before a response that was held back is tried again.
const RETRY: Duration = Duration::from_millis(1);

/// `{n}`, which the help would take for a line break but for the invisible reset of the colours.
macro_rules! number_mark {
    () => {
        "{\u{1b}[0mn}"
    };
}

const BODY_HELP: &str = concat!(
    "Body of the responses; {payload} stands for the request's, ",
    number_mark!(),
    " for the response's number"
);

const EXAMPLES: &str = concat!(
    "\
Examples:
  vega respond quotes --body 'bid 1.0842'
  vega respond quotes --body '{payload} level ",
    number_mark!(),
    "' --responses 5 --interval 50ms --name dealer-1
  vega respond echo --body '{payload}' --count 1

Each request is printed as it comes; with --json, one object per line, and one of type end."
);

/// The arguments of `vega respond`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RespondArgs {
    /// Topic to answer on
    topic: String,
    #[arg(long, value_name = "TEXT", help = BODY_HELP)]
    body: Body,
    /// Responses to each request
    #[arg(long, value_name = "K", default_value_t = 1)]
    responses: u64,
    /// Time between two responses to one request
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    interval: humantime::Duration,
    /// End after N requests were answered
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Name that requesters see [default: vega-respond- and the process number]
    #[arg(long)]
    name: Option<String>,
}

/// Runs `vega respond`.
///
/// # Errors
///
/// When the topic cannot be subscribed to, or standard output cannot be written.
pub(crate) fn respond(common: &Common, args: RespondArgs) -> anyhow::Result<ExitCode> {
    let stop = signals::stop_flag()?;
    let instance = match &args.name {
        Some(name) => common.start_as(name),
        None => common.start("respond"),
    }?;
    let (subscription, deliveries) = instance.subscribe_channel(&args.topic, MAX_REQUESTS)?;
    note(format_args!("answering requests on {}", args.topic));
    let mut responder = Responder {
        body: args.body,
        responses: args.responses,
        interval: args.interval.into(),
        output: Output::new(common),
        jobs: BTreeMap::new(),
        accepted: 0,
        sent: 0,
    };
    let limit = args.count.unwrap_or(u64::MAX);
    responder.run(&deliveries, limit, &stop)?;
    subscription.unsubscribe();
    instance.close()?;
    responder.end(deliveries.overflow())?;
    Ok(ExitCode::SUCCESS)
}

/// A request that is being answered.
struct Job {
    request: OwnedRequest,
    /// Number of the next response, from 1.
    next: u64,
}

struct Responder {
    body: Body,
    responses: u64,
    interval: Duration,
    output: Output,
    /// By the time of the next response; requests of the same time in the order of their arrival.
    jobs: BTreeMap<(Instant, u64), Job>,
    accepted: u64,
    sent: u64,
}

impl Responder {
    /// Accepts up to `limit` requests, and answers them, until the user wants to end.
    fn run(
        &mut self,
        deliveries: &Receiver<Delivery>,
        limit: u64,
        stop: &StopFlag,
    ) -> io::Result<()> {
        let nothing = never();
        while self.accepted < limit || !self.jobs.is_empty() {
            if deliveries.is_empty() {
                self.output.flush()?;
            }
            let takes_more = self.accepted < limit && self.jobs.len() < MAX_REQUESTS;
            let requests = if takes_more { deliveries } else { &nothing };
            let due = self.jobs.first_key_value().map(|((due, _), _)| *due);
            select! {
                recv(requests) -> delivery => match delivery {
                    Ok(Delivery::Request(request)) => self.accept(request)?,
                    Ok(_) => {}
                    // The subscription has ended: nothing comes any more.
                    Err(_) => return Ok(()),
                },
                recv(due.map_or_else(never, at)) -> _ => self.answer(),
                recv(stop.raised()) -> _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn accept(&mut self, request: OwnedRequest) -> io::Result<()> {
        self.accepted += 1;
        self.output.result(
            &Line::Request {
                topic: request.topic(),
                sender: request.sender().to_string(),
                request: request.request_id().to_string(),
                timeout_ms: milliseconds(request.timeout()),
                payload: PayloadJson::new(request.payload()),
            },
            format_args!("{} {}", request.topic(), one_line(request.payload())),
        )?;
        if self.responses > 0 {
            self.jobs.insert((clock::now(), self.accepted), Job { request, next: 1 });
        }
        Ok(())
    }

    /// Sends the response that is due first.
    fn answer(&mut self) {
        let Some(((due, order), mut job)) = self.jobs.pop_first() else { return };
        let body = self.body.fill(job.request.payload(), job.next);
        let again = match job.request.respond(&body) {
            Ok(()) => {
                self.sent += 1;
                job.next += 1;
                due.checked_add(self.interval)
            }
            Err(RespondError::BackPressured) => Some(clock::now() + RETRY),
            Err(error) => {
                note(format_args!("request {}: {error}", job.request.request_id()));
                return;
            }
        };
        // An interval beyond the end of time means: no further response.
        if let Some(again) = again
            && job.next <= self.responses
        {
            self.jobs.insert((again, order), job);
        }
    }

    fn end(mut self, skipped: u64) -> io::Result<()> {
        if self.output.is_json() {
            self.output.json(&Line::End {
                requests: self.accepted,
                responses: self.sent,
                skipped,
            })?;
        }
        self.output.flush()?;
        if skipped > 0 {
            note(format_args!("{} skipped: they came too fast", count(skipped, "arrival")));
        }
        let responses = count(self.sent, "response");
        note(format_args!("{}, {responses}", count(self.accepted, "request")));
        Ok(())
    }
}

/// One line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Request {
        topic: &'a str,
        sender: String,
        request: String,
        timeout_ms: f64,
        #[serde(flatten)]
        payload: PayloadJson<'a>,
    },
    End {
        requests: u64,
        responses: u64,
        skipped: u64,
    },
}
