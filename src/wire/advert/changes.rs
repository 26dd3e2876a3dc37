//! CHANGES packets: pages of the log of what an instance advertises. Layer: wire. Plain data and
//! functions over byte slices; no thread owns anything here.

use xxhash_rust::xxh3::xxh3_64;

use super::{
    AdvertKind, MAX_SHARED_BYTES, MAX_TEXT_BYTES, Reader, begin, seal, text_length,
    transport_from_wire, transport_to_wire,
};
use crate::config::Transport;
use crate::id::{InstanceId, SessionId, TopicHash};
use crate::wire::WireError;
use crate::wire::locator::{LOCATOR_LENGTH, Locator};
use crate::wire::packet::PacketKind;

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
pub(super) const REMOVE_LENGTH: usize = 9;

// A page without room for the longest entry would make a log that cannot be told.
const _: () =
    assert!(CHANGES_HEADER + ADD_HEADER + LOCATOR_LENGTH + 8 + MAX_TEXT_BYTES <= MAX_SHARED_BYTES);

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
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.what = "CHANGES";
        let instance = reader.instance()?;
        let from = reader.u64()?;
        let to = reader.u64()?;
        let head = reader.u64()?;
        let flags = reader.u8()?;
        let reset = flags & CHANGES_RESET != 0;
        if from > to || to > head || (reset && from != 0) {
            return Err(WireError::Malformed { what: "range of CHANGES" });
        }
        let _reserved = reader.u8()?;
        let count = reader.u16()?;
        let entries = reader.rest;
        let mut latest = from;
        // Every entry consumes bytes, so the datagram bounds this loop whatever the count says.
        for _ in 0..count {
            let start = reader.rest;
            latest = Entry::read(reader)?.check(from, latest, to).inspect_err(|_| {
                // What is wrong is not in the last field of the entry.
                reader.field = start;
            })?;
        }
        let end = flags & CHANGES_END != 0;
        Ok(Self { instance, from, to, head, reset, end, entries })
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let mut reader = Reader::new(self.entries, "CHANGES");
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

    /// Whether the entry can stand on a page from `from` to `to`, behind adverts up to the key `latest`.
    /// Returns the key up to which there are adverts then.
    fn check(&self, from: u64, latest: u64, to: u64) -> Result<u64, WireError> {
        let malformed = |what| Err(WireError::Malformed { what });
        match self {
            Self::Add { add, .. } if add.key <= latest || add.key > to => {
                malformed("key of an added advert")
            }
            Self::Add { add, .. } if add.hash != TopicHash::of(add.topic) => {
                malformed("topic hash of an advert")
            }
            Self::Add { add, .. } => Ok(add.key),
            Self::Remove { key } if *key == 0 || *key > from => {
                malformed("key of a removed advert")
            }
            Self::Remove { .. } => Ok(latest),
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
        if self.buffer.len() + entry.len() > MAX_SHARED_BYTES {
            return false;
        }
        self.buffer.extend_from_slice(entry);
        self.count += 1;
        true
    }

    /// Appends the removal of `key`; false, and nothing written, when it does not fit.
    #[must_use]
    pub(crate) fn remove(&mut self, key: u64) -> bool {
        if self.buffer.len() + REMOVE_LENGTH > MAX_SHARED_BYTES {
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
