//! The thread of a discovery daemon: a socket around [`Relay`]. Layer: engine. Instances have no part in
//! it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crossbeam_channel::Sender;
use mio::{Events, Interest, Poll, Token};

use super::TROUBLE_INTERVAL;
use super::callback;
use super::conductor::down_reason;
use super::service::{Mailbox, Service, Stop};
use super::start::{SOCKET_OPTIONS, StartError, interface, opened};
use crate::config::DaemonConfig;
use crate::counters::{Counter, Counters};
use crate::discovery::relay::{ClientInfo, Relay, RelayCounters, RelayEvent, RelaySettings};
use crate::id::InstanceId;
use crate::listener::{DaemonClient, DaemonEvent, DaemonTrouble};
use crate::time::{Clock, Timestamp};
use crate::transport::Alarm;
use crate::transport::udp::{ReceiveBuffer, UdpSocket};
use crate::wire::advert::MAX_DISCOVERY_BYTES;

const SOCKET: Token = Token(1);
const ALARM: Token = Token(2);
/// Datagrams received, or sent, before the rest of the cycle gets its turn.
const BURST: usize = 256;
/// The daemon looks around at least this often.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Hears of clients that come and go.
pub(crate) type DaemonListener = Box<dyn FnMut(&DaemonEvent) + Send>;

enum Command {
    Clients(Sender<Vec<DaemonClient>>),
    Counters(Sender<(RelayCounters, DaemonTrouble)>),
    Stop,
}

impl Stop for Command {
    const STOP: Self = Self::Stop;
}

/// A running daemon.
pub(crate) struct DaemonHandle {
    pub(crate) id: InstanceId,
    pub(crate) address: SocketAddr,
    service: Service<Command>,
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
        let alarm = Alarm::open(&mailbox.poll, ALARM)?;
        let (id, clock) = (InstanceId::random(), Clock::start());
        let address = socket.local_address();
        let settings = RelaySettings {
            client_timeout: config.client_timeout,
            max_clients: config.max_clients,
        };
        let daemon = Daemon {
            relay: Relay::new(id, settings, clock.now()),
            socket,
            poll: mailbox.poll,
            alarm,
            events: Events::with_capacity(4),
            queue: mailbox.queue,
            listener,
            counters: Arc::new(Counters::new()),
            told: DaemonTrouble::default(),
            tell_at: clock.now() + TROUBLE_INTERVAL,
            clock,
            buffer: ReceiveBuffer::new(),
            outgoing: Vec::with_capacity(MAX_DISCOVERY_BYTES),
            busy: false,
        };
        let service = Service::start("vega-daemon", mailbox.link, move || daemon.run())?;
        Ok(Self { id, address, service })
    }

    /// The clients now.
    pub(crate) fn clients(&self) -> Vec<DaemonClient> {
        self.service.ask(Command::Clients).unwrap_or_default()
    }

    pub(crate) fn counters(&self) -> (RelayCounters, DaemonTrouble) {
        self.service.ask(Command::Counters).unwrap_or_default()
    }

    /// Stops the thread, and returns when it has ended. Does nothing when that has happened before.
    pub(crate) fn stop(&self) {
        self.service.stop();
    }
}

/// What the thread owns.
struct Daemon {
    relay: Relay,
    socket: UdpSocket,
    poll: Poll,
    alarm: Alarm,
    events: Events,
    queue: Receiver<Command>,
    listener: DaemonListener,
    /// What the relay does not count: failures, and panics of the listener.
    counters: Arc<Counters>,
    /// The trouble that the listener knows of, and when to look for more.
    told: DaemonTrouble,
    tell_at: Timestamp,
    clock: Clock,
    buffer: ReceiveBuffer,
    outgoing: Vec<u8>,
    /// Something was left for the next cycle.
    busy: bool,
}

impl Daemon {
    fn run(mut self) {
        loop {
            self.wait();
            self.busy = false;
            let now = self.clock.now();
            self.receive(now);
            if self.is_stopped() {
                break;
            }
            self.relay.handle_timeout(now);
            self.report();
            self.report_trouble(now);
            self.transmit(now);
        }
        callback::discard(&self.counters, "", self.listener);
    }

