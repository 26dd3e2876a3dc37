//! The thread of a sniffer: discovery that tells the group nothing. Layer: engine. Instances have no part
//! in it. The thread owns the listener; what it knows is shared with those who ask, see
//! [`service`](super::service).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use parking_lot::Mutex;

use super::callback;
use super::discovery_driver::DiscoveryDriver;
use super::seen::{down_reason, peer, topic_advert};
use super::service::{Mailbox, Service, Stop};
use super::start::{SOCKET_OPTIONS, StartError, look_up_advertised, open_discovery};
use super::trouble::Trouble;
use super::wakeups::Wakeups;
use crate::config::Config;
use crate::counters::{CounterSnapshot, Counters};
use crate::discovery::event::{Event, Overflow};
use crate::discovery::{Carrier, Discovery, Identity, Settings};
use crate::id::InstanceId;
use crate::listener::{SnifferEvent, SnifferSnapshot};
use crate::time::{Clock, Timestamp};
use crate::transport::udp::{SocketOptions, UdpSocket};
use crate::wire::locator::Locator;
use crate::wire::roll::Roll;

/// Hears what the sniffer sees.
pub(crate) type SnifferListener = Box<dyn FnMut(&SnifferEvent) + Send>;

enum Command {
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
    known: Arc<Known>,
    service: Service<Command>,
}

/// What others may look at.
struct Known {
    driver: Mutex<DiscoveryDriver>,
    counters: Arc<Counters>,
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
        let (id, clock, counters) =
            (InstanceId::random(), Clock::start(), Arc::new(Counters::new()));
        let options = SocketOptions { counters: Some(Arc::clone(&counters)), ..SOCKET_OPTIONS };
        let sockets = open_discovery(id, &config, &options)?;
        let mailbox = Mailbox::open()?;
        let address = sockets.control.local_address();
        let group = sockets.group.is_some();
        let group = group.then(|| (config.discovery.address, config.discovery.port).into());
        let link = Arc::clone(&mailbox.link);
        let driver = DiscoveryDriver::new(
            observer(id, name, &config, (&sockets.control, clock.now())),
            sockets,
            &config.discovery,
            Arc::clone(&counters),
            move |index, address| link.submit(Command::DaemonMoved(index, address)),
        )?;
        driver.register(&mailbox.poll)?;
        let known = Arc::new(Known { driver: Mutex::new(driver), counters });
        let sniffer = Sniffer {
            known: Arc::clone(&known),
            wakeups: Wakeups::new(mailbox.poll)?,
            queue: mailbox.queue,
            listener,
            trouble: Trouble::new(clock.now()),
            clock,
            busy: false,
        };
        let service = Service::start("vega-sniffer", mailbox.link, move || sniffer.run())?;
        Ok(Self { id, address, group, known, service })
    }

    /// What is seen now; nothing when it has been stopped.
    pub(crate) fn snapshot(&self) -> SnifferSnapshot {
        if self.service.is_stopped() {
            return SnifferSnapshot::default();
        }
        let driver = self.known.driver.lock();
        let mut instances: Vec<_> = driver.discovery.peers().map(peer).collect();
        let mut adverts: Vec<_> = driver.discovery.adverts().map(topic_advert).collect();
        let daemons = driver.daemons_up().map(Arc::clone).collect();
        drop(driver);
        instances.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        adverts.sort_by(|one, other| one.order().cmp(&other.order()));
        SnifferSnapshot { instances, adverts, daemons }
    }

    pub(crate) fn counters(&self) -> CounterSnapshot {
        self.known.counters.snapshot()
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
    let (control, local) = (&config.control, socket.local_address());
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
    let carrier = Carrier::of(&config.discovery, false);
    let (seed, _) = id.as_uuid().as_u64_pair();
    Discovery::new(identity, Settings::of(config), &carrier, seed, now)
}

/// What the thread owns.
struct Sniffer {
    known: Arc<Known>,
    wakeups: Wakeups,
    queue: Receiver<Command>,
    listener: SnifferListener,
    trouble: Trouble,
    clock: Clock,
    /// Something was left for the next cycle.
    busy: bool,
}

impl Sniffer {
    fn run(mut self) {
        loop {
            self.wait();
            let now = self.clock.now();
            // Nobody calls who publishes nothing and listens to nothing.
            let other = |_, datagram: &[u8]| Roll::is_one(datagram);
            self.busy = self.known.driver.lock().receive(now, other);
            if self.is_stopped(now) {
                break;
            }
            self.known.driver.lock().discovery.handle_timeout(now);
            self.known.driver.lock().look_after_daemons(now);
            self.report();
            self.busy |= self.known.driver.lock().transmit(now);
            self.report_trouble(now);
        }
        // Only daemons know that there was somebody.
        self.known.driver.lock().leave(self.clock.now());
        callback::discard(&self.known.counters, "", self.listener);
    }

    fn wait(&mut self) {
        let mut timeout = self.known.driver.lock().idle_time(self.clock.now());
        if self.busy {
            timeout = Duration::ZERO;
        }
        self.wakeups.wait(timeout, &self.known.counters);
    }

    fn is_stopped(&self, now: Timestamp) -> bool {
        while let Ok(command) = self.queue.try_recv() {
            match command {
                Command::DaemonMoved(index, address) => {
                    self.known.driver.lock().discovery.daemon_moved(index, address, now);
                }
                Command::Stop => return true,
            }
        }
        false
    }

    fn report(&mut self) {
        while let Some(event) = self.next_event() {
            callback::run(&self.known.counters, "on_event", "", || (self.listener)(&event));
        }
    }

    /// What has happened; the listener is told when nothing is locked.
    fn next_event(&self) -> Option<SnifferEvent> {
        let mut driver = self.known.driver.lock();
        loop {
            let event = driver.discovery.poll_event()?;
            if let Some(event) = translate(event, &driver) {
                return Some(event);
            }
        }
    }

    fn report_trouble(&mut self, now: Timestamp) {
        self.known.driver.lock().count();
        if self.trouble.is_due(now) {
            let Self { known, trouble, listener, .. } = self;
            trouble.tell(now, &known.counters, |counter, increase| {
                let event = SnifferEvent::Trouble { counter, increase };
                callback::run(&known.counters, "on_event", "", || listener(&event));
            });
        }
    }
}

fn translate(event: Event, driver: &DiscoveryDriver) -> Option<SnifferEvent> {
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
        Event::Overflow(Overflow::Peers { limit }) => SnifferEvent::Full { instance: None, limit },
        Event::Overflow(Overflow::Adverts { instance, limit }) => {
            SnifferEvent::Full { instance: Some(instance), limit }
        }
        Event::DaemonUp { index, .. } => SnifferEvent::DaemonUp(Arc::clone(driver.daemon(index))),
        Event::DaemonDown { index } => SnifferEvent::DaemonDown(Arc::clone(driver.daemon(index))),
        // Its identity is random, and goes to daemons alone. The counter tells.
        Event::DuplicateIdentity { source } => {
            tracing::error!(%source, "somebody else uses the identity of this sniffer");
            return None;
        }
    })
}
