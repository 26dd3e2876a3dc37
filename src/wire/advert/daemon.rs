//! What instances and discovery daemons say to each other, for networks without multicast. Layer: wire.
//! Plain data and functions over byte slices; no thread owns anything here.
//!
//! ```text
//! REGISTER   8 instance [16] | 24 reserved u64
//!  (20)
//! TICKET     8 daemon [16] | 24 token u64
//!  (21)
//! RELAY      8 token u64 | 16 an ANNOUNCE, CHANGES or GOODBYE
//!  (22)
//! HEARD      8 daemon [16] | 24 entries: instance [16], head u64, digest u64
//!  (23)
//! WHO        8 token u64 | 16 instances [16]
//!  (24)
//! ```
//!
//! A TICKET is as long as a REGISTER and no longer than any RELAY, so that nobody gains by having it sent
//! to somebody else.

use super::{MAX_DISCOVERY_BYTES, Reader, begin, framed, seal};
use crate::id::InstanceId;
use crate::wire::packet::{PREFIX_LENGTH, PacketKind};
use crate::wire::{Refusal, WireError};

/// What a RELAY adds to the packet inside.
pub(super) const RELAY_HEADER: usize = PREFIX_LENGTH + 8;
const TICKET_LENGTH: usize = PREFIX_LENGTH + 16 + 8;
const HEARD_HEADER: usize = PREFIX_LENGTH + 16;
const HEARD_ENTRY: usize = 32;
const WHO_ENTRY: usize = 16;

/// Instances that one HEARD has room for.
pub(crate) const MAX_HEARD: usize = (MAX_DISCOVERY_BYTES - HEARD_HEADER) / HEARD_ENTRY;
/// Instances that one WHO has room for.
pub(crate) const MAX_WHO: usize = (MAX_DISCOVERY_BYTES - RELAY_HEADER) / WHO_ENTRY;

// The shortest packet that is relayed is a GOODBYE.
const _: () = assert!(TICKET_LENGTH <= RELAY_HEADER + PREFIX_LENGTH + 16);

/// Proof that its holder receives what is sent to its address. Means nothing to anybody but the daemon that
/// made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

/// What was heard of an instance: the part of its ANNOUNCE that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) instance: InstanceId,
    pub(crate) head: u64,
    pub(crate) digest: u64,
}

impl Heard {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes, "HEARD");
        let instance = reader.instance().ok()?;
        Some(Self { instance, head: reader.u64().ok()?, digest: reader.u64().ok()? })
    }
}

/// A packet between an instance and a daemon that passed every check of [`parse`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum DaemonView<'a> {
    Register { instance: InstanceId },
    Ticket { daemon: InstanceId, ticket: Ticket },
    Relay { ticket: Ticket, packet: &'a [u8] },
    Heard(HeardView<'a>),
    Who(WhoView<'a>),
}

/// The instances that a daemon has heard lately.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeardView<'a> {
    pub(crate) daemon: InstanceId,
    entries: &'a [u8],
}

impl<'a> HeardView<'a> {
    pub(crate) fn entries(&self) -> impl Iterator<Item = Heard> + use<'a> {
        self.entries.chunks_exact(HEARD_ENTRY).filter_map(Heard::read)
    }
}

/// The instances that somebody wants to be told of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WhoView<'a> {
    pub(crate) ticket: Ticket,
    instances: &'a [u8],
}

impl<'a> WhoView<'a> {
    pub(crate) fn instances(&self) -> impl Iterator<Item = InstanceId> + use<'a> {
        let (instances, _) = self.instances.as_chunks();
        instances.iter().map(|bytes| InstanceId::from_bytes(*bytes))
    }
}

/// Reads one datagram, as [`parse`](super::parse) does those between instances. What a RELAY carries is
/// not looked at.
///
/// # Errors
///
/// Says what is wrong with the first field that no sender writes like that.
pub(crate) fn parse(bytes: &[u8]) -> Result<DaemonView<'_>, WireError> {
    parse_located(bytes).map_err(|refusal| refusal.error)
}

