//! The thread of a discovery daemon: a socket around [`Relay`]. Layer: engine. Instances have no part in
//! it. The thread owns the socket; what it knows is shared with those who ask, see [`service`](super::service).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use mio::{Interest, Token};
use parking_lot::Mutex;

use super::TROUBLE_INTERVAL;
use super::callback;
use super::discovery_driver::{BURST, Strangers};
use super::reading::read;
use super::seen::down_reason;
use super::service::{Mailbox, Service, Stop};
use super::start::{SOCKET_OPTIONS, StartError, interface, opened};
use super::wakeups::Wakeups;
use crate::config::DaemonConfig;
use crate::counters::{Counter, Counters};
use crate::discovery::relay::{ClientInfo, Relay, RelayCounters, RelayEvent, RelaySettings};
use crate::id::InstanceId;
use crate::listener::{DaemonClient, DaemonEvent, DaemonTrouble};
use crate::time::{Clock, Timestamp};
use crate::transport::udp::{ReceiveBuffer, UdpSocket};
use crate::wire::advert::MAX_DISCOVERY_BYTES;

const SOCKET: Token = Token(1);

/// Hears of clients that come and go.
pub(crate) type DaemonListener = Box<dyn FnMut(&DaemonEvent) + Send>;

enum Command {
    Stop,
}

impl Stop for Command {
    const STOP: Self = Self::Stop;
}

/// A running daemon.
pub(crate) struct DaemonHandle {
    pub(crate) id: InstanceId,
    pub(crate) address: SocketAddr,
    known: Arc<Known>,
    service: Service<Command>,
}

/// What others may look at.
struct Known {
    relay: Mutex<Relay>,
    /// What the relay does not count: failures, and panics of the listener.
    counters: Arc<Counters>,
}

impl DaemonHandle {
    /// Opens the socket and starts the thread.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running.
    pub(crate) fn start(
        config: &DaemonConfig,
        listener: DaemonListener,
    ) -> Result<Self, StartError> {
        let at = interface("daemon", &config.interface)?;
        let socket = UdpSocket::bind_unicast(&at, [config.port], &SOCKET_OPTIONS);
        let mailbox = Mailbox::open()?;
        let socket = opened("daemon", socket)?;
        mailbox.poll.registry().register(&mut &socket, SOCKET, Interest::READABLE)?;
        let (id, clock) = (InstanceId::random(), Clock::start());
        let address = socket.local_address();
        let settings = RelaySettings {
            client_timeout: config.client_timeout,
            max_clients: config.max_clients,
        };
        let known = Arc::new(Known {
            relay: Mutex::new(Relay::new(id, settings, clock.now())),
            counters: Arc::new(Counters::new()),
        });
        let daemon = Daemon {
            known: Arc::clone(&known),
            socket,
            wakeups: Wakeups::new(mailbox.poll)?,
            queue: mailbox.queue,
            listener,
            told: DaemonTrouble::default(),
            tell_at: clock.now() + TROUBLE_INTERVAL,
            clock,
            buffer: ReceiveBuffer::new(),
            outgoing: Vec::with_capacity(MAX_DISCOVERY_BYTES),
            strangers: Strangers::default(),
            busy: false,
        };
        let service = Service::start("vega-daemon", mailbox.link, move || daemon.run())?;
        Ok(Self { id, address, known, service })
    }

    /// The clients now; none when it has been stopped.
    pub(crate) fn clients(&self) -> Vec<DaemonClient> {
        if self.service.is_stopped() {
            return Vec::new();
        }
        self.known.relay.lock().clients().map(client).collect()
    }

    pub(crate) fn counters(&self) -> (RelayCounters, DaemonTrouble) {
        let trouble = self.known.trouble();
        (self.known.relay.lock().counters(), trouble)
    }

    /// Stops the thread, and returns when it has ended. Does nothing when that has happened before.
    pub(crate) fn stop(&self) {
        self.service.stop();
    }
}

