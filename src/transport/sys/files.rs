//! File locks that die with their owner, and space that cannot vanish. Layer: transport/sys; no
//! thread owns it.
//!
//! The locks are those of *open file descriptions*: two descriptions conflict even inside one
//! process, closing another description of the same file releases nothing, and the kernel releases
//! them when the last process that has the description ends, in whatever pid namespace it lived.
//! The older per-process locks have none of these properties, so systems without the former have no
//! shared-memory transport rather than an unsafe one.
#![expect(unsafe_code, reason = "file locks, space and user ids have no safe interface")]

#[cfg(target_os = "linux")]
pub(in crate::transport) use linux::{
    is_locked_by_other, lock_byte, make_huge, prefault, reserve, unlock_all, unlock_byte,
};
#[cfg(not(target_os = "linux"))]
pub(in crate::transport) use unsupported::{
    is_locked_by_other, lock_byte, make_huge, prefault, reserve, unlock_all, unlock_byte,
};

/// The user that files of this process belong to.
pub(in crate::transport) fn effective_user() -> u32 {
    // SAFETY: the call has no argument and cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    /// Locks one byte, which need not exist, unless another open file description has it. Returns
    /// whether it is locked now.
    ///
    /// # Errors
    ///
    /// What the file system says: most likely that it has no locks.
    pub(in crate::transport) fn lock_byte(file: &File, byte: u64) -> io::Result<bool> {
        match control(file, libc::F_OFD_SETLK, region(libc::F_WRLCK, byte, 1)?) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Releases one byte. Releasing what is not locked is no error.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(in crate::transport) fn unlock_byte(file: &File, byte: u64) -> io::Result<()> {
        control(file, libc::F_OFD_SETLK, region(libc::F_UNLCK, byte, 1)?).map(drop)
    }

    /// Releases every byte that this open file description has locked.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(in crate::transport) fn unlock_all(file: &File) -> io::Result<()> {
        // A length of zero reaches to the end of all offsets.
        control(file, libc::F_OFD_SETLK, region(libc::F_UNLCK, 0, 0)?).map(drop)
    }

    /// Whether another open file description has locked this byte.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(in crate::transport) fn is_locked_by_other(file: &File, byte: u64) -> io::Result<bool> {
        let found = control(file, libc::F_OFD_GETLK, region(libc::F_WRLCK, byte, 1)?)?;
        Ok(i32::from(found.l_type) != libc::F_UNLCK)
    }

    /// Makes the file `bytes` long and gives it all the space it needs.
    ///
    /// # Errors
    ///
    /// The error of `posix_fallocate`; without space `StorageFull`.
    pub(in crate::transport) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
        let length = libc::off_t::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        loop {
            // SAFETY: the descriptor is open for as long as `file` is borrowed.
            match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
                0 => return Ok(()),
                // A signal came in between; the call starts over from the beginning.
                libc::EINTR => {}
                errno => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }

    /// Brings in all pages of a mapping.
    ///
    /// # Errors
    ///
    /// The error of `madvise`, most likely that the kernel is older than 5.14.
    pub(in crate::transport) fn prefault(map: &memmap2::MmapRaw) -> io::Result<()> {
        map.advise(memmap2::Advice::PopulateWrite)
    }

    /// Brings in all pages of a mapping, and makes huge ones of them: space is reserved in small pages.
    ///
    /// # Errors
    ///
    /// The error of `madvise`: the mapping is too small or badly placed for huge pages, there are none
    /// left, or the kernel (before 6.1) or the file system has none.
    pub(in crate::transport) fn make_huge(map: &memmap2::MmapRaw) -> io::Result<()> {
        /// Not in the C library of every system yet.
        const MADV_COLLAPSE: libc::c_int = 25;

        map.advise(memmap2::Advice::HugePage)?;
        prefault(map)?;
        // SAFETY: the range is that of a mapping that is borrowed; what it contains stays the same.
        match unsafe { libc::madvise(map.as_mut_ptr().cast(), map.len(), MADV_COLLAPSE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn region(kind: libc::c_int, start: u64, length: libc::off_t) -> io::Result<libc::flock> {
        let too_far = |_| io::Error::from(io::ErrorKind::InvalidInput);
        // SAFETY: all zeroes is a valid `flock`; a zero `l_pid` is what these commands demand.
        let mut region: libc::flock = unsafe { std::mem::zeroed() };
        region.l_type = libc::c_short::try_from(kind).map_err(too_far)?;
        region.l_whence = libc::c_short::try_from(libc::SEEK_SET).map_err(too_far)?;
        region.l_start = libc::off_t::try_from(start).map_err(too_far)?;
        region.l_len = length;
        Ok(region)
    }

    fn control(
        file: &File,
        command: libc::c_int,
        mut region: libc::flock,
    ) -> io::Result<libc::flock> {
        // SAFETY: the descriptor is open for as long as `file` is borrowed, and the three commands
        // used here read and write one `flock`.
        match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut region) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(region),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod unsupported {
    use std::fs::File;
    use std::io;

    pub(in crate::transport) fn lock_byte(_: &File, _: u64) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::transport) fn unlock_byte(_: &File, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::transport) fn unlock_all(_: &File) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::transport) fn is_locked_by_other(_: &File, _: u64) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::transport) fn reserve(_: &File, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::transport) fn prefault(_: &memmap2::MmapRaw) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::transport) fn make_huge(_: &memmap2::MmapRaw) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