/// As [`parse`].
///
/// # Errors
///
/// As [`parse`], with the place.
pub(crate) fn parse_located(bytes: &[u8]) -> Result<DaemonView<'_>, Refusal> {
    framed(bytes, |kind, reader| {
        Ok(match kind {
            PacketKind::Register => {
                reader.what = "REGISTER";
                // For people who look at packets.
                let instance = reader.instance()?;
                let _reserved = reader.u64()?;
                DaemonView::Register { instance }
            }
            PacketKind::Ticket => {
                reader.what = "TICKET";
                let daemon = reader.instance()?;
                DaemonView::Ticket { daemon, ticket: Ticket(reader.u64()?) }
            }
            PacketKind::Relay => {
                reader.what = "RELAY";
                let ticket = Ticket(reader.u64()?);
                DaemonView::Relay { ticket, packet: reader.remainder() }
            }
            PacketKind::Heard => {
                reader.what = "HEARD";
                let daemon = reader.instance()?;
                let entries = whole(reader.remainder(), HEARD_ENTRY, "entries of HEARD")?;
                DaemonView::Heard(HeardView { daemon, entries })
            }
            PacketKind::Who => {
                reader.what = "WHO";
                let ticket = Ticket(reader.u64()?);
                let instances = whole(reader.remainder(), WHO_ENTRY, "instances of WHO")?;
                DaemonView::Who(WhoView { ticket, instances })
            }
            _ => return Err(WireError::Malformed { what: "kind of a daemon's packet" }),
        })
    })
}

/// A list has at least one entry, and no half ones.
fn whole<'a>(list: &'a [u8], entry: usize, what: &'static str) -> Result<&'a [u8], WireError> {
    if list.is_empty() || !list.len().is_multiple_of(entry) {
        return Err(WireError::Malformed { what });
    }
    Ok(list)
}

/// Replaces the content of `buffer` with the REGISTER of `instance`.
pub(crate) fn encode_register(instance: InstanceId, buffer: &mut Vec<u8>) {
    begin(buffer, PacketKind::Register);
    buffer.extend_from_slice(&instance.to_bytes());
    buffer.extend_from_slice(&[0; 8]);
    seal(buffer);
}

/// Replaces the content of `buffer` with a TICKET.
pub(crate) fn encode_ticket(daemon: InstanceId, ticket: Ticket, buffer: &mut Vec<u8>) {
    begin(buffer, PacketKind::Ticket);
    buffer.extend_from_slice(&daemon.to_bytes());
    buffer.extend_from_slice(&ticket.0.to_le_bytes());
    seal(buffer);
}

/// Replaces the content of `buffer` with a RELAY of `packet`, which is at most
/// [`MAX_SHARED_BYTES`](super::MAX_SHARED_BYTES) long.
pub(crate) fn encode_relay(ticket: Ticket, packet: &[u8], buffer: &mut Vec<u8>) {
    begin(buffer, PacketKind::Relay);
    buffer.extend_from_slice(&ticket.0.to_le_bytes());
    buffer.extend_from_slice(packet);
    seal(buffer);
}

/// Replaces the content of `buffer` with a HEARD of the first [`MAX_HEARD`] `entries`.
pub(crate) fn encode_heard(
    daemon: InstanceId,
    entries: impl IntoIterator<Item = Heard>,
    buffer: &mut Vec<u8>,
) {
    begin(buffer, PacketKind::Heard);
    buffer.extend_from_slice(&daemon.to_bytes());
    for entry in entries.into_iter().take(MAX_HEARD) {
        buffer.extend_from_slice(&entry.instance.to_bytes());
        buffer.extend_from_slice(&entry.head.to_le_bytes());
        buffer.extend_from_slice(&entry.digest.to_le_bytes());
    }
    seal(buffer);
}

