//! `Sniffer`: sees what discovery says, and is not seen. Layer: instance.

use std::fmt;
use std::net::SocketAddr;

use super::StartError;
use crate::config::Config;
use crate::counters::CounterSnapshot;
use crate::engine::sniffer::{SnifferHandle, SnifferListener};
use crate::id::InstanceId;
use crate::listener::{SnifferEvent, SnifferSnapshot};

/// Sees which instances there are and what they publish and listen to. It is no instance: it
/// announces nothing, so that nobody on the discovery group ever learns of it. `vega sniff` is one.
///
/// What it missed, because it came late or a packet was lost, it asks the instances for, by unicast,
/// as they do among each other: a page at a time, as any stranger may. That, and nothing else, is what
/// it sends where discovery is by multicast. Discovery daemons serve registered clients only: there,
/// it registers, and the other clients see it as an instance without topics.
///
/// It stops when it is dropped.
///
/// ```
/// use vega::{Config, Instance, Sniffer, SnifferEvent};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config::parse("[discovery]\nport = 35980")?;
/// let (seen, events) = std::sync::mpsc::channel();
/// let sniffer = Sniffer::builder()
///     .config(config.clone())
///     .on_event(move |event: &SnifferEvent| {
///         let _ = seen.send(event.clone());
///     })
///     .start()?;
/// let instance = Instance::builder().name("pricer").config(config).start()?;
/// let SnifferEvent::InstanceUp(pricer) = events.recv()? else { panic!("somebody comes first") };
/// assert_eq!((pricer.id(), pricer.name()), (instance.id(), "pricer"));
/// assert_eq!(sniffer.snapshot().instances(), [pricer]);
/// assert!(instance.peers().is_empty(), "nobody sees the sniffer");
/// # Ok(())
/// # }
/// ```
pub struct Sniffer {
    handle: SnifferHandle,
}

/// What a [`Sniffer`] is to be like. Made by [`Sniffer::builder`].
#[must_use = "a sniffer sees nothing before `start`"]
pub struct SnifferBuilder {
    config: Config,
    name: String,
    listener: SnifferListener,
}

impl SnifferBuilder {
    /// The configuration, of which `[discovery]`, `[control]` and `[limits]` matter. Default:
    /// [`Config::default`], the loopback interface.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// What clients of discovery daemons see. Default: `vega-sniffer`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Hears of what changes, and of trouble. Default: nobody.
    ///
    /// # Threads
    ///
    /// Called on the sniffer's thread, one call at a time; nothing is seen meanwhile. A panic is
    /// caught and reported.
    pub fn on_event(mut self, listener: impl FnMut(&SnifferEvent) + Send + 'static) -> Self {
        self.listener = Box::new(listener);
        self
    }

    /// Opens the sockets and starts the thread.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running.
    pub fn start(self) -> Result<Sniffer, StartError> {
        let handle = SnifferHandle::start(&self.name, self.config, self.listener)?;
        Ok(Sniffer { handle })
    }
}

impl fmt::Debug for SnifferBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnifferBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sniffer {
    /// Describes a sniffer before it starts.
    pub fn builder() -> SnifferBuilder {
        SnifferBuilder {
            config: Config::default(),
            name: "vega-sniffer".to_owned(),
            listener: Box::new(|_| ()),
        }
    }

    /// The identity under which it asks, new at every start.
    #[must_use]
    pub const fn id(&self) -> InstanceId {
        self.handle.id
    }

    /// The socket from which it asks.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.handle.address
    }

    /// The discovery group to which it listens; `None` when the configuration has daemons alone.
    #[must_use]
    pub const fn group(&self) -> Option<SocketAddr> {
        self.handle.group
    }

    /// Everything that it sees now; nothing after [`Sniffer::close`].
    ///
    /// # Threads
    ///
    /// From any thread, also inside [`SnifferBuilder::on_event`].
    #[must_use]
    pub fn snapshot(&self) -> SnifferSnapshot {
        self.handle.snapshot()
    }

    /// What has been counted so far, of discovery and of trouble; all else is zero.
    #[must_use]
    pub fn counters(&self) -> CounterSnapshot {
        self.handle.counters()
    }

    /// Stops it, and returns after the callback in flight, unless called from there. Calling it again
    /// does nothing.
    pub fn close(&self) {
        self.handle.stop();
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Sniffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sniffer")
            .field("id", &self.id())
            .field("address", &self.address())
            .field("group", &self.group())
            .finish_non_exhaustive()
    }
}
