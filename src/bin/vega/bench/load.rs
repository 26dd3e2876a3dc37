//! What is measured, of whatever kind it is, as the command line says it. Layer: bin. Plain data.

use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use vega::Transport;

use crate::stage::PORTS;

/// The largest payload of a UDP datagram, which is what the baseline sends.
pub(super) const MAX_DATAGRAM_BYTES: usize = 65_507;
/// What a message of an open loop begins with: when it was to be sent.
pub(super) const STAMP_BYTES: usize = size_of::<u64>();
/// Ports of a subscriber beside those of its topics: for responses and control.
const PEER_PORTS: u32 = 2;
/// Ports of this process: the same, and one for pongs.
const OWN_PORTS: u32 = 3;
/// A message for each nanosecond, which is what the clock tells apart.
const MAX_RATE: u64 = 1_000_000_000;

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Load {
    /// What carries the topics
    #[arg(long, value_enum, default_value = "multicast")]
    pub(crate) transport: TransportArg,
    /// Bytes per message
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) size: usize,
    /// Stop after this many round trips or messages
    #[arg(long, value_name = "N", conflicts_with = "duration",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Stop after this time, such as 500ms or 10s [default: 5s]
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Alternate with plain sockets, or plain shared memory for ipc, and print how both compare
    #[arg(long)]
    pub(crate) baseline: bool,
    /// Let both processes lose this share of what they receive, such as 1% or 0.01. Not for ipc,
    /// nor with a configuration file, which has [fault] for that
    #[arg(long, value_name = "P", value_parser = share)]
    pub(crate) loss: Option<f64>,
    /// How pollers wait; for throughput, those that receive [default: busy_spin on a core of their
    /// own, block without one]. A raw baseline blocks with block, and else spins
    #[arg(long, value_enum, value_name = "STRATEGY")]
    pub(crate) idle: Option<IdleArg>,
    /// Bytes per packet of the topics, and of a raw stream; not with a configuration file
    #[arg(long, value_name = "N")]
    pub(crate) packet_size: Option<usize>,
    /// How long whoever sends waits before each ping.
    #[arg(skip)]
    pub(crate) pause: Option<Duration>,
    /// Messages per second of an open loop.
    #[arg(skip)]
    pub(crate) rate: Option<u64>,
    /// Processes that receive all messages.
    #[arg(skip = 1_u32)]
    pub(crate) subscribers: u32,
    /// Topics that are sent on in turn.
    #[arg(skip = 1_u32)]
    pub(crate) topics: u32,
}

/// Who is sent to, and on what.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Spread {
    /// Processes that receive all messages; with rtt, the first one answers. Where cores are too
    /// few for all, they block, and none has a core of its own
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) subscribers: u32,
    /// Topics that are sent on in turn
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) topics: u32,
}

impl Load {
    pub(crate) fn payload(&self) -> Vec<u8> {
        vec![0x55; self.size]
    }

    /// The same load for more than one subscriber and topic.
    pub(crate) fn over(self, spread: Spread) -> Self {
        Self { subscribers: spread.subscribers, topics: spread.topics, ..self }
    }

    /// The topics that are sent on.
    pub(crate) fn pings(&self) -> Vec<String> {
        self.transport.pings(self.topics)
    }

    /// Refuses what cannot be measured.
    ///
    /// # Errors
    ///
    /// What excludes what.
    pub(crate) fn check(&self, has_config: bool) -> anyhow::Result<()> {
        if self.baseline && self.transport != TransportArg::Ipc && self.size > MAX_DATAGRAM_BYTES {
            bail!("a baseline sends single datagrams: at most {MAX_DATAGRAM_BYTES} bytes");
        }
        if self.loss.is_some() && self.transport == TransportArg::Ipc {
            bail!("shared memory loses nothing: --loss is for multicast and unicast");
        }
        if self.loss.is_some() && has_config {
            bail!("with a configuration file, [fault] loss in the file says what --loss would");
        }
        if (self.idle.is_some() || self.packet_size.is_some()) && has_config {
            bail!("with a configuration file, the file says what --idle and --packet-size would");
        }
        if self.transport == TransportArg::Unicast && !has_config && self.ports() > PORTS.into() {
            let most = u32::from(PORTS).saturating_sub(OWN_PORTS) / self.subscribers;
            let most = most.saturating_sub(PEER_PORTS);
            bail!("by unicast, each subscriber takes a port for each topic: at most {most} topics");
        }
        if self.rate.is_some() && self.size < STAMP_BYTES {
            bail!("with --rate, messages carry a time: at least {STAMP_BYTES} bytes");
        }
        Ok(())
    }

