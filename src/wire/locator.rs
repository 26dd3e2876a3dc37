//! Where something listens: an address tagged with its family, a port and a stream. Layer: wire.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::WireError;

/// Bytes of an encoded [`Locator`], the same for every address family.
pub(crate) const LOCATOR_LENGTH: usize = 24;

const FAMILY_IPV4: u8 = 4;
const FAMILY_IPV6: u8 = 6;

const FAMILY: usize = 0;
const PORT: usize = 2;
const STREAM: usize = 4;
const ADDRESS: usize = 8;

/// A socket address and the stream to use there. An IPv4 address occupies the first four of the
/// sixteen address bytes, the others are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Locator {
    /// The socket, or the multicast group with its port.
    pub address: SocketAddr,
    /// What tells apart what shares an address and port.
    pub stream: u32,
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, stream {}", self.address, self.stream)
    }
}

impl Locator {
    pub(crate) fn encode(&self) -> [u8; LOCATOR_LENGTH] {
        let mut bytes = [0; LOCATOR_LENGTH];
        bytes[PORT..PORT + 2].copy_from_slice(&self.address.port().to_le_bytes());
        bytes[STREAM..STREAM + 4].copy_from_slice(&self.stream.to_le_bytes());
        match self.address.ip() {
            IpAddr::V4(ip) => {
                bytes[FAMILY] = FAMILY_IPV4;
                bytes[ADDRESS..ADDRESS + 4].copy_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                bytes[FAMILY] = FAMILY_IPV6;
                bytes[ADDRESS..].copy_from_slice(&ip.octets());
            }
        }
        bytes
    }

    /// # Errors
    ///
    /// `Truncated` when fewer than [`LOCATOR_LENGTH`] bytes are given, `Malformed` for an unknown
    /// family, port 0, or an IPv4 address in the form of an IPv6 one (`::ffff:0:0/96`).
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let bytes: &[u8; LOCATOR_LENGTH] =
            bytes.first_chunk().ok_or(WireError::Truncated { what: "locator" })?;
        let port = u16::from_le_bytes([bytes[PORT], bytes[PORT + 1]]);
        let stream = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let mut octets = [0; 16];
        octets.copy_from_slice(&bytes[ADDRESS..]);
        let ip = match bytes[FAMILY] {
            FAMILY_IPV4 => IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])),
            FAMILY_IPV6 => match Ipv6Addr::from(octets) {
                // No socket of IPv6 reaches it, and one address has one form.
                ip if ip.to_ipv4_mapped().is_some() => {
                    return Err(WireError::Malformed { what: "IPv4 address of an IPv6 locator" });
                }
                ip => IpAddr::V6(ip),
            },
            _ => return Err(WireError::Malformed { what: "address family of a locator" }),
        };
        if port == 0 {
            return Err(WireError::Malformed { what: "port of a locator" });
        }
        Ok(Self { address: SocketAddr::new(ip, port), stream })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/wire-protocol.md`, "Locator".
    #[test]
    fn golden_bytes_of_both_families() {
        let v4 = Locator { address: "127.0.0.1:35004".parse().unwrap(), stream: 7 };
        let mut expected = [0; LOCATOR_LENGTH];
        expected[..12].copy_from_slice(&[4, 0, 0xbc, 0x88, 7, 0, 0, 0, 127, 0, 0, 1]);
        assert_eq!(v4.encode(), expected);
        let v6 = Locator { address: "[::1]:1".parse().unwrap(), stream: 0x0102_0304 };
        let mut expected = [0; LOCATOR_LENGTH];
        expected[..8].copy_from_slice(&[6, 0, 1, 0, 4, 3, 2, 1]);
        expected[23] = 1;
        assert_eq!(v6.encode(), expected);
        for locator in [v4, v6] {
            assert_eq!(Locator::decode(&locator.encode()), Ok(locator));
        }
    }

    /// The number of an interface means nothing to others, and does not travel.
    #[test]
    fn scopes_stay_at_home() {
        let address = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 3, 2);
        let locator = Locator { address: address.into(), stream: 1 };
        let told = Locator::decode(&locator.encode()).unwrap();
        assert_eq!(told.address, "[fe80::1]:7".parse().unwrap());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Locator::decode(&[4; 23]).is_err());
        assert!(Locator::decode(&[9; 24]).is_err());
        let mapped = Locator { address: "[::ffff:127.0.0.1]:1".parse().unwrap(), stream: 1 };
        assert!(Locator::decode(&mapped.encode()).is_err());
        assert!(
            Locator::decode(&[
                4, 0, 0, 0, 1, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
            ])
            .is_err()
        );
    }
}
