//! What figures were measured on: without it they cannot be compared. Layer: bin. Plain data.

use std::fmt;
use std::fs;
use std::thread;

use serde::Serialize;

/// The machine, its system, and this program. What a system does not tell is null.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Cores that this process may use.
    cores: usize,
    cpu: Option<String>,
    arch: &'static str,
    os: &'static str,
    /// Release of the kernel.
    kernel: Option<String>,
    /// What a socket may ask for, which bounds the windows of receivers.
    rmem_max_bytes: Option<u64>,
    /// Of vega.
    version: &'static str,
}

impl Machine {
    pub(super) fn look() -> Self {
        let line = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            cpu: line("/proc/cpuinfo").as_deref().and_then(model).map(str::to_owned),
            arch: std::env::consts::ARCH,
            os: std::env::consts::OS,
            kernel: line("/proc/sys/kernel/osrelease"),
            rmem_max_bytes: line("/proc/sys/net/core/rmem_max").and_then(|text| text.parse().ok()),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// The first processor's name.
fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim())
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = if self.cores == 1 { "core" } else { "cores" };
        write!(f, "vega {}, {} {cores}", self.version, self.cores)?;
        if let Some(cpu) = &self.cpu {
            write!(f, " of {cpu}")?;
        }
        write!(f, ", {} {}", self.arch, self.os)?;
        if let Some(kernel) = &self.kernel {
            write!(f, " {kernel}")?;
        }
        if let Some(bytes) = self.rmem_max_bytes {
            write!(f, ", rmem_max {bytes}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_processor_is_named() {
        let text = "processor\t: 0\nmodel name\t: A: fast one\nprocessor\t: 1\nmodel name\t: B\n";
        assert_eq!(model(text), Some("A: fast one"));
        assert_eq!(model("processor\t: 0\n"), None);
    }
}