    /// What all processes together take by unicast, at most.
    fn ports(&self) -> u32 {
        self.subscribers.saturating_mul(self.topics.saturating_add(PEER_PORTS)) + OWN_PORTS
    }

    /// Whether those who wait shall do so in the kernel.
    pub(crate) fn blocks(&self) -> bool {
        self.idle == Some(IdleArg::Block)
    }
}

/// A fraction, or per cent, between 0 and 1.
///
/// # Errors
///
/// What is allowed instead.
fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.parse::<f64>().ok().map(|number| number / whole);
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "allowed: 0 to 1, or 0% to 100%".to_owned())
}

/// Messages per second: a whole number, or with k or M.
///
/// # Errors
///
/// What is allowed instead.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix('k') {
        Some(number) => (number, 1_000),
        None => text.strip_suffix('M').map_or((text, 1), |number| (number, 1_000_000)),
    };
    let rate = number.parse().ok().and_then(|number: u64| number.checked_mul(unit));
    rate.filter(|rate| (1..=MAX_RATE).contains(rate))
        .ok_or_else(|| "allowed: 1 to 1000M messages per second".to_owned())
}

/// The idle strategies of the configuration on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum IdleArg {
    BusySpin,
    Yield,
    Backoff,
    Sleep,
    Block,
}

impl IdleArg {
    /// As the configuration has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::BusySpin => "busy_spin",
            Self::Yield => "yield",
            Self::Backoff => "backoff",
            Self::Sleep => "sleep",
            Self::Block => "block",
        }
    }
}

/// [`Transport`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportArg {
    Multicast,
    Unicast,
    Ipc,
}

impl TransportArg {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Multicast => "multicast",
            Self::Unicast => "unicast",
            Self::Ipc => "ipc",
        }
    }

    /// The name of a topic that this transport carries, as the built-in patterns have it.
    pub(crate) fn topic(self, name: &str) -> String {
        format!("{}.bench.{name}", self.name())
    }

    /// The topics that are sent on.
    pub(crate) fn pings(self, topics: u32) -> Vec<String> {
        let name = |number| match number {
            0 => self.topic("ping"),
            _ => self.topic(&format!("ping.{number}")),
        };
        (0..topics).map(name).collect()
    }

    pub(crate) const fn matches(self, transport: Transport) -> bool {
        matches!(
            (self, transport),
            (Self::Multicast, Transport::Multicast)
                | (Self::Unicast, Transport::Unicast)
                | (Self::Ipc, Transport::Ipc)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_fractions_or_per_cent() {
        for (text, value) in [("1%", 0.01), ("0.01", 0.01), ("0", 0.0), ("100%", 1.0), ("1", 1.0)] {
            assert_eq!(share(text), Ok(value), "{text}");
        }
        for text in ["", "%", "2", "101%", "-1%", "nan", "one"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_have_units() {
        for (text, value) in [("1", 1), ("250k", 250_000), ("2M", 2_000_000), ("1000M", MAX_RATE)] {
            assert_eq!(rate(text), Ok(value), "{text}");
        }
        for text in ["", "0", "k", "0.5M", "-1", "1001M", "1G", "99999999999999999999M"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn idle_strategies_are_those_of_the_configuration() {
        for idle in IdleArg::value_variants() {
            let text = format!("[[poller]]\nname = \"x\"\nidle = {:?}\n", idle.name());
            let templates = "[[template]]\nname = \"ipc\"\ntransport = \"ipc\"\n";
            let topics =
                "[[topic]]\npattern = '.*'\ntemplate = \"ipc\"\n[responses]\npoller = \"x\"\n";
            assert!(vega::Config::parse(&[&text, templates, topics].concat()).is_ok(), "{text}");
            assert_eq!(idle.to_possible_value().unwrap().get_name(), idle.name());
        }
    }
}
