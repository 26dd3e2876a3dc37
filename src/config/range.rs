//! Inclusive ranges of ports, streams and multicast addresses, and how a hash picks from them.
//! Layer: config. Plain data.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::error::Fault;

/// UDP ports from `min` to `max`, both included; never empty, never port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortRange {
    min: u16,
    max: u16,
}

impl PortRange {
    /// For constants: an impossible range does not compile.
    pub(super) const fn constant(min: u16, max: u16) -> Self {
        assert!(min > 0 && min <= max);
        Self { min, max }
    }

    /// # Errors
    ///
    /// `OutOfRange` for port 0, `Reversed` when `min` is above `max`.
    pub(super) fn new(min: u16, max: u16) -> Result<Self, Fault> {
        match (min, max) {
            (0, _) => Err(Fault::OutOfRange),
            (min, max) if min > max => Err(Fault::Reversed),
            (min, max) => Ok(Self { min, max }),
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let (min, max) = ends(text, parse_port)?;
        Self::new(min, max)
    }

    pub(crate) const fn contains(self, port: u16) -> bool {
        self.min <= port && port <= self.max
    }

    /// The smallest and the largest.
    pub(super) const fn ends(self) -> (u16, u16) {
        (self.min, self.max)
    }

    /// The port that belongs to `hash`.
    #[expect(clippy::cast_possible_truncation, reason = "the result is at most max - min")]
    pub(crate) fn pick(self, hash: u64) -> u16 {
        self.min + reduce(hash, u64::from(self.max - self.min) + 1) as u16
    }

    /// As many ports as `other` has.
    pub(super) const fn is_as_long_as(self, other: Self) -> bool {
        self.max - self.min == other.max - other.min
    }

    /// The port that has the place here that `port` has in `other`, if it has one.
    pub(super) const fn counterpart(self, other: Self, port: u16) -> Option<u16> {
        if !other.contains(port) || !self.is_as_long_as(other) {
            return None;
        }
        Some(self.min + (port - other.min))
    }

    /// Every port once: from `preferred` upwards, then wrapping around to the smallest. Starts at
    /// the smallest when `preferred` lies outside.
    pub(crate) fn candidates(self, preferred: u16) -> impl Iterator<Item = u16> {
        let first = if self.contains(preferred) { preferred } else { self.min };
        (first..=self.max).chain(self.min..first)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

/// Stream numbers from `min` to `max`, both included; never empty, never stream 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamRange {
    min: u32,
    max: u32,
}

impl StreamRange {
    /// For constants: an impossible range does not compile.
    pub(super) const fn constant(min: u32, max: u32) -> Self {
        assert!(min > 0 && min <= max);
        Self { min, max }
    }

    /// # Errors
    ///
    /// `OutOfRange` for stream 0, `Reversed` when `min` is above `max`.
    pub(super) fn new(min: u32, max: u32) -> Result<Self, Fault> {
        match (min, max) {
            (0, _) => Err(Fault::OutOfRange),
            (min, max) if min > max => Err(Fault::Reversed),
            (min, max) => Ok(Self { min, max }),
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let (min, max) = ends(text, parse_stream)?;
        Self::new(min, max)
    }

    /// The smallest and the largest.
    pub(super) const fn ends(self) -> (u32, u32) {
        (self.min, self.max)
    }

    /// The stream that belongs to `hash`.
    pub(crate) fn pick(self, hash: u64) -> u32 {
        self.min + reduce(hash, u64::from(self.max - self.min) + 1)
    }
}

impl fmt::Display for StreamRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

/// Multicast addresses from `min` to `max`, both included; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressRange {
    min: Ipv4Addr,
    max: Ipv4Addr,
}

impl AddressRange {
    /// For constants: an impossible range does not compile.
    pub(super) const fn constant(min: Ipv4Addr, max: Ipv4Addr) -> Self {
        assert!(is_usable_multicast(min) && is_usable_multicast(max));
        assert!(min.to_bits() <= max.to_bits());
        Self { min, max }
    }

    /// # Errors
    ///
    /// `NotMulticast` unless both ends pass [`is_usable_multicast`] (then so does everything
    /// between), `Reversed` when `min` is above `max`.
    pub(super) fn new(min: Ipv4Addr, max: Ipv4Addr) -> Result<Self, Fault> {
        match (min, max) {
            _ if !is_usable_multicast(min) || !is_usable_multicast(max) => Err(Fault::NotMulticast),
            (min, max) if min > max => Err(Fault::Reversed),
            (min, max) => Ok(Self { min, max }),
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let (min, max) = ends(text, parse_address)?;
        Self::new(min, max)
    }

    /// The lowest and the highest.
    pub(super) const fn ends(self) -> (Ipv4Addr, Ipv4Addr) {
        (self.min, self.max)
    }

    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        self.min <= address && address <= self.max
    }

    /// The address that belongs to `hash`.
    pub(crate) fn pick(self, hash: u64) -> Ipv4Addr {
        let (min, max) = (u32::from(self.min), u32::from(self.max));
        Ipv4Addr::from(min + reduce(hash, u64::from(max - min) + 1))
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

/// Whether `address` is in 224.0.0.0/4 but not in 224.0.0.0/24, which routers keep for themselves
/// and switches flood.
pub(super) const fn is_usable_multicast(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_multicast() && !(a == 224 && b == 0 && c == 0)
}

pub(super) fn parse_address(text: &str) -> Result<Ipv4Addr, Fault> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(Fault::Ipv6);
    }
    text.parse().map_err(|_| Fault::NotA("address"))
}

pub(super) fn parse_port(text: &str) -> Result<u16, Fault> {
    u16::try_from(parse_stream(text)?).map_err(|_| Fault::OutOfRange)
}

fn parse_stream(text: &str) -> Result<u32, Fault> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::NotA("range: two numbers such as \"1-10\", or one number"));
    }
    text.parse().map_err(|_| Fault::OutOfRange)
}

