//! Who is compared, and in which of its documented configurations. Layer: peers. Plain data.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::cases::{Case, Measure, Transport};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    Vega,
    Aeron,
    Iceoryx2,
    Zeromq,
    Nats,
    /// Nothing but sockets, or a flag in shared memory.
    Raw,
}

/// What who polls does when nothing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wait {
    Spin,
    /// Leaves the core to whoever else has work.
    Yield,
    /// In the peer's own blocking call.
    Block,
}

/// One configuration of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) peer: Peer,
    /// Whether the two sides have a core each that they do not leave.
    pub(crate) pinned: bool,
    pub(crate) wait: Wait,
    pub(crate) details: Details,
}

/// What only one peer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Details {
    None,
    /// The window of a template by ipc.
    Vega(Window),
    Aeron(AeronDetails),
    /// Whether the client library has a thread of its own.
    Nats {
        worker: bool,
    },
}

/// How far a publisher of vega may be ahead of its readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Window {
    /// 1 MiB.
    Default,
    /// As in `config/ipc.toml`.
    FourMebibytes,
}

/// Settings of Aeron's media driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AeronDetails {
    pub(crate) threading: Threading,
    pub(crate) idle: DriverIdle,
    pub(crate) buffers: Buffers,
}

/// How many threads the driver has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Threading {
    /// One.
    Shared,
    /// Conductor, sender and receiver.
    Dedicated,
}

/// What they do when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DriverIdle {
    Backoff,
    Yield,
    Spin,
}

/// How much may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Buffers {
    /// As the driver has them by default.
    Default,
    /// Windows and socket buffers of 2 MiB, as in Aeron's own benchmarks.
    Large,
    /// Term buffers that stay in the processor's cache.
    Cached,
}

impl Peer {
    pub(crate) const ALL: [Self; 6] =
        [Self::Vega, Self::Aeron, Self::Iceoryx2, Self::Zeromq, Self::Nats, Self::Raw];

    /// Whether it has something like this.
    pub(crate) fn takes_part(self, case: &Case) -> bool {
        match self {
            Self::Vega | Self::Aeron => true,
            Self::Iceoryx2 => case.transport == Transport::Ipc,
            // By TCP, beside our unicast; packets of TCP are the system's business.
            Self::Zeromq => case.transport != Transport::Multicast && case.fits_ethernet(),
            Self::Nats => case.transport == Transport::Unicast && case.fits_ethernet(),
            // A raw stream is neither reliable nor in order.
            Self::Raw => case.measure == Measure::Rtt,
        }
    }

    /// Its configurations that are worth a try in this case.
    pub(crate) fn setups(self, case: &Case) -> Vec<Setup> {
        let setup = |pinned, wait, details| Setup { peer: self, pinned, wait, details };
        match self {
            Self::Raw => vec![setup(true, Wait::Spin, Details::None)],
            Self::Vega => {
                let mut setups = Vec::new();
                for &window in windows(case) {
                    for wait in [Wait::Spin, Wait::Yield] {
                        for pinned in [true, false] {
                            setups.push(setup(pinned, wait, Details::Vega(window)));
                        }
                    }
                }
                setups
            }
            Self::Iceoryx2 => vec![
                setup(true, Wait::Spin, Details::None),
                setup(false, Wait::Yield, Details::None),
            ],
            Self::Zeromq => vec![
                setup(true, Wait::Spin, Details::None),
                setup(false, Wait::Spin, Details::None),
                setup(true, Wait::Block, Details::None),
                setup(false, Wait::Block, Details::None),
            ],
            Self::Nats => [false, true]
                .map(|worker| setup(false, Wait::Block, Details::Nats { worker }))
                .to_vec(),
            Self::Aeron => {
                let mut setups = Vec::new();
                for details in aeron(case) {
                    for wait in [Wait::Spin, Wait::Yield] {
                        for pinned in [true, false] {
                            setups.push(setup(pinned, wait, Details::Aeron(details)));
                        }
                    }
                }
                setups
            }
        }
    }
}

fn windows(case: &Case) -> &'static [Window] {
    match (case.transport, case.measure) {
        (Transport::Ipc, Measure::Throughput) => &[Window::Default, Window::FourMebibytes],
        _ => &[Window::Default],
    }
}

fn aeron(case: &Case) -> Vec<AeronDetails> {
    let buffers: &[Buffers] = match (case.transport, case.measure) {
        (_, Measure::Rtt) => &[Buffers::Default],
        (Transport::Ipc, Measure::Throughput) => &[Buffers::Default, Buffers::Cached],
        (_, Measure::Throughput) => &[Buffers::Default, Buffers::Large, Buffers::Cached],
    };
    let mut all = Vec::new();
    for &buffers in buffers {
        for threading in [Threading::Shared, Threading::Dedicated] {
            for idle in [DriverIdle::Backoff, DriverIdle::Yield, DriverIdle::Spin] {
                all.push(AeronDetails { threading, idle, buffers });
            }
        }
    }
    all
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vega => "vega",
            Self::Aeron => "Aeron",
            Self::Iceoryx2 => "iceoryx2",
            Self::Zeromq => "ZeroMQ",
            Self::Nats => "NATS",
            Self::Raw => "raw",
        })
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.details {
            Details::None | Details::Vega(Window::Default) => {}
            Details::Vega(Window::FourMebibytes) => f.write_str("4 MiB windows, ")?,
            Details::Nats { worker: true } => f.write_str("worker thread, ")?,
            Details::Nats { worker: false } => f.write_str("one thread, ")?,
            Details::Aeron(AeronDetails { threading, idle, buffers }) => {
                f.write_str(match threading {
                    Threading::Shared => "SHARED ",
                    Threading::Dedicated => "DEDICATED ",
                })?;
                f.write_str(match idle {
                    DriverIdle::Backoff => "backoff, ",
                    DriverIdle::Yield => "yield, ",
                    DriverIdle::Spin => "spin, ",
                })?;
                f.write_str(match buffers {
                    Buffers::Default => "",
                    Buffers::Large => "2 MiB windows, ",
                    Buffers::Cached => "small terms, ",
                })?;
            }
        }
        f.write_str(match self.wait {
            Wait::Spin => "clients spin",
            Wait::Yield => "clients yield",
            Wait::Block => "clients block",
        })?;
        f.write_str(if self.pinned { ", pinned" } else { "" })
    }
}
