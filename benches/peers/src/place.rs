//! Where an exchange takes place: a private directory in memory, and ports. Layer: peers. The
//! commanding process owns the [`Stage`]; its processes get the [`Place`].

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;

/// Where Linux keeps files in memory.
const SHARED_MEMORY: &str = "/dev/shm";
/// Free ports that an exchange gets, one after the other.
const PORTS: u16 = 16;
const ATTEMPTS: usize = 100;

/// What the processes of an exchange share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    /// The first of [`PORTS`] ports of the loopback interface that are free for UDP and TCP.
    port: u16,
}

/// A place, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Stage {
    directory: TempDir,
    port: u16,
}

impl Stage {
    /// # Errors
    ///
    /// When there is no place for files, or no free ports.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let parent = Path::new(SHARED_MEMORY);
        let parent = if parent.is_dir() { parent.to_owned() } else { std::env::temp_dir() };
        let directory = TempDir::with_prefix_in("vega-peers-", parent)
            .context("no directory for shared memory")?;
        Ok(Self { directory, port: free_ports()? })
    }

    pub(crate) fn place(&self) -> Place {
        Place { directory: self.directory.path().to_owned(), port: self.port }
    }
}

impl Drop for Stage {
    /// Sweeps up what peers leave in shared memory beside the directory: iceoryx2 keeps a file.
    fn drop(&mut self) {
        let name = self.place().name();
        let beside = self.directory.path().parent().and_then(|parent| fs::read_dir(parent).ok());
        for entry in beside.into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_file() && entry.file_name().to_string_lossy().starts_with(&name) {
                // What is gone already needs no sweeping.
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Place {
    /// One of the ports, by its number from zero.
    pub(crate) fn port(&self, number: u16) -> u16 {
        self.port + number.min(PORTS - 1)
    }

    /// All of them, as vega's configuration has ranges.
    pub(crate) fn port_range(&self) -> String {
        format!("{}-{}", self.port, self.port(PORTS - 1))
    }

    /// A name that nobody else has.
    pub(crate) fn name(&self) -> String {
        let name = self.directory.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// The first of some ports in a row that nobody has at the moment. Peers open them in processes of
/// their own, so they cannot be kept until then.
fn free_ports() -> anyhow::Result<u16> {
    for _ in 0..ATTEMPTS {
        let first = udp(0)?.local_addr()?.as_socket().context("no port")?.port();
        let Some(last) = first.checked_add(PORTS - 1) else { continue };
        if (first..=last).all(|port| udp(port).is_ok() && tcp(port)) {
            return Ok(first);
        }
    }
    bail!("no {PORTS} free ports in a row")
}

fn udp(port: u16) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))?;
    Ok(socket)
}

fn tcp(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
