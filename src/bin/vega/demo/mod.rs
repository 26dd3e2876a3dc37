//! `vega demo`: an exchange, a trader and three dealers, each a process of its own, on loopback.
//! Layer: bin. The commanding thread starts them, prints what they report, and judges the end.
//!
//! The exchange publishes market data on multicast and book snapshots on shared memory, the trader
//! sends orders to it by unicast, and asks all dealers for quotes now and then: each of them answers
//! several times, every answer keeps the request open, and silence ends it.

mod dealer;
mod exchange;
mod script;
mod tally;
mod trader;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;

use crate::answer;
use crate::args::Common;
use crate::clock;
use crate::output::{Output, explain, is_broken_pipe, note};
use crate::signals;
use crate::stage::{Cast, Member, PollerSpec, Stage};
use script::{Command, DEALERS, Report};
use verdict::Verdict;

/// How long all processes together may take until they have found each other.
const START: Duration = Duration::from_secs(20);
/// Beyond the duration of the streams, so long may a process be silent: the last request has to
/// expire, and what is missing is waited for.
const SILENCE: Duration = Duration::from_secs(20);

const EXAMPLES: &str = "\
Examples:
  vega demo
  vega demo --duration 3s --json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How long data is published
    #[arg(long, value_name = "D", default_value = "8s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// What this process plays
    #[arg(long, hide = true, value_enum)]
    part: Option<Part>,
    /// Which of several that play the same
    #[arg(long, hide = true, default_value_t = 1)]
    number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Exchange,
    Trader,
    Dealer,
}

pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    match args.part {
        None => direct(common, args.duration),
        Some(part) => {
            match part {
                Part::Exchange => exchange::run(common, args.duration)?,
                Part::Trader => trader::run(common, args.duration)?,
                Part::Dealer => dealer::run(common, args.number)?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn direct(common: &Common, duration: Duration) -> anyhow::Result<ExitCode> {
    let stop = signals::stop_flag()?;
    let mut out = Output::new(common);
    // Before the cast, so that it goes after it: processes leave before their files do.
    let (config, _stage) = configuration(common)?;
    let mut play = Play { cast: Cast::new(stop), out: &mut out, verdict: Verdict::default() };
    let played = play.run(&config, duration);
    let Play { cast, mut verdict, .. } = play;
    if let Err(error) = played.and_then(|()| cast.dismiss()) {
        if is_broken_pipe(&error) {
            return Err(error);
        }
        note(explain(&error));
        verdict.fault(&error);
    }
    verdict.print(&mut out)?;
    Ok(answer(verdict.is_ok()))
}

/// The configuration of all processes: the user's, or one that keeps them to themselves.
fn configuration(common: &Common) -> anyhow::Result<(PathBuf, Option<Stage>)> {
    let Some(path) = &common.config else {
        let stage = Stage::new("demo")?;
        // More processes than cores: whoever has nothing to do makes room for the others.
        let poller = PollerSpec { idle: "block", core: None, takes_responses: true };
        return Ok((stage.configure("demo", poller, "")?, Some(stage)));
    };
    let config = common.load()?;
    for stream in script::STREAMS {
        let transport = config.route(stream.topic)?.transport();
        if transport != stream.transport {
            bail!(
                "the configuration carries {} by {transport:?}; the demo needs {:?}",
                stream.topic,
                stream.transport
            );
        }
    }
    Ok((path.clone(), None))
}

/// The play, while it runs.
struct Play<'a> {
    cast: Cast,
    out: &'a mut Output,
    verdict: Verdict,
}

impl Play<'_> {
    fn run(&mut self, config: &Path, duration: Duration) -> anyhow::Result<()> {
        let seconds = humantime::format_duration(duration).to_string();
        let arguments =
            |part: &str| ["demo", "--duration", &seconds, "--part", part].map(str::to_owned);
        let exchange = self.cast.start("exchange", config, &arguments("exchange"))?;
        let trader = self.cast.start("trader", config, &arguments("trader"))?;
        self.introduce(exchange, "publishes market.data and ipc.book, receives unicast.orders")?;
        self.introduce(trader, "receives both, sends orders, asks for quotes on market.rfq")?;
        let mut members = vec![exchange, trader];
        for number in 1..=DEALERS {
            let number = number.to_string();
            let arguments: Vec<_> = arguments("dealer")
                .into_iter()
                .chain(["--number".to_owned(), number.clone()])
                .collect();
            let dealer = self.cast.start(format!("dealer-{number}"), config, &arguments)?;
            self.introduce(dealer, "answers every request several times")?;
            members.push(dealer);
        }
        for _ in &members {
            let (_, Report::Ready) = self.cast.hear(START)? else {
                bail!("somebody began before everybody was ready");
            };
        }
        for &member in &members {
            self.cast.tell(member, &Command::Begin)?;
        }
        let sent = self.listen_until_all_is_sent(duration)?;
        self.cast.tell(exchange, &Command::Expect(sent.clone()))?;
        self.cast.tell(trader, &Command::Expect(sent))?;
        for _ in [exchange, trader] {
            let (_, Report::Received(results)) = self.cast.hear(SILENCE)? else {
                bail!("somebody did not say what was received");
            };
            self.verdict.received(results);
        }
        Ok(())
    }

    fn introduce(&mut self, member: Member, what: &str) -> anyhow::Result<()> {
        let (name, id) = (self.cast.name(member), self.cast.process_id(member));
        let line = format!("{name:<10} process {id:<8} {what}");
        self.show(&line)
    }

    /// Shows what arrives until the exchange and the trader have sent everything.
    fn listen_until_all_is_sent(&mut self, duration: Duration) -> anyhow::Result<script::Counts> {
        let begin = clock::now();
        let mut sent = script::Counts::new();
        let mut senders = 2;
        while senders > 0 {
            match self.cast.hear(duration + SILENCE)? {
                (_, Report::Arrived(text)) => {
                    let at = clock::now().duration_since(begin).as_secs_f64();
                    self.show(&format!("{at:6.2} s  {text}"))?;
                }
                (_, Report::Sent(counts)) => {
                    self.verdict.sent(&counts);
                    sent.extend(counts);
                    senders -= 1;
                }
                (_, Report::Requested(requests)) => self.verdict.requested(requests),
                (member, Report::Ready | Report::Received(_)) => {
                    bail!("{} is out of step", self.cast.name(member));
                }
            }
        }
        Ok(sent)
    }

    /// A line for people; machines get one document at the end.
    fn show(&mut self, line: &str) -> anyhow::Result<()> {
        if !self.out.is_json() {
            self.out.text(line)?;
            self.out.flush()?;
        }
        Ok(())
    }
}
