//! How a configuration names the network interface to use. Layer: config. Only the text is read
//! here; `transport` resolves it against what the machine has.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::error::Fault;
use super::family::{Family, is_of_one_host, network_of};

/// The longest interface name that Linux allows, in bytes.
const MAX_NAME_BYTES: usize = 15;
const LOOPBACK: &str = "loopback";
/// What says after a name that the addresses of the family are meant.
const FAMILIES: [(&str, Family); 2] = [(" ipv4", Family::V4), (" ipv6", Family::V6)];

/// Which interface to use, as configured. Each form means addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InterfaceSpec {
    /// The loopback interface: nothing leaves the machine.
    Loopback(Family),
    /// The interface that has this address. Several may have the same one where it is valid on one link
    /// only: then `zone` says which.
    Address { address: IpAddr, zone: Option<String> },
    /// The interface with an address in this subnet, so that one file serves every host of a
    /// network. `network` has no host bits; `prefix` is at most the bits of an address.
    Subnet { network: IpAddr, prefix: u8, zone: Option<String> },
    /// The interface of this name.
    Name { name: String, family: Family },
}

impl InterfaceSpec {
    pub(super) const ALLOWED: &'static str = "\"loopback\", an address, a subnet such as \
         \"10.1.0.0/16\" or \"fd00:1::/64\", or an interface name; \"loopback ipv6\" and \
         \"eth0 ipv6\" for IPv6";

    /// # Errors
    ///
    /// `NotAnInterfaceAddress` for a multicast, broadcast or unspecified address (0.0.0.0 would listen
    /// on more than was asked for), `NotA` for the rest.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        if let Some((address, prefix)) = text.split_once('/') {
            return parse_subnet(address, prefix);
        }
        let (bare, zone) = split_zone(text)?;
        match bare.parse::<IpAddr>() {
            Ok(address) if !is_of_one_host(address) => Err(Fault::NotAnInterfaceAddress),
            Ok(IpAddr::V4(_)) if zone.is_some() => Err(Fault::NotA("interface")),
            Ok(address) => Ok(Self::Address { address, zone }),
            Err(_) if zone.is_some() => Err(Fault::NotA("interface")),
            Err(_) => Self::parse_name(text),
        }
    }

    fn parse_name(text: &str) -> Result<Self, Fault> {
        let (name, family) = FAMILIES
            .iter()
            .find_map(|(suffix, family)| Some((text.strip_suffix(suffix)?, *family)))
            .unwrap_or((text, Family::V4));
        match name {
            LOOPBACK => Ok(Self::Loopback(family)),
            name if is_name(name) => Ok(Self::Name { name: name.to_owned(), family }),
            _ => Err(Fault::NotA("interface")),
        }
    }

    /// The family of the addresses that sockets there have.
    pub(crate) const fn family(&self) -> Family {
        match self {
            Self::Loopback(family) | Self::Name { family, .. } => *family,
            Self::Address { address, .. } => Family::of(*address),
            Self::Subnet { network, .. } => Family::of(*network),
        }
    }
}

impl fmt::Display for InterfaceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = |zone: &Option<String>| {
            zone.as_ref().map_or_else(String::new, |zone| format!("%{zone}"))
        };
        let suffix = |family: &Family| if *family == Family::V6 { " ipv6" } else { "" };
        match self {
            Self::Loopback(family) => write!(f, "{LOOPBACK}{}", suffix(family)),
            Self::Address { address, zone: at } => write!(f, "{address}{}", zone(at)),
            Self::Subnet { network, prefix, zone: at } => {
                write!(f, "{network}{}/{prefix}", zone(at))
            }
            Self::Name { name, family } => write!(f, "{name}{}", suffix(family)),
        }
    }
}

/// An address without `%` and the name behind it, and that name.
fn split_zone(text: &str) -> Result<(&str, Option<String>), Fault> {
    match text.split_once('%') {
        Some((address, zone)) if address.parse::<Ipv6Addr>().is_ok() && is_name(zone) => {
            Ok((address, Some(zone.to_owned())))
        }
        Some(_) => Err(Fault::NotA("interface")),
        None => Ok((text, None)),
    }
}

/// Host bits are cleared, so that the address of one host with its prefix names its subnet.
fn parse_subnet(address: &str, prefix: &str) -> Result<InterfaceSpec, Fault> {
    const SUBNET: Fault =
        Fault::NotA("subnet: an address and a prefix, of 0 to 32 bits or, of IPv6, 0 to 128");
    let (address, zone) = split_zone(address).map_err(|_| SUBNET)?;
    let address: IpAddr = address.parse().map_err(|_| SUBNET)?;
    let most = Family::of(address).bits();
    let prefix: u8 = prefix.parse().ok().filter(|bits| *bits <= most).ok_or(SUBNET)?;
    Ok(InterfaceSpec::Subnet { network: network_of(address, prefix), prefix, zone })
}