/// Replaces the content of `buffer` with a WHO about the first [`MAX_WHO`] `instances`.
pub(crate) fn encode_who(
    ticket: Ticket,
    instances: impl IntoIterator<Item = InstanceId>,
    buffer: &mut Vec<u8>,
) {
    begin(buffer, PacketKind::Who);
    buffer.extend_from_slice(&ticket.0.to_le_bytes());
    for instance in instances.into_iter().take(MAX_WHO) {
        buffer.extend_from_slice(&instance.to_bytes());
    }
    seal(buffer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::advert::{MAX_SHARED_BYTES, encode_goodbye};

    const ONE: InstanceId = InstanceId::from_bytes(*b"0123456789abcdef");
    const TWO: InstanceId = InstanceId::from_bytes([2; 16]);
    const TICKET: Ticket = Ticket(0x0807_0605_0403_0201);

    fn packet(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut buffer = vec![9; 3];
        encode(&mut buffer);
        buffer
    }

    /// `docs/wire-protocol.md`, "REGISTER", "TICKET", "RELAY", "HEARD", "WHO".
    #[test]
    fn golden_bytes_of_all_five() {
        let golden = |kind: u8, parts: &[&[u8]]| {
            let body = parts.concat();
            let length = u8::try_from(8 + body.len()).unwrap();
            [&[b'V', b'G', 1, kind, length, 0, 0, 0][..], &body].concat()
        };
        let id = b"0123456789abcdef";
        let number = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(packet(|it| encode_register(ONE, it)), golden(20, &[id, &[0; 8]]));
        assert_eq!(packet(|it| encode_ticket(ONE, TICKET, it)), golden(21, &[id, &number]));
        let relay = packet(|it| encode_relay(TICKET, b"inside", it));
        assert_eq!(relay, golden(22, &[&number, b"inside"]));
        let heard = Heard { instance: TWO, head: TICKET.0, digest: 1 };
        let listed = packet(|it| encode_heard(ONE, [heard], it));
        assert_eq!(listed, golden(23, &[id, &[2; 16], &number, &[1, 0, 0, 0, 0, 0, 0, 0]]));
        assert_eq!(packet(|it| encode_who(TICKET, [ONE], it)), golden(24, &[&number, id]));
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = packet(|it| encode_register(ONE, it));
        assert!(matches!(parse(&bytes), Ok(DaemonView::Register { instance: ONE })));
        let bytes = packet(|it| encode_ticket(ONE, TICKET, it));
        let Ok(DaemonView::Ticket { daemon: ONE, ticket: TICKET }) = parse(&bytes) else {
            panic!("{bytes:?}")
        };
        let inside = packet(|it| encode_goodbye(TWO, it));
        let bytes = packet(|it| encode_relay(TICKET, &inside, it));
        let Ok(DaemonView::Relay { ticket: TICKET, packet: read }) = parse(&bytes) else {
            panic!("{bytes:?}")
        };
        assert_eq!(read, inside);
        let entries =
            |count: u64| (0..count).map(|head| Heard { instance: TWO, head, digest: head + 1 });
        let bytes = packet(|it| encode_heard(ONE, entries(100), it));
        let Ok(DaemonView::Heard(view)) = parse(&bytes) else { panic!("{bytes:?}") };
        assert_eq!(view.daemon, ONE);
        assert!(view.entries().eq(entries(MAX_HEARD as u64)));
        let bytes = packet(|it| encode_who(TICKET, [ONE, TWO].repeat(100), it));
        let Ok(DaemonView::Who(view)) = parse(&bytes) else { panic!("{bytes:?}") };
        assert_eq!((view.ticket, view.instances().count()), (TICKET, MAX_WHO));
        assert!(view.instances().take(2).eq([ONE, TWO]));
    }

    #[test]
    fn nothing_is_gained_by_having_a_ticket_sent_to_somebody_else() {
        let ticket = packet(|it| encode_ticket(ONE, TICKET, it));
        let goodbye = packet(|it| encode_goodbye(ONE, it));
        assert!(ticket.len() <= packet(|it| encode_register(ONE, it)).len());
        assert!(ticket.len() <= packet(|it| encode_relay(TICKET, &goodbye, it)).len());
    }

    #[test]
    fn the_longest_packet_for_all_fits_a_relay() {
        let longest = vec![0; MAX_SHARED_BYTES];
        let bytes = packet(|it| encode_relay(TICKET, &longest, it));
        assert_eq!(bytes.len(), MAX_DISCOVERY_BYTES);
        assert!(parse(&bytes).is_ok());
    }

    #[test]
    fn half_entries_and_empty_lists_are_refused() {
        let heard = Heard { instance: TWO, head: 1, digest: 1 };
        for list in [
            packet(|it| encode_heard(ONE, [heard], it)),
            packet(|it| encode_who(TICKET, [ONE], it)),
            packet(|it| encode_register(ONE, it)),
            packet(|it| encode_ticket(ONE, TICKET, it)),
        ] {
            for length in 0..list.len() {
                let mut cut = list[..length].to_vec();
                if length >= PREFIX_LENGTH {
                    seal(&mut cut);
                }
                assert!(parse(&cut).is_err(), "{cut:?}");
            }
        }
    }
}
