//! The settings that a configuration consists of: their types, defaults and limits. Layer: config.
//! Plain data, immutable once an instance runs; no thread owns it.
//!
//! This file is the one home of every default and limit. `config/default.toml` shows them to users
//! with their reasons, and a test holds it to the values here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, Fault, Problem};
use super::family::Family;
use super::host::{Advertise, DaemonAddress};
use super::interface::InterfaceSpec;
use super::quantity::{Probability, format_duration};
use super::range::{AddressRange, PortRange, StreamRange};
use super::spread::Choice;
use crate::counters::MAX_ROWS;
use crate::id::InstanceId;

pub(super) const MAX_POLLERS: usize = 64;
pub(super) const MAX_TEMPLATES: usize = 256;
pub(super) const MAX_TOPIC_RULES: usize = 1024;
pub(super) const MAX_NAME_CHARS: usize = 64;
/// The bits of a Linux CPU set.
pub(super) const CORES: RangeInclusive<usize> = 0..=1023;
pub(super) const SLEEP: RangeInclusive<Duration> =
    Duration::from_nanos(1)..=Duration::from_millis(100);
pub(super) const REFRESH: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_mins(1);
pub(super) const DISCOVERY_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(20)..=Duration::from_hours(1);
pub(super) const PEER_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(1);
/// From a few round trips of a local network on.
pub(super) const REPAIR_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_hours(1);
pub(super) const TTL: RangeInclusive<u8> = 0..=255;
/// The largest multiple of [`PACKET_STEP`] that fits a UDP datagram of either family (65,487 bytes with the
/// headers of IPv6 in 64 KiB).
pub(super) const PACKET_BYTES: RangeInclusive<usize> = 512..=65_472;
/// Slots of a ring start on a cache line.
pub(super) const PACKET_STEP: usize = 64;
pub(super) const WINDOW_BYTES: RangeInclusive<usize> = 64 << 10..=1 << 30;
/// Fewer packets in flight would make each lost one stall its sender.
pub(crate) const MIN_WINDOW_PACKETS: usize = 16;
pub(super) const MESSAGE_BYTES: RangeInclusive<usize> = 1 << 10..=1 << 30;
pub(super) const OPEN_REQUESTS: RangeInclusive<usize> = 1..=1 << 24;
/// Short enough to copy from a log line into a file.
pub(super) const SEEDS: RangeInclusive<u64> = 0..=MAX_SEED;
pub(crate) const MAX_SEED: u64 = u32::MAX as u64;
pub(super) const FAULT_DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(10);
pub(super) const COUNTER_ROWS: RangeInclusive<usize> = 16..=MAX_ROWS;
pub(super) const PEERS: RangeInclusive<usize> = 1..=65_536;
pub(super) const MAX_DAEMONS: usize = 16;
/// From what DNS servers bear to what people wait for.
pub(super) const RESOLVE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(1);
pub(super) const CLIENT_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(1);

/// Fills an Ethernet frame of 1500 bytes, and is a multiple of a cache line.
const DEFAULT_PACKET_BYTES: usize = 1408;
/// No network bounds the slots of a ring in memory: in larger ones more messages come between two
/// headers, and a ring of few is no larger than two windows.
const MAX_DEFAULT_SLOT_BYTES: usize = 32 << 10;
const DEFAULT_WINDOW_BYTES: usize = 1 << 20;
const DEFAULT_RESPONSE_WINDOW_BYTES: usize = 256 << 10;
const DEFAULT_RECEIVER_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_REPAIR_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_STREAMS: StreamRange = StreamRange::constant(1, 10);
const DEFAULT_TTL: u8 = 1;
/// That of Vega, so that firewalls need no other rule.
pub(super) const DEFAULT_DAEMON_PORT: u16 = 40300;
/// The pause of `idle = "sleep"`.
pub(super) const DEFAULT_SLEEP: Duration = Duration::from_micros(100);

/// For ipc it follows from the window, of which each packet is a small part.
pub(super) const fn default_packet_bytes(transport: Transport, window_bytes: usize) -> usize {
    let slot = window_bytes / MIN_WINDOW_PACKETS / PACKET_STEP * PACKET_STEP;
    match transport {
        Transport::Ipc if slot < MAX_DEFAULT_SLOT_BYTES => slot,
        Transport::Ipc => MAX_DEFAULT_SLOT_BYTES,
        Transport::Multicast | Transport::Unicast => DEFAULT_PACKET_BYTES,
    }
}

/// IPv6 groups of a site that nobody assigns ("t" is set): the letters of `vega`, and a number that is that
/// of the IPv4 group.
const fn ipv6_group(number: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0x7665, 0x6761, number))
}

