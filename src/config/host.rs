//! Hosts that a configuration names, by address or by name, and where others reach a socket that is
//! behind NAT. Layer: config. Plain data: names are looked up by whoever opens sockets.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use super::error::Fault;
use super::range::{PortRange, parse_port};
use super::settings::DEFAULT_DAEMON_PORT;

/// The longest name that DNS has, in bytes.
const MAX_NAME_BYTES: usize = 253;

/// A host, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Address(Ipv4Addr),
    /// To be looked up.
    Name(String),
}

impl Host {
    pub(super) const ALLOWED: &'static str = "an IPv4 address or a host name";

    /// # Errors
    ///
    /// `Ipv6` for an IPv6 address, `NotAHostAddress` for an address that is not one host's, `NotA` for the
    /// rest.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(Fault::Ipv6);
        }
        match text.parse::<Ipv4Addr>() {
            Ok(ip) if ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified() => {
                Err(Fault::NotAHostAddress)
            }
            Ok(ip) => Ok(Self::Address(ip)),
            Err(_) if is_name(text) => Ok(Self::Name(text.to_owned())),
            Err(_) => Err(Fault::NotA("host")),
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
    /// # Errors
    ///
    /// As [`Host::parse`]; `NotA` or `OutOfRange` for a port that is none.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(Fault::Ipv6);
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, parse_port(port)?),
            None => (text, DEFAULT_DAEMON_PORT),
        };
        if port == 0 {
            return Err(Fault::OutOfRange);
        }
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// The socket address, unless it is a name.
    pub(crate) const fn socket(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Address(ip) => Some(SocketAddr::V4(SocketAddrV4::new(*ip, self.port))),
            Host::Name(_) => None,
        }
    }
}

impl fmt::Display for DaemonAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
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
    pub(crate) fn of(&self, local: SocketAddrV4, range: PortRange) -> SocketAddr {
        let ip = match &self.host {
            Some(Host::Address(ip)) => *ip,
            Some(Host::Name(_)) | None => *local.ip(),
        };
        let mapped = self.ports.and_then(|ports| ports.counterpart(range, local.port()));
        SocketAddrV4::new(ip, mapped.unwrap_or_else(|| local.port())).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names() {
        assert_eq!(Host::parse("10.1.2.3"), Ok(Host::Address(Ipv4Addr::new(10, 1, 2, 3))));
        for name in ["localhost", "d1", "vega-daemon.example.com", "a_b", "3com"] {
            assert_eq!(Host::parse(name), Ok(Host::Name(name.to_owned())));
        }
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for text in ["", "10.1.2", "10.1.2.300", "a b", "a..b", ".a", "a/b", "a:b", &long] {
            assert_eq!(Host::parse(text), Err(Fault::NotA("host")), "{text}");
        }
        for text in ["0.0.0.0", "239.1.1.1", "255.255.255.255"] {
            assert_eq!(Host::parse(text), Err(Fault::NotAHostAddress), "{text}");
        }
        assert_eq!(Host::parse("::1"), Err(Fault::Ipv6));
    }

    #[test]
    fn daemons_have_a_port_of_their_own_or_the_usual_one() {
        for (text, shown) in
            [("10.1.2.3", "10.1.2.3:40300"), ("d1:7", "d1:7"), ("a.b:65535", "a.b:65535")]
        {
            assert_eq!(DaemonAddress::parse(text).unwrap().to_string(), shown);
        }
        let address = DaemonAddress::parse("10.1.2.3:7").unwrap();
        assert_eq!(address.socket(), Some("10.1.2.3:7".parse().unwrap()));
        assert_eq!(DaemonAddress::parse("d1").unwrap().socket(), None);
        for text in ["", ":7", "d1:", "d1:x", "d1:7:8"] {
            assert!(matches!(DaemonAddress::parse(text), Err(Fault::NotA(_))), "{text}");
        }
        for text in ["d1:0", "d1:65536"] {
            assert_eq!(DaemonAddress::parse(text), Err(Fault::OutOfRange), "{text}");
        }
    }

    #[test]
    fn ports_are_mapped_one_for_one() {
        let range = PortRange::new(35_008, 35_010).unwrap();
        let host = Some(Host::Address(Ipv4Addr::new(192, 0, 2, 1)));
        let local = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 35_009);
        assert_eq!(Advertise::default().of(local, range), local.into());
        let outside = Advertise { host: host.clone(), ports: None };
        assert_eq!(outside.of(local, range), "192.0.2.1:35009".parse().unwrap());
        let mapped = Advertise { host, ports: PortRange::new(45_008, 45_010).ok() };
        assert_eq!(mapped.of(local, range), "192.0.2.1:45009".parse().unwrap());
    }
}
