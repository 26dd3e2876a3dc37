//! The counters of all instances of a host, read from outside. Layer: instance. Nothing here touches
//! an instance: it reads copies of their files, on the thread of the caller.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::Config;
use crate::counters::{CounterFileError, CounterSnapshot};
use crate::engine::counter_files::{self, ReadError, is_counter_file};
use crate::transport::shm::{Directory, ShmError};

/// The counters of the instances of this user on this host, as far as they share a directory for
/// shared memory with the configuration: what `vega stat` and `vega top` show.
///
/// # Examples
///
/// ```
/// # use vega::{Config, Counter, HostCounters, Instance};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("vega-host-{}", std::process::id()));
/// # let config = Config::parse(&format!("[discovery]\nport = 35989\n[ipc]\ndirectory = {folder:?}"))?;
/// let instance = Instance::builder().name("seen").config(config.clone()).start()?;
/// let host = HostCounters::read(&config)?;
/// let seen = host.instances().iter().find(|counters| counters.name() == "seen");
/// assert_eq!(seen.map(|counters| counters.instance()), Some(instance.id()));
/// # instance.close()?;
/// # std::fs::remove_dir(folder)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct HostCounters {
    instances: Vec<CounterSnapshot>,
    unreadable: Vec<(String, String)>,
}

/// Why the counters of a host cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostCountersError {
    /// The directory for shared memory cannot be used.
    #[error("counters cannot be read: {reason}")]
    Directory {
        /// Why.
        reason: String,
    },
}

impl HostCounters {
    /// Reads them now. An instance is left out while it has no file: where `[counters] file` is
    /// "off", where there is no shared memory, and once it is closed. What a killed process has left
    /// is there until another instance starts.
    ///
    /// # Errors
    ///
    /// [`HostCountersError`]; that there is no instance is none.
    pub fn read(config: &Config) -> Result<Self, HostCountersError> {
        let mut host = Self::default();
        let Some(directory) = directory(config)? else { return Ok(host) };
        for name in directory.names(is_counter_file) {
            match counter_files::read(&directory, &name) {
                Ok(counters) => host.instances.push(counters),
                // It is about to start.
                Err(ReadError::Content(CounterFileError::Unwritten)) => {}
                // It was closed meanwhile.
                Err(ReadError::File(ShmError::Io { source, .. }))
                    if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => host.unreadable.push((name, error.to_string())),
            }
        }
        host.instances.sort_by(|one, other| {
            (one.name(), one.started(), one.instance()).cmp(&(
                other.name(),
                other.started(),
                other.instance(),
            ))
        });
        host.unreadable.sort();
        Ok(host)
    }

    /// Removes what killed processes have left, as the next instance to start would. Returns how many
    /// files that were.
    ///
    /// # Errors
    ///
    /// [`HostCountersError`].
    pub fn remove_dead(config: &Config) -> Result<usize, HostCountersError> {
        let directory = directory(config)?;
        Ok(directory.map_or(0, |directory| directory.remove_stale(is_counter_file)))
    }

    /// The counters, ordered by the names of the instances.
    #[must_use]
    pub fn instances(&self) -> &[CounterSnapshot] {
        &self.instances
    }

    /// The same, to keep.
    #[must_use]
    pub fn into_instances(self) -> Vec<CounterSnapshot> {
        self.instances
    }

    /// Files that are none of counters, or damaged: their names, and what is wrong with each.
    pub fn unreadable(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.unreadable.iter().map(|(name, reason)| (Path::new(name), reason.as_str()))
    }
}

fn directory(config: &Config) -> Result<Option<Directory>, HostCountersError> {
    let configured: Option<&PathBuf> = config.ipc.directory.as_ref();
    Directory::find(configured.map(PathBuf::as_path))
        .map_err(|error| HostCountersError::Directory { reason: error.to_string() })
}
