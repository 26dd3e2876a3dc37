//! The memory of a ring: heap for UDP, a mapped file for shared memory. Layer: ring.

use std::alloc::{Layout as AllocLayout, alloc_zeroed, dealloc, handle_alloc_error};
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

#[cfg(all(test, loom))]
use super::checked::Checked;
use super::{AtomicU64, Layout};

/// Rings start at a page boundary: slots are then cache-line aligned and untouched pages cost
/// nothing.
const PAGE: usize = 4096;

/// The slots of one ring. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Slots {
    base: NonNull<u8>,
    layout: Layout,
    mask: u64,
    #[cfg(all(test, loom))]
    checked: Arc<Checked>,
    /// Keeps the memory alive.
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: `Slots` is an address range that stays valid as long as the owner lives. All access goes
// through the methods below, whose contracts say who may touch which bytes when.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Sync for Slots {}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Slots {
    /// Zeroed heap memory; pages are touched only as they are used.
    pub(crate) fn heap(layout: Layout) -> Self {
        let heap = Heap::zeroed(layout.bytes());
        let base = heap.base;
        // SAFETY: the memory is as large as the layout says, page-aligned, and the heap's own.
        unsafe { Self::from_raw(base, layout, Arc::new(heap)) }
    }

    /// Slots inside memory that `owner` keeps alive.
    ///
    /// # Safety
    ///
    /// `base` points to `layout.bytes()` readable and writable bytes, aligned to a cache line, that
    /// live as long as `owner` and are accessed by other threads and processes only by the
    /// protocol of this module.
    pub(crate) unsafe fn from_raw(
        base: NonNull<u8>,
        layout: Layout,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            base,
            layout,
            mask: layout.slots as u64 - 1,
            #[cfg(all(test, loom))]
            checked: Arc::new(Checked::new(layout)),
            _owner: owner,
        }
    }

    pub(crate) const fn layout(&self) -> Layout {
        self.layout
    }

    /// Where the slot of a packet begins, in bytes.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked by the number of slots, a usize")]
    pub(super) const fn start(&self, sequence: u64) -> usize {
        (sequence & self.mask) as usize * self.layout.packet_bytes
    }

    /// The slot of a packet, by where it begins.
    #[inline]
    pub(super) fn slot(&self, start: usize) -> Slot<'_> {
        Slot {
            base: self.byte(start),
            bytes: self.layout.packet_bytes,
            #[cfg(all(test, loom))]
            checked: (&self.checked, start),
            slots: PhantomData,
        }
    }

    /// The byte at a place. What follows it belongs to the same slot, up to its end, where an empty body
    /// may be.
    #[inline]
    pub(super) fn byte(&self, place: usize) -> NonNull<u8> {
        debug_assert!(place <= self.layout.bytes());
        // SAFETY: callers add to the start of a slot at most its length, so the result is inside the
        // allocation, or where it ends.
        unsafe { self.base.add(place) }
    }

    /// The word at a place.
    #[inline]
    pub(super) fn word(&self, place: usize) -> &AtomicU64 {
        debug_assert!(place.is_multiple_of(8) && place + 8 <= self.layout.bytes());
        #[cfg(all(test, loom))]
        return self.checked.word(place);
        // SAFETY: inside a slot and eight-byte aligned (slots are cache-line aligned); commit
        // words and sequence fields are only ever accessed as atomics while a ring is shared.
        #[cfg(not(all(test, loom)))]
        unsafe {
            self.byte(place).cast::<AtomicU64>().as_ref()
        }
    }

    /// Says that bytes of a slot, words apart, are about to be written: for model tests.
    #[inline]
    pub(super) fn note_write(&self, place: usize, length: usize) {
        #[cfg(all(test, loom))]
        self.checked.write(place, length);
        let _ = (place, length);
    }

    /// How many packets from `sequence` on lie in one piece before the ring wraps.
    #[inline]
    pub(crate) const fn contiguous_from(&self, sequence: u64) -> u64 {
        self.mask + 1 - (sequence & self.mask)
    }
}

/// One slot, to be read: its address is at hand, whatever other threads do meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    base: NonNull<u8>,
    bytes: usize,
    /// And where the slot begins.
    #[cfg(all(test, loom))]
    checked: (&'a Checked, usize),
    slots: PhantomData<&'a Slots>,
}

impl Slot<'_> {
    /// Its length.
    #[inline]
    pub(super) const fn bytes(self) -> usize {
        self.bytes
    }

    /// The byte at an offset, or where the slot ends.
    #[inline]
    pub(super) fn byte(self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.bytes);
        // SAFETY: inside the slot, or where it ends; the slots are borrowed.
        unsafe { self.base.add(offset) }
    }

    /// The word at an offset.
    #[inline]
    pub(super) fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= self.bytes);
        #[cfg(all(test, loom))]
        return self.checked.0.word(self.checked.1 + offset);
        // SAFETY: as in `Slots::word`.
        #[cfg(not(all(test, loom)))]
        unsafe {
            self.byte(offset).cast::<AtomicU64>().as_ref()
        }
    }

    /// Says that bytes, words apart, are about to be read: for model tests.
    #[inline]
    pub(super) fn note_read(self, offset: usize, length: usize) {
        #[cfg(all(test, loom))]
        self.checked.0.read(self.checked.1 + offset, length);
        let _ = (offset, length);
    }
}

struct Heap {
    base: NonNull<u8>,
    layout: AllocLayout,
}

// SAFETY: plain memory, freed once by its only owner.
unsafe impl Send for Heap {}
// SAFETY: as above; the memory itself is accessed through `Slots`.
unsafe impl Sync for Heap {}

impl Heap {
    fn zeroed(bytes: usize) -> Self {
        let layout = AllocLayout::from_size_align(bytes.max(PAGE), PAGE)
            .unwrap_or_else(|_| unreachable!("ring sizes are bounded by the configuration"));
        // SAFETY: the size is not zero.
        let pointer = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(pointer) else { handle_alloc_error(layout) };
        Self { base, layout }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout, freed only here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}
