//! Starting an instance: sockets first, then threads. Layer: engine. Runs on the thread of whoever
//! builds the instance; what was started is stopped again when a later step fails.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;

use super::conductor::{self, ConductorParts, Mailroom};
use super::counter_files::{self, is_counter_file};
use super::discovery_driver::{DiscoveryDriver, DiscoverySockets};
use super::endpoint::{EndpointId, SocketEndpoint};
use super::matching::{MatchingParts, RING_SUFFIX};
use super::patterns::Patterns;
use super::poller::{self, Command, PollerHandle, PollerParts, Reports};
use super::request_processor::RequestProcessor;
use super::responses::{Responses, ResponsesParts};
use super::send_socket::{Opener, SendSocket};
use super::tending::Tending;
use super::topics::Topics;
use super::{Engine, Threads};
use crate::config::{
    Config, Family, FaultConfig, Host, InterfaceSpec, MAX_SEED, MIN_WINDOW_PACKETS, Offload,
    ResponsesConfig,
};
use crate::counters::{Counter, Counters};
use crate::discovery::{Carrier, Discovery, Identity, Settings};
use crate::id::{InstanceId, ReceiverId};
use crate::listener::{InstanceListener, Respond};
use crate::protocol::receiver::ReceiveSettings;
use crate::ring::Layout;
use crate::time::Clock;
use crate::transport::accept_barriers;
use crate::transport::interface::{Interface, InterfaceError, resolve};
use crate::transport::lookup::lookup;
use crate::transport::shm::Directory;
use crate::transport::udp::{FaultSource, OpenError, SocketOptions, UdpSocket};
use crate::wire::frame::REQUEST_PREFIX_LENGTH;
use crate::wire::locator::Locator;

/// Receive buffer asked for per data socket at least: four windows of the default size, as much as
/// systems grant that were tuned for multicast. Windows shrink to what is granted.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Send buffer: some dozens of the longest runs.
const SEND_BUFFER_BYTES: usize = 1 << 20;
/// What stands before the user's payload in requests and responses counts as part of the message on
/// the wire, but not against the user's limit.
const MAX_PREFIX_BYTES: usize = REQUEST_PREFIX_LENGTH;

/// What sockets ask for unless the configuration wants something else.
pub(super) const SOCKET_OPTIONS: SocketOptions = SocketOptions {
    receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
    send_buffer_bytes: SEND_BUFFER_BYTES,
    force_portable: false,
    faults: None,
    counters: None,
};

/// What the sockets on which an instance hears others ask for: faults too, when they are on.
fn socket_options(
    id: InstanceId,
    offload: Offload,
    config: &FaultConfig,
    clock: Clock,
    counters: &Arc<Counters>,
) -> SocketOptions {
    let options = SocketOptions {
        force_portable: offload == Offload::Off,
        counters: Some(Arc::clone(counters)),
        ..SOCKET_OPTIONS
    };
    if !config.is_on() {
        return options;
    }
    // Half of a random identity is random, but for its highest bits.
    let drawn = (id.as_uuid().as_u64_pair().1 & MAX_SEED).max(1);
    let seed = if config.seed == 0 { drawn } else { config.seed };
    let FaultConfig { loss, duplicate, reorder, delay, jitter, .. } = config;
    tracing::warn!(
        seed, %loss, %duplicate, %reorder, ?delay, ?jitter,
        "[fault] IS ON: this instance mistreats what it receives on purpose; never in production"
    );
    let config = FaultConfig { seed, ..config.clone() };
    let source = FaultSource::new(config, clock, Arc::clone(counters));
    SocketOptions { faults: Some(Arc::new(source)), ..options }
}

/// What a socket that receives data asks for: a receiver promises half of its buffer, so a large
/// window takes a larger one.
pub(super) fn receiver_options(options: &SocketOptions, window_bytes: usize) -> SocketOptions {
    let receive_buffer_bytes = RECEIVE_BUFFER_BYTES.max(window_bytes.saturating_mul(2));
    SocketOptions { receive_buffer_bytes, ..options.clone() }
}

