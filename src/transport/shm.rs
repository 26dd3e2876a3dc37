//! The files of shared-memory rings and of counters: where they lie, who may open them, which may be
//! removed. Layer: transport. A [`Directory`] is plain data; nothing here runs on a hot path.
//!
//! # Trust
//!
//! All processes of one user share one directory of mode 0700, and trust each other: a file that a
//! process shrinks kills the others that map it. Nobody else is trusted. The directory is refused
//! if it is a symlink, belongs to somebody else or lets anybody else in, and every file is checked
//! again after it was opened. Whoever can write to the *parent* directory could still replace ours,
//! but would only offer files of the wrong owner, and be refused.
//!
//! # Who lives
//!
//! A process is alive as long as it holds its byte of the file locked ([`LockByte`]). The kernel
//! releases the lock when the process ends, however it ends: there is no process number to be
//! reused, no heartbeat to be late and no pid namespace to look into.
//!
//! # Creating against removing
//!
//! Any process may remove files whose writer is gone ([`Directory::remove_stale`]), at any time, so
//! there must be no moment at which a living writer's file looks abandoned. A new file is therefore
//! prepared under a random temporary name (create, lock the writer's byte, size) and only then
//! linked to its real name, which also refuses to replace another file. Under its real name a file
//! is locked from the first moment on.
//!
//! Temporaries whose process died must go too, and one that is created but not yet locked looks the
//! same. No age limit is needed to tell them apart, because removing takes the same lock: who
//! removes a file holds its writer's byte while doing so. If the creator locks first, the remover
//! sees a living writer. If the remover locks first, the creator either fails to lock, or locks a
//! file whose name is gone and fails to link it. Both failures tell it to start over with another
//! name. Random names are never used twice, so the name that a remover unlinks is the file it holds.
//!
//! Real names can come again, so a remover makes sure, with the lock in its hand, that the name
//! still leads to the file that it locked. Nobody removes a file without that lock, not even its
//! writer, so the name cannot change hands before the remover is done.
//!
//! # Space
//!
//! The space of a file is reserved when it is created. Without that, a full file system would show
//! as SIGBUS in the middle of a write, possibly hours later, and a check of the free space beforehand
//! proves nothing about later. The reserved pages count as used in the file system at once, but
//! they are neither mapped nor cleared before they are touched: the resident memory of the process
//! still grows only as its ring is used, and a ring that is in use touches all of it in one lap.

mod mapped;
// Elsewhere there are no locks that would do, and every file is refused: see `sys/files.rs`.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

pub(crate) use mapped::{LockByte, MappedFile};

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use uuid::Uuid;

use super::sys;

/// Largest file, in bytes: a bound for what a configuration or another process can make us map.
const MAX_FILE_BYTES: u64 = 16 << 30;

/// Longest file name, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// What the names of files in preparation begin with; real names cannot begin with a dot.
const TEMPORARY_PREFIX: &str = ".new-";

/// How often creating starts over because another process removed the temporary.
const CREATE_ATTEMPTS: u32 = 16;

/// The memory-backed file system of Linux.
const SHARED_MEMORY: &str = "/dev/shm";

/// The permission bits of group and others.
const OTHERS: u32 = 0o077;

/// Why a file or the directory of the files cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum ShmError {
    /// The operating system refuses.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is something else, for instance a symlink.
    #[error("{} is not a {expected} of its own", path.display())]
    WrongKind {
        /// What was found.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// Somebody else made it.
    #[error("{} belongs to user {owner} (allowed: {user})", path.display())]
    WrongOwner {
        /// What was found.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Somebody else may read or write it.
    #[error("{} has mode {mode:03o}, which lets others in (allowed: {allowed:03o})", path.display())]
    OpenToOthers {
        /// What was found.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The permission bits that it may have at most.
        allowed: u32,
    },
    /// No file can have this name.
    #[error(
        "file name {name:?} is not allowed (allowed: 1 to {MAX_NAME_BYTES} bytes, no slash, no \
         leading dot)"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// No ring has this size.
    #[error(
        "{} of {bytes} bytes has no usable size (allowed: 1 to {MAX_FILE_BYTES})",
        path.display()
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A file of this name exists.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file system is full.
    #[error("no space for {} of {bytes} bytes", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// What the operating system says.
        source: io::Error,
    },
    /// Other processes removed every attempt.
    #[error("{} was removed by other processes while it was created, {CREATE_ATTEMPTS} times",
        path.display())]
    Contended {
        /// The file.
        path: PathBuf,
    },
}

