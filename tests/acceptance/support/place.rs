//! Where a test takes place: addresses, ports, groups and files that no other test meets. Tests.
//!
//! One reserved UDP port gives everything: while its socket is held, nobody else gets the number.
//! It is the port of the discovery group and of all multicast topics, and it names an address of
//! 127/8, so that every range of unicast ports belongs to this test alone.

use std::fmt::{Display, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vega::{Config, Instance};

use super::Watch;

/// The transports, as the first part of a topic's name selects them.
pub(crate) const TRANSPORTS: [&str; 3] = ["multicast", "unicast", "ipc"];

/// Values of configuration keys; by default peers and readers that are silent are not taken for
/// gone within the time of a test.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) refresh: &'static str,
    pub(crate) timeout: &'static str,
    pub(crate) window: &'static str,
    pub(crate) receiver_timeout: &'static str,
    pub(crate) repair_timeout: &'static str,
    pub(crate) slow_consumer: &'static str,
    /// Of topics by UDP.
    pub(crate) flow_control: &'static str,
    /// The interface of topics by UDP, if it is another one than that of all the rest.
    pub(crate) topic_interface: Option<&'static str>,
    pub(crate) reader_timeout: &'static str,
    pub(crate) response_ports: &'static str,
    /// The poller of responses; topics have the poller `default`.
    pub(crate) response_poller: &'static str,
    pub(crate) unicast_ports: &'static str,
    pub(crate) streams: &'static str,
    pub(crate) groups: &'static str,
    pub(crate) max_message: &'static str,
    /// Whether runs of packets may pass the kernel in one piece.
    pub(crate) offload: &'static str,
    /// What pollers do when there is nothing to do.
    pub(crate) idle: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            refresh: "100ms",
            timeout: "1h",
            window: "1MiB",
            receiver_timeout: "30s",
            repair_timeout: "30s",
            slow_consumer: "hold",
            flow_control: "min",
            topic_interface: None,
            reader_timeout: "30s",
            response_ports: "35004-35099",
            response_poller: "default",
            unicast_ports: "35008-35099",
            streams: "1-10",
            groups: "239.255.0.9-239.255.0.20",
            max_message: "16MiB",
            offload: "auto",
            idle: "block",
        }
    }
}

/// A place, and the settings of the instances there.
pub(crate) struct Place {
    pub(crate) settings: Settings,
    /// The port of the discovery group; instances with another one never hear of each other.
    discovery_port: u16,
    reserved: UdpSocket,
    files: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let reserved = socket_at(Ipv4Addr::LOCALHOST);
        let discovery_port = port_of(&reserved);
        Self { settings, discovery_port, reserved, files: tempfile::tempdir().unwrap() }
    }

    /// Lets instances that start from now on meet at a port that is reserved by `other`: they hear
    /// nothing of those that started before, but the data of their topics.
    pub(crate) fn hide_behind(&mut self, other: &Self) {
        self.discovery_port = other.port();
    }

    /// The number that is reserved for this place.
    fn port(&self) -> u16 {
        port_of(&self.reserved)
    }

    /// The loopback address of this place's instances.
    pub(crate) fn address(&self) -> Ipv4Addr {
        let [high, low] = self.port().to_be_bytes();
        Ipv4Addr::new(127, 200, high, low)
    }

    /// The group in which this place's instances find each other.
    pub(crate) fn discovery_group(&self) -> SocketAddr {
        SocketAddrV4::new(Ipv4Addr::new(239, 255, 0, 1), self.discovery_port).into()
    }

    /// The files of this place's shared rings.
    pub(crate) fn rings(&self) -> Vec<PathBuf> {
        let mut files = self.shared_files();
        files.retain(|path| path.extension().is_some_and(|suffix| suffix == "ring"));
        files
    }

    /// The same, and the files of counters.
    pub(crate) fn shared_files(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.ring_directory()) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    pub(crate) fn ring_directory(&self) -> PathBuf {
        Path::new(self.files.path()).join("rings")
    }

    pub(crate) fn config_text(&self) -> String {
        let ports = Ports { discovery: self.discovery_port, multicast: self.port() };
        self.settings.config_text(self.address(), ports, &self.ring_directory())
    }

    pub(crate) fn config(&self) -> Config {
        Config::parse(&self.config_text()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts an instance in this process.
    pub(crate) fn start(&self, name: &str) -> Instance {
        Instance::builder().name(name).config(self.config()).start().unwrap()
    }

    /// Starts an instance in this process, and writes down what happens around it.
    pub(crate) fn start_watched(&self, name: &str) -> (Instance, Watch) {
        Self::start_watched_with(&self.config_text(), name)
    }

    /// The same with a configuration of its own.
    pub(crate) fn start_watched_with(text: &str, name: &str) -> (Instance, Watch) {
        let config = Config::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let (watch, listener) = Watch::new();
        (Instance::builder().name(name).config(config).listener(listener).start().unwrap(), watch)
    }
}

/// The ports that all instances of a place share.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) discovery: u16,
    pub(crate) multicast: u16,
}

