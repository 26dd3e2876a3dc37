//! The thread of a sniffer: the sockets of discovery around a [`Discovery`] that tells the group
//! nothing. Layer: engine. Instances have no part in it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crossbeam_channel::Sender;
use mio::{Events, Poll};

use super::callback;
use super::conductor::{
    ALARM, BURST, DiscoverySockets, GOODBYES, LONGEST_WAIT, down_reason, peer, topic_advert,
};
use super::resolver::Resolver;
use super::service::{Mailbox, Service, Stop};
use super::start::{SOCKET_OPTIONS, StartError, look_up_advertised, open_discovery};
use crate::config::{Config, DaemonAddress};
use crate::counters::Counters;
use crate::discovery::event::{Event, Overflow};
use crate::discovery::{Carrier, Discovery, Identity, MAX_ADVERTS, MAX_ADVERTS_PER_PEER, Settings};
use crate::id::InstanceId;
use crate::listener::{SnifferEvent, SnifferSnapshot};
use crate::time::{Clock, Timestamp};
use crate::transport::Alarm;
use crate::transport::udp::{ReceiveBuffer, UdpSocket};
use crate::wire::advert::MAX_DISCOVERY_BYTES;
use crate::wire::locator::Locator;
use crate::wire::roll::Roll;

/// Hears what the sniffer sees.
pub(crate) type SnifferListener = Box<dyn FnMut(&SnifferEvent) + Send>;

enum Command {
    Snapshot(Sender<SnifferSnapshot>),
    /// The name of a daemon was looked up.
    DaemonMoved(usize, SocketAddr),
    Stop,
}

impl Stop for Command {
    const STOP: Self = Self::Stop;
}

/// A running sniffer.
pub(crate) struct SnifferHandle {
    pub(crate) id: InstanceId,
    pub(crate) address: SocketAddr,
    pub(crate) group: Option<SocketAddr>,
    service: Service<Command>,
}

impl SnifferHandle {
    /// Opens the sockets and starts the threads.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running.
    pub(crate) fn start(
        name: &str,
        mut config: Config,
        listener: SnifferListener,
    ) -> Result<Self, StartError> {
        look_up_advertised(&mut config)?;
        let (id, clock) = (InstanceId::random(), Clock::start());
        let sockets = open_discovery(id, &config, &SOCKET_OPTIONS)?;
        let mailbox = Mailbox::open()?;
        sockets.register(&mailbox.poll)?;
        let alarm = Alarm::open(&mailbox.poll, ALARM)?;
        let address = sockets.control.local_address();
        let group = sockets.group.is_some();
        let group = group.then(|| (config.discovery.address, config.discovery.port).into());
        let clients = &config.discovery.daemons;
        let (link, counters) = (Arc::clone(&mailbox.link), Arc::new(Counters::new()));
        let (family, counted) = (sockets.control.family(), Arc::clone(&counters));
        let resolver = Resolver::start(clients, family, counted, move |index, address| {
            link.submit(Command::DaemonMoved(index, address));
        })?;
        let sniffer = Sniffer {
            discovery: observer(id, name, &config, (&sockets.control, clock.now())),
            daemons: clients.iter().map(|daemon| daemon.to_string().into()).collect(),
            resolver,
            resolve_pause: config.discovery.resolve,
            resolve_at: Timestamp::default(),
            sockets,
            poll: mailbox.poll,
            alarm,
            events: Events::with_capacity(4),
            queue: mailbox.queue,
            listener,
            counters,
            clock,
            buffer: ReceiveBuffer::new(),
            outgoing: Vec::with_capacity(MAX_DISCOVERY_BYTES),
            busy: false,
        };
        let service = Service::start("vega-sniffer", mailbox.link, move || sniffer.run())?;
        Ok(Self { id, address, group, service })
    }

    /// What is seen now.
    pub(crate) fn snapshot(&self) -> SnifferSnapshot {
        self.service.ask(Command::Snapshot).unwrap_or_default()
    }

    /// Stops the thread, and returns when it has ended. Does nothing when that has happened before.
    pub(crate) fn stop(&self) {
        self.service.stop();
    }
}

/// A part of discovery that says nothing to the group. To daemons it has to: they tell clients alone.
fn observer(
    id: InstanceId,
    name: &str,
    config: &Config,
    (socket, now): (&UdpSocket, Timestamp),
) -> Discovery {
    let Config { control, discovery, limits, .. } = config;
    let local = socket.local_address();
    let at = Locator { address: control.advertise.of(local, control.ports), stream: 0 };
    // It sends no requests: the place for responses only has to be one of its own.
    let identity = Identity {
        instance: id,
        name: name.into(),
        control: at,
        source: local,
        responses: at,
        host: 0,
    };
    let settings = Settings {
        refresh: discovery.refresh,
        timeout: discovery.timeout,
        max_peers: limits.max_peers,
        max_adverts_per_peer: MAX_ADVERTS_PER_PEER,
        max_adverts: MAX_ADVERTS,
    };
    let daemons = discovery.daemons.iter().map(DaemonAddress::socket).collect();
    let carrier = Carrier { group: false, daemons };
    Discovery::new(identity, settings, &carrier, id.as_uuid().as_u64_pair().0, now)
}