/// The directory of all shared-memory files of one user.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory if it is there: for those who only look.
    ///
    /// # Errors
    ///
    /// As [`Directory::open`].
    pub(crate) fn find(configured: Option<&Path>) -> Result<Option<Self>, ShmError> {
        let path = path_to(configured);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => Self::check(path, found).map(Some),
        }
    }

    /// Opens the configured directory, or `vega-<user id>` in the shared memory of the system, or
    /// in its directory for temporary files where it has none. Creates it if it does not exist; its
    /// parent must.
    ///
    /// # Errors
    ///
    /// [`ShmError`], most of all when somebody else owns the directory or may enter it.
    pub(crate) fn open(configured: Option<&Path>) -> Result<Self, ShmError> {
        let path = path_to(configured);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                return Err(ShmError::Io { action: "create directory", path, source });
            }
            _ => {}
        }
        let found = fs::symlink_metadata(&path);
        Self::check(path, found)
    }

    fn check(path: PathBuf, found: io::Result<fs::Metadata>) -> Result<Self, ShmError> {
        let found = found.map_err(io_error("inspect directory", &path))?;
        if !found.is_dir() {
            return Err(ShmError::WrongKind { path, expected: "directory" });
        }
        check_private(&path, &found, 0o700)?;
        Ok(Self { path })
    }

    /// Equal for processes that share this directory: they are on one running system, and see the
    /// same file system.
    pub(crate) fn identity(&self) -> u64 {
        // Systems without this file have one kernel per machine just as well; there, the directory
        // alone has to tell.
        let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let place = fs::metadata(&self.path).map_or((0, 0), |found| (found.dev(), found.ino()));
        let mut bytes = boot;
        bytes.extend_from_slice(&place.0.to_le_bytes());
        bytes.extend_from_slice(&place.1.to_le_bytes());
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }

    /// Creates a file of `bytes` zero bytes with all its space reserved. The caller holds the lock
    /// of its writer, [`LockByte::WRITER`], as long as it keeps the mapping.
    ///
    /// # Errors
    ///
    /// [`ShmError`]; `Exists` when there is a file of this name, `NoSpace` when the file system is
    /// full.
    pub(crate) fn create(&self, name: &str, bytes: u64) -> Result<MappedFile, ShmError> {
        let path = self.path_of(name)?;
        if bytes == 0 || bytes > MAX_FILE_BYTES {
            return Err(ShmError::Size { path, bytes });
        }
        for _ in 0..CREATE_ATTEMPTS {
            let temporary = self.path.join(format!("{TEMPORARY_PREFIX}{}", Uuid::new_v4()));
            let created = create_at(&temporary, &path, bytes);
            // Published or given up, this name has served. It is missing if somebody removed it.
            let _ = fs::remove_file(&temporary);
            if let Some(file) = created? {
                return Ok(file);
            }
        }
        Err(ShmError::Contended { path })
    }

    /// Maps an existing file, whole. Takes no lock.
    ///
    /// # Errors
    ///
    /// [`ShmError`]; `Io` with `NotFound` when there is no file of this name.
    pub(crate) fn open_file(&self, name: &str) -> Result<MappedFile, ShmError> {
        let path = self.path_of(name)?;
        let file = open_private(&path)?;
        let bytes = file.metadata().map_err(io_error("inspect", &path))?.len();
        if bytes == 0 || bytes > MAX_FILE_BYTES {
            return Err(ShmError::Size { path, bytes });
        }
        MappedFile::map(file, path, bytes)
    }

    /// The names of the files that satisfy `is_ours`, in no order. Empty when the directory is gone.
    pub(crate) fn names(&self, is_ours: impl Fn(&str) -> bool) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.path) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| is_name(name) && is_ours(name)).collect()
    }

    /// Opens a file to read copies of it: a writer that shrinks it does no harm to who does that.
    ///
    /// # Errors
    ///
    /// As [`Directory::open_file`].
    pub(crate) fn open_to_read(&self, name: &str) -> Result<ReadFile, ShmError> {
        let path = self.path_of(name)?;
        Ok(ReadFile { file: open_private(&path)?, path })
    }

    /// Removes the files whose names satisfy `is_ours` and whose writer is gone, and what creators
    /// that died have left. Returns how many. What cannot be opened or removed is left alone: the
    /// next sweep will meet it again.
    pub(crate) fn remove_stale(&self, is_ours: impl Fn(&str) -> bool) -> usize {
        let Ok(entries) = fs::read_dir(&self.path) else { return 0 };
        entries
            .flatten()
            .filter(|entry| {
                entry.file_name().to_str().is_some_and(|name| {
                    name.starts_with(TEMPORARY_PREFIX) || (is_name(name) && is_ours(name))
                })
            })
            .filter(|entry| matches!(remove_if_stale(&entry.path()), Ok(true)))
            .count()
    }

    fn path_of(&self, name: &str) -> Result<PathBuf, ShmError> {
        if is_name(name) {
            Ok(self.path.join(name))
        } else {
            Err(ShmError::Name { name: name.to_owned() })
        }
    }
}

