//! What several tables of a configuration file say about sockets and packets, read in one place. Layer:
//! config. Runs once, on the thread that loads the file.

use std::time::Duration;

use super::families::check_advertise;
use crate::config::document::Section;
use crate::config::error::Fault;
use crate::config::host::{Advertise, Host};
use crate::config::interface::InterfaceSpec;
use crate::config::range::{PortRange, StreamRange};
use crate::config::settings::{
    MIN_WINDOW_PACKETS, PACKET_BYTES, PACKET_STEP, PEER_TIMEOUT, REPAIR_TIMEOUT,
};
use crate::config::value::{size, size_range, text, text_or_number};

pub(super) const MULTICAST_ALLOWED: &str = "224.0.1.0 to 239.255.255.255, or groups of IPv6 such as \
     ff15::1, but not of ff01:: or ff02::";
const PORTS_ALLOWED: &str = "1 to 65535";

pub(super) fn read_ports(section: &Section<'_>, default: PortRange) -> PortRange {
    section.read("ports", default, PORTS_ALLOWED, |value| PortRange::parse(&text_or_number(value)?))
}

pub(super) fn read_streams(section: &Section<'_>, default: StreamRange) -> StreamRange {
    section.read("streams", default, "1 to 4294967295", |value| {
        StreamRange::parse(&text_or_number(value)?)
    })
}

pub(super) fn read_advertised_host(section: &Section<'_>, default: Option<Host>) -> Option<Host> {
    section.read("advertise", default, Host::ALLOWED, |value| Host::parse(text(value)?).map(Some))
}

/// What to tell of sockets of an interface whose ports are of `ports`.
pub(super) fn read_advertise(
    section: &Section<'_>,
    default: Advertise,
    ports: PortRange,
    interface: &InterfaceSpec,
) -> Advertise {
    let host = read_advertised_host(section, default.host);
    let mapped = section.read("advertise_ports", default.ports, PORTS_ALLOWED, |value| {
        PortRange::parse(&text_or_number(value)?).map(Some)
    });
    if let Some(mapped) = mapped
        && !section.is_faulty()
        && !mapped.is_as_long_as(ports)
    {
        let fault = Fault::PortsDiffer { ports: ports.to_string(), mapped: mapped.to_string() };
        section.fault("advertise_ports", fault, "as many ports as the range has");
    }
    let advertise = Advertise { host, ports: mapped };
    check_advertise(section, interface, &advertise);
    advertise
}

pub(super) fn read_repair_timeout(section: &Section<'_>, default: Duration) -> Duration {
    section.duration("repair_timeout", default, &REPAIR_TIMEOUT)
}

pub(super) fn read_receiver_timeout(section: &Section<'_>, default: Duration) -> Duration {
    section.duration("receiver_timeout", default, &PEER_TIMEOUT)
}

pub(super) fn read_packet_bytes(section: &Section<'_>, default: usize) -> usize {
    let allowed = format!("{}, a multiple of {PACKET_STEP}", size_range(&PACKET_BYTES));
    section.read("packet_bytes", default, allowed, |value| match size(value, &PACKET_BYTES)? {
        bytes if bytes.is_multiple_of(PACKET_STEP) => Ok(bytes),
        _ => Err(Fault::NotAMultiple(PACKET_STEP)),
    })
}

pub(super) fn check_window(section: &Section<'_>, packet_bytes: usize, window_bytes: usize) {
    let needed = MIN_WINDOW_PACKETS * packet_bytes;
    if !section.is_faulty() && window_bytes < needed {
        let key = if section.has("window_bytes") { "window_bytes" } else { "packet_bytes" };
        let minimum = MIN_WINDOW_PACKETS;
        let fault = Fault::WindowTooSmall { window_bytes, packet_bytes, minimum };
        section.fault(key, fault, format!("a window of at least {needed}"));
    }
}