/// What the thread owns.
struct Sniffer {
    discovery: Discovery,
    daemons: Vec<Arc<str>>,
    resolver: Option<Resolver>,
    resolve_pause: Duration,
    resolve_at: Timestamp,
    sockets: DiscoverySockets,
    poll: Poll,
    alarm: Alarm,
    events: Events,
    queue: Receiver<Command>,
    listener: SnifferListener,
    /// Of panics of the listener.
    counters: Arc<Counters>,
    clock: Clock,
    buffer: ReceiveBuffer,
    outgoing: Vec<u8>,
    /// Something was left for the next cycle.
    busy: bool,
}

impl Sniffer {
    fn run(mut self) {
        loop {
            self.wait();
            self.busy = false;
            let now = self.clock.now();
            self.receive(now);
            if self.is_stopped(now) {
                break;
            }
            self.discovery.handle_timeout(now);
            self.look_up_daemons(now);
            self.report();
            self.transmit(now);
        }
        // Only daemons know that there was somebody.
        self.discovery.goodbye(GOODBYES);
        self.transmit(self.clock.now());
        callback::discard(&self.counters, "", self.listener);
    }

    fn wait(&mut self) {
        let now = self.clock.now();
        let mut timeout = self.discovery.next_deadline().since(now).min(LONGEST_WAIT);
        if self.resolver.is_some() {
            timeout = timeout.min(self.resolve_at.since(now));
        }
        if self.busy {
            timeout = Duration::ZERO;
        }
        if let Err(error) = self.alarm.poll(&mut self.poll, &mut self.events, timeout) {
            tracing::error!(%error, "polling failed");
        }
    }

    fn receive(&mut self, now: Timestamp) {
        for socket in self.sockets.all() {
            for count in 0..=BURST {
                let received = match socket.recv(&mut self.buffer) {
                    Ok(Some(received)) => received,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, "receive failed");
                        break;
                    }
                };
                let source = received.source();
                for datagram in received.segments() {
                    // Nobody calls who publishes nothing and listens to nothing.
                    if !Roll::is_one(datagram)
                        && let Err(error) = self.discovery.handle_datagram(now, source, datagram)
                    {
                        tracing::debug!(%source, %error, "a datagram is not of discovery");
                    }
                }
                self.busy |= count == BURST;
            }
        }
    }

    fn is_stopped(&mut self, now: Timestamp) -> bool {
        while let Ok(command) = self.queue.try_recv() {
            match command {
                // Who asked may not wait any more.
                Command::Snapshot(reply) => {
                    let _ = reply.send(self.snapshot());
                }
                Command::DaemonMoved(index, address) => {
                    self.discovery.daemon_moved(index, address, now);
                }
                Command::Stop => return true,
            }
        }
        false
    }

    fn snapshot(&self) -> SnifferSnapshot {
        let mut instances: Vec<_> = self.discovery.peers().map(peer).collect();
        instances.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        let mut adverts: Vec<_> = self.discovery.adverts().map(topic_advert).collect();
        adverts.sort_by(|one, other| one.order().cmp(&other.order()));
        let daemons = self.discovery.daemons_up().map(|index| Arc::clone(&self.daemons[index]));
        SnifferSnapshot { instances, adverts, daemons: daemons.collect() }
    }

    fn look_up_daemons(&mut self, now: Timestamp) {
        let Some(resolver) = &self.resolver else { return };
        if self.resolve_at <= now {
            self.resolve_at = now + self.resolve_pause;
            if self.discovery.daemons_up().count() < self.daemons.len() {
                resolver.ask();
            }
        }
    }

    fn report(&mut self) {
        while let Some(event) = self.discovery.poll_event() {
            if let Some(event) = self.translate(event) {
                callback::run(&self.counters, "on_event", "", || (self.listener)(&event));
            }
        }
    }

    fn translate(&self, event: Event) -> Option<SnifferEvent> {
        let advert = |instance, advert: &_| topic_advert((instance, advert));
        Some(match event {
            Event::InstanceUp(info) => SnifferEvent::InstanceUp(peer(&info)),
            Event::InstanceDown { peer: info, reason } => {
                SnifferEvent::InstanceDown(peer(&info), down_reason(reason))
            }
            Event::Advertised { instance, advert: it, .. } => {
                SnifferEvent::Advertised(advert(instance, &it))
            }
            Event::Withdrawn { instance, advert: it, .. } => {
                SnifferEvent::Withdrawn(advert(instance, &it))
            }
            Event::TopicCollision { instance, held, refused, .. } => {
                SnifferEvent::TopicConflict { instance, refused: refused.into(), held }
            }
            Event::Overflow(Overflow::Peers { limit }) => {
                SnifferEvent::Full { instance: None, limit }
            }
            Event::Overflow(Overflow::Adverts { instance, limit }) => {
                SnifferEvent::Full { instance: Some(instance), limit }
            }
            Event::DaemonUp { index, .. } => {
                SnifferEvent::DaemonUp(Arc::clone(&self.daemons[index]))
            }
            Event::DaemonDown { index } => {
                SnifferEvent::DaemonDown(Arc::clone(&self.daemons[index]))
            }
            // Its identity is random, and goes to daemons alone.
            Event::DuplicateIdentity { source } => {
                tracing::error!(%source, "somebody else uses the identity of this sniffer");
                return None;
            }
        })
    }

    fn transmit(&mut self, now: Timestamp) {
        for _ in 0..BURST {
            let Some(target) = self.discovery.poll_transmit(now, &mut self.outgoing) else {
                return;
            };
            self.sockets.send(target, &self.outgoing);
        }
        self.busy = true;
    }
}
