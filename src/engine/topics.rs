//! What topics need: publications, endpoints, rings, adverts. Layer: engine. Called by user
//! threads, under one lock that no callback holds while it waits.

mod publishing;
mod subscribing;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use thiserror::Error;

use super::Engine;
use super::conductor::Command as ConductorCommand;
use super::dispatch::Ticket;
use super::endpoint::EndpointId;
use super::matches::Matches;
use super::publication::Publication;
use super::ring_publication::RingPublication;
use super::send_socket::SendSocket;
use crate::config::{
    Advertise, Carrier, IdleKind, RouteError, Template, TopicRoute, Transport, UdpSettings,
};
use crate::counters::{PublisherColumn, Row, SubscriptionColumn};
use crate::discovery::AdvertiseError;
use crate::id::{SessionId, TopicHash};
use crate::transport::interface::{Interface, InterfaceError, resolve};
use crate::transport::shm::ShmError;
use crate::transport::udp::{OpenError, UdpSocket};
use crate::wire::locator::Locator;

/// Why a topic cannot be published or subscribed to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum TopicError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("the instance is closed")]
    Closed,
    #[error("topic {topic:?} is in use here already")]
    InUse { topic: String },
    #[error("[[template]] {template:?} interface")]
    Interface { template: String, source: InterfaceError },
    #[error("[[template]] {template:?} socket")]
    Socket { template: String, source: OpenError },
    #[error("shared memory is not available: {reason}")]
    SharedMemory { reason: String },
    #[error(transparent)]
    Advertise(#[from] AdvertiseError),
}

impl From<&ShmError> for TopicError {
    fn from(error: &ShmError) -> Self {
        Self::SharedMemory { reason: error.to_string() }
    }
}

/// Topics of this instance, and what they share.
#[derive(Default)]
pub(super) struct Topics {
    published: HashSet<TopicHash>,
    subscribed: HashMap<TopicHash, Subscription>,
    publications: HashMap<Place, (Arc<Publication>, usize)>,
    endpoints: HashMap<Place, Endpoint>,
    /// By address, interface and TTL: a link-local address can be on several interfaces.
    send_sockets: HashMap<(IpAddr, u32, u8), Arc<SendSocket>>,
    /// By address and interface: feedback to the senders of multicast.
    feedback_sockets: HashMap<(IpAddr, u32), Arc<UdpSocket>>,
    next_endpoint: u32,
    next_ticket: u64,
}

/// Where a topic's data travels: what topics of one template share when they agree on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    template: String,
    group: Option<IpAddr>,
    /// Of unicast, the port that is preferred.
    port: u16,
    /// For publications; endpoints serve all streams.
    stream: Option<u32>,
}

/// Where the data of a place arrives. Places that prefer different ports can have one socket.
#[derive(Clone, Copy)]
struct Endpoint {
    id: EndpointId,
    /// What others are told.
    address: SocketAddr,
    /// What it is bound to.
    port: u16,
    topics: usize,
}

/// A topic that is listened to, by one subscription or by several that share everything but the
/// listener.
struct Subscription {
    topic: Arc<str>,
    transport: Transport,
    locator: Option<Locator>,
    matches: Arc<Matches>,
    poller: usize,
    place: Option<Place>,
    endpoint: EndpointId,
    stream: u32,
    opening: Ticket,
    /// Whether one of them is not for a pattern.
    is_direct: bool,
    members: usize,
    /// What they count in; written by the poller only.
    row: Row<SubscriptionColumn>,
}

/// A topic that is being published.
pub(crate) struct Published {
    pub(crate) topic: Arc<str>,
    pub(crate) hash: TopicHash,
    pub(crate) transport: Transport,
    pub(crate) session: SessionId,
    pub(crate) index: u32,
    pub(crate) matches: Arc<Matches>,
    pub(crate) row: Row<PublisherColumn>,
    pub(crate) link: PublisherLink,
    /// How callers wait for room.
    pub(crate) idle: IdleKind,
    place: Option<Place>,
}

/// What a publisher writes to.
pub(crate) enum PublisherLink {
    Udp(Arc<Publication>),
    Ring(Box<RingPublication>),
}

/// A topic that is being listened to.
pub(crate) struct Subscribed {
    pub(crate) topic: Arc<str>,
    pub(crate) hash: TopicHash,
    pub(crate) transport: Transport,
    /// Where its data arrives; `None` for shared memory.
    pub(crate) locator: Option<Locator>,
    pub(crate) matches: Arc<Matches>,
    /// Disconnects when the poller delivers, if that is not said by the first match: for who joins
    /// what others have opened.
    pub(crate) joined: Option<crossbeam_channel::Receiver<()>>,
    ticket: Ticket,
    closed: Arc<AtomicBool>,
    is_direct: bool,
}

impl Engine {
    /// Gives the conductor a command and waits for its answer; it never waits for user code.
    fn tell(
        &self,
        command: impl FnOnce(crossbeam_channel::Sender<Result<(), AdvertiseError>>) -> ConductorCommand,
    ) -> Result<(), TopicError> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.conductor.submit(command(reply));
        match answer.recv() {
            Ok(result) => Ok(result?),
            Err(_) => Err(TopicError::Closed),
        }
    }
}

impl Topics {
    /// The endpoint of the same template at the port that comes next after the preferred one, in the
    /// order in which ports are tried.
    fn nearest_endpoint(&self, wanted: &Place) -> Option<Endpoint> {
        let of_template = self.endpoints.iter().filter(|(place, _)| {
            place.template == wanted.template && place.group.is_none() && wanted.group.is_none()
        });
        let endpoints = of_template.map(|(_, endpoint)| *endpoint);
        endpoints.min_by_key(|endpoint| endpoint.port.wrapping_sub(wanted.port))
    }
}

impl Place {
    fn of(route: &TopicRoute<'_>, stream: Option<u32>) -> Self {
        Self {
            template: route.template().to_owned(),
            group: route.address(),
            port: route.port().unwrap_or_default(),
            stream,
        }
    }
}

/// How counters name the place of a topic: what carries it, where, and in which stream.
fn place_of(route: &TopicRoute<'_>) -> String {
    let transport = route.transport();
    match (route.address(), route.port(), route.stream()) {
        (Some(address), Some(port), Some(stream)) => {
            format!("{transport} {}/{stream}", SocketAddr::new(address, port))
        }
        (None, Some(port), Some(stream)) => format!("{transport} {port}/{stream}"),
        _ => transport.to_string(),
    }
}

fn udp_settings(template: &Template) -> Result<(&UdpSettings, u8), TopicError> {
    match &template.carrier {
        Carrier::Multicast { udp, ttl, .. } => Ok((udp, *ttl)),
        Carrier::Unicast { udp, .. } => Ok((udp, 0)),
        Carrier::Ipc => Err(TopicError::SharedMemory { reason: "it has no sockets".to_owned() }),
    }
}

/// What others are told of a unicast socket.
fn advertise_of(template: &Template) -> Advertise {
    match &template.carrier {
        Carrier::Unicast { advertise, .. } => advertise.clone(),
        Carrier::Multicast { .. } | Carrier::Ipc => Advertise::default(),
    }
}

fn interface_of(template: &Template, udp: &UdpSettings) -> Result<Interface, TopicError> {
    resolve(&udp.interface)
        .map_err(|source| TopicError::Interface { template: template.name.clone(), source })
}