/// Why an instance did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum StartError {
    #[error("[{section}] interface")]
    Interface { section: &'static str, source: InterfaceError },
    #[error("[{section}] socket")]
    Socket { section: &'static str, source: OpenError },
    #[error("advertise = {host:?} is not found")]
    Lookup { host: String, source: io::Error },
    #[error("the operating system gives no thread or no poll instance")]
    Thread(#[from] io::Error),
}

pub(super) fn interface(
    section: &'static str,
    spec: &InterfaceSpec,
) -> Result<Interface, StartError> {
    resolve(spec).map_err(|source| StartError::Interface { section, source })
}

pub(super) fn opened<T>(
    section: &'static str,
    result: Result<T, OpenError>,
) -> Result<T, StartError> {
    result.map_err(|source| StartError::Socket { section, source })
}

/// Everything that is opened before the first thread starts.
struct Opened {
    responses: UdpSocket,
    respond: Arc<SendSocket>,
    responds_on_loopback: bool,
    discovery: DiscoverySockets,
    wakes: Vec<UdpSocket>,
    wake: Arc<UdpSocket>,
}

impl Opened {
    fn open(
        id: InstanceId,
        config: &Config,
        options: &SocketOptions,
        counters: &Arc<Counters>,
    ) -> Result<Self, StartError> {
        let responses_at = interface("responses", &config.responses.interface)?;
        let ports = config.responses.ports;
        let preferred = config.responses.preferred_port(id);
        let responses = opened(
            "responses",
            UdpSocket::bind_unicast(
                &responses_at,
                ports.candidates(preferred),
                &receiver_options(options, config.responses.window_bytes),
            ),
        )?;
        let opener = Opener { interface: responses_at.clone(), ttl: 0, options: options.clone() };
        let respond = opened("responses", SendSocket::open(opener, Arc::clone(counters)))?;
        let loopback = interface("ipc", &InterfaceSpec::Loopback(Family::V4))?;
        let without_faults = SocketOptions { faults: None, ..options.clone() };
        let wake = || opened("ipc", UdpSocket::open_sender(&loopback, 0, &without_faults));
        let wakes = config.pollers.iter().map(|_| wake()).collect::<Result<_, _>>()?;
        Ok(Self {
            responses,
            respond: Arc::new(respond),
            responds_on_loopback: responses_at.is_loopback,
            discovery: open_discovery(id, config, options)?,
            wakes,
            wake: Arc::new(wake()?),
        })
    }
}

pub(super) fn open_discovery(
    id: InstanceId,
    config: &Config,
    options: &SocketOptions,
) -> Result<DiscoverySockets, StartError> {
    let discovery = &config.discovery;
    let control_at = interface("control", &config.control.interface)?;
    let ports = config.control.ports.candidates(config.control.preferred_port(id));
    let control = UdpSocket::bind_unicast(&control_at, ports, options);
    let control = opened("control", control)?;
    if !discovery.kind.uses_multicast() {
        return Ok(DiscoverySockets { control, group: None });
    }
    let at = interface("discovery", &discovery.interface)?;
    let group = UdpSocket::bind_multicast(&at, discovery.address, discovery.port, options);
    let group = opened("discovery", group)?;
    opened("discovery", control.send_to_groups(&at, discovery.ttl))?;
    let address = SocketAddr::from((discovery.address, discovery.port));
    let destination = control.destination(address);
    Ok(DiscoverySockets { control, group: Some((group, destination)) })
}

/// Replaces the names of hosts that others are told by their addresses.
pub(super) fn look_up_advertised(config: &mut Config) -> Result<(), StartError> {
    let mut found: HashMap<(String, Family), IpAddr> = HashMap::new();
    for (family, host) in config.advertised_hosts() {
        let Host::Name(name) = host else { continue };
        let key = (name.clone(), family);
        let address = match found.get(&key) {
            Some(address) => *address,
            None => lookup(name, family)
                .map_err(|source| StartError::Lookup { host: name.clone(), source })?,
        };
        found.insert(key, address);
        *host = Host::Address(address);
    }
    Ok(())
}

impl Engine {
    /// Opens the sockets and starts the threads.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running.
    pub(crate) fn start(
        name: &str,
        mut config: Config,
        receiver_tag: u32,
        listener: Box<dyn InstanceListener>,
    ) -> Result<Arc<Self>, StartError> {
        look_up_advertised(&mut config)?;
        let id = InstanceId::random();
        let clock = Clock::start();
        let directory = Directory::open(config.ipc.directory.as_deref());
        let (counters, counter_file) =
            counter_files::open(directory.as_ref(), &config.counters, id, name);
        let counters = Arc::new(counters);
        let socket_options = socket_options(id, config.offload, &config.fault, clock, &counters);
        let opened = Opened::open(id, &config, &socket_options, &counters)?;
        let (sends, receives) = opened.responses.path();
        tracing::info!(instance = %id, sends, receives, "UDP passes the kernel this way");
        let mailroom = Mailroom::open()?;
        accept_barriers();

        if let Ok(directory) = &directory {
            let removed = directory.remove_stale(|name| name.ends_with(RING_SUFFIX));
            counters.add(Counter::RingsReclaimed, removed as u64);
            directory.remove_stale(is_counter_file);
        }
        let responses_at = Locator {
            address: {
                let ResponsesConfig { advertise, ports, .. } = &config.responses;
                advertise.of(opened.responses.local_address(), *ports)
            },
            stream: config.responses.stream(id),
        };
        let requests = Arc::new(RequestProcessor::new(
            id,
            config.limits.max_open_requests,
            Arc::clone(&counters),
            clock,
        ));
        let link = Arc::clone(&mailroom.link);
        let tending = Arc::new(Tending::new(mailroom.feedback_wakes(&config)?));
        tending.add_socket(Arc::clone(&opened.respond));
        let responses = Arc::new(Responses::new(ResponsesParts {
            instance: id,
            config: config.responses.clone(),
            max_message_bytes: config.limits.max_message_bytes,
            max_requesters: config.limits.max_peers,
            socket: Arc::clone(&opened.respond),
            on_loopback: opened.responds_on_loopback,
            attention: Arc::clone(&link) as _,
            tending: Arc::clone(&tending),
            counters: Arc::clone(&counters),
            clock,
        }));

        let mut engine = Self {
            id,
            name: Arc::from(name),
            counters,
            counter_file,
            requests,
            responses_at,
            responses,
            conductor: link,
            tending,
            pollers: Vec::new(),
            topics: Mutex::new(Topics::default()),
            patterns: Patterns::default(),
            directory,
            wake: Arc::clone(&opened.wake),
            socket_options,
            receiver_tag,
            clock,
            closed: AtomicBool::new(false),
            threads: Mutex::new(Threads::default()),
            config,
        };
        match engine.start_threads(mailroom, opened, listener) {
            Ok(()) => Ok(Arc::new(engine)),
            Err(error) => {
                // Not dropped only: who tries again finds nothing of this attempt.
                engine.close();
                Err(error)
            }
        }
    }

    fn start_threads(
        &mut self,
        mailroom: Mailroom,
        opened: Opened,
        listener: Box<dyn InstanceListener>,
    ) -> Result<(), StartError> {
        self.start_requests(listener)?;
        self.start_pollers(opened.wakes)?;
        self.add_response_endpoint(opened.responses);
        self.start_conductor(mailroom, opened.discovery)
    }

    fn start_requests(&self, listener: Box<dyn InstanceListener>) -> Result<(), StartError> {
        let thread = self.requests.start(listener)?;
        self.threads.lock().requests = Some(thread);
        Ok(())
    }

    fn start_pollers(&mut self, wakes: Vec<UdpSocket>) -> Result<(), StartError> {
        for (index, ring_wake) in wakes.into_iter().enumerate() {
            let parts = PollerParts {
                instance: self.id,
                counters: Arc::clone(&self.counters),
                requests: Arc::clone(&self.requests),
                responder: Arc::clone(&self.responses) as Arc<dyn Respond>,
                reports: Arc::clone(&self.conductor) as Arc<dyn Reports>,
                tending: Arc::clone(&self.tending),
                ring_wake,
                clock: self.clock,
            };
            let (handle, thread) = poller::start(index, &self.config.pollers[index], parts)?;
            self.pollers.push(handle);
            self.threads.lock().pollers.push(thread);
        }
        Ok(())
    }

    fn add_response_endpoint(&self, socket: UdpSocket) {
        let responses = &self.config.responses;
        let layout = Layout::for_window(responses.packet_bytes, responses.window_bytes);
        let (window_bytes, patience) = (responses.window_bytes, responses.repair_timeout);
        let settings = self.receive_settings(layout, window_bytes, patience, &socket);
        let receiver = ReceiverId { instance: self.id, port: self.responses_at.address.port() };
        let row = self.counters.row("responses", &format!("unicast {}", self.responses_at.address));
        let mut endpoint =
            SocketEndpoint::new(EndpointId::RESPONSES, socket, None, receiver, settings, row);
        endpoint.add_stream(self.responses_at.stream);
        self.pollers[responses.poller].submit(Command::AddSocket(Box::new(endpoint)));
    }

    /// What a receiver may promise to senders: no more than half of what its socket holds, because
    /// small packets take more of the kernel's memory than they carry.
    pub(super) fn receive_settings(
        &self,
        layout: Layout,
        window_bytes: usize,
        repair_timeout: Duration,
        socket: &UdpSocket,
    ) -> ReceiveSettings {
        let granted = socket.receive_buffer_bytes() / (2 * layout.packet_bytes);
        let granted = u32::try_from(granted.max(MIN_WINDOW_PACKETS)).unwrap_or(u32::MAX);
        let wanted = layout.window_packets(window_bytes);
        if granted < wanted {
            tracing::warn!(
                granted_bytes = socket.receive_buffer_bytes(),
                wanted_bytes = 2 * window_bytes,
                "the system limits socket buffers, windows are smaller than configured: raise \
                 net.core.rmem_max"
            );
        }
        ReceiveSettings {
            window_packets: wanted.min(granted),
            max_message_bytes: self.config.limits.max_message_bytes + MAX_PREFIX_BYTES,
            repair_timeout,
            is_group: false,
            tag: self.receiver_tag,
        }
    }

    fn start_conductor(
        &self,
        mailroom: Mailroom,
        sockets: DiscoverySockets,
    ) -> Result<(), StartError> {
        let config = &self.config.discovery;
        let control = sockets.control.local_address();
        let directory = self.directory.as_ref().ok().cloned();
        let host = directory.as_ref().map_or(0, Directory::identity);
        let identity = Identity {
            instance: self.id,
            name: Arc::clone(&self.name),
            control: Locator {
                address: self.config.control.advertise.of(control, self.config.control.ports),
                stream: 0,
            },
            source: control,
            responses: self.responses_at,
            host,
        };
        let settings = Settings::of(&self.config);
        let carrier = Carrier::of(config, config.kind.uses_multicast());
        let seed = self.id.as_uuid().as_u64_pair().0;
        let discovery = Discovery::new(identity, settings, &carrier, seed, self.clock.now());
        let (link, counters) = (Arc::clone(&self.conductor), Arc::clone(&self.counters));
        let moved = move |index, address| {
            link.submit(conductor::Command::DaemonMoved(index, address));
        };
        let parts = ConductorParts {
            instance: self.id,
            driver: DiscoveryDriver::new(discovery, sockets, config, counters, moved)?,
            matching: MatchingParts {
                own: self.id,
                host,
                directory,
                pages: self.config.ipc.pages,
                max_message_bytes: self.config.limits.max_message_bytes + MAX_PREFIX_BYTES,
                requests: Arc::clone(&self.requests),
                counters: Arc::clone(&self.counters),
            },
            pollers: self.pollers.clone(),
            requests: Arc::clone(&self.requests),
            responses: Arc::clone(&self.responses),
            tending: Arc::clone(&self.tending),
            counters: Arc::clone(&self.counters),
            clock: self.clock,
        };
        self.threads.lock().conductor = Some(conductor::start(mailroom, parts)?);
        Ok(())
    }

    pub(super) fn poller(&self, index: usize) -> &PollerHandle {
        &self.pollers[index]
    }
}
