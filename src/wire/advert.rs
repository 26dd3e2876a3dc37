//! The four discovery packets of instances: who is there and what they publish and subscribe. Layer: wire. Plain
//! data and functions over byte slices; no thread owns anything here.
//!
//! One datagram is one packet of at most [`MAX_DISCOVERY_BYTES`], and its length field equals the
//! length of the datagram. Unknown flag bits are ignored; everything else is checked by [`parse`].
//!
//! ```text
//! prefix     0 magic u16 | 2 version u8 | 3 kind u8 | 4 length u16 | 6 reserved u16 = 0
//!
//! ANNOUNCE   8 instance [16] | 24 control locator [24] | 48 response locator [24] | 72 host u64
//!  (16)     80 head u64 | 88 digest u64 | 96 interval_ms u32 | 100 timeout_ms u32
//!          104 flags u8 (1 DIRECT) | 105 name length u8 | 106 name (UTF-8)
//!
//! CHANGES    8 instance [16] | 24 from u64 | 32 to u64 | 40 head u64
//!  (17)     48 flags u8 (1 RESET, 2 END) | 49 reserved u8 | 50 entry count u16 | 52 entries
//!   add      0 op u8 = 1 | 1 kind u8 | 2 transport u8 | 3 parts u8 (1 LOCATOR, 2 SESSION)
//!            4 topic length u8 | 5 key u64 | 13 topic hash u64
//!           21 [locator [24]] [session u64] topic (UTF-8)
//!   remove   0 op u8 = 2 | 1 key u64
//!
//! ASK        8 asker [16] | 24 control locator of the asker [24] | 48 target [16]
//!  (18)     64 have u64 | 72 horizon u64
//!
//! GOODBYE    8 instance [16]
//!  (19)
//! ```
//!
//! **Changes.** An instance numbers the changes of its advertised set 1, 2, 3... The number of the
//! change that added an advert is the *key* of the advert for as long as it lives. A CHANGES packet
//! is the authority on the keys in `(from, to]`: those it lists are live, all others are dead. So
//! only removals of keys up to `from` need an entry of their own. Adds ascend by key.
//!
//! **Digest.** XOR of the XXH3-64 (seed 0) of the add entry of each live advert; 0 for the empty set.

mod changes;
pub(crate) mod daemon;

pub(crate) use self::changes::{Add, ChangesView, ChangesWriter, Entry, add_digest};
use super::locator::{LOCATOR_LENGTH, Locator};
use super::packet::{LENGTH_AT, PREFIX_LENGTH, PacketKind, Prefix};
use super::{Refusal, WireError};
use crate::config::{MAX_TOPIC_BYTES, Transport};
use crate::id::InstanceId;

/// The longest discovery datagram in bytes: fits the payload of an Ethernet frame with room for
/// tunnels.
pub(crate) const MAX_DISCOVERY_BYTES: usize = 1408;

/// The longest of those that are for everybody: fits into a RELAY.
pub(crate) const MAX_SHARED_BYTES: usize = MAX_DISCOVERY_BYTES - daemon::RELAY_HEADER;

/// The longest topic or instance name in bytes of UTF-8: its length travels in one byte.
pub(crate) const MAX_TEXT_BYTES: usize = MAX_TOPIC_BYTES;

const ANNOUNCE_DIRECT: u8 = 1;

/// Which side of a topic an advert speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AdvertKind {
    Publisher,
    Subscriber,
}

impl AdvertKind {
    const fn to_wire(self) -> u8 {
        match self {
            Self::Publisher => 1,
            Self::Subscriber => 2,
        }
    }

    const fn from_wire(byte: u8) -> Result<Self, WireError> {
        match byte {
            1 => Ok(Self::Publisher),
            2 => Ok(Self::Subscriber),
            _ => Err(WireError::Malformed { what: "kind of an advert" }),
        }
    }
}

const fn transport_to_wire(transport: Transport) -> u8 {
    match transport {
        Transport::Multicast => 1,
        Transport::Unicast => 2,
        Transport::Ipc => 3,
    }
}

const fn transport_from_wire(byte: u8) -> Result<Transport, WireError> {
    match byte {
        1 => Ok(Transport::Multicast),
        2 => Ok(Transport::Unicast),
        3 => Ok(Transport::Ipc),
        _ => Err(WireError::Malformed { what: "transport of an advert" }),
    }
}