/// Where instances find each other.
pub(super) const fn discovery_group(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(239, 255, 0, 1)),
        Family::V6 => ipv6_group(1),
    }
}

/// Where multicast topics are: as many groups in each family, so that topics share what they share in the
/// other.
pub(super) const fn topic_groups(family: Family) -> AddressRange {
    const GROUPS: u32 = 12;
    match family {
        Family::V4 => {
            const { AddressRange::constant(IpAddr::V4(Ipv4Addr::new(239, 255, 0, 9)), GROUPS) }
        }
        Family::V6 => const { AddressRange::constant(ipv6_group(9), GROUPS) },
    }
}

/// A named thread that receives and runs user callbacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PollerConfig {
    pub(crate) name: String,
    pub(crate) idle: IdleKind,
    /// The CPU core to pin the thread to.
    pub(crate) core: Option<usize>,
}

impl PollerConfig {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), idle: IdleKind::Block, core: None }
    }
}

/// What a poller does when there is nothing to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdleKind {
    /// Polls again at once: the lowest latency, one core fully used.
    BusySpin,
    /// Offers the core to other threads between polls.
    Yield,
    /// Spins, then yields, then sleeps ever longer.
    Backoff,
    /// Sleeps between polls.
    Sleep { pause: Duration },
    /// Spins briefly, then waits in the kernel until data arrives.
    Block,
}

impl IdleKind {
    /// Whether the thread looks around all the time, whatever happens.
    pub(crate) const fn spins(self) -> bool {
        matches!(self, Self::BusySpin | Self::Yield)
    }
}

/// Whether UDP sockets use what the kernel and the device do better than one call per packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Offload {
    /// As far as they can.
    #[default]
    Auto,
    /// One packet per system call, with calls that every Unix system has.
    Off,
}

/// The one response socket of an instance, and the response rings of its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponsesConfig {
    /// Index into `Config::pollers`.
    pub(crate) poller: usize,
    pub(crate) interface: InterfaceSpec,
    pub(crate) ports: PortRange,
    pub(crate) advertise: Advertise,
    pub(crate) streams: StreamRange,
    pub(crate) packet_bytes: usize,
    pub(crate) window_bytes: usize,
    pub(crate) receiver_timeout: Duration,
    pub(crate) repair_timeout: Duration,
}

impl ResponsesConfig {
    pub(super) fn on(interface: &InterfaceSpec, advertise: &Advertise) -> Self {
        Self {
            advertise: advertise.clone(),
            poller: 0,
            interface: interface.clone(),
            ports: const { PortRange::constant(35004, 35099) },
            streams: DEFAULT_STREAMS,
            packet_bytes: DEFAULT_PACKET_BYTES,
            window_bytes: DEFAULT_RESPONSE_WINDOW_BYTES,
            receiver_timeout: DEFAULT_RECEIVER_TIMEOUT,
            repair_timeout: DEFAULT_REPAIR_TIMEOUT,
        }
    }

    /// The port that `instance` tries first.
    pub(crate) fn preferred_port(&self, instance: InstanceId) -> u16 {
        self.ports.pick(Choice::Port.hash(&instance.to_bytes()))
    }

    /// The stream on which `instance` receives responses.
    pub(crate) fn stream(&self, instance: InstanceId) -> u32 {
        self.streams.pick(Choice::Stream.hash(&instance.to_bytes()))
    }
}

/// The socket on which peers ask this instance for what they missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ControlConfig {
    pub(crate) interface: InterfaceSpec,
    pub(crate) ports: PortRange,
    pub(crate) advertise: Advertise,
}

impl ControlConfig {
    pub(super) fn on(interface: &InterfaceSpec, advertise: &Advertise) -> Self {
        Self {
            interface: interface.clone(),
            ports: const { PortRange::constant(35010, 35099) },
            advertise: advertise.clone(),
        }
    }

    /// The port that `instance` tries first.
    pub(crate) fn preferred_port(&self, instance: InstanceId) -> u16 {
        self.ports.pick(Choice::ControlPort.hash(&instance.to_bytes()))
    }
}

/// What carries discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiscoveryKind {
    Multicast,
    Daemon,
    Both,
}

impl DiscoveryKind {
    pub(crate) const fn uses_multicast(self) -> bool {
        matches!(self, Self::Multicast | Self::Both)
    }

    pub(crate) const fn uses_daemons(self) -> bool {
        matches!(self, Self::Daemon | Self::Both)
    }
}