/// Both ends of `"a-b"`, or twice the same for `"a"`.
fn ends<T>(text: &str, parse: fn(&str) -> Result<T, Fault>) -> Result<(T, T), Fault> {
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    Ok((parse(min.trim())?, parse(max.trim())?))
}

/// Maps a uniform 64-bit hash to `0..count`, `count` being at most 2^32, by multiply and shift:
/// unlike a remainder it uses the high bits and needs no division.
#[expect(clippy::cast_possible_truncation, reason = "the result is below count")]
fn reduce(hash: u64, count: u64) -> u32 {
    debug_assert!(count <= 1 << 32);
    ((u128::from(hash) * u128::from(count)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms() {
        assert_eq!(PortRange::parse("35006-35007"), PortRange::new(35006, 35007));
        assert_eq!(PortRange::parse("35006 - 35007"), PortRange::new(35006, 35007));
        assert_eq!(PortRange::parse("35006"), PortRange::new(35006, 35006));
        assert_eq!(StreamRange::parse("1-10").unwrap().to_string(), "1-10");
        let text = "239.255.0.9-239.255.0.20";
        assert_eq!(AddressRange::parse(text).unwrap().to_string(), text);
        assert!(AddressRange::parse("239.255.0.9").is_ok());
    }

    #[test]
    fn faults_of_ports_and_streams() {
        for text in ["0", "0-9", "1-65536", "99999999999999999999"] {
            assert_eq!(PortRange::parse(text), Err(Fault::OutOfRange), "{text}");
        }
        assert_eq!(PortRange::parse("9-8"), Err(Fault::Reversed));
        for text in ["", "-", "1-", "-1", "1-2-3", "a-b", "+1", "1..2"] {
            assert!(matches!(PortRange::parse(text), Err(Fault::NotA(_))), "{text}");
            assert!(matches!(StreamRange::parse(text), Err(Fault::NotA(_))), "{text}");
        }
        assert_eq!(StreamRange::parse("0-4"), Err(Fault::OutOfRange));
        assert_eq!(StreamRange::parse("5-4"), Err(Fault::Reversed));
        assert_eq!(StreamRange::parse("1-4294967296"), Err(Fault::OutOfRange));
    }

    #[test]
    fn only_multicast_that_routers_forward() {
        for text in
            ["10.0.0.1", "224.0.0.251", "224.0.0.9-224.0.1.9", "223.255.255.255", "240.0.0.0"]
        {
            assert_eq!(AddressRange::parse(text), Err(Fault::NotMulticast), "{text}");
        }
        assert!(AddressRange::parse("224.0.1.0-239.255.255.255").is_ok());
        assert_eq!(AddressRange::parse("239.0.0.9-239.0.0.8"), Err(Fault::Reversed));
        assert_eq!(AddressRange::parse("ff02::1"), Err(Fault::Ipv6));
        assert_eq!(AddressRange::parse("nowhere"), Err(Fault::NotA("address")));
    }

    #[test]
    fn the_smallest_and_the_largest_hash_pick_the_ends() {
        let ports = PortRange::new(35006, 35009).unwrap();
        assert_eq!((ports.pick(0), ports.pick(u64::MAX)), (35006, 35009));
        let ports = PortRange::new(1, u16::MAX).unwrap();
        assert_eq!((ports.pick(0), ports.pick(u64::MAX)), (1, u16::MAX));
        let streams = StreamRange::new(1, u32::MAX).unwrap();
        assert_eq!((streams.pick(0), streams.pick(u64::MAX)), (1, u32::MAX));
        let one = AddressRange::parse("239.1.2.3").unwrap();
        assert_eq!((one.pick(0), one.pick(u64::MAX)), (one.min, one.max));
        let all = AddressRange::parse("224.0.1.0-239.255.255.255").unwrap();
        assert_eq!((all.pick(0), all.pick(u64::MAX)), (all.min, all.max));
    }

    #[test]
    fn candidates_visit_each_port_once_from_the_preferred_one() {
        let ports = PortRange::new(10, 13).unwrap();
        assert_eq!(ports.candidates(12).collect::<Vec<_>>(), [12, 13, 10, 11]);
        assert_eq!(ports.candidates(10).collect::<Vec<_>>(), [10, 11, 12, 13]);
        assert_eq!(ports.candidates(99).collect::<Vec<_>>(), [10, 11, 12, 13]);
        let last = PortRange::new(u16::MAX, u16::MAX).unwrap();
        assert_eq!(last.candidates(u16::MAX).collect::<Vec<_>>(), [u16::MAX]);
    }
}
