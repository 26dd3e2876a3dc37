//! Looks up the names of discovery daemons. Layer: engine. A thread of its own, because that can take
//! long, and only where daemons are configured by name.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Sender, bounded};

use crate::config::{DaemonAddress, Family, Host};
use crate::counters::{Counter, Counters};
use crate::transport::lookup::lookup;

/// Asks the thread, which ends when this is dropped and a lookup under way is done.
pub(crate) struct Resolver {
    wishes: Sender<()>,
}

impl Resolver {
    /// Starts the thread; without names there is none. It looks for addresses of the family that the
    /// control socket has. `found` is told the place of a daemon in the list, and its address,
    /// whenever one is found.
    ///
    /// # Errors
    ///
    /// What the operating system says when it gives no thread.
    pub(super) fn start(
        daemons: &[DaemonAddress],
        family: Family,
        counters: Arc<Counters>,
        found: impl Fn(usize, SocketAddr) + Send + 'static,
    ) -> io::Result<Option<Self>> {
        let named = daemons.iter().enumerate().filter_map(|(index, daemon)| match &daemon.host {
            Host::Name(name) => Some((index, name.clone(), daemon.port)),
            Host::Address(_) => None,
        });
        let named: Vec<_> = named.collect();
        if named.is_empty() {
            return Ok(None);
        }
        let (wishes, wished) = bounded(1);
        // Nobody waits for it: what it is in the middle of can take as long as name servers do.
        thread::Builder::new().name("vega-resolver".to_owned()).spawn(move || {
            for () in wished {
                for (index, name, port) in &named {
                    match lookup(name, family) {
                        Ok(ip) => found(*index, SocketAddr::from((ip, *port))),
                        Err(error) => {
                            counters.add(Counter::LookupsFailed, 1);
                            tracing::warn!(daemon = name, %error, "a discovery daemon is not found");
                        }
                    }
                }
            }
        })?;
        Ok(Some(Self { wishes }))
    }

    /// Has all names looked up. Does nothing when that is under way and to be done once more.
    pub(super) fn ask(&self) {
        let _ = self.wishes.try_send(());
    }
}
