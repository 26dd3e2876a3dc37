//! How a configuration names the network interface to use. Layer: config. Only the text is read
//! here; `transport` resolves it against what the machine has.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::Fault;

/// The longest interface name that Linux allows, in bytes.
const MAX_NAME_BYTES: usize = 15;

/// Which interface to use, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InterfaceSpec {
    /// The loopback interface: nothing leaves the machine.
    Loopback,
    /// The interface that has this address.
    Address(IpAddr),
    /// The interface with an address in this subnet, so that one file serves every host of a
    /// network. `network` has no host bits; `prefix` is 0 to 32.
    Subnet { network: Ipv4Addr, prefix: u8 },
    /// The interface of this name.
    Name(String),
}

impl InterfaceSpec {
    pub(super) const ALLOWED: &'static str = "\"loopback\", an IPv4 address, an IPv4 \
         subnet such as \"10.1.0.0/16\", or an interface name";

    /// # Errors
    ///
    /// `Ipv6` for an IPv6 address or subnet, `NotAnInterfaceAddress` for a multicast, broadcast or
    /// unspecified address (0.0.0.0 would listen on more than was asked for), `NotA` for the rest.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        if text == "loopback" {
            return Ok(Self::Loopback);
        }
        if let Some((address, prefix)) = text.split_once('/') {
            return parse_subnet(address, prefix);
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(Fault::Ipv6);
        }
        match text.parse::<Ipv4Addr>() {
            Ok(ip) if ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified() => {
                Err(Fault::NotAnInterfaceAddress)
            }
            Ok(ip) => Ok(Self::Address(IpAddr::V4(ip))),
            Err(_) if is_name(text) => Ok(Self::Name(text.to_owned())),
            Err(_) => Err(Fault::NotA("interface")),
        }
    }
}

impl fmt::Display for InterfaceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Address(address) => address.fmt(f),
            Self::Subnet { network, prefix } => write!(f, "{network}/{prefix}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Host bits are cleared, so that the address of one host with its prefix names its subnet.
fn parse_subnet(address: &str, prefix: &str) -> Result<InterfaceSpec, Fault> {
    const SUBNET: Fault = Fault::NotA("subnet: an address and a prefix of 0 to 32 bits");
    if address.parse::<Ipv6Addr>().is_ok() {
        return Err(Fault::Ipv6);
    }
    let address: Ipv4Addr = address.parse().map_err(|_| SUBNET)?;
    let prefix: u8 = prefix.parse().ok().filter(|bits| *bits <= 32).ok_or(SUBNET)?;
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    Ok(InterfaceSpec::Subnet { network: Ipv4Addr::from(u32::from(address) & mask), prefix })
}

/// Text made of digits and dots only is a mistyped address, never a name.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_forms() {
        assert_eq!(InterfaceSpec::parse("loopback"), Ok(InterfaceSpec::Loopback));
        let address = InterfaceSpec::Address("10.1.2.3".parse().unwrap());
        assert_eq!(InterfaceSpec::parse("10.1.2.3"), Ok(address));
        assert_eq!(InterfaceSpec::parse("eth0:1"), Ok(InterfaceSpec::Name("eth0:1".to_owned())));
        let subnet = InterfaceSpec::Subnet { network: Ipv4Addr::new(10, 1, 0, 0), prefix: 16 };
        assert_eq!(InterfaceSpec::parse("10.1.0.0/16"), Ok(subnet.clone()));
        assert_eq!(InterfaceSpec::parse("10.1.2.3/16"), Ok(subnet));
    }

    #[test]
    fn the_extreme_prefixes() {
        let all = InterfaceSpec::Subnet { network: Ipv4Addr::UNSPECIFIED, prefix: 0 };
        assert_eq!(InterfaceSpec::parse("10.1.2.3/0"), Ok(all));
        let one = InterfaceSpec::Subnet { network: Ipv4Addr::new(10, 1, 2, 3), prefix: 32 };
        assert_eq!(InterfaceSpec::parse("10.1.2.3/32"), Ok(one));
    }

    #[test]
    fn text_is_read_back() {
        for text in ["loopback", "10.1.2.3", "10.1.0.0/16", "eth0"] {
            assert_eq!(InterfaceSpec::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn faults() {
        for text in ["::1", "fe80::1/64", "2001:db8::2"] {
            assert_eq!(InterfaceSpec::parse(text), Err(Fault::Ipv6), "{text}");
        }
        for text in ["0.0.0.0", "239.1.1.1", "255.255.255.255"] {
            assert_eq!(InterfaceSpec::parse(text), Err(Fault::NotAnInterfaceAddress), "{text}");
        }
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for text in ["", "10.1.2.300", "10.1.2", "10.1.0.0/33", "10.1/16", "a/b", "a b", &long] {
            assert!(matches!(InterfaceSpec::parse(text), Err(Fault::NotA(_))), "{text}");
        }
    }
}
