//! Discovery at work: the state machine, its sockets, and daemons that have names. Layer: engine. Owned
//! by the conductor of an instance, or by the thread of a sniffer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::{Interest, Poll, Token};

use super::reading::read;
use super::resolver::Resolver;
use crate::config::DiscoveryConfig;
use crate::counters::{Counter, Counters};
use crate::discovery::{Discovery, DiscoveryCounters, LOST_AFTER_INTERVALS, Target};
use crate::time::Timestamp;
use crate::transport::udp::{Destination, ReceiveBuffer, UdpSocket};
use crate::wire::WireError;
use crate::wire::advert::MAX_DISCOVERY_BYTES;

const CONTROL: Token = Token(1);
const GROUP: Token = Token(2);
/// Datagrams read from one socket, or sent, before the rest of a cycle gets its turn.
pub(super) const BURST: usize = 256;
/// A goodbye is not repeated later, so it is said more than once.
const GOODBYES: usize = 2;

/// The sockets of discovery.
pub(crate) struct DiscoverySockets {
    /// Everything is sent from here, to the group as well.
    pub(crate) control: UdpSocket,
    /// The discovery group and its address, where the network has multicast.
    pub(crate) group: Option<(UdpSocket, Destination)>,
}

impl DiscoverySockets {
    /// Has a poll report what arrives.
    ///
    /// # Errors
    ///
    /// What the operating system says when a socket cannot be polled.
    pub(super) fn register(&self, poll: &Poll) -> io::Result<()> {
        poll.registry().register(&mut &self.control, CONTROL, Interest::READABLE)?;
        if let Some((group, _)) = &self.group {
            poll.registry().register(&mut &*group, GROUP, Interest::READABLE)?;
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &UdpSocket> {
        [&self.control].into_iter().chain(self.group.as_ref().map(|(group, _)| group))
    }

    /// Sends one datagram. False when that fails: discovery repeats what matters.
    fn send(&self, target: Target, bytes: &[u8]) -> bool {
        let unicast;
        let destination = match target {
            Target::Group => match &self.group {
                Some((_, address)) => address,
                None => return true,
            },
            Target::Unicast(address) => {
                unicast = self.control.destination(address);
                &unicast
            }
        };
        let sent = self.control.send_run(Some(destination), bytes, bytes.len());
        if let Err(error) = &sent {
            tracing::debug!(%error, ?target, "a discovery datagram was not sent");
        }
        sent.is_ok()
    }
}

/// What moves the datagrams of a [`Discovery`], and counts.
pub(crate) struct DiscoveryDriver {
    pub(super) discovery: Discovery,
    sockets: DiscoverySockets,
    /// As they are configured.
    daemons: Vec<Arc<str>>,
    /// Looks up those that have names.
    resolver: Option<Resolver>,
    resolve_pause: Duration,
    resolve_at: Timestamp,
    /// How long daemons have to answer before people are told that none does, and until when that is.
    patience: Duration,
    patient_until: Option<Timestamp>,
    counters: Arc<Counters>,
    /// What of discovery's counters is in them.
    counted: DiscoveryCounters,
    strangers: Strangers,
    buffer: ReceiveBuffer,
    outgoing: Vec<u8>,
}

impl DiscoveryDriver {
    /// `moved` is told the place of a daemon in the configuration, and its address, whenever its name
    /// was looked up; from another thread.
    ///
    /// # Errors
    ///
    /// What the operating system says when it gives no thread to look up names.
    pub(super) fn new(
        discovery: Discovery,
        sockets: DiscoverySockets,
        config: &DiscoveryConfig,
        counters: Arc<Counters>,
        moved: impl Fn(usize, SocketAddr) + Send + 'static,
    ) -> io::Result<Self> {
        let (family, counted) = (sockets.control.family(), Arc::clone(&counters));
        Ok(Self {
            resolver: Resolver::start(&config.daemons, family, counted, moved)?,
            resolve_pause: config.resolve,
            resolve_at: Timestamp::default(),
            patience: config.refresh * LOST_AFTER_INTERVALS,
            patient_until: None,
            daemons: config.daemons.iter().map(|daemon| daemon.to_string().into()).collect(),
            discovery,
            sockets,
            counters,
            counted: DiscoveryCounters::default(),
            strangers: Strangers::default(),
            buffer: ReceiveBuffer::new(),
            outgoing: Vec::with_capacity(MAX_DISCOVERY_BYTES),
        })
    }

    /// As [`DiscoverySockets::register`].
    ///
    /// # Errors
    ///
    /// What the operating system says when a socket cannot be polled.
    pub(super) fn register(&self, poll: &Poll) -> io::Result<()> {
        self.sockets.register(poll)
    }

    pub(super) const fn control(&self) -> &UdpSocket {
        &self.sockets.control
    }

    /// A daemon, as it is configured.
    pub(super) fn daemon(&self, index: usize) -> &Arc<str> {
        &self.daemons[index]
    }

    /// The daemons that answer.
    pub(super) fn daemons_up(&self) -> impl Iterator<Item = &Arc<str>> {
        self.discovery.daemons_up().map(|index| self.daemon(index))
    }

    /// How long there is nothing to do, if nothing happens.
    pub(super) fn idle_time(&self, now: Timestamp) -> Duration {
        let mut deadline = self.discovery.next_deadline();
        if self.resolver.is_some() {
            deadline = deadline.min(self.resolve_at);
        }
        deadline.since(now)
    }

    /// Whether datagrams are held back, because faults are asked for.
    pub(super) fn is_holding(&self) -> bool {
        self.sockets.all().any(UdpSocket::is_holding)
    }

    /// Reads both sockets. `other` takes what is not of discovery, and says so. True when something
    /// was left for the next cycle.
    pub(super) fn receive(
        &mut self,
        now: Timestamp,
        mut other: impl FnMut(SocketAddr, &[u8]) -> bool,
    ) -> bool {
        let Self { discovery, sockets, buffer, counters, strangers, .. } = self;
        let mut is_busy = false;
        for socket in sockets.all() {
            is_busy |= read(socket, buffer, BURST, counters, |source, datagram| {
                if !other(source, datagram)
                    && let Err(error) = discovery.handle_datagram(now, source, datagram)
                {
                    strangers.refuse(source, error);
                }
            });
        }
        is_busy
    }

    /// Sees to daemons that do not answer: has their names looked up, and says when none ever has.
    pub(super) fn look_after_daemons(&mut self, now: Timestamp) {
        self.look_up_daemons(now);
        if now < *self.patient_until.get_or_insert(now + self.patience) {
            return;
        }
        self.patient_until = Some(Timestamp::NEVER);
        if !self.daemons.is_empty() && self.discovery.daemons_up().next().is_none() {
            let daemons = self.daemons.join(", ");
            tracing::warn!(%daemons, "no discovery daemon answers: nobody is found until one does");
        }
    }

    /// Has the names of daemons looked up while one of them does not answer.
    fn look_up_daemons(&mut self, now: Timestamp) {
        let Some(resolver) = &self.resolver else { return };
        if self.resolve_at <= now {
            self.resolve_at = now + self.resolve_pause;
            if self.discovery.daemons_up().count() < self.daemons.len() {
                resolver.ask();
            }
        }
    }

    /// Sends what is due. True when something was left for the next cycle.
    pub(super) fn transmit(&mut self, now: Timestamp) -> bool {
        for _ in 0..BURST {
            let Some(target) = self.discovery.poll_transmit(now, &mut self.outgoing) else {
                return false;
            };
            self.send(target);
        }
        true
    }

    /// Sends something that is not of discovery, from its socket.
    pub(super) fn send_other(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.outgoing);
        self.send(Target::Unicast(to));
    }

    fn send(&self, target: Target) {
        if !self.sockets.send(target, &self.outgoing) {
            self.counters.add(Counter::SendErrors, 1);
        }
    }

    /// Adds what discovery has counted since the last time.
    pub(super) fn count(&mut self) {
        let (now, before) = (self.discovery.counters(), self.counted);
        self.counted = now;
        let counters = &self.counters;
        counters.add(Counter::DiscoverySent, now.packets_sent - before.packets_sent);
        counters.add(Counter::DiscoveryBytesSent, now.bytes_sent - before.bytes_sent);
        counters.add(Counter::DiscoveryReceived, now.packets_received - before.packets_received);
        let refused = |of: &DiscoveryCounters| of.peers_refused + of.adverts_refused;
        counters.add(Counter::DiscoveryRefused, refused(&now) - refused(&before));
        let (doubles, known) = (now.duplicate_identities, before.duplicate_identities);
        counters.add(Counter::DuplicateIdentities, doubles - known);
        counters.add(Counter::DaemonsLost, now.daemons_lost - before.daemons_lost);
        counters.add(Counter::Malformed, now.malformed - before.malformed);
        counters.add(Counter::OtherVersions, now.other_versions - before.other_versions);
        counters.set(Counter::Peers, now.peers);
    }

    /// Says goodbye.
    pub(super) fn leave(&mut self, now: Timestamp) {
        self.discovery.goodbye(GOODBYES);
        self.transmit(now);
        self.count();
    }
}

/// Reports who sends what is refused.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    has_met_other_version: bool,
}

impl Strangers {
    /// The first packet of another version is for people: somebody has to upgrade a host, this one or
    /// the other. Of all that come later the counters tell.
    pub(super) fn refuse(&mut self, source: SocketAddr, error: WireError) {
        if matches!(error, WireError::Version { .. }) && !self.has_met_other_version {
            self.has_met_other_version = true;
            tracing::warn!(%source, %error, "somebody here runs another version of vega");
        } else {
            tracing::debug!(%source, %error, "a datagram is not of discovery");
        }
    }
}