impl Settings {
    /// A configuration with these settings, as text.
    pub(crate) fn config_text(
        &self,
        interface: impl Display,
        ports: Ports,
        rings: &Path,
    ) -> String {
        let Self { refresh, timeout, window, streams, response_ports, .. } = self;
        let Self { receiver_timeout, repair_timeout, reader_timeout, max_message, .. } = self;
        let Self { response_poller, offload, idle, .. } = self;
        let mut text = format!(
            "interface = '{interface}'\noffload = '{offload}'\n\
             [responses]\nports = '{response_ports}'\npoller = '{response_poller}'\n\
             streams = '{streams}'\nreceiver_timeout = '{receiver_timeout}'\n\
             repair_timeout = '{repair_timeout}'\n\
             [discovery]\nport = {port}\nrefresh = '{refresh}'\ntimeout = '{timeout}'\n\
             [ipc]\ndirectory = '{rings}'\nreader_timeout = '{reader_timeout}'\n\
             [limits]\nmax_message_bytes = '{max_message}'\n",
            port = ports.discovery,
            rings = rings.display(),
        );
        write!(text, "[[poller]]\nname = 'default'\nidle = '{idle}'\n").unwrap();
        if *response_poller != "default" {
            write!(text, "[[poller]]\nname = '{response_poller}'\nidle = '{idle}'\n").unwrap();
        }
        for transport in TRANSPORTS {
            write!(
                text,
                "[[template]]\nname = '{transport}'\ntransport = '{transport}'\n\
                 window_bytes = '{window}'\nslow_consumer = '{slow_consumer}'\n{own}\
                 [[topic]]\npattern = '{transport}\\..*'\ntemplate = '{transport}'\n",
                slow_consumer = self.slow_consumer,
                own = self.own_keys(transport, ports.multicast)
            )
            .unwrap();
        }
        text
    }

    /// The keys that only some of the transports have.
    fn own_keys(&self, transport: &str, port: u16) -> String {
        let Self { unicast_ports, streams, groups, receiver_timeout, repair_timeout, .. } = self;
        let flow_control = self.flow_control;
        let mut udp = format!(
            "streams = '{streams}'\nreceiver_timeout = '{receiver_timeout}'\n\
             repair_timeout = '{repair_timeout}'\nflow_control = '{flow_control}'\n"
        );
        if let Some(interface) = self.topic_interface {
            writeln!(udp, "interface = '{interface}'").unwrap();
        }
        match transport {
            "multicast" => format!("ports = '{port}'\naddresses = '{groups}'\n{udp}"),
            "unicast" => format!("ports = '{unicast_ports}'\n{udp}"),
            _ => String::new(),
        }
    }
}

/// A plain socket on a free port of a loopback address.
pub(crate) fn socket_at(address: impl Into<IpAddr>) -> UdpSocket {
    socket_on(address, 0)
}

/// A plain socket on a port of a loopback address.
#[expect(clippy::disallowed_methods, reason = "tests play strangers, which know no `transport`")]
pub(crate) fn socket_on(address: impl Into<IpAddr>, port: u16) -> UdpSocket {
    let address = address.into();
    assert!(address.is_loopback());
    UdpSocket::bind((address, port)).unwrap_or_else(|error| panic!("{address}:{port}: {error}"))
}

fn port_of(socket: &UdpSocket) -> u16 {
    socket.local_addr().unwrap().port()
}