/// A discovery packet that passed every check of [`parse`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum DiscoveryView<'a> {
    Announce(Announce<'a>),
    Changes(ChangesView<'a>),
    Ask(Ask),
    Goodbye(InstanceId),
}

/// Reads one datagram. It allocates nothing and its work is linear in the length of the datagram.
///
/// # Errors
///
/// Says what is wrong with the first field that no sender writes like that; nothing of such a
/// datagram may be used.
pub(crate) fn parse(bytes: &[u8]) -> Result<DiscoveryView<'_>, WireError> {
    parse_located(bytes).map_err(|refusal| refusal.error)
}

/// As [`parse`].
///
/// # Errors
///
/// As [`parse`], with the place.
pub(crate) fn parse_located(bytes: &[u8]) -> Result<DiscoveryView<'_>, Refusal> {
    framed(bytes, |kind, reader| {
        Ok(match kind {
            PacketKind::Announce => DiscoveryView::Announce(Announce::read(reader)?),
            PacketKind::Changes => DiscoveryView::Changes(ChangesView::read(reader)?),
            PacketKind::Ask => DiscoveryView::Ask(Ask::read(reader)?),
            PacketKind::Goodbye => DiscoveryView::Goodbye(reader.instance()?),
            _ => return Err(WireError::Malformed { what: "kind of a discovery packet" }),
        })
    })
}

/// Reads a datagram that is one discovery packet: what follows its prefix, to the end.
fn framed<'a, View>(
    bytes: &'a [u8],
    read: impl FnOnce(PacketKind, &mut Reader<'a>) -> Result<View, WireError>,
) -> Result<View, Refusal> {
    let prefix =
        Prefix::decode(bytes).map_err(|error| Refusal { at: Prefix::refused_at(error), error })?;
    if prefix.length != bytes.len() || prefix.length > MAX_DISCOVERY_BYTES {
        let error = WireError::Malformed { what: "length of a discovery packet" };
        return Err(Refusal { at: LENGTH_AT, error });
    }
    let mut reader = Reader::new(&bytes[PREFIX_LENGTH..], "discovery packet");
    let view = read(prefix.kind, &mut reader).and_then(|view| reader.finish().map(|()| view));
    view.map_err(|error| Refusal { at: bytes.len() - reader.field.len(), error })
}

/// The one packet that an instance sends in steady state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announce<'a> {
    pub(crate) instance: InstanceId,
    /// Where the instance takes ASKs and feedback.
    pub(crate) control: Locator,
    /// Where the instance takes responses.
    pub(crate) responses: Locator,
    /// Identifies the machine: instances with the same value can use shared memory.
    pub(crate) host: u64,
    /// The number of the latest change of the advertised set, 0 before the first.
    pub(crate) head: u64,
    pub(crate) digest: u64,
    /// How often this packet is repeated.
    pub(crate) interval_ms: u32,
    /// How long after this packet the instance is to be believed alive.
    pub(crate) timeout_ms: u32,
    /// Sent to the receiver alone because the sender knows it already: needs no greeting in return.
    pub(crate) direct: bool,
    /// For people. At most [`MAX_TEXT_BYTES`]; [`Announce::encode`] cuts a longer one.
    pub(crate) name: &'a str,
}

impl<'a> Announce<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.what = "ANNOUNCE";
        let instance = reader.instance()?;
        let control = reader.locator()?;
        let responses = reader.locator()?;
        let host = reader.u64()?;
        let head = reader.u64()?;
        let digest = reader.u64()?;
        let interval_ms = reader.u32()?;
        let timeout_ms = reader.u32()?;
        let direct = reader.u8()? & ANNOUNCE_DIRECT != 0;
        let length = reader.u8()?;
        let name = reader.text(length, "name of an instance")?;
        Ok(Self {
            instance,
            control,
            responses,
            host,
            head,
            digest,
            interval_ms,
            timeout_ms,
            direct,
            name,
        })
    }

    /// Replaces the content of `buffer` with this packet.
    pub(crate) fn encode(&self, buffer: &mut Vec<u8>) {
        let name = cut(self.name);
        begin(buffer, PacketKind::Announce);
        buffer.extend_from_slice(&self.instance.to_bytes());
        buffer.extend_from_slice(&self.control.encode());
        buffer.extend_from_slice(&self.responses.encode());
        buffer.extend_from_slice(&self.host.to_le_bytes());
        buffer.extend_from_slice(&self.head.to_le_bytes());
        buffer.extend_from_slice(&self.digest.to_le_bytes());
        buffer.extend_from_slice(&self.interval_ms.to_le_bytes());
        buffer.extend_from_slice(&self.timeout_ms.to_le_bytes());
        buffer.push(if self.direct { ANNOUNCE_DIRECT } else { 0 });
        buffer.push(text_length(name));
        buffer.extend_from_slice(name.as_bytes());
        seal(buffer);
    }
}