/// A file of which copies are read.
#[derive(Debug)]
pub(crate) struct ReadFile {
    file: File,
    path: PathBuf,
}

impl ReadFile {
    /// A copy of the file as it is now, of at most `limit` bytes.
    ///
    /// Aligned words are whole in it: the kernel copies eight bytes at a time and more.
    ///
    /// # Errors
    ///
    /// [`ShmError::Io`], [`ShmError::Size`] when it is larger.
    pub(crate) fn copy(&self, limit: usize) -> Result<Vec<u8>, ShmError> {
        let mut file = &self.file;
        let mut bytes = Vec::new();
        let from_start = file.seek(SeekFrom::Start(0));
        let copied = from_start
            .and_then(|_| file.take(limit as u64 + 1).read_to_end(&mut bytes))
            .map_err(io_error("read", &self.path))?;
        if copied > limit {
            return Err(ShmError::Size { path: self.path.clone(), bytes: copied as u64 });
        }
        Ok(bytes)
    }

    /// Whether the process that created the file lives.
    ///
    /// # Errors
    ///
    /// [`ShmError::Io`].
    pub(crate) fn has_writer(&self) -> Result<bool, ShmError> {
        sys::is_locked_by_other(&self.file, LockByte::WRITER.offset())
            .map_err(io_error("inspect the lock of", &self.path))
    }
}

/// The path of a directory. Rebuilt from its components, it has no trailing slash that would follow a
/// symlink.
fn path_to(configured: Option<&Path>) -> PathBuf {
    configured.map_or_else(default_path, Path::to_owned).components().collect()
}

fn default_path() -> PathBuf {
    let shared = Path::new(SHARED_MEMORY);
    let base = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    base.join(format!("vega-{}", sys::effective_user()))
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(['/', '\0'])
}

/// `None` when another process took the temporary for stale, which it may.
fn create_at(temporary: &Path, path: &Path, bytes: u64) -> Result<Option<MappedFile>, ShmError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)
        .map_err(io_error("create", temporary))?;
    if !sys::lock_byte(&file, LockByte::WRITER.offset()).map_err(io_error("lock", temporary))? {
        return Ok(None);
    }
    sys::reserve(&file, bytes).map_err(|source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ShmError::NoSpace { path: path.to_owned(), bytes, source }
        }
        _ => ShmError::Io { action: "reserve space for", path: path.to_owned(), source },
    })?;
    let mapped = MappedFile::map(file, path.to_owned(), bytes)?;
    match fs::hard_link(temporary, path) {
        Ok(()) => Ok(Some(mapped)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            io::ErrorKind::AlreadyExists => Err(ShmError::Exists { path: path.to_owned() }),
            _ => Err(io_error("link", path)(error)),
        },
    }
}

/// Opens a file of ours, and nothing else, for reading and writing.
fn open_private(path: &Path) -> Result<File, ShmError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        // Not to hang on a pipe that somebody put there, nor to follow a link out of here.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(io_error("open", path))?;
    let found = file.metadata().map_err(io_error("inspect", path))?;
    if !found.is_file() {
        return Err(ShmError::WrongKind { path: path.to_owned(), expected: "regular file" });
    }
    check_private(path, &found, 0o600)?;
    Ok(file)
}

fn check_private(path: &Path, found: &fs::Metadata, allowed: u32) -> Result<(), ShmError> {
    let (owner, user) = (found.uid(), sys::effective_user());
    if owner != user {
        return Err(ShmError::WrongOwner { path: path.to_owned(), owner, user });
    }
    let mode = found.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(ShmError::OpenToOthers { path: path.to_owned(), mode, allowed });
    }
    Ok(())
}

fn remove_if_stale(path: &Path) -> Result<bool, ShmError> {
    remove_opened(path, &open_private(path)?)
}

/// See "Creating against removing" above: the order of these steps is the argument. By now `path`
/// may lead to another file than the one that was opened.
fn remove_opened(path: &Path, file: &File) -> Result<bool, ShmError> {
    let writer = LockByte::WRITER.offset();
    // Asking first keeps us from locking, even for a moment, the file of a living writer.
    if sys::is_locked_by_other(file, writer).map_err(io_error("inspect the lock of", path))?
        || !sys::lock_byte(file, writer).map_err(io_error("lock", path))?
    {
        return Ok(false);
    }
    let is_removed = mapped::is_name_of(path, file) && fs::remove_file(path).is_ok();
    // Released by hand, for the reason given at `MappedFile`.
    let _ = sys::unlock_all(file);
    Ok(is_removed)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ShmError {
    move |source| ShmError::Io { action, path: path.to_owned(), source }
}
