//! Reads files that people name, and no more of them than makes sense. Layer: bin; runs on the
//! commanding thread.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The whole file, which may be a pipe or a device.
///
/// # Errors
///
/// When it cannot be read, or has more than `max_bytes`.
pub(crate) fn read(path: &Path, max_bytes: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // The size of what is no file of a disk is not known before it ends.
    File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() as u64 <= max_bytes, "is larger than {max_bytes} bytes");
    Ok(bytes)
}