/// A request for the changes after `have`. The answer goes to the source address of the datagram
/// and nowhere else, so that nobody can point it at a third party by what is written inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) asker: InstanceId,
    /// The socket the asker believes to ask from: tells a wrong binding from a lost answer.
    pub(crate) control: Locator,
    pub(crate) target: InstanceId,
    /// Everything up to this change is known to the asker; 0 asks for a listing from the start.
    pub(crate) have: u64,
    /// Removals up to this change cannot concern the asker, because its listing began only then.
    pub(crate) horizon: u64,
}

impl Ask {
    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        reader.what = "ASK";
        Ok(Self {
            asker: reader.instance()?,
            control: reader.locator()?,
            target: reader.instance()?,
            have: reader.u64()?,
            horizon: reader.u64()?,
        })
    }

    /// Replaces the content of `buffer` with this packet.
    pub(crate) fn encode(&self, buffer: &mut Vec<u8>) {
        begin(buffer, PacketKind::Ask);
        buffer.extend_from_slice(&self.asker.to_bytes());
        buffer.extend_from_slice(&self.control.encode());
        buffer.extend_from_slice(&self.target.to_bytes());
        buffer.extend_from_slice(&self.have.to_le_bytes());
        buffer.extend_from_slice(&self.horizon.to_le_bytes());
        seal(buffer);
    }
}

/// Replaces the content of `buffer` with the GOODBYE of `instance`.
pub(crate) fn encode_goodbye(instance: InstanceId, buffer: &mut Vec<u8>) {
    begin(buffer, PacketKind::Goodbye);
    buffer.extend_from_slice(&instance.to_bytes());
    seal(buffer);
}

fn begin(buffer: &mut Vec<u8>, kind: PacketKind) {
    buffer.clear();
    buffer.extend_from_slice(&Prefix::encode(kind, 0, 0));
}

fn seal(buffer: &mut [u8]) {
    // Every writer above stops at MAX_DISCOVERY_BYTES, so this saturation never happens.
    let length = u16::try_from(buffer.len()).unwrap_or(u16::MAX);
    buffer[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&length.to_le_bytes());
}

/// The longest prefix of `text` that fits a text field and ends at a character.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

fn text_length(text: &str) -> u8 {
    // Callers cut or refuse longer texts before.
    u8::try_from(text.len()).unwrap_or(u8::MAX)
}

/// Takes fields off the front of a packet; every access is checked.
struct Reader<'a> {
    rest: &'a [u8],
    /// From the field on that is being read, or was last: where to look for what is wrong.
    field: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    const fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, field: bytes, what }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.field = self.rest;
        let (field, rest) =
            self.rest.split_first_chunk().ok_or(WireError::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    fn instance(&mut self) -> Result<InstanceId, WireError> {
        self.array().map(InstanceId::from_bytes)
    }

    fn locator(&mut self) -> Result<Locator, WireError> {
        Locator::decode(&self.array::<LOCATOR_LENGTH>()?)
    }

    fn text(&mut self, length: u8, what: &'static str) -> Result<&'a str, WireError> {
        self.field = self.rest;
        let (text, rest) = self
            .rest
            .split_at_checked(usize::from(length))
            .ok_or(WireError::Truncated { what: self.what })?;
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| WireError::Malformed { what })
    }

    /// All that is left.
    fn remainder(&mut self) -> &'a [u8] {
        self.field = self.rest;
        std::mem::take(&mut self.rest)
    }

    /// A packet has nothing behind its last field.
    fn finish(&mut self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            self.field = self.rest;
            Err(WireError::Malformed { what: "end of a discovery packet" })
        }
    }
}

#[cfg(test)]
mod tests;