/// How instances find each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiscoveryConfig {
    pub(crate) kind: DiscoveryKind,
    /// Empty if none is used.
    pub(crate) daemons: Vec<DaemonAddress>,
    /// How often the names of daemons that do not answer are looked up.
    pub(crate) resolve: Duration,
    pub(crate) interface: InterfaceSpec,
    /// The group; of the family that the interface has.
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) ttl: u8,
    /// Time between two announcements of one instance.
    pub(crate) refresh: Duration,
    /// Silence after which peers take this instance for gone; at least two `refresh`.
    pub(crate) timeout: Duration,
}

impl DiscoveryConfig {
    pub(super) fn on(interface: &InterfaceSpec) -> Self {
        Self {
            kind: DiscoveryKind::Multicast,
            daemons: Vec::new(),
            resolve: Duration::from_secs(5),
            interface: interface.clone(),
            address: discovery_group(interface.family()),
            port: 35000,
            ttl: DEFAULT_TTL,
            refresh: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
        }
    }
}

/// A discovery daemon; instances do not use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DaemonConfig {
    pub(crate) interface: InterfaceSpec,
    pub(crate) port: u16,
    /// Silence after which a client is taken for gone.
    pub(crate) client_timeout: Duration,
    pub(crate) max_clients: usize,
}

impl DaemonConfig {
    pub(super) fn on(interface: &InterfaceSpec) -> Self {
        Self {
            interface: interface.clone(),
            port: DEFAULT_DAEMON_PORT,
            client_timeout: Duration::from_secs(10),
            max_clients: LimitsConfig::default().max_peers,
        }
    }

    /// Changes what a program names, by the rules of a file. A port of 0 is any that is free.
    ///
    /// # Errors
    ///
    /// The first value that a file could not have either.
    pub(crate) fn change(&mut self, to: &DaemonChanges) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: String, fault: Fault, allowed: String| {
            let problem = Problem {
                key: format!("daemon.{key}"),
                value,
                allowed,
                ..Problem::of(None, fault)
            };
            ConfigError::new("<argument>", vec![problem])
        };
        if let Some(text) = &to.interface {
            self.interface = InterfaceSpec::parse(text).map_err(|fault| {
                refuse("interface", text.clone(), fault, InterfaceSpec::ALLOWED.to_owned())
            })?;
        }
        self.port = to.port.unwrap_or(self.port);
        if let Some(timeout) = to.client_timeout {
            if !CLIENT_TIMEOUT.contains(&timeout) {
                let ends = [CLIENT_TIMEOUT.start(), CLIENT_TIMEOUT.end()];
                let allowed = ends.map(|end| format_duration(*end)).join(" to ");
                let value = format!("{timeout:?}");
                return Err(refuse("client_timeout", value, Fault::OutOfRange, allowed));
            }
            self.client_timeout = timeout;
        }
        if let Some(limit) = to.max_clients {
            if !PEERS.contains(&limit) {
                let allowed = format!("{} to {}", PEERS.start(), PEERS.end());
                return Err(refuse("max_clients", limit.to_string(), Fault::OutOfRange, allowed));
            }
            self.max_clients = limit;
        }
        Ok(())
    }
}

/// What a program wants of a daemon other than its configuration says.
#[derive(Clone, Debug, Default)]
pub(crate) struct DaemonChanges {
    pub(crate) interface: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) client_timeout: Option<Duration>,
    pub(crate) max_clients: Option<usize>,
}

/// Shared-memory rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IpcConfig {
    /// Where the rings are; `None` leaves the choice to `transport::shm`.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) pages: RingPages,
    /// How long a live reader that does not read may hold back a publisher.
    pub(crate) reader_timeout: Duration,
}

/// When the pages of shared rings come into the address space of who uses them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RingPages {
    /// Each when it is first touched.
    #[default]
    OnDemand,
    /// All of them, when the ring is opened.
    Prefault,
    /// All of them, and as huge pages.
    Huge,
}

impl Default for IpcConfig {
    fn default() -> Self {
        Self {
            directory: None,
            pages: RingPages::default(),
            reader_timeout: Duration::from_secs(5),
        }
    }
}

/// Where an instance counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CountersConfig {
    pub(crate) file: CounterFile,
    /// Topics, publications, sockets and pollers that are counted one by one.
    pub(crate) rows: usize,
}

impl Default for CountersConfig {
    fn default() -> Self {
        Self { file: CounterFile::default(), rows: 1024 }
    }
}

/// Whether other processes can read the counters of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CounterFile {
    /// Where shared memory is available.
    #[default]
    Auto,
    Off,
}

/// Bounds of what one instance holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitsConfig {
    pub(crate) max_message_bytes: usize,
    pub(crate) max_open_requests: usize,
    pub(crate) max_peers: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { max_message_bytes: 16 << 20, max_open_requests: 1 << 20, max_peers: 4096 }
    }
}

