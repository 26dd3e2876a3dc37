//! The files in which instances count: how one makes its own, and how anybody reads those of others.
//! Layer: engine. Not for hot paths; no thread owns it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::config::{CounterFile, CountersConfig};
use crate::counters::{
    CounterFileError, CounterSnapshot, Counters, MAX_FILE_BYTES, Origin, decode, is_same_edition,
};
use crate::id::InstanceId;
use crate::time::wall_clock;
use crate::transport::shm::{Directory, MappedFile, ReadFile, ShmError};

/// What the names of these files end with.
pub(crate) const COUNTERS_SUFFIX: &str = ".counters";
/// How often a file is copied again because rows came or went meanwhile. What is copied then may name
/// a row wrongly.
const ATTEMPTS: u32 = 8;
/// Pause before that. Rows come and go in less.
const PAUSE: Duration = Duration::from_micros(100);

/// The file in which an instance counts. It is removed with this; who counts goes on unseen.
#[derive(Debug)]
pub(super) struct OwnFile(Arc<MappedFile>);

impl OwnFile {
    /// Takes the name of the file away, so that nobody finds it any more.
    pub(super) fn remove(&self) {
        if let Err(error) = self.0.unlink() {
            tracing::warn!(%error, file = %self.0.path().display(), "a counter file stays behind");
        }
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The counters of an instance that starts: in a file if that is wanted and can be.
pub(super) fn open(
    directory: Result<&Directory, &ShmError>,
    config: &CountersConfig,
    instance: InstanceId,
    name: &str,
) -> (Counters, Option<OwnFile>) {
    let process = std::process::id();
    let origin = Origin { instance, name: Arc::from(name), process, started: wall_clock() };
    let on_heap = || (Counters::on_heap(config.rows, &origin), None);
    if config.file == CounterFile::Off {
        return on_heap();
    }
    let file = directory.map_err(ToString::to_string).and_then(|directory| {
        let name = format!("{instance}{COUNTERS_SUFFIX}");
        let file = directory.create(&name, Counters::bytes(config.rows) as u64);
        file.map_err(|error| error.to_string())
    });
    match file {
        Ok(file) => {
            let file = Arc::new(file);
            (Counters::on(file.words(), &origin), Some(OwnFile(file)))
        }
        Err(reason) => {
            tracing::warn!(%instance, reason, "other processes cannot read the counters");
            on_heap()
        }
    }
}

/// Whether a file of the directory is one of counters.
pub(crate) fn is_counter_file(name: &str) -> bool {
    name.ends_with(COUNTERS_SUFFIX)
}

/// Why the counters in a file cannot be read.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    File(#[from] ShmError),
    #[error(transparent)]
    Content(#[from] CounterFileError),
}

/// Reads what an instance has counted, whether it still runs or not.
///
/// # Errors
///
/// [`ReadError`].
pub(crate) fn read(directory: &Directory, name: &str) -> Result<CounterSnapshot, ReadError> {
    let file = directory.open_to_read(name)?;
    let counted = decode(&stable_copy(&file)?)?;
    Ok(if file.has_writer()? { counted } else { counted.mark_dead() })
}

/// A copy between whose begin and end no row came or went.
fn stable_copy(file: &ReadFile) -> Result<Vec<u8>, ShmError> {
    let mut copy = file.copy(MAX_FILE_BYTES)?;
    for _ in 0..ATTEMPTS {
        let again = file.copy(MAX_FILE_BYTES)?;
        if is_same_edition(&copy, &again) {
            // The first one: whatever it holds was written before the second one was begun.
            break;
        }
        copy = again;
        thread::sleep(PAUSE);
    }
    Ok(copy)
}
