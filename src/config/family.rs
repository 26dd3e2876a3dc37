//! The two families of addresses. Layer: config. Plain data.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Which version of IP a socket speaks: it follows the interface that is configured for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    #[default]
    V4,
    V6,
}

impl Family {
    pub(crate) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    pub(crate) const fn of_socket(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }

    pub(crate) const fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }

    /// Bits of an address.
    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The network of an address: the address without its host bits. All of them, for a prefix of 0.
pub(crate) fn network_of(address: IpAddr, prefix: u8) -> IpAddr {
    // A shift by all bits is no shift at all in the instruction set, hence the checked ones.
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

/// Whether this is the address of one host, as sockets bind it: no group, no broadcast, not the
/// address of all interfaces, and not an IPv4 address in the clothes of an IPv6 one.
pub(crate) fn is_of_one_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => !(ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified()),
        IpAddr::V6(ip) => {
            !(ip.is_multicast() || ip.is_unspecified() || ip.to_ipv4_mapped().is_some())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_no_host_bits() {
        for (address, prefix, network) in [
            ("10.1.2.3", 16, "10.1.0.0"),
            ("10.1.2.3", 0, "0.0.0.0"),
            ("10.1.2.3", 32, "10.1.2.3"),
            ("fd00:1:2:3::4", 32, "fd00:1::"),
            ("fe80::1", 10, "fe80::"),
            ("::1", 0, "::"),
            ("::1", 128, "::1"),
        ] {
            let expected: IpAddr = network.parse().unwrap();
            assert_eq!(
                network_of(address.parse().unwrap(), prefix),
                expected,
                "{address}/{prefix}"
            );
        }
    }

    #[test]
    fn addresses_of_one_host() {
        for address in ["127.0.0.1", "10.1.2.3", "::1", "fe80::1", "2001:db8::1"] {
            assert!(is_of_one_host(address.parse().unwrap()), "{address}");
        }
        for address in
            ["0.0.0.0", "224.0.1.1", "255.255.255.255", "::", "ff15::1", "::ffff:10.1.2.3"]
        {
            assert!(!is_of_one_host(address.parse().unwrap()), "{address}");
        }
    }
}
