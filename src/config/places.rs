//! Where topics can travel by a configuration, for tools that judge it. Layer: config. Plain data.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::Config;
use super::settings::{Carrier, Template, Transport};

/// The ranges of one `[[template]]`, out of which hashes of a topic's name choose its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateRanges<'a>(&'a Template);

impl<'a> TemplateRanges<'a> {
    /// The name of the template.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.0.name
    }

    /// The transport.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.0.transport()
    }

    /// The multicast groups; `None` for the other transports.
    #[must_use]
    pub fn addresses(&self) -> Option<RangeInclusive<IpAddr>> {
        match &self.0.carrier {
            Carrier::Multicast { addresses, .. } => Some(range(addresses.ends())),
            Carrier::Unicast { .. } | Carrier::Ipc => None,
        }
    }

    /// The UDP ports; `None` for shared memory.
    #[must_use]
    pub fn ports(&self) -> Option<RangeInclusive<u16>> {
        self.0.udp().map(|udp| range(udp.ports.ends()))
    }

    /// The streams; `None` for shared memory.
    #[must_use]
    pub fn streams(&self) -> Option<RangeInclusive<u32>> {
        self.0.udp().map(|udp| range(udp.streams.ends()))
    }

    /// Combinations of group, port and stream; `None` for shared memory, where nothing is shared.
    ///
    /// ```
    /// let config = vega::Config::default();
    /// let places: Vec<_> = config.templates().map(|template| template.places()).collect();
    /// assert_eq!(places, [Some(12 * 2 * 10), Some(92 * 10), None]);
    /// ```
    #[must_use]
    pub fn places(&self) -> Option<u64> {
        let groups = match &self.0.carrier {
            Carrier::Multicast { addresses, .. } => addresses.count(),
            Carrier::Unicast { .. } | Carrier::Ipc => 1,
        };
        let (ports, streams) = (self.ports()?, self.streams()?);
        let ports = u64::from(ports.end() - ports.start()) + 1;
        let streams = u64::from(streams.end() - streams.start()) + 1;
        Some(groups.saturating_mul(ports).saturating_mul(streams))
    }
}

fn range<T>((min, max): (T, T)) -> RangeInclusive<T> {
    min..=max
}

impl Config {
    /// The templates, in the order of the file.
    pub fn templates(&self) -> impl Iterator<Item = TemplateRanges<'_>> {
        self.templates.iter().map(TemplateRanges)
    }

    /// The ports of which each instance takes one to receive responses.
    #[must_use]
    pub fn response_ports(&self) -> RangeInclusive<u16> {
        range(self.responses.ports.ends())
    }

    /// The ports of which each instance takes one to answer discovery.
    #[must_use]
    pub fn control_ports(&self) -> RangeInclusive<u16> {
        range(self.control.ports.ends())
    }
}
