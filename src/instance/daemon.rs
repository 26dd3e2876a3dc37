//! `DiscoveryDaemon`: what instances find each other through where there is no multicast. Layer:
//! instance.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::StartError;
use crate::config::{Config, DaemonChanges};
use crate::engine::daemon::{DaemonHandle, DaemonListener};
use crate::id::InstanceId;
use crate::listener::{DaemonClient, DaemonEvent};

/// A discovery daemon. It passes on what instances have for everybody, for instances whose
/// configuration names it in `[discovery] daemons`; messages and requests do not go through it. `vega
/// daemon` is one, an application can have one, too. Several make discovery survive the loss of all but
/// one.
///
/// It stops when it is dropped.
///
/// ```
/// use vega::{Config, DiscoveryDaemon, Instance};
///
/// let daemon = DiscoveryDaemon::builder().port(0).start()?;
/// let config = Config::parse(&format!(
///     "[discovery]\nkind = 'daemon'\ndaemons = ['{}']\n",
///     daemon.address()
/// ))?;
/// let instance = Instance::builder().name("pricer").config(config).start()?;
/// # drop(instance);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DiscoveryDaemon {
    handle: DaemonHandle,
}

/// What a [`DiscoveryDaemon`] is to be like. Made by [`DiscoveryDaemon::builder`].
#[must_use = "a daemon runs only after `start`"]
pub struct DaemonBuilder {
    config: Config,
    changes: DaemonChanges,
    listener: DaemonListener,
}

impl DaemonBuilder {
    /// The configuration, of which the table `[daemon]` matters. Default: [`Config::default`], loopback
    /// and port 40300.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Another interface than that of the configuration, in the same words.
    pub fn interface(mut self, interface: impl Into<String>) -> Self {
        self.changes.interface = Some(interface.into());
        self
    }

    /// Another UDP port than that of the configuration; 0 is any that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.changes.port = Some(port);
        self
    }

    /// Another silence than that of the configuration after which a client counts as gone.
    pub fn client_timeout(mut self, timeout: Duration) -> Self {
        self.changes.client_timeout = Some(timeout);
        self
    }

    /// Another limit of clients than that of the configuration.
    pub fn max_clients(mut self, limit: usize) -> Self {
        self.changes.max_clients = Some(limit);
        self
    }

    /// Hears of clients that come and go. Default: nobody.
    ///
    /// # Threads
    ///
    /// Called on the daemon's thread, one call at a time: clients wait meanwhile. A panic is caught and
    /// reported.
    pub fn on_event(mut self, listener: impl FnMut(&DaemonEvent) + Send + 'static) -> Self {
        self.listener = Box::new(listener);
        self
    }

    /// Opens the socket and starts the thread.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running.
    pub fn start(self) -> Result<DiscoveryDaemon, StartError> {
        let mut config = self.config.daemon;
        config.change(&self.changes)?;
        Ok(DiscoveryDaemon { handle: DaemonHandle::start(&config, self.listener)? })
    }
}

impl fmt::Debug for DaemonBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonBuilder").field("changes", &self.changes).finish_non_exhaustive()
    }
}

impl DiscoveryDaemon {
    /// Describes a daemon before it starts.
    pub fn builder() -> DaemonBuilder {
        DaemonBuilder {
            config: Config::default(),
            changes: DaemonChanges::default(),
            listener: Box::new(|_| ()),
        }
    }

    /// Its identity, new at every start.
    #[must_use]
    pub const fn id(&self) -> InstanceId {
        self.handle.id
    }

    /// Where it receives.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.handle.address
    }

    /// The clients now, ordered by address; none after [`DiscoveryDaemon::close`].
    ///
    /// # Threads
    ///
    /// From any thread, also inside [`DaemonBuilder::on_event`].
    #[must_use]
    pub fn clients(&self) -> Vec<DaemonClient> {
        self.handle.clients()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counters(&self) -> DaemonCounters {
        let (counters, trouble) = self.handle.counters();
        DaemonCounters {
            packets_received: counters.packets_received,
            packets_sent: counters.packets_sent,
            bytes_sent: counters.bytes_sent,
            malformed: trouble.malformed,
            other_versions: trouble.other_versions,
            refused: trouble.refused,
            dropped: trouble.dropped,
            expired: counters.clients_expired,
            failed: trouble.failed,
            callback_panics: trouble.callback_panics,
        }
    }

    /// Stops it, and returns after the callback in flight, unless called from there. Calling it again
    /// does nothing. Clients notice by its silence.
    pub fn close(&self) {
        self.handle.stop();
    }
}

impl Drop for DiscoveryDaemon {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for DiscoveryDaemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryDaemon")
            .field("id", &self.id())
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

/// What a discovery daemon counts, from its start on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DaemonCounters {
    /// Datagrams received.
    pub packets_received: u64,
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Bytes of the datagrams sent.
    pub bytes_sent: u64,
    /// Datagrams that are no packets for a daemon.
    pub malformed: u64,
    /// Packets of a version of the wire protocol that this build does not speak.
    pub other_versions: u64,
    /// Packets without a good ticket, in the name of another instance, or of one client too many.
    pub refused: u64,
    /// Packets beyond what one client may have passed on, or when too much waited to be sent.
    pub dropped: u64,
    /// Clients that went without a goodbye.
    pub expired: u64,
    /// Sends and receives that the operating system refused.
    pub failed: u64,
    /// Calls of the daemon's listener that panicked.
    pub callback_panics: u64,
}