/// Text made of digits and dots only is a mistyped address, never a name; so is one with two colons in a
/// row.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%')
        && !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && !text.contains("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(network: &str, prefix: u8) -> InterfaceSpec {
        InterfaceSpec::Subnet { network: network.parse().unwrap(), prefix, zone: None }
    }

    #[test]
    fn the_four_forms_of_each_family() {
        for (text, family) in [("loopback", Family::V4), ("loopback ipv6", Family::V6)] {
            assert_eq!(InterfaceSpec::parse(text), Ok(InterfaceSpec::Loopback(family)));
        }
        for text in ["10.1.2.3", "::1", "fd00::5"] {
            let address = InterfaceSpec::Address { address: text.parse().unwrap(), zone: None };
            assert_eq!(InterfaceSpec::parse(text), Ok(address));
        }
        for (text, name, family) in [
            ("eth0:1", "eth0:1", Family::V4),
            ("eth0 ipv4", "eth0", Family::V4),
            ("eth0 ipv6", "eth0", Family::V6),
        ] {
            let spec = InterfaceSpec::Name { name: name.to_owned(), family };
            assert_eq!(InterfaceSpec::parse(text), Ok(spec));
        }
        assert_eq!(InterfaceSpec::parse("10.1.0.0/16"), Ok(subnet("10.1.0.0", 16)));
        assert_eq!(InterfaceSpec::parse("10.1.2.3/16"), Ok(subnet("10.1.0.0", 16)));
        assert_eq!(InterfaceSpec::parse("fd00:1::9/64"), Ok(subnet("fd00:1::", 64)));
        assert_eq!(InterfaceSpec::parse("fe80::/10"), Ok(subnet("fe80::", 10)));
    }

    #[test]
    fn the_zone_of_an_address() {
        let zone = || Some("eth1".to_owned());
        let address = InterfaceSpec::Address { address: "fe80::1".parse().unwrap(), zone: zone() };
        assert_eq!(InterfaceSpec::parse("fe80::1%eth1"), Ok(address));
        let network = "fe80::".parse().unwrap();
        let subnet = InterfaceSpec::Subnet { network, prefix: 64, zone: zone() };
        assert_eq!(InterfaceSpec::parse("fe80::9%eth1/64"), Ok(subnet));
        for text in ["10.1.2.3%eth0", "fe80::1%", "%eth0", "eth0%eth1", "fe80::1/64%eth0"] {
            assert!(matches!(InterfaceSpec::parse(text), Err(Fault::NotA(_))), "{text}");
        }
    }

    #[test]
    fn the_extreme_prefixes() {
        assert_eq!(InterfaceSpec::parse("10.1.2.3/0"), Ok(subnet("0.0.0.0", 0)));
        assert_eq!(InterfaceSpec::parse("10.1.2.3/32"), Ok(subnet("10.1.2.3", 32)));
        assert_eq!(InterfaceSpec::parse("fd00::1/0"), Ok(subnet("::", 0)));
        assert_eq!(InterfaceSpec::parse("fd00::1/128"), Ok(subnet("fd00::1", 128)));
    }

    #[test]
    fn text_is_read_back_and_tells_the_family() {
        for text in ["loopback", "10.1.2.3", "10.1.0.0/16", "eth0"] {
            let spec = InterfaceSpec::parse(text).unwrap();
            assert_eq!((spec.to_string().as_str(), spec.family()), (text, Family::V4));
        }
        for text in
            ["loopback ipv6", "::1", "fd00:1::/64", "fe80::%eth0/10", "fe80::1%eth0", "eth0 ipv6"]
        {
            let spec = InterfaceSpec::parse(text).unwrap();
            assert_eq!((spec.to_string().as_str(), spec.family()), (text, Family::V6));
        }
    }

    #[test]
    fn faults() {
        for text in ["0.0.0.0", "239.1.1.1", "255.255.255.255", "::", "ff15::1", "::ffff:10.1.2.3"]
        {
            assert_eq!(InterfaceSpec::parse(text), Err(Fault::NotAnInterfaceAddress), "{text}");
        }
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for text in [
            "",
            "10.1.2.300",
            "10.1.2",
            "10.1.0.0/33",
            "10.1/16",
            "a/b",
            "a b",
            "eth0 ipv5",
            " ipv6",
            "10.1.2.3 ipv4",
            "::1 ipv6",
            "fd00::x",
            "fd00::/129",
            "eth0/64",
            &long,
        ] {
            assert!(matches!(InterfaceSpec::parse(text), Err(Fault::NotA(_))), "{text}");
        }
    }
}
