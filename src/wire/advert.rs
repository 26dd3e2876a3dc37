//! The four discovery packets: who is there and what they publish and subscribe. Layer: wire. Plain
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

use xxhash_rust::xxh3::xxh3_64;

use super::WireError;
use super::locator::{LOCATOR_LENGTH, Locator};
use super::packet::{LENGTH_AT, PREFIX_LENGTH, PacketKind, Prefix};
use crate::config::{MAX_TOPIC_BYTES, Transport};
use crate::id::{InstanceId, SessionId, TopicHash};

/// The longest discovery datagram in bytes: fits the payload of an Ethernet frame with room for
/// tunnels.
pub(crate) const MAX_DISCOVERY_BYTES: usize = 1408;

/// The longest topic or instance name in bytes of UTF-8: its length travels in one byte.
pub(crate) const MAX_TEXT_BYTES: usize = MAX_TOPIC_BYTES;

const ANNOUNCE_DIRECT: u8 = 1;
const CHANGES_RESET: u8 = 1;
const CHANGES_END: u8 = 2;
const PART_LOCATOR: u8 = 1;
const PART_SESSION: u8 = 2;
const OP_ADD: u8 = 1;
const OP_REMOVE: u8 = 2;

// What the writer of CHANGES fills in last, when it knows how much found room.
const CHANGES_TO: usize = 32;
const CHANGES_FLAGS: usize = 48;
const CHANGES_COUNT: usize = 50;
const CHANGES_HEADER: usize = 52;

const ADD_HEADER: usize = 21;
const REMOVE_LENGTH: usize = 9;

// A page without room for the longest entry would make a log that cannot be told.
const _: () = assert!(
    CHANGES_HEADER + ADD_HEADER + LOCATOR_LENGTH + 8 + MAX_TEXT_BYTES <= MAX_DISCOVERY_BYTES
);

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
    let prefix = Prefix::decode(bytes)?;
    if prefix.length != bytes.len() || prefix.length > MAX_DISCOVERY_BYTES {
        return Err(WireError::Malformed { what: "length of a discovery packet" });
    }
    let mut reader = Reader { rest: &bytes[PREFIX_LENGTH..], what: "discovery packet" };
    let view = match prefix.kind {
        PacketKind::Announce => DiscoveryView::Announce(Announce::read(&mut reader)?),
        PacketKind::Changes => DiscoveryView::Changes(ChangesView::read(&mut reader)?),
        PacketKind::Ask => DiscoveryView::Ask(Ask::read(&mut reader)?),
        PacketKind::Goodbye => DiscoveryView::Goodbye(reader.instance()?),
        _ => return Err(WireError::Malformed { what: "kind of a discovery packet" }),
    };
    reader.finish()?;
    Ok(view)
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

/// One page of a change log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangesView<'a> {
    pub(crate) instance: InstanceId,
    /// The page continues a log that is known up to here; 0 starts from the beginning.
    pub(crate) from: u64,
    /// With this page applied, the log is known up to here.
    pub(crate) to: u64,
    /// The latest change there is.
    pub(crate) head: u64,
    /// What the asker has is too old to be continued: it starts over with this page.
    pub(crate) reset: bool,
    /// The last page of this transmission: who is still behind has to ask again.
    pub(crate) end: bool,
    entries: &'a [u8],
}

impl<'a> ChangesView<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.what = "CHANGES";
        let instance = reader.instance()?;
        let from = reader.u64()?;
        let to = reader.u64()?;
        let head = reader.u64()?;
        let flags = reader.u8()?;
        let _reserved = reader.u8()?;
        let count = reader.u16()?;
        let reset = flags & CHANGES_RESET != 0;
        if from > to || to > head || (reset && from != 0) {
            return Err(WireError::Malformed { what: "range of CHANGES" });
        }
        let entries = reader.rest;
        let mut latest = from;
        // Every entry consumes bytes, so the datagram bounds this loop whatever the count says.
        for _ in 0..count {
            match Entry::read(reader)? {
                Entry::Add { add, .. } => {
                    if add.key <= latest || add.key > to {
                        return Err(WireError::Malformed { what: "key of an added advert" });
                    }
                    if add.hash != TopicHash::of(add.topic) {
                        return Err(WireError::Malformed { what: "topic hash of an advert" });
                    }
                    latest = add.key;
                }
                Entry::Remove { key } => {
                    if key == 0 || key > from {
                        return Err(WireError::Malformed { what: "key of a removed advert" });
                    }
                }
            }
        }
        let end = flags & CHANGES_END != 0;
        Ok(Self { instance, from, to, head, reset, end, entries })
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let mut reader = Reader { rest: self.entries, what: "CHANGES" };
        // `parse` has read these bytes to their end before, so an error cannot hide an entry.
        std::iter::from_fn(move || {
            if reader.rest.is_empty() { None } else { Entry::read(&mut reader).ok() }
        })
    }
}

/// One line of a CHANGES page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Add {
        add: Add<'a>,
        /// What this advert contributes to the digest of its instance.
        digest: u64,
    },
    Remove {
        key: u64,
    },
}

impl<'a> Entry<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let start = reader.rest;
        match reader.u8()? {
            OP_ADD => {
                let add = Add::read(reader)?;
                let (bytes, _) = start.split_at(start.len() - reader.rest.len());
                Ok(Self::Add { add, digest: add_digest(bytes) })
            }
            OP_REMOVE => Ok(Self::Remove { key: reader.u64()? }),
            _ => Err(WireError::Malformed { what: "operation of a change" }),
        }
    }
}

