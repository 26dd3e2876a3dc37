//! One mapped file and its locks. Layer: transport. A [`MappedFile`] may be used by any thread; who
//! writes which of its bytes is a matter of the ring that lies in it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};

use super::{ShmError, io_error};
use crate::config::RingPages;
use crate::counters::{Counter, Counters, Words};
use crate::transport::sys;

/// Which lock of a file: each participant has one, and holds it while it lives. Only the numbers
/// have to do with bytes: the locks say nothing about the content of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockByte(u64);

impl LockByte {
    /// The lock of the process that created the file.
    pub(crate) const WRITER: Self = Self(0);

    /// The lock of the reader in this place.
    pub(crate) const fn reader(place: u32) -> Self {
        Self(1 + place as u64)
    }

    pub(super) const fn offset(self) -> u64 {
        self.0
    }
}

/// A file that several processes map, and the open file description that holds this process's locks
/// in it. Two of them conflict, even inside one process.
///
/// Dropping it releases the locks and unmaps; it does not remove the file. The locks are released
/// explicitly because closing does not suffice: a child that was forked meanwhile has the same
/// description, and would keep a dead participant alive until it executes another program.
#[derive(Debug)]
pub(crate) struct MappedFile {
    map: MmapRaw,
    file: File,
    path: PathBuf,
}

impl MappedFile {
    /// Maps the first `bytes` of a file, which must have as many.
    pub(super) fn map(file: File, path: PathBuf, bytes: u64) -> Result<Self, ShmError> {
        let Ok(length) = usize::try_from(bytes) else {
            return Err(ShmError::Size { path, bytes });
        };
        let map = MmapOptions::new().len(length).map_raw(&file).map_err(io_error("map", &path))?;
        Ok(Self { map, file, path })
    }

    /// The first byte of the mapping, which is aligned to a page, and valid for reads and writes of
    /// [`MappedFile::len`] bytes as long as this value lives. Other processes write there at any
    /// time: only atomic accesses, and those that a protocol of such orders, are sound.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// Bytes of the mapping: the size of the file when it was opened, never 0.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Brings the pages in as a configuration wants them. What cannot be had is counted, and done
    /// without.
    pub(crate) fn bring_in(&self, pages: RingPages, counters: &Counters) {
        let done = match pages {
            RingPages::OnDemand => Ok(()),
            RingPages::Prefault => sys::prefault(&self.map),
            RingPages::Huge => sys::make_huge(&self.map),
        };
        if let Err(error) = done {
            counters.add(Counter::PagesRefused, 1);
            tracing::info!(ring = %self.path.display(), %error, ?pages, "pages come on demand");
        }
    }

    /// The whole file as words, for counters; those who only read it need not map it.
    #[expect(unsafe_code, reason = "the mapping is only reachable by its pointer")]
    pub(crate) fn words(self: &Arc<Self>) -> Words {
        let count = self.len() / size_of::<u64>();
        // SAFETY: a mapping is not null, begins with a page, and lives as long as `self`. This process
        // accesses it as atomics only; others copy it by reading the file. One that writes or shrinks
        // it breaks the trust that users of the directory put in each other.
        unsafe {
            let base = NonNull::new_unchecked(self.as_ptr().cast());
            Words::from_raw(base, count, Arc::<Self>::clone(self))
        }
    }

    /// The name under which it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a lock unless another description has it. Returns whether it is ours now.
    ///
    /// # Errors
    ///
    /// As the file system says them: most likely that it has no such locks.
    pub(crate) fn lock(&self, byte: LockByte) -> io::Result<bool> {
        sys::lock_byte(&self.file, byte.offset())
    }

    /// Whether somebody else holds a lock: whether that participant lives.
    ///
    /// # Errors
    ///
    /// As the file system says them.
    pub(crate) fn is_locked_by_other(&self, byte: LockByte) -> io::Result<bool> {
        sys::is_locked_by_other(&self.file, byte.offset())
    }

    /// Releases a lock. To release one that is not held is no error.
    ///
    /// # Errors
    ///
    /// As the file system says them.
    pub(crate) fn unlock(&self, byte: LockByte) -> io::Result<()> {
        sys::unlock_byte(&self.file, byte.offset())
    }

    /// Removes the name, if it still leads to this file; mappings stay usable. For the holder of
    /// the writer's lock: with it in hand nobody else takes the name away in between.
    ///
    /// # Errors
    ///
    /// As the file system says them. That the name is gone already is no error.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        if !is_name_of(&self.path, &self.file) {
            return Ok(());
        }
        fs::remove_file(&self.path)
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // Closing follows, so there is nothing better to do about a failure.
        let _ = sys::unlock_all(&self.file);
    }
}

/// Whether `path` leads to `file` itself, and not to another file that took its name.
pub(super) fn is_name_of(path: &Path, file: &File) -> bool {
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(named), Ok(held)) => (named.dev(), named.ino()) == (held.dev(), held.ino()),
        _ => false,
    }
}
