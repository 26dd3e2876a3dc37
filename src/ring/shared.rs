//! What processes that share a ring agree on: the file header and the table of readers. Layer:
//! ring. The writer's process owns the header; each reader owns its entry of the table.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | magic `VEGARING` |
//! | 8 | 4 | version of this layout |
//! | 12 | 4 | bytes of a packet |
//! | 16 | 4 | number of slots |
//! | 20 | 4 | stream |
//! | 24 | 8 | topic hash |
//! | 32 | 8 | session |
//! | 40 | 16 | instance of the writer |
//! | 64 | 8 | packet that the writer has open (live edge) |
//! | 128 | 8 | 1 once the writer is done |
//! | 192 | 8 | not 0 when a reader may be asleep |
//! | 256 | 8 | 1 when readers may run memory barriers in the writer's process |
//! | 4096 | 64 x 128 | reader entries: state (8), position (8), wake port while asleep (8), 8 unused, instance (16) |
//! | 12288 | slots x packet bytes | the slots |
//!
//! # Joining
//!
//! A writer without readers runs free, so a reader must not start where the writer is about to
//! overwrite. The writer publishes the packet it opens, and looks at the table only when it reaches
//! its limit, which is at most one lap ahead of what it had published before it looked. A reader
//! stores a position into its entry, and *then* reads where the writer is: if a look at the table
//! missed the entry, that look came before, so the limit is at most one lap ahead of the packet
//! that the reader now sees, and the packet is safe until the writer looks again.
//!
//! A reader counts as subscriber only when it stands where it begins: a publisher that was told of it
//! may send at once.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use thiserror::Error;

use super::joining::{self, evict, is_free, is_in_place, look, position_of};
use super::read::{self, Reader};
use super::storage::Slots;
use super::{Layout, fence};
use crate::id::{InstanceId, SessionId, TopicHash};
use crate::transport::shm::{LockByte, MappedFile};

/// Readers that one ring can have.
pub(crate) const MAX_READERS: usize = 64;

const MAGIC: u64 = u64::from_le_bytes(*b"VEGARING");
const VERSION: u32 = 4;
const SIZES_AT: usize = 8;
const SLOTS_AT: usize = 16;
const TOPIC_AT: usize = 24;
const SESSION_AT: usize = 32;
const INSTANCE_AT: usize = 40;
const EDGE_AT: usize = 64;
const DONE_AT: usize = 128;
const SLEEPERS_AT: usize = 192;
const BARRIERS_AT: usize = 256;
const READERS_AT: usize = 4096;
const READER_BYTES: usize = 128;
const WAKE_PORT: usize = 16;
const READER_INSTANCE: usize = 32;
const SLOTS_START: usize = READERS_AT + MAX_READERS * READER_BYTES;

/// What a ring file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) layout: Layout,
    pub(crate) topic: TopicHash,
    pub(crate) session: SessionId,
    pub(crate) instance: InstanceId,
    pub(crate) stream: u32,
}

/// Why a ring file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum AttachError {
    #[error("not a ring file of this version")]
    Foreign,
    #[error("the sizes in the ring file contradict its length")]
    Inconsistent,
    #[error("the ring has {MAX_READERS} readers already")]
    TooManyReaders,
    #[error("the writer of the ring is gone")]
    WriterGone,
    #[error("the writer of the ring had no more patience before reading began")]
    CutOff,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With what is committed from now on.
    LiveEdge,
    /// With the packet that is open: one that was cut off has missed what is in there, too.
    OpenPacket,
}

/// A reader that has joined.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) entry: ReaderEntry,
    pub(crate) reader: Reader,
    /// Number of the first message after a start at the live edge; zero when that is not known.
    pub(crate) first: u64,
}

/// A ring in a mapped file, seen from either side.
#[derive(Clone, Debug)]
pub(crate) struct SharedRing {
    file: Arc<MappedFile>,
    description: Description,
}

impl SharedRing {
    pub(crate) const fn file_bytes(layout: Layout) -> usize {
        SLOTS_START + layout.bytes()
    }