/// What an encoded add entry contributes to the digest of its instance.
pub(crate) fn add_digest(entry: &[u8]) -> u64 {
    xxh3_64(entry)
}

/// One advert as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Add<'a> {
    pub(crate) key: u64,
    pub(crate) kind: AdvertKind,
    pub(crate) transport: Transport,
    pub(crate) hash: TopicHash,
    pub(crate) topic: &'a str,
    /// Where the data arrives: the group of a multicast topic, the socket of a unicast subscriber.
    pub(crate) locator: Option<Locator>,
    /// Names, with the instance, the shared-memory file of an IPC publisher.
    pub(crate) session: Option<SessionId>,
}

impl<'a> Add<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let kind = AdvertKind::from_wire(reader.u8()?)?;
        let transport = transport_from_wire(reader.u8()?)?;
        let parts = reader.u8()?;
        let length = reader.u8()?;
        let key = reader.u64()?;
        let hash = TopicHash(reader.u64()?);
        let locator = if parts & PART_LOCATOR != 0 { Some(reader.locator()?) } else { None };
        let session = if parts & PART_SESSION != 0 { Some(SessionId(reader.u64()?)) } else { None };
        let topic = reader.text(length, "topic of an advert")?;
        if topic.is_empty() {
            return Err(WireError::Malformed { what: "topic of an advert" });
        }
        Ok(Self { key, kind, transport, hash, topic, locator, session })
    }

    /// The entry as a CHANGES packet carries it.
    ///
    /// # Errors
    ///
    /// `Malformed` for a topic that is empty or longer than [`MAX_TEXT_BYTES`].
    pub(crate) fn encode(&self) -> Result<Vec<u8>, WireError> {
        if self.topic.is_empty() || self.topic.len() > MAX_TEXT_BYTES {
            return Err(WireError::Malformed { what: "topic of an advert" });
        }
        let mut parts = 0;
        if self.locator.is_some() {
            parts |= PART_LOCATOR;
        }
        if self.session.is_some() {
            parts |= PART_SESSION;
        }
        let mut entry = Vec::with_capacity(ADD_HEADER + LOCATOR_LENGTH + 8 + self.topic.len());
        entry.extend_from_slice(&[
            OP_ADD,
            self.kind.to_wire(),
            transport_to_wire(self.transport),
            parts,
        ]);
        entry.push(text_length(self.topic));
        entry.extend_from_slice(&self.key.to_le_bytes());
        entry.extend_from_slice(&self.hash.0.to_le_bytes());
        if let Some(locator) = self.locator {
            entry.extend_from_slice(&locator.encode());
        }
        if let Some(session) = self.session {
            entry.extend_from_slice(&session.0.to_le_bytes());
        }
        entry.extend_from_slice(self.topic.as_bytes());
        Ok(entry)
    }
}

/// Fills a caller's buffer with one CHANGES packet, entry by entry while there is room.
#[derive(Debug)]
pub(crate) struct ChangesWriter<'b> {
    buffer: &'b mut Vec<u8>,
    flags: u8,
    count: u16,
}

impl<'b> ChangesWriter<'b> {
    /// Replaces the content of `buffer` with the head of a page that continues from `from`.
    pub(crate) fn begin(
        buffer: &'b mut Vec<u8>,
        instance: InstanceId,
        from: u64,
        head: u64,
        reset: bool,
    ) -> Self {
        begin(buffer, PacketKind::Changes);
        buffer.extend_from_slice(&instance.to_bytes());
        buffer.extend_from_slice(&from.to_le_bytes());
        buffer.extend_from_slice(&from.to_le_bytes());
        buffer.extend_from_slice(&head.to_le_bytes());
        buffer.resize(CHANGES_HEADER, 0);
        Self { buffer, flags: if reset { CHANGES_RESET } else { 0 }, count: 0 }
    }

    /// Appends an entry made by [`Add::encode`]; false, and nothing written, when it does not fit.
    #[must_use]
    pub(crate) fn add(&mut self, entry: &[u8]) -> bool {
        if self.buffer.len() + entry.len() > MAX_DISCOVERY_BYTES {
            return false;
        }
        self.buffer.extend_from_slice(entry);
        self.count += 1;
        true
    }

    /// Appends the removal of `key`; false, and nothing written, when it does not fit.
    #[must_use]
    pub(crate) fn remove(&mut self, key: u64) -> bool {
        if self.buffer.len() + REMOVE_LENGTH > MAX_DISCOVERY_BYTES {
            return false;
        }
        self.buffer.push(OP_REMOVE);
        self.buffer.extend_from_slice(&key.to_le_bytes());
        self.count += 1;
        true
    }

    /// Completes the packet: with it, the log is known up to `to`.
    pub(crate) fn finish(self, to: u64, end: bool) {
        let flags = self.flags | if end { CHANGES_END } else { 0 };
        self.buffer[CHANGES_TO..CHANGES_TO + 8].copy_from_slice(&to.to_le_bytes());
        self.buffer[CHANGES_FLAGS] = flags;
        self.buffer[CHANGES_COUNT..CHANGES_COUNT + 2].copy_from_slice(&self.count.to_le_bytes());
        seal(self.buffer);
    }
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
    what: &'static str,
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
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
        let (text, rest) = self
            .rest
            .split_at_checked(usize::from(length))
            .ok_or(WireError::Truncated { what: self.what })?;
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| WireError::Malformed { what })
    }

    /// A packet has nothing behind its last field.
    fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(WireError::Malformed { what: "end of a discovery packet" })
        }
    }
}

#[cfg(test)]
mod tests;
