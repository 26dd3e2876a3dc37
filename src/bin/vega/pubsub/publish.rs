//! `vega pub`: publishes arguments, lines of standard input, or generated payloads. Layer: bin.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use vega::{Publisher, SendError};

use super::pace::{Pace, parse_rate};
use super::source::Source;
use crate::args::Common;
use crate::output::{Output, count, note, progress};
use crate::signals::{self, StopFlag};
use crate::subscribers::{WaitArgs, Waited};
use crate::{answer, clock};

/// Pauses while receivers cannot take more: short at first, so that a burst goes on at once.
const SHORTEST_PAUSE: Duration = Duration::from_micros(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

const EXAMPLES: &str = "\
Examples:
  vega pub prices.EURUSD 1.0842 1.0843         two messages
  tail -f app.log | vega pub logs.app          each line is a message
  vega pub load --size 256 --rate 10000 --count 100000
  vega pub orders new --wait-subscribers 2 --wait 10s

Back pressure is waited out. Standard output gets a summary.";

/// The arguments of `vega pub`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PubArgs {
    /// Topic to publish
    topic: String,
    /// Messages; without any, the lines of standard input
    #[arg(value_name = "MESSAGE", allow_negative_numbers = true)]
    messages: Vec<String>,
    /// Messages per second [default: as fast as receivers take them]
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
    /// End after N messages; arguments are repeated until then
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Generate payloads of N bytes, until --count or Ctrl-C
    #[arg(long, value_name = "N", conflicts_with = "messages")]
    size: Option<usize>,
    #[command(flatten)]
    wait: WaitArgs,
}

impl PubArgs {
    /// How many messages there will be, where that is known.
    fn expected(&self) -> Option<u64> {
        let given = self.messages.len() as u64;
        self.count.or_else(|| (given > 0).then_some(given))
    }

    fn source(&self, limit_bytes: usize) -> anyhow::Result<Source> {
        if let Some(bytes) = self.size {
            return Ok(Source::generated(bytes));
        }
        if !self.messages.is_empty() {
            return Ok(Source::given(self.messages.clone()));
        }
        if io::stdin().is_terminal() {
            note("each line is a message; Ctrl-D ends");
        }
        Source::standard_input(limit_bytes)
    }
}

/// Runs `vega pub`.
///
/// # Errors
///
/// When the topic cannot be published, a message is too large, or the input cannot be read.
pub(crate) fn publish(common: &Common, args: PubArgs) -> anyhow::Result<ExitCode> {
    let stop = signals::stop_flag()?;
    let instance = common.start("pub")?;
    let mut publisher = instance.publisher(&args.topic)?;
    let waited = args.wait.wait(&instance, &publisher, &stop);
    let mut tally = Tally::default();
    let start = clock::now();
    let result = match waited {
        Waited::Ready => send_all(&mut publisher, &args, &stop, &mut tally),
        Waited::TooFew | Waited::Stopped => Ok(()),
    };
    let elapsed = start.elapsed();
    let summary = Summary::new(&publisher, &tally, elapsed);
    // Also after an error: what was sent has been sent.
    Output::new(common).finish(&summary, summary.text(elapsed))?;
    instance.close()?;
    result?;
    Ok(answer(waited != Waited::TooFew))
}

#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    bytes: u64,
    /// Messages that had to wait.
    back_pressured: u64,
}

fn send_all(
    publisher: &mut Publisher,
    args: &PubArgs,
    stop: &StopFlag,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let expected = args.expected();
    let mut source = args.source(publisher.max_message_bytes())?;
    let mut pace = args.rate.map(Pace::new);
    let bar = expected.map(|count| progress("publishing", Some(count)));
    while expected.is_none_or(|count| tally.sent < count) {
        let Some(message) = source.next(stop)? else { break };
        if pace.as_mut().is_some_and(|pace| !pace.wait(stop)) {
            break;
        }
        let mut waits = 0_u64;
        let sent = until_accepted(stop, &mut waits, || publisher.send(message).map(|_| ()))
            .with_context(|| format!("message {}", tally.sent + 1))?;
        tally.back_pressured += u64::from(waits > 0);
        if !sent {
            break;
        }
        tally.sent += 1;
        tally.bytes += message.len() as u64;
        if let Some(bar) = &bar {
            bar.inc(1);
        }
    }
    // The end of a burst may still be waiting for receivers.
    until_accepted(stop, &mut 0, || publisher.flush())?;
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    Ok(())
}

/// Tries until `attempt` is no longer back-pressured, and counts the pauses. False when the user
/// wants to end first.
///
/// # Errors
///
/// What `attempt` returns apart from back pressure.
fn until_accepted(
    stop: &StopFlag,
    waits: &mut u64,
    mut attempt: impl FnMut() -> Result<(), SendError>,
) -> Result<bool, SendError> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match attempt() {
            Ok(()) => return Ok(true),
            Err(SendError::BackPressured) => {}
            Err(error) => return Err(error),
        }
        *waits += 1;
        if stop.wait(pause) {
            return Ok(false);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    topic: &'a str,
    transport: String,
    sent: u64,
    bytes: u64,
    seconds: f64,
    messages_per_second: f64,
    back_pressured: u64,
    subscribers: usize,
}

impl<'a> Summary<'a> {
    #[expect(clippy::cast_precision_loss, reason = "2^53 messages are not reached")]
    fn new(publisher: &'a Publisher, tally: &Tally, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self {
            topic: publisher.topic(),
            transport: publisher.transport().to_string(),
            sent: tally.sent,
            bytes: tally.bytes,
            seconds,
            messages_per_second: if tally.sent == 0 { 0.0 } else { tally.sent as f64 / seconds },
            back_pressured: tally.back_pressured,
            subscribers: publisher.subscribers(),
        }
    }

    fn text(&self, elapsed: Duration) -> String {
        let Self { topic, transport, sent, bytes, .. } = self;
        let mut text = format!(
            "{} ({}) sent on {topic} by {transport} in {elapsed:.1?}",
            count(*sent, "message"),
            HumanBytes(*bytes),
        );
        // The rate of a handful says nothing.
        if *sent >= 100 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown")]
            let rate = HumanCount(self.messages_per_second as u64);
            text.push_str(&format!(": {rate}/s"));
        }
        if self.back_pressured > 0 {
            text.push_str(&format!(", {} held back", HumanCount(self.back_pressured)));
        }
        text
    }
}