    /// Writes the header into a new, zeroed file of [`SharedRing::file_bytes`], whose writer lock
    /// the caller holds.
    pub(crate) fn create(file: MappedFile, description: Description) -> Self {
        debug_assert_eq!(file.len(), Self::file_bytes(description.layout));
        let Description { layout, topic, session, instance, stream } = description;
        let mut header = [0_u8; INSTANCE_AT + 16];
        #[expect(
            clippy::cast_possible_truncation,
            reason = "both are bounded by the configuration"
        )]
        let (packet_bytes, slots) = (layout.packet_bytes as u32, layout.slots as u32);
        header[SIZES_AT..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..SLOTS_AT].copy_from_slice(&packet_bytes.to_le_bytes());
        header[SLOTS_AT..20].copy_from_slice(&slots.to_le_bytes());
        header[20..TOPIC_AT].copy_from_slice(&stream.to_le_bytes());
        header[TOPIC_AT..SESSION_AT].copy_from_slice(&topic.0.to_le_bytes());
        header[SESSION_AT..INSTANCE_AT].copy_from_slice(&session.0.to_le_bytes());
        header[INSTANCE_AT..].copy_from_slice(&instance.to_bytes());
        // SAFETY: the file is longer than the header, and nobody reads it before the magic is in.
        unsafe {
            std::ptr::copy_nonoverlapping(
                header.as_ptr().add(8),
                file.as_ptr().add(8),
                header.len() - 8,
            );
        }
        let ring = Self { file: Arc::new(file), description };
        // Release: pairs with the Acquire in `open`; the header is complete.
        ring.word(0).store(MAGIC.to_le(), Ordering::Release);
        ring
    }

    /// Checks a file that another process wrote.
    ///
    /// # Errors
    ///
    /// [`AttachError`].
    pub(crate) fn open(file: MappedFile) -> Result<Self, AttachError> {
        if file.len() < SLOTS_START {
            return Err(AttachError::Inconsistent);
        }
        let file = Arc::new(file);
        let read = |at: usize| -> u64 {
            // Acquire: pairs with the Release in `create`.
            u64::from_le(word(&file, at).load(Ordering::Acquire))
        };
        if read(0) != MAGIC {
            return Err(AttachError::Foreign);
        }
        let (low, high) = (read(SIZES_AT) & 0xffff_ffff, read(SIZES_AT) >> 32);
        if low != u64::from(VERSION) {
            return Err(AttachError::Foreign);
        }
        let sizes = read(SLOTS_AT);
        #[expect(clippy::cast_possible_truncation, reason = "32-bit fields")]
        let (layout, stream) =
            (Layout::lines(high as usize, (sizes & 0xffff_ffff) as usize), (sizes >> 32) as u32);
        let plausible = layout.slots.is_power_of_two()
            && layout.packet_bytes.is_multiple_of(64)
            && (512..=65_536).contains(&layout.packet_bytes)
            && layout.packet_bytes.checked_mul(layout.slots).is_some_and(|bytes| {
                bytes.checked_add(SLOTS_START).is_some_and(|total| total == file.len())
            });
        if !plausible {
            return Err(AttachError::Inconsistent);
        }
        let mut instance = [0; 16];
        instance[..8].copy_from_slice(&read(INSTANCE_AT).to_le_bytes());
        instance[8..].copy_from_slice(&read(INSTANCE_AT + 8).to_le_bytes());
        let description = Description {
            layout,
            topic: TopicHash(read(TOPIC_AT)),
            session: SessionId(read(SESSION_AT)),
            instance: InstanceId::from_bytes(instance),
            stream,
        };
        Ok(Self { file, description })
    }

    pub(crate) const fn description(&self) -> &Description {
        &self.description
    }

    /// The slots, for the appender or a reader.
    pub(crate) fn slots(&self) -> Slots {
        // SAFETY: the mapping is longer than header and slots (checked in `open`, given in
        // `create`), page-aligned at its start, and lives as long as the file handle.
        unsafe {
            let base = NonNull::new_unchecked(self.file.as_ptr().add(SLOTS_START));
            Slots::from_raw(base, self.description.layout, self.file.clone())
        }
    }

    /// Writer: tells joiners which packet is open.
    #[inline]
    pub(crate) fn publish_edge(&self, packet: u64) {
        joining::publish(self.word(EDGE_AT), packet);
    }

    /// Writer: the first packet that may not be opened, because a reader still needs the slot; see
    /// "Joining". `edge` is the packet that is open now. With no reader, one lap.
    pub(crate) fn limit(&self, edge: u64) -> u64 {
        let positions = || self.positions().map(|(_, position)| position).min();
        let slowest = look(self.word(EDGE_AT), edge, positions);
        slowest.map_or(edge, |slowest| slowest.min(edge)) + self.description.layout.slots as u64
    }

    /// Entries that hold the writer back, with their positions.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        (0..MAX_READERS).filter_map(|index| {
            let (state, position) = self.reader(index);
            position_of(state, position).map(|position| (index, position))
        })
    }

    /// The instances that read this ring.
    pub(crate) fn reader_instances(&self) -> impl Iterator<Item = InstanceId> + '_ {
        (0..MAX_READERS).filter(|index| is_in_place(self.reader(*index).0)).map(|index| {
            let mut id = [0; 16];
            for (half, bytes) in id.chunks_exact_mut(8).enumerate() {
                let word = self.reader_instance(index, half).load(Ordering::Acquire);
                bytes.copy_from_slice(&word.to_ne_bytes());
            }
            InstanceId::from_bytes(id)
        })
    }

    /// Frees the entries of readers whose process is gone, and says how many there were.
    pub(crate) fn reclaim_dead_readers(&self) -> usize {
        let mut reclaimed = 0;
        for index in 0..MAX_READERS {
            let is_dead = || !self.is_alive(reader_lock(index));
            reclaimed += usize::from(joining::reclaim(self.reader(index).0, is_dead));
        }
        reclaimed
    }

    /// Cuts off the readers that stand at or before `packet`; they notice and attach again.
    pub(crate) fn evict_up_to(&self, packet: u64) -> usize {
        let mut evicted = 0;
        for index in 0..MAX_READERS {
            let (state, position) = self.reader(index);
            evicted += usize::from(evict(state, position, packet));
        }
        evicted
    }

    /// Writer: nothing more will come.
    pub(crate) fn finish(&self) {
        // Release: pairs with the Acquire in `writer_is_gone`.
        self.word(DONE_AT).store(1_u64.to_le(), Ordering::Release);
    }

    /// Removes the name of the file; those who map it may go on reading.
    pub(crate) fn remove_file(&self) {
        if let Err(error) = self.file.unlink() {
            tracing::warn!(%error, path = %self.file.path().display(), "a ring file was not removed");
        }
    }

    /// Reader: the writer said that it is done, or its process died.
    pub(crate) fn writer_is_gone(&self) -> bool {
        // Acquire: pairs with the Release in `finish`.
        self.word(DONE_AT).load(Ordering::Acquire) != 0 || !self.is_alive(LockByte::WRITER)
    }

    /// Reader: the writer's process died without a word; nobody else will remove the file.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.word(DONE_AT).load(Ordering::Acquire) == 0 && !self.is_alive(LockByte::WRITER)
    }

    /// Registers a reader.
    ///
    /// # Errors
    ///
    /// [`AttachError::TooManyReaders`], [`AttachError::WriterGone`], [`AttachError::CutOff`].
    pub(crate) fn attach(&self, instance: InstanceId, at: Start) -> Result<Joined, AttachError> {
        if self.writer_is_gone() {
            return Err(AttachError::WriterGone);
        }
        let index = (0..MAX_READERS)
            .find(|index| self.take_entry(*index))
            .ok_or(AttachError::TooManyReaders)?;
        let (state, position) = self.reader(index);
        for (half, bytes) in instance.to_bytes().chunks_exact(8).enumerate() {
            let mut raw = [0; 8];
            raw.copy_from_slice(bytes);
            self.reader_instance(index, half).store(u64::from_ne_bytes(raw), Ordering::Release);
        }
        let entry = ReaderEntry { ring: self.clone(), index };
        let start = joining::begin(self.word(EDGE_AT), state, position);
        let mut reader = Reader::new(self.slots(), start);
        let first = match at {
            // Every frame, padding included, carries the number of the last message up to there.
            Start::LiveEdge => match reader.skip_committed() {
                Some(last) => last + 1,
                None if start == 0 => 1,
                None => read::last_sequence(self.slots(), start - 1).map_or(0, |last| last + 1),
            },
            Start::OpenPacket => 0,
        };
        // Not before it stands where it begins: who sees a reader that counts may send, and what it
        // sends then is for that reader.
        if !joining::settle(state) {
            return Err(AttachError::CutOff);
        }
        Ok(Joined { entry, reader, first })
    }

    /// The lock is what makes an entry ours: the kernel frees it when this process dies.
    fn take_entry(&self, index: usize) -> bool {
        let (state, _) = self.reader(index);
        let lock = reader_lock(index);
        if !is_free(state) || !self.file.lock(lock).unwrap_or(false) {
            return false;
        }
        if is_free(state) {
            return true;
        }
        self.release(index);
        false
    }

    /// A file system without such locks cannot tell: everybody is taken to be alive.
    fn is_alive(&self, lock: LockByte) -> bool {
        self.file.is_locked_by_other(lock).unwrap_or(true)
    }

    fn release(&self, index: usize) {
        // Nothing better can be done about a failure; the lock ends with the process anyway.
        let _ = self.file.unlock(reader_lock(index));
    }

    /// Writer: says that readers may rely on memory barriers that they run in its process.
    pub(crate) fn accept_barriers(&self) {
        self.word(BARRIERS_AT).store(1, Ordering::Release);
    }

    /// Writer, after a commit: calls `wake` with the port of every reader that sleeps. One plain
    /// load when nobody does.
    #[inline]
    pub(crate) fn wake_sleepers(&self, wake: impl FnMut(u16)) {
        // The commit before this load is ordered by the barrier that the sleeper runs in between:
        // see `ReaderEntry::park`.
        compiler_fence(Ordering::SeqCst);
        if self.word(SLEEPERS_AT).load(Ordering::Relaxed) != 0 {
            self.wake_each(wake);
        }
    }

    #[cold]
    fn wake_each(&self, mut wake: impl FnMut(u16)) {
        self.word(SLEEPERS_AT).store(0, Ordering::SeqCst);
        for index in 0..MAX_READERS {
            let port = self.wake_port(index).swap(0, Ordering::AcqRel);
            if let Ok(port @ 1..) = u16::try_from(port) {
                wake(port);
            }
        }
    }

    fn reader_instance(&self, index: usize, half: usize) -> &AtomicU64 {
        self.word(READERS_AT + index * READER_BYTES + READER_INSTANCE + 8 * half)
    }

    #[inline]
    fn wake_port(&self, index: usize) -> &AtomicU64 {
        self.word(READERS_AT + index * READER_BYTES + WAKE_PORT)
    }

    #[inline]
    fn word(&self, at: usize) -> &AtomicU64 {
        word(&self.file, at)
    }

    #[inline]
    fn reader(&self, index: usize) -> (&AtomicU64, &AtomicU64) {
        let at = READERS_AT + index * READER_BYTES;
        (self.word(at), self.word(at + 8))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most MAX_READERS")]
const fn reader_lock(index: usize) -> LockByte {
    LockByte::reader(index as u32)
}

#[inline]
fn word(file: &MappedFile, at: usize) -> &AtomicU64 {
    debug_assert!(at.is_multiple_of(8) && at + 8 <= SLOTS_START);
    // SAFETY: the file is at least SLOTS_START bytes long, mappings are page-aligned and `at` is a
    // multiple of eight; header words are accessed atomically only.
    unsafe { &*file.as_ptr().add(at).cast::<AtomicU64>() }
}

/// A reader's line in the table. Dropping it detaches.
#[derive(Debug)]
pub(crate) struct ReaderEntry {
    ring: SharedRing,
    index: usize,
}

impl ReaderEntry {
    pub(crate) const fn ring(&self) -> &SharedRing {
        &self.ring
    }

    /// Tells the writer that packets before `packet` are done with.
    #[inline]
    pub(crate) fn publish(&self, packet: u64) {
        // Release: pairs with the Acquire in `positions`; the frames have been read.
        self.ring.reader(self.index).1.store(packet.to_le(), Ordering::Release);
    }

    /// Asks the writer to send a datagram to a loopback port with the next message. Before it
    /// sleeps, the reader runs a memory barrier in all processes and looks at the ring once more.
    /// Returns whether that is enough; if not, the sleep must be short.
    pub(crate) fn park(&self, port: u16) -> bool {
        self.ring.wake_port(self.index).store(u64::from(port), Ordering::SeqCst);
        self.ring.word(SLEEPERS_AT).store(1, Ordering::SeqCst);
        self.ring.word(BARRIERS_AT).load(Ordering::Acquire) != 0
    }

    /// The reader is awake.
    pub(crate) fn unpark(&self) {
        self.ring.wake_port(self.index).store(0, Ordering::Release);
    }

    /// The writer gave up waiting for this reader and may have overwritten what it reads. Asked after
    /// the header of a frame was read, it says whether that counts.
    #[inline]
    pub(crate) fn is_evicted(&self) -> bool {
        !is_in_place(self.ring.reader(self.index).0)
    }

    /// Whether what was copied from the ring before is what the writer has written for this reader.
    #[inline]
    pub(crate) fn is_intact(&self) -> bool {
        // Acquire fence: copies are plain loads, and come before the look at the entry.
        fence(Ordering::Acquire);
        !self.is_evicted()
    }
}

impl Drop for ReaderEntry {
    fn drop(&mut self) {
        self.unpark();
        joining::leave(self.ring.reader(self.index).0);
        self.ring.release(self.index);
    }
}