    fn wait(&mut self) {
        let now = self.clock.now();
        let mut timeout = self.relay.next_deadline().since(now).min(LONGEST_WAIT);
        if self.busy {
            timeout = Duration::ZERO;
        }
        if let Err(error) = self.alarm.poll(&mut self.poll, &mut self.events, timeout) {
            self.counters.add(Counter::ReceiveErrors, 1);
            tracing::error!(%error, "polling failed");
        }
    }

    fn receive(&mut self, now: Timestamp) {
        for count in 0..=BURST {
            let received = match self.socket.recv(&mut self.buffer) {
                Ok(Some(received)) => received,
                Ok(None) => break,
                Err(error) => {
                    self.counters.add(Counter::ReceiveErrors, 1);
                    tracing::debug!(%error, "receive failed");
                    break;
                }
            };
            let source = received.source();
            for datagram in received.segments() {
                if let Err(error) = self.relay.handle_datagram(now, source, datagram) {
                    tracing::debug!(%source, %error, "a datagram is not for a discovery daemon");
                }
            }
            self.busy |= count == BURST;
        }
    }

    fn is_stopped(&self) -> bool {
        while let Ok(command) = self.queue.try_recv() {
            // Who asked may not wait any more.
            match command {
                Command::Clients(reply) => {
                    let _ = reply.send(self.relay.clients().map(client).collect());
                }
                Command::Counters(reply) => {
                    let _ = reply.send((self.relay.counters(), self.trouble()));
                }
                Command::Stop => return true,
            }
        }
        false
    }

    fn report(&mut self) {
        while let Some(event) = self.relay.poll_event() {
            let event = match event {
                RelayEvent::ClientUp(info) => DaemonEvent::ClientUp(client(&info)),
                RelayEvent::ClientDown(info, reason) => {
                    DaemonEvent::ClientDown(client(&info), down_reason(reason))
                }
                RelayEvent::Full { limit } => DaemonEvent::Full { limit },
            };
            self.tell(&event);
        }
    }

    fn tell(&mut self, event: &DaemonEvent) {
        callback::run(&self.counters, "on_event", "", || (self.listener)(event));
    }

    fn trouble(&self) -> DaemonTrouble {
        let (relay, own) = (self.relay.counters(), self.counters.totals(|_| false));
        let own = |counter: Counter| own[counter as usize];
        DaemonTrouble {
            malformed: relay.malformed,
            refused: relay.tickets_refused + relay.foreign + relay.clients_refused,
            dropped: relay.over_allowance + relay.overruns,
            failed: own(Counter::SendErrors) + own(Counter::ReceiveErrors),
            callback_panics: own(Counter::CallbackPanics),
        }
    }

    /// As for instances: a flood of junk is no flood of calls.
    fn report_trouble(&mut self, now: Timestamp) {
        if now < self.tell_at {
            return;
        }
        self.tell_at = now + TROUBLE_INTERVAL;
        let trouble = self.trouble();
        if trouble != self.told {
            let increase = trouble.since(&self.told);
            self.told = trouble;
            self.tell(&DaemonEvent::Trouble(increase));
        }
    }

    fn transmit(&mut self, now: Timestamp) {
        for _ in 0..BURST {
            let Some(to) = self.relay.poll_transmit(now, &mut self.outgoing) else { return };
            let (to, bytes) = (self.socket.destination(to), &self.outgoing);
            if let Err(error) = self.socket.send_run(Some(&to), bytes, bytes.len()) {
                // As if the network had lost it.
                self.counters.add(Counter::SendErrors, 1);
                tracing::debug!(%error, ?to, "a datagram was not sent");
            }
        }
        self.busy = true;
    }
}

fn client(info: &ClientInfo) -> DaemonClient {
    DaemonClient { id: info.instance, name: Arc::clone(&info.name), address: info.address }
}