/// What is done to received datagrams on purpose. The default does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FaultConfig {
    /// 0 stands for another one in each instance.
    pub(crate) seed: u64,
    pub(crate) loss: Probability,
    pub(crate) duplicate: Probability,
    pub(crate) reorder: Probability,
    pub(crate) delay: Duration,
    /// On top of `delay`: up to this much, uniformly.
    pub(crate) jitter: Duration,
}

impl FaultConfig {
    /// Whether any datagram can be affected.
    pub(crate) fn is_on(&self) -> bool {
        *self != Self { seed: self.seed, ..Self::default() }
    }
}

/// Named transport settings that topic patterns select.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) name: String,
    /// Index into `Config::pollers`: the one that receives the topics of this template.
    pub(crate) poller: usize,
    /// Size of one packet, which is one slot of the ring.
    pub(crate) packet_bytes: usize,
    /// What may be sent to a receiver and not yet acknowledged: half of a publication's ring or less.
    pub(crate) window_bytes: usize,
    pub(crate) slow_consumer: SlowConsumer,
    pub(crate) carrier: Carrier,
}

impl Template {
    /// The built-in template of `transport`, which carries the transport's name.
    pub(super) fn built_in(
        transport: Transport,
        interface: &InterfaceSpec,
        advertise: &Advertise,
    ) -> Self {
        let udp = |ports| UdpSettings {
            interface: interface.clone(),
            ports,
            streams: DEFAULT_STREAMS,
            receiver_timeout: DEFAULT_RECEIVER_TIMEOUT,
            repair_timeout: DEFAULT_REPAIR_TIMEOUT,
            flow_control: FlowControl::Min,
        };
        let carrier = match transport {
            Transport::Multicast => Carrier::Multicast {
                udp: udp(const { PortRange::constant(35006, 35007) }),
                addresses: topic_groups(interface.family()),
                ttl: DEFAULT_TTL,
            },
            Transport::Unicast => Carrier::Unicast {
                udp: udp(const { PortRange::constant(35008, 35099) }),
                advertise: advertise.clone(),
            },
            Transport::Ipc => Carrier::Ipc,
        };
        Self {
            name: transport.to_string(),
            poller: 0,
            packet_bytes: default_packet_bytes(transport, DEFAULT_WINDOW_BYTES),
            window_bytes: DEFAULT_WINDOW_BYTES,
            slow_consumer: SlowConsumer::Hold,
            carrier,
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        match self.carrier {
            Carrier::Multicast { .. } => Transport::Multicast,
            Carrier::Unicast { .. } => Transport::Unicast,
            Carrier::Ipc => Transport::Ipc,
        }
    }

    /// The socket settings; `None` for shared memory.
    pub(crate) fn udp(&self) -> Option<&UdpSettings> {
        match &self.carrier {
            Carrier::Multicast { udp, .. } | Carrier::Unicast { udp, .. } => Some(udp),
            Carrier::Ipc => None,
        }
    }
}

/// What carries the packets, with the settings that only this carrier has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// Each topic has a group, a port and a stream.
    Multicast { udp: UdpSettings, addresses: AddressRange, ttl: u8 },
    /// Each subscriber has a socket, on the topic's preferred port or the next free one.
    Unicast { udp: UdpSettings, advertise: Advertise },
    /// Each publisher has a ring in shared memory.
    Ipc,
}

/// The settings that multicast and unicast have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UdpSettings {
    pub(crate) interface: InterfaceSpec,
    pub(crate) ports: PortRange,
    pub(crate) streams: StreamRange,
    /// Silence after which a receiver no longer counts for flow control.
    pub(crate) receiver_timeout: Duration,
    /// How long a receiver asks for a lost packet before it gives it up.
    pub(crate) repair_timeout: Duration,
    pub(crate) flow_control: FlowControl,
}

/// Whose reports set how far a sender may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowControl {
    /// The slowest receiver.
    Min,
    /// The fastest receiver.
    Max,
    /// The slowest of the receivers that carry the tag.
    Tagged(u32),
}

/// What becomes of a receiver that holds back the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlowConsumer {
    /// Its sender waits for it.
    Hold,
    /// Its sender goes on without it, and it is told what it lost.
    Drop,
}

/// How the messages of a topic travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// UDP to a multicast group: one send reaches every subscriber.
    Multicast,
    /// UDP to each subscriber.
    Unicast,
    /// Shared memory: between processes of one machine.
    Ipc,
}

impl Transport {
    pub(super) const CHOICES: [(&'static str, Self); 3] =
        [("multicast", Self::Multicast), ("unicast", Self::Unicast), ("ipc", Self::Ipc)];

    /// The name used in configuration files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Multicast => "multicast",
            Self::Unicast => "unicast",
            Self::Ipc => "ipc",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
