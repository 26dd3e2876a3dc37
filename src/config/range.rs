//! Inclusive ranges of ports, streams and multicast addresses, and how a hash picks from them.
//! Layer: config. Plain data.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::Fault;
use super::family::Family;

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

/// Multicast addresses from `min` to `max`, both included; never empty. Both are of one family and differ in
/// their last 32 bits at most, which is all that a network card and a switch look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressRange {
    min: IpAddr,
    max: IpAddr,
}

impl AddressRange {
    /// For constants: an impossible range does not compile.
    pub(super) const fn constant(min: IpAddr, count: u32) -> Self {
        assert!(is_usable_multicast(min) && count > 0);
        let (low, _) = low_bits(min).overflowing_add(count - 1);
        assert!(low >= low_bits(min));
        Self { min, max: with_low_bits(min, low) }
    }

    /// # Errors
    ///
    /// `NotMulticast` unless both ends pass [`is_usable_multicast`] (then so does everything
    /// between), `FamiliesDiffer`, `TooWide` when they differ in more than the last 32 bits, `Reversed`
    /// when `min` is above `max`.
    pub(super) fn new(min: IpAddr, max: IpAddr) -> Result<Self, Fault> {
        if !is_usable_multicast(min) || !is_usable_multicast(max) {
            return Err(Fault::NotMulticast);
        }
        match Family::of(min) {
            family if family != Family::of(max) => Err(Fault::FamiliesDiffer),
            _ if min > max => Err(Fault::Reversed),
            _ if with_low_bits(min, low_bits(max)) != max => Err(Fault::TooWide),
            _ => Ok(Self { min, max }),
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let (min, max) = ends(text, parse_address)?;
        Self::new(min, max)
    }

    /// The lowest and the highest.
    pub(super) const fn ends(self) -> (IpAddr, IpAddr) {
        (self.min, self.max)
    }

    pub(crate) const fn family(self) -> Family {
        Family::of(self.min)
    }

    /// How many there are.
    pub(crate) const fn count(self) -> u64 {
        (low_bits(self.max) - low_bits(self.min)) as u64 + 1
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        self.min <= address && address <= self.max
    }

    /// The address that belongs to `hash`.
    pub(crate) fn pick(self, hash: u64) -> IpAddr {
        with_low_bits(self.min, low_bits(self.min) + reduce(hash, self.count()))
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

/// The last 32 bits of an address: the whole of an IPv4 one, the group number of an IPv6 one.
const fn low_bits(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(ip) => ip.to_bits(),
        #[expect(clippy::cast_possible_truncation, reason = "the higher bits are not asked for")]
        IpAddr::V6(ip) => ip.to_bits() as u32,
    }
}

/// `address` with other last 32 bits.
const fn with_low_bits(address: IpAddr, low: u32) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(low)),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 32 << 32 | low as u128)),
    }
}

/// Whether `address` is a group that applications may use: in 224.0.0.0/4 but not in 224.0.0.0/24, which
/// routers keep for themselves and switches flood; or in ff00::/8, but none of the permanent groups of an
/// interface or a link (ff00::/15, ff02::/16), which are those of the network itself, and of no scope that
/// is reserved.
pub(super) const fn is_usable_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            ip.is_multicast() && !(a == 224 && b == 0 && c == 0)
        }
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.octets();
            let (is_permanent, scope) = (second & 0x10 == 0, second & 0xf);
            first == 0xff && scope != 0 && scope != 0xf && !(is_permanent && scope <= 2)
        }
    }
}

pub(super) fn parse_address(text: &str) -> Result<IpAddr, Fault> {
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
        assert_eq!(AddressRange::parse("nowhere"), Err(Fault::NotA("address")));
    }

    #[test]
    fn groups_of_ipv6_that_applications_may_use() {
        for text in
            ["fd00::1", "ff01::5", "ff02::fb", "ff00::1", "ff10::1", "ff0f::1", "ff1f::1", "::1"]
        {
            assert_eq!(AddressRange::parse(text), Err(Fault::NotMulticast), "{text}");
        }
        for text in
            ["ff11::1", "ff12::1-ff12::20", "ff05::4242", "ff15::-ff15::ffff:ffff", "ff3e::1"]
        {
            assert!(AddressRange::parse(text).is_ok(), "{text}");
        }
        assert_eq!(AddressRange::parse("ff15::9-ff15::8"), Err(Fault::Reversed));
        assert_eq!(AddressRange::parse("ff15::1:0:1-ff15::2:0:1"), Err(Fault::TooWide));
        assert_eq!(AddressRange::parse("239.1.1.1-ff15::1"), Err(Fault::FamiliesDiffer));
        assert_eq!(AddressRange::parse("ff15::1-239.1.1.1"), Err(Fault::FamiliesDiffer));
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
        let all = AddressRange::parse("ff15:1::-ff15:1::ffff:ffff").unwrap();
        assert_eq!((all.pick(0), all.pick(u64::MAX)), (all.min, all.max));
        assert_eq!(all.count(), 1 << 32);
    }

    /// One mechanism: a hash picks the same place in the ranges of both families.
    #[test]
    fn a_hash_picks_the_same_place_whatever_the_family() {
        let v4 = AddressRange::constant(Ipv4Addr::new(239, 255, 0, 9).into(), 12);
        let v6 = AddressRange::parse("ff15::9-ff15::14").unwrap();
        assert_eq!((v4.count(), v6.count()), (12, 12));
        for hash in (0..64).map(|bit| 0x5555_5555_u64 << bit) {
            let place = |range: AddressRange| low_bits(range.pick(hash)) - low_bits(range.min);
            assert_eq!(place(v4), place(v6));
            assert!(v6.contains(v6.pick(hash)) && !v6.contains(v4.pick(hash)));
        }
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
