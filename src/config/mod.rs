//! The configuration: one TOML file for all applications, everything in it optional. Layer: config,
//! above `counters`, `id` and `time`, below everything that opens a socket or starts a thread.
//! A [`Config`] is immutable; no thread owns it.
//!
//! Text becomes a [`Config`] in one pass: `document` reads typed values (`value`, `quantity`,
//! `range`, `interface`, `host`) out of the TOML tree and notes every fault with its line, `file` knows the
//! tables and keys, `settings` holds what they are turned into, with all defaults and limits. A
//! [`Config`] that exists is valid: ranges are not empty, references between tables are resolved to
//! indices. `topics` and `spread` map a topic's name to its template, group, port and stream;
//! `pattern` says which names a pattern means.

mod document;
mod error;
mod family;
mod file;
mod host;
mod interface;
mod pattern;
mod places;
mod quantity;
mod range;
mod settings;
mod spread;
mod suggest;
#[cfg(test)]
mod tests;
mod topics;
mod value;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;

pub use self::error::{ConfigError, Problem};
pub(crate) use self::family::{Family, network_of};
pub(crate) use self::host::{Advertise, DaemonAddress, Host};
pub(crate) use self::interface::InterfaceSpec;
pub use self::pattern::{PatternError, TopicPattern};
pub use self::places::TemplateRanges;
pub(crate) use self::quantity::Probability;
pub use self::settings::Transport;
pub(crate) use self::settings::{
    Carrier, ControlConfig, CounterFile, CountersConfig, DaemonChanges, DaemonConfig,
    DiscoveryConfig, FaultConfig, FlowControl, IdleKind, IpcConfig, LimitsConfig, MAX_SEED,
    MIN_WINDOW_PACKETS, Offload, PollerConfig, ResponsesConfig, RingPages, SlowConsumer, Template,
    UdpSettings,
};
pub(crate) use self::topics::TopicRule;
pub use self::topics::{MAX_TOPIC_BYTES, RouteError, TopicRoute};

use self::error::Fault;

/// The largest configuration file, in bytes. More is most likely not a configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The settings of an instance. The default needs no file and stays on the loopback interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) offload: Offload,
    /// Never empty. The first one is the default of everything that names a poller.
    pub(crate) pollers: Vec<PollerConfig>,
    pub(crate) responses: ResponsesConfig,
    pub(crate) control: ControlConfig,
    pub(crate) discovery: DiscoveryConfig,
    pub(crate) daemon: DaemonConfig,
    pub(crate) ipc: IpcConfig,
    pub(crate) counters: CountersConfig,
    pub(crate) limits: LimitsConfig,
    pub(crate) fault: FaultConfig,
    /// Never empty.
    pub(crate) templates: Vec<Template>,
    /// In the order in which they are tried; never empty.
    pub(crate) topics: Vec<TopicRule>,
}

impl Config {
    /// Reads a TOML file of at most 1 MiB.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem of the file, or the one that keeps it from being read.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let text = read_text(path)
            .map_err(|(line, fault)| ConfigError::new(&origin, vec![Problem::of(line, fault)]))?;
        file::read(&origin, &text)
    }

    /// Reads TOML text; problems name `<text>` as their file.
    ///
    /// ```
    /// let error = vega::Config::parse("[discovery]\nttl = 300\ntimout = '5s'").unwrap_err();
    /// assert_eq!(error.problems().len(), 2);
    /// assert!(error.to_string().starts_with("<text>:2: discovery.ttl = 300: is out of range"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem of the text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        file::read("<text>", text)
    }

    /// The hosts that others are told instead of the addresses of sockets, and the families of these.
    pub(crate) fn advertised_hosts(&mut self) -> impl Iterator<Item = (Family, &mut Host)> {
        let unicast =
            self.templates.iter_mut().filter_map(|template| match &mut template.carrier {
                Carrier::Unicast { udp, advertise } => Some((udp.interface.family(), advertise)),
                _ => None,
            });
        let (responses, control) = (&mut self.responses, &mut self.control);
        let all = [
            (responses.interface.family(), &mut responses.advertise),
            (control.interface.family(), &mut control.advertise),
        ];
        let all = all.into_iter().chain(unicast);
        all.filter_map(|(family, advertise)| Some((family, advertise.host.as_mut()?)))
    }

    /// Where instances find each other by multicast; `None` where only daemons carry discovery.
    ///
    /// ```
    /// let group = vega::Config::default().discovery_group();
    /// assert_eq!(group, Some("239.255.0.1:35000".parse().unwrap()));
    /// ```
    #[must_use]
    pub fn discovery_group(&self) -> Option<SocketAddr> {
        let DiscoveryConfig { kind, address, port, .. } = self.discovery;
        kind.uses_multicast().then(|| SocketAddr::new(address, port))
    }

    /// The discovery daemons that instances register with, each as `host:port`; none where only multicast
    /// carries discovery.
    #[must_use]
    pub fn discovery_daemons(&self) -> Vec<String> {
        self.discovery.daemons.iter().map(ToString::to_string).collect()
    }

    /// A file that says what [`Config::default`] is: every key with its unit, default, range and
    /// reason. A starting point for one's own.
    #[must_use]
    pub const fn default_toml() -> &'static str {
        include_str!("../../config/default.toml")
    }
}

impl Default for Config {
    fn default() -> Self {
        file::built_in()
    }
}

/// # Errors
///
/// What is wrong, and the line of it where there is one.
fn read_text(path: &Path) -> Result<String, (Option<usize>, Fault)> {
    let unreadable = |error: io::Error| (None, Fault::Unreadable(error.to_string()));
    if path.is_dir() {
        return Err((None, Fault::Directory));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err((None, Fault::FileTooLarge { limit: MAX_FILE_BYTES }));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        (Some(line), Fault::NotUtf8)
    })
}
