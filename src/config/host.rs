//! Hosts that a configuration names, by address or by name, and where others reach a socket that is
//! behind NAT. Layer: config. Plain data: names are looked up by whoever opens sockets.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::error::Fault;
use super::family::{Family, is_of_one_host};
use super::range::{PortRange, parse_port};
use super::settings::DEFAULT_DAEMON_PORT;

/// The longest name that DNS has, in bytes.
const MAX_NAME_BYTES: usize = 253;

/// A host, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Address(IpAddr),
    /// To be looked up.
    Name(String),
}

impl Host {
    pub(super) const ALLOWED: &'static str = "an address or a host name";

    /// # Errors
    ///
    /// `NotAHostAddress` for an address that is not one host's, `NotA` for the rest.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        match text.parse::<IpAddr>() {
            Ok(ip) if !is_of_one_host(ip) => Err(Fault::NotAHostAddress),
            Ok(ip) => Ok(Self::Address(ip)),
            Err(_) if is_name(text) => Ok(Self::Name(text.to_owned())),
            Err(_) => Err(Fault::NotA("host")),
        }
    }

    /// The family, unless it is a name, which may have addresses of both.
    pub(crate) const fn family(&self) -> Option<Family> {
        match self {
            Self::Address(ip) => Some(Family::of(*ip)),
            Self::Name(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Text made of digits and dots only is a mistyped address, never a name.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.split('.').all(is_label)
        && text.bytes().any(|byte| !byte.is_ascii_digit() && byte != b'.')
}

/// Where a discovery daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DaemonAddress {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl DaemonAddress {
    pub(super) const ALLOWED: &'static str = "\"host\", \"host:port\" or \"[IPv6]:port\"";

    /// An IPv6 address stands in brackets when a port follows it.
    ///
    /// # Errors
    ///
    /// As [`Host::parse`]; `NotA` or `OutOfRange` for a port that is none.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let is_ipv6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
        let bracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
        let (host, port) = match (bracketed, text.split_once(':')) {
            (Some((host, rest)), _) if is_ipv6(host) => (
                host,
                rest.strip_prefix(':').or_else(|| {
                    // What follows the bracket is a port, or nothing.
                    (!rest.is_empty()).then_some("")
                }),
            ),
            (_, Some(_)) if is_ipv6(text) => (text, None),
            (_, Some((host, port))) => (host, Some(port)),
            (_, None) => (text, None),
        };
        let port = port.map_or(Ok(DEFAULT_DAEMON_PORT), parse_port)?;
        if port == 0 {
            return Err(Fault::OutOfRange);
        }
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// The socket address, unless it is a name.
    pub(crate) const fn socket(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Address(ip) => Some(SocketAddr::new(*ip, self.port)),
            Host::Name(_) => None,
        }
    }
}

impl fmt::Display for DaemonAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.socket() {
            Some(address) => address.fmt(f),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What others are told instead of the address of a socket, where that is not the one to reach it at. The
/// default tells the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advertise {
    pub(crate) host: Option<Host>,
    /// The ports to which those of the socket's range are mapped, one for one in their order.
    pub(super) ports: Option<PortRange>,
}

impl Advertise {
    /// What to tell of a socket with this address, whose port is one of `range`. Names have been looked
    /// up before.
    pub(crate) fn of(&self, local: SocketAddr, range: PortRange) -> SocketAddr {
        let ip = match &self.host {
            Some(Host::Address(ip)) => *ip,
            Some(Host::Name(_)) | None => local.ip(),
        };
        let mapped = self.ports.and_then(|ports| ports.counterpart(range, local.port()));
        SocketAddr::new(ip, mapped.unwrap_or_else(|| local.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names() {
        for (text, family) in
            [("10.1.2.3", Family::V4), ("::1", Family::V6), ("fd00::7", Family::V6)]
        {
            let host = Host::parse(text).unwrap();
            assert_eq!(
                (&host, host.family()),
                (&Host::Address(text.parse().unwrap()), Some(family))
            );
        }
        for name in ["localhost", "d1", "vega-daemon.example.com", "a_b", "3com"] {
            assert_eq!(Host::parse(name), Ok(Host::Name(name.to_owned())));
        }
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for text in ["", "10.1.2", "10.1.2.300", "a b", "a..b", ".a", "a/b", "a:b", &long] {
            assert_eq!(Host::parse(text), Err(Fault::NotA("host")), "{text}");
        }
        for text in ["0.0.0.0", "239.1.1.1", "255.255.255.255", "::", "ff15::1", "::ffff:1.2.3.4"] {
            assert_eq!(Host::parse(text), Err(Fault::NotAHostAddress), "{text}");
        }
    }

    #[test]
    fn daemons_have_a_port_of_their_own_or_the_usual_one() {
        for (text, shown) in [
            ("10.1.2.3", "10.1.2.3:40300"),
            ("d1:7", "d1:7"),
            ("a.b:65535", "a.b:65535"),
            ("::1", "[::1]:40300"),
            ("[::1]", "[::1]:40300"),
            ("[fd00::7]:7", "[fd00::7]:7"),
        ] {
            assert_eq!(DaemonAddress::parse(text).unwrap().to_string(), shown);
        }
        let address = DaemonAddress::parse("10.1.2.3:7").unwrap();
        assert_eq!(address.socket(), Some("10.1.2.3:7".parse().unwrap()));
        assert_eq!(DaemonAddress::parse("d1").unwrap().socket(), None);
        for text in
            ["", ":7", "d1:", "d1:x", "d1:7:8", "[::1", "[::1]7", "[::1]:", "[d1]:7", "[]:7"]
        {
            assert!(matches!(DaemonAddress::parse(text), Err(Fault::NotA(_))), "{text}");
        }
        for text in ["d1:0", "d1:65536"] {
            assert_eq!(DaemonAddress::parse(text), Err(Fault::OutOfRange), "{text}");
        }
    }

    #[test]
    fn ports_are_mapped_one_for_one() {
        let range = PortRange::new(35_008, 35_010).unwrap();
        let host = Some(Host::Address("192.0.2.1".parse().unwrap()));
        let local = "10.0.0.2:35009".parse().unwrap();
        assert_eq!(Advertise::default().of(local, range), local);
        let outside = Advertise { host: host.clone(), ports: None };
        assert_eq!(outside.of(local, range), "192.0.2.1:35009".parse().unwrap());
        let mapped = Advertise { host, ports: PortRange::new(45_008, 45_010).ok() };
        assert_eq!(mapped.of(local, range), "192.0.2.1:45009".parse().unwrap());
    }
}
