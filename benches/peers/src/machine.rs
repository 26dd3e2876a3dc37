//! What figures were measured on: without it they cannot be compared. Layer: peers. Plain data.

use std::fmt;
use std::fs;
use std::thread;

use serde::Serialize;

use crate::links;
use crate::setups::Peer;

const LOCK: &str = include_str!("../Cargo.lock");

/// The machine, its system, and everybody's version. What a system does not tell is null.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Cores that this process may use.
    cores: usize,
    cpu: Option<String>,
    kernel: Option<String>,
    /// What a socket may ask for.
    rmem_max_bytes: Option<u64>,
    versions: Vec<Version>,
}

#[derive(Debug, Serialize)]
struct Version {
    name: String,
    version: String,
}

impl Machine {
    /// `peers` are those that may take part.
    pub(crate) fn look(peers: &[Peer]) -> Self {
        let line = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let cpuinfo = line("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            cpu: model.map(|model| model.trim_start_matches([' ', '\t', ':']).to_owned()),
            kernel: line("/proc/sys/kernel/osrelease"),
            rmem_max_bytes: line("/proc/sys/net/core/rmem_max").and_then(|text| text.parse().ok()),
            versions: peers
                .iter()
                .filter(|peer| links::absence(**peer).is_none())
                .map(|peer| Version { name: peer.to_string(), version: links::version(*peer) })
                .filter(|version| !version.version.is_empty())
                .collect(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = if self.cores == 1 { "core" } else { "cores" };
        write!(f, "{} {cores}", self.cores)?;
        if let Some(cpu) = &self.cpu {
            write!(f, " of {cpu}")?;
        }
        if let Some(kernel) = &self.kernel {
            write!(f, ", kernel {kernel}")?;
        }
        if let Some(bytes) = self.rmem_max_bytes {
            write!(f, ", rmem_max {bytes}")?;
        }
        self.versions
            .iter()
            .try_for_each(|Version { name, version }| write!(f, "; {name} {version}"))
    }
}

/// The version of a package that this program was built with.
pub(crate) fn locked(package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = LOCK.lines().skip_while(|line| *line != name);
    let version = lines.nth(1)?.strip_prefix("version = \"")?;
    Some(version.trim_end_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        assert_eq!(locked(env!("CARGO_PKG_NAME")).as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert!(locked("vega-messaging").is_some());
        assert_eq!(locked("no such package"), None);
    }
}
