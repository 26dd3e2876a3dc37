//! Says what is in datagrams: every packet, field by field, and what is wrong with it. Layer: inspect,
//! beside `engine`, above `wire`, whose views it reads with. Plain functions; no thread owns anything here.
//!
//! For tools that look at traffic: captures, proxies, tests. [`datagram`] takes the payload of a UDP datagram and
//! describes each packet in it as a receiver would read it; what a receiver refuses comes with a [`Fault`], which
//! names the place and the reason. No bytes make it panic, and what it allocates is bounded by the datagram.
//! `docs/wire-protocol.md` says what the fields mean.
//!
//! ```
//! use vega::inspect::{self, Body, TopicHash};
//!
//! let payload = [
//!     0x56, 0x47, 1, 1, 0x50, 0, 0, 0, // magic, version, kind, length 80, flags
//!     0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // session
//!     0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, // packet sequence 0, stream 2
//!     0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, // instance
//!     0x1a, 0, 1, 3, 0, 0, 0, 0, // frame: length 26, a message, publisher 0
//!     0xfb, 0x74, 0x49, 0xfa, 0xc9, 0xcd, 0x8c, 0xa8, // hash of `orders`
//!     1, 0, 0, 0, 0, 0, 0, 0, // message sequence 1
//!     b'h', b'i', 0, 0, 0, 0, 0, 0,
//! ];
//! let datagram = inspect::datagram(&payload).expect("it begins like a packet of vega");
//! let packet = &datagram.packets[0];
//! assert_eq!(packet.fault, None);
//! let Some(Body::Data { sequence: 0, frames, .. }) = &packet.body else { panic!("{packet:?}") };
//! assert_eq!(frames[0].topic, TopicHash::of("orders"));
//! assert_eq!(frames[0].payload, b"hi");
//! assert_eq!(
//!     packet.to_string(),
//!     "data #0 of 1122334455667788, stream 2: message #1 on a88ccdc9fa4974fb (2 bytes)"
//! );
//!
//! let damaged = inspect::datagram(&payload[..79]).expect("it still begins like one");
//! let fault = damaged.packets[0].fault.as_ref().map(ToString::to_string);
//! assert_eq!(fault.as_deref(), Some("truncated packet, at byte 4"));
//! assert!(inspect::datagram(b"something else").is_none());
//! ```

mod body;
mod fault;
mod names;
mod packet;
mod run;
mod text;

pub use self::body::{
    Advert, Announce, Ask, Body, BodyPrefix, Change, Changes, Frame, Heard, Roll, RollEntry,
    Sender, Status,
};
pub use self::fault::{Cause, Fault};
pub use self::names::TopicNames;
pub use self::packet::Packet;
pub use crate::id::{SessionId, TopicHash};
pub use crate::wire::control::Range;
pub use crate::wire::frame::{Fragment, FrameKind};
pub use crate::wire::locator::Locator;
pub use crate::wire::packet::PacketKind;

/// What is in one datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram<'a> {
    /// One packet; several if the datagram is a run of them.
    pub packets: Vec<Packet<'a>>,
    /// What is behind the last packet of a run and is none.
    pub ignored: &'a [u8],
}

/// Describes the payload of a UDP datagram; `None` if it does not begin like a packet of vega.
///
/// On the network one datagram is one packet. But a capture on the host that sends or receives sees a run of
/// packets that the kernel has yet to split, or has joined, as one datagram; it is taken apart here.
#[must_use]
pub fn datagram(payload: &[u8]) -> Option<Datagram<'_>> {
    captured(payload, payload.len())
}

/// The same for the first bytes of a payload that had `sent_bytes`, of which a capture has not all. What is
/// missing is told as [`Cause::Cut`] and is no fault of the sender.
#[must_use]
pub fn captured(payload: &[u8], sent_bytes: usize) -> Option<Datagram<'_>> {
    let sent_bytes = sent_bytes.max(payload.len());
    let mut packets = Vec::new();
    let mut end = 0;
    for place in run::packets(payload, sent_bytes) {
        end = place.end.min(payload.len());
        packets.push(packet::describe(payload, place));
    }
    let ignored = payload.get(end..).unwrap_or_default();
    (!packets.is_empty()).then_some(Datagram { packets, ignored })
}

#[cfg(test)]
mod tests;