impl Known {
    fn trouble(&self) -> DaemonTrouble {
        let (relay, own) = (self.relay.lock().counters(), self.counters.totals(|_| false));
        let own = |counter: Counter| own[counter as usize];
        DaemonTrouble {
            malformed: relay.malformed + own(Counter::Malformed),
            other_versions: relay.other_versions,
            refused: relay.tickets_refused + relay.foreign + relay.clients_refused,
            dropped: relay.over_allowance + relay.overruns,
            failed: own(Counter::SendErrors) + own(Counter::ReceiveErrors),
            callback_panics: own(Counter::CallbackPanics),
        }
    }
}

/// What the thread owns.
struct Daemon {
    known: Arc<Known>,
    socket: UdpSocket,
    wakeups: Wakeups,
    queue: Receiver<Command>,
    listener: DaemonListener,
    /// The trouble that the listener knows of, and when to look for more.
    told: DaemonTrouble,
    tell_at: Timestamp,
    clock: Clock,
    buffer: ReceiveBuffer,
    outgoing: Vec<u8>,
    strangers: Strangers,
    /// Something was left for the next cycle.
    busy: bool,
}

impl Daemon {
    fn run(mut self) {
        loop {
            self.wait();
            let now = self.clock.now();
            self.busy = self.receive(now);
            if self.is_stopped() {
                break;
            }
            self.known.relay.lock().handle_timeout(now);
            self.report();
            self.report_trouble(now);
            self.busy |= self.transmit(now);
        }
        callback::discard(&self.known.counters, "", self.listener);
    }

    fn wait(&mut self) {
        let now = self.clock.now();
        let mut timeout = self.known.relay.lock().next_deadline().since(now);
        if self.busy {
            timeout = Duration::ZERO;
        }
        self.wakeups.wait(timeout, &self.known.counters);
    }

    fn receive(&mut self, now: Timestamp) -> bool {
        let mut relay = self.known.relay.lock();
        read(&self.socket, &mut self.buffer, BURST, &self.known.counters, |source, datagram| {
            if let Err(error) = relay.handle_datagram(now, source, datagram) {
                self.strangers.refuse(source, error);
            }
        })
    }

    fn is_stopped(&self) -> bool {
        // There is nothing else to be told.
        matches!(self.queue.try_recv(), Ok(Command::Stop))
    }

    fn report(&mut self) {
        while let Some(event) = self.next_event() {
            self.tell(&event);
        }
    }

    /// What has happened; the listener is told when nothing is locked.
    fn next_event(&self) -> Option<DaemonEvent> {
        Some(match self.known.relay.lock().poll_event()? {
            RelayEvent::ClientUp(info) => DaemonEvent::ClientUp(client(&info)),
            RelayEvent::ClientDown(info, reason) => {
                DaemonEvent::ClientDown(client(&info), down_reason(reason))
            }
            RelayEvent::Full { limit } => DaemonEvent::Full { limit },
        })
    }

    fn tell(&mut self, event: &DaemonEvent) {
        callback::run(&self.known.counters, "on_event", "", || (self.listener)(event));
    }

    /// As for instances: a flood of junk is no flood of calls.
    fn report_trouble(&mut self, now: Timestamp) {
        if now < self.tell_at {
            return;
        }
        self.tell_at = now + TROUBLE_INTERVAL;
        let trouble = self.known.trouble();
        if trouble != self.told {
            let increase = trouble.since(&self.told);
            self.told = trouble;
            self.tell(&DaemonEvent::Trouble(increase));
        }
    }

    /// True when something was left for the next cycle.
    fn transmit(&mut self, now: Timestamp) -> bool {
        let mut relay = self.known.relay.lock();
        for _ in 0..BURST {
            let Some(to) = relay.poll_transmit(now, &mut self.outgoing) else { return false };
            let (to, bytes) = (self.socket.destination(to), &self.outgoing);
            if let Err(error) = self.socket.send_run(Some(&to), bytes, bytes.len()) {
                // As if the network had lost it.
                self.known.counters.add(Counter::SendErrors, 1);
                tracing::debug!(%error, ?to, "a datagram was not sent");
            }
        }
        true
    }
}

fn client(info: &ClientInfo) -> DaemonClient {
    DaemonClient { id: info.instance, name: Arc::clone(&info.name), address: info.address }
}
