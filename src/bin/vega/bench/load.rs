//! What is measured, of whatever kind it is, as the command line says it. Layer: bin. Plain data.

use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use vega::Transport;

/// The largest payload of a UDP datagram, which is what the baseline sends.
const MAX_DATAGRAM_BYTES: usize = 65_507;

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
}

impl Load {
    pub(crate) fn payload(&self) -> Vec<u8> {
        vec![0x55; self.size]
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
        Ok(())
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
}
