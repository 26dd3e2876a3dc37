//! From a captured frame to the UDP datagram in it. Layer: bin.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice, err::Layer, ip_number};

use super::file::Frame;

// Numbers of the registry at tcpdump.org/linktypes.html.
const NULL: u32 = 0;
const ETHERNET: u32 = 1;
/// What files have of systems that write the number of their own.
const RAW_OF_SYSTEMS: [u32; 2] = [12, 14];
const RAW: u32 = 101;
const LOOP: u32 = 108;
const LINUX_SLL: u32 = 113;
const IPV4: u32 = 228;
const IPV6: u32 = 229;
const LINUX_SLL2: u32 = 276;
/// The registry's part of the number in a pcap file; above are remarks on check sums.
const LINK_BITS: u32 = 0xffff;

/// The family of addresses, in the order of whoever captured.
const NULL_HEADER: usize = 4;
const SLL_HEADER: usize = 16;
const SLL_PROTOCOL: usize = 14;
const SLL2_HEADER: usize = 20;
const SLL2_PROTOCOL: usize = 0;

/// What is in a frame.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Udp(Datagram<'a>),
    /// A part of a larger UDP datagram: what is in it cannot be told.
    Fragment {
        from: IpAddr,
        to: IpAddr,
    },
    /// No UDP.
    Other,
    /// The capture has not even the headers.
    Cut,
    /// Its headers contradict themselves.
    Damaged,
    /// Frames of such a link are not read.
    UnknownLink(u32),
}

#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) payload: &'a [u8],
    /// Bytes that the payload had on the network.
    pub(super) sent_bytes: usize,
}

/// Looks into a frame.
pub(super) fn content<'a>(frame: &Frame<'a>) -> Content<'a> {
    let bytes = frame.bytes;
    let is_cut = bytes.len() < frame.sent_bytes;
    let refused = if is_cut { Content::Cut } else { Content::Damaged };
    let sliced = match frame.link & LINK_BITS {
        ETHERNET => LaxSlicedPacket::from_ethernet(bytes).ok(),
        // Which of the two IP it is, is said by its first byte.
        NULL | LOOP => bytes.get(NULL_HEADER..).and_then(ip),
        RAW | IPV4 | IPV6 => ip(bytes),
        link if RAW_OF_SYSTEMS.contains(&link) => ip(bytes),
        LINUX_SLL => cooked(bytes, SLL_HEADER, SLL_PROTOCOL),
        LINUX_SLL2 => cooked(bytes, SLL2_HEADER, SLL2_PROTOCOL),
        link => return Content::UnknownLink(link),
    };
    match sliced {
        Some(sliced) => datagram(&sliced, is_cut),
        None => refused,
    }
}

fn ip(bytes: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    LaxSlicedPacket::from_ip(bytes).ok()
}

/// Frames of Linux without the header of a link, in either version of the header that stands for it.
/// `etherparse` knows one of them, and that of a few devices only.
fn cooked(bytes: &[u8], header: usize, protocol: usize) -> Option<LaxSlicedPacket<'_>> {
    let payload = bytes.get(header..)?;
    let protocol = bytes.get(protocol..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))?;
    Some(LaxSlicedPacket::from_ether_type(EtherType(protocol), payload))
}

fn datagram<'a>(sliced: &LaxSlicedPacket<'a>, is_cut: bool) -> Content<'a> {
    let (from, to): (IpAddr, IpAddr) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        _ if matches!(sliced.stop_err, Some((_, Layer::IpHeader))) => {
            return if is_cut { Content::Cut } else { Content::Damaged };
        }
        _ => return Content::Other,
    };
    let Some(payload) = sliced.net.as_ref().and_then(LaxNetSlice::ip_payload_ref) else {
        return Content::Other;
    };
    match &sliced.transport {
        _ if payload.ip_number != ip_number::UDP => Content::Other,
        _ if payload.fragmented => Content::Fragment { from, to },
        Some(TransportSlice::Udp(udp)) => {
            let told = usize::from(udp.length()).saturating_sub(udp.header_len());
            let payload = udp.payload();
            Content::Udp(Datagram {
                from: SocketAddr::new(from, udp.source_port()),
                to: SocketAddr::new(to, udp.destination_port()),
                payload,
                sent_bytes: if is_cut { told.max(payload.len()) } else { payload.len() },
            })
        }
        _ if is_cut => Content::Cut,
        _ => Content::Damaged,
    }
}
