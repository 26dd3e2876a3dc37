//! What commands need that play several processes on one machine: a private directory, ports that
//! nobody else has, and a configuration that keeps the play away from all other instances. Layer:
//! bin. The [`Cast`] are the processes; [`role`] is their side of the conversation.

mod cast;
pub(crate) mod role;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use socket2::{Domain, SockAddr, Socket, Type};
use uuid::Uuid;

pub(crate) use cast::{Cast, Member};

/// Where Linux keeps files in memory: rings there never wait for a disk.
const SHARED_MEMORY: &str = "/dev/shm";
/// Sockets that a stage has room for: a few for each of its processes.
pub(crate) const PORTS: u16 = 200;

/// How a poller waits, and where it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollerSpec {
    /// `idle` of the configuration.
    pub(crate) idle: &'static str,
    pub(crate) core: Option<usize>,
    /// Serves the responses, too. Otherwise they get a poller of their own that blocks, so that
    /// this one asks no socket in vain.
    pub(crate) takes_responses: bool,
}

/// A private directory and a private set of ports, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Stage {
    directory: PathBuf,
    /// For discovery and the multicast groups.
    port: u16,
    /// Of the topics, if not the default.
    packet_bytes: Option<usize>,
    /// Holds [`Stage::port`] on the loopback address, so that the system gives it to nobody else.
    _lease: Socket,
}

impl Stage {
    /// # Errors
    ///
    /// When there is no place for files, or no free port.
    pub(crate) fn new(purpose: &str) -> anyhow::Result<Self> {
        let lease = Socket::new(Domain::IPV4, Type::DGRAM, None).context("no UDP socket")?;
        lease
            .bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
            .context("no free port")?;
        let port = lease.local_addr()?.as_socket().context("no port")?.port();
        let parent = Path::new(SHARED_MEMORY);
        let parent = if parent.is_dir() { parent.to_owned() } else { std::env::temp_dir() };
        let directory = parent.join(format!("vega-{purpose}-{}", Uuid::new_v4().simple()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(Self { directory, port, packet_bytes: None, _lease: lease })
    }

    /// The same with packets of another size.
    pub(crate) const fn with_packet_bytes(mut self, packet_bytes: Option<usize>) -> Self {
        self.packet_bytes = packet_bytes;
        self
    }

    /// Writes the configuration of the processes that poll as `poller` says, and returns its path.
    /// `more` are tables that it does not have otherwise.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(crate) fn configure(
        &self,
        name: &str,
        poller: PollerSpec,
        more: &str,
    ) -> anyhow::Result<PathBuf> {
        let path = self.directory.join(name).with_extension("toml");
        fs::write(&path, self.configuration(poller) + more)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Everything else is as in the built-in configuration: what is shown or measured is what users
    /// get. Its patterns make transports of the prefixes `ipc.` and `unicast.`.
    fn configuration(&self, poller: PollerSpec) -> String {
        let PollerSpec { idle, core, takes_responses } = poller;
        let core = core.map_or_else(String::new, |core| format!("core = {core}"));
        let responses = if takes_responses { "data" } else { "background" };
        let port = self.port;
        let sockets = match port.checked_add(PORTS) {
            Some(last) => format!("{}-{last}", port + 1),
            None => format!("{}-{}", port - PORTS, port - 1),
        };
        let packets =
            self.packet_bytes.map_or_else(String::new, |bytes| format!("packet_bytes = {bytes}"));
        let rings = self.directory.join("rings");
        // What Rust escapes in a string, TOML escapes the same way.
        let rings = rings.to_string_lossy();
        format!(
            r#"
[[poller]]
name = "data"
idle = "{idle}"
{core}
[[poller]]
name = "background"
idle = "block"
[responses]
poller = "{responses}"
ports = "{sockets}"
[control]
ports = "{sockets}"
[discovery]
port = {port}
[ipc]
directory = {rings:?}
[[template]]
name = "multicast"
transport = "multicast"
ports = "{port}"
{packets}
[[template]]
name = "unicast"
transport = "unicast"
ports = "{sockets}"
{packets}
[[template]]
name = "ipc"
transport = "ipc"
{packets}
"#
        )
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_valid_whatever_the_port() {
        let mut stage = Stage::new("test").unwrap();
        for port in [1024, 40_000, u16::MAX - PORTS, u16::MAX - PORTS + 1, u16::MAX] {
            stage.port = port;
            stage.packet_bytes = port.is_multiple_of(2).then_some(8192);
            for (core, takes_responses) in [(None, true), (Some(1), false)] {
                let text = stage.configuration(PollerSpec { idle: "block", core, takes_responses });
                let config = vega::Config::parse(&text).unwrap();
                for (topic, transport) in [
                    ("unicast.x", vega::Transport::Unicast),
                    ("ipc.x", vega::Transport::Ipc),
                    ("x", vega::Transport::Multicast),
                ] {
                    assert_eq!(config.route(topic).unwrap().transport(), transport);
                }
            }
        }
    }

    #[test]
    fn a_stage_leaves_nothing_behind() {
        let stage = Stage::new("test").unwrap();
        let path = stage
            .configure("a", PollerSpec { idle: "block", core: None, takes_responses: true }, "")
            .unwrap();
        assert!(path.exists());
        let directory = stage.directory.clone();
        drop(stage);
        assert!(!directory.exists());
    }
}
