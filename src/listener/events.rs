//! What happens around an instance: peers that come and go, topics that are matched. Layer:
//! listener.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{ConnectionSink, DisconnectReason};
use crate::config::{TopicPattern, Transport};
use crate::counters::Counter;
use crate::id::InstanceId;

/// Another instance, as discovery knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Peer {
    pub(crate) id: InstanceId,
    pub(crate) name: Arc<str>,
    pub(crate) control: SocketAddr,
    pub(crate) responses: SocketAddr,
    pub(crate) refresh: Duration,
    pub(crate) timeout: Duration,
    pub(crate) host: u64,
}

impl Peer {
    /// Its identity, new at every start.
    #[must_use]
    pub const fn id(&self) -> InstanceId {
        self.id
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it answers discovery.
    #[must_use]
    pub const fn control_address(&self) -> SocketAddr {
        self.control
    }

    /// Where it receives responses.
    #[must_use]
    pub const fn response_address(&self) -> SocketAddr {
        self.responses
    }

    /// How often it announces itself.
    #[must_use]
    pub const fn refresh(&self) -> Duration {
        self.refresh
    }

    /// How long it may be silent before it counts as gone.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A number that instances which can share memory have in common: those of one user on one
    /// machine, as a rule. 0 when it has no shared memory.
    #[must_use]
    pub const fn host(&self) -> u64 {
        self.host
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({} {:?} at {})", self.id, self.name, self.control)
    }
}

/// The side of a topic that an instance is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Side {
    /// It publishes the topic.
    Publisher,
    /// It listens to the topic.
    Subscriber,
}

/// What another instance tells of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicAdvert {
    pub(crate) instance: InstanceId,
    pub(crate) topic: Arc<str>,
    pub(crate) side: Side,
    pub(crate) transport: Transport,
    pub(crate) place: Option<(SocketAddr, u32)>,
    pub(crate) ring: Option<Arc<str>>,
}

impl TopicAdvert {
    /// Whose it is.
    #[must_use]
    pub const fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether it is published or listened to.
    #[must_use]
    pub const fn side(&self) -> Side {
        self.side
    }

    /// What carries it.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Where the data arrives: the group and port of multicast, the socket of a unicast subscriber. Of a
    /// unicast publisher, where it is sent from.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.place.map(|(address, _)| address)
    }

    /// The stream there.
    #[must_use]
    pub fn stream(&self) -> Option<u32> {
        self.place.map(|(_, stream)| stream)
    }

    /// The file of the ring that its data goes through, in the directory for shared memory of its host:
    /// that of a publisher by shared memory.
    #[must_use]
    pub fn ring(&self) -> Option<&str> {
        self.ring.as_deref()
    }

    /// What lists of adverts are sorted by.
    pub(crate) fn order(&self) -> impl Ord {
        (&*self.topic, self.side == Side::Subscriber, self.instance)
    }
}

/// Why a peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DownReason {
    /// It said goodbye.
    Goodbye,
    /// It was silent for longer than its discovery timeout.
    Expired,
}

/// Hears of peers, matches, discovery daemons and trouble.
///
/// # Threads
///
/// Called on the request processor's thread, one call at a time, never under a lock. Do not block:
/// request timeouts wait. A panic is caught, counted and reported.
pub trait InstanceListener: Send + 'static {
    /// An instance was discovered.
    fn on_instance_up(&mut self, peer: &Peer) {
        let _ = peer;
    }

    /// An instance is gone, and with it everything that it published and subscribed to.
    fn on_instance_down(&mut self, peer: &Peer, reason: DownReason) {
        let _ = (peer, reason);
    }

    /// A subscriber of a topic that this instance publishes was found.
    fn on_subscriber_matched(&mut self, topic: &str, subscriber: InstanceId) {
        let _ = (topic, subscriber);
    }

    /// A subscriber of a topic that this instance publishes is gone.
    fn on_subscriber_unmatched(&mut self, topic: &str, subscriber: InstanceId) {
        let _ = (topic, subscriber);
    }

    /// A publisher of a topic that this instance subscribes to was found.
    fn on_publisher_matched(&mut self, topic: &str, publisher: InstanceId) {
        let _ = (topic, publisher);
    }

    /// A publisher of a topic that this instance subscribes to is gone.
    fn on_publisher_unmatched(&mut self, topic: &str, publisher: InstanceId) {
        let _ = (topic, publisher);
    }

    /// A discovery daemon, `host:port` as it is configured, has let this instance in.
    fn on_daemon_up(&mut self, daemon: &str) {
        let _ = daemon;
    }

    /// A discovery daemon answers no more. Those that are left do all of its work.
    fn on_daemon_down(&mut self, daemon: &str) {
        let _ = daemon;
    }

    /// A peer uses the topic in a way that can never meet ours: another transport, another group,
    /// port or stream, another address family, or another name with the same hash. `reason` says
    /// which. `peer` is this instance itself when its subscription is shut out because a topic of the same hash was found
    /// between the call and its announcement.
    fn on_topic_conflict(&mut self, topic: &str, peer: InstanceId, reason: &str) {
        let _ = (topic, peer, reason);
    }

    /// A peer has a socket that this instance cannot send to, because one has an IPv4 and the other an IPv6
    /// address. `reason` says which socket, and what does not work because of it.
    fn on_peer_conflict(&mut self, peer: &Peer, reason: &str) {
        let _ = (peer, reason);
    }

    /// A topic that a pattern subscription matches is published somewhere and subscribed to.
    fn on_pattern_matched(&mut self, pattern: &str, topic: &str) {
        let _ = (pattern, topic);
    }

    /// Nobody publishes the topic any more: the pattern's listener hears nothing of it until
    /// somebody does again.
    fn on_pattern_unmatched(&mut self, pattern: &str, topic: &str) {
        let _ = (pattern, topic);
    }

    /// A topic that a pattern subscription matches is published somewhere and cannot be subscribed
    /// to here. `reason` says why; what can change is tried again.
    fn on_pattern_refused(&mut self, pattern: &str, topic: &str, reason: &str) {
        let _ = (pattern, topic, reason);
    }

    /// Something was lost, refused or dropped that no call could say: a counter of which
    /// [`Counter::is_trouble`] says so has grown by `increase`. Told once per second at most for each
    /// counter, so that no flood of bad packets becomes a flood of calls.
    fn on_trouble(&mut self, counter: Counter, increase: u64) {
        let _ = (counter, increase);
    }
}

/// Hears nothing.
impl InstanceListener for () {}

/// One call of an [`InstanceListener`], or of another listener, on its way to the thread that makes
/// it.
pub(crate) enum Event {
    InstanceUp(Peer),
    InstanceDown(Peer, DownReason),
    SubscriberMatched(Arc<str>, InstanceId),
    SubscriberUnmatched(Arc<str>, InstanceId),
    PublisherMatched(Arc<str>, InstanceId),
    PublisherUnmatched(Arc<str>, InstanceId),
    TopicConflict(Arc<str>, InstanceId, &'static str),
    PeerConflict(Peer, &'static str),
    DaemonUp(Arc<str>),
    DaemonDown(Arc<str>),
    PatternMatched(Arc<TopicPattern>, Arc<str>),
    PatternUnmatched(Arc<TopicPattern>, Arc<str>),
    PatternRefused(Arc<TopicPattern>, Arc<str>, String),
    /// For a listener of its own: a subscriber of a publisher with heartbeats is connected, or not
    /// any more.
    Connection(Arc<ConnectionSink>, InstanceId, Option<DisconnectReason>),
    /// A listener that is not needed any more; dropping it is user code.
    Discarded(
        #[expect(dead_code, reason = "it is dropped where user code may run")] Arc<ConnectionSink>,
    ),
}

impl Event {
    pub(crate) fn tell(&self, listener: &mut dyn InstanceListener) {
        match self {
            Self::InstanceUp(peer) => listener.on_instance_up(peer),
            Self::InstanceDown(peer, reason) => listener.on_instance_down(peer, *reason),
            Self::SubscriberMatched(topic, id) => listener.on_subscriber_matched(topic, *id),
            Self::SubscriberUnmatched(topic, id) => listener.on_subscriber_unmatched(topic, *id),
            Self::PublisherMatched(topic, id) => listener.on_publisher_matched(topic, *id),
            Self::PublisherUnmatched(topic, id) => listener.on_publisher_unmatched(topic, *id),
            Self::DaemonUp(daemon) => listener.on_daemon_up(daemon),
            Self::DaemonDown(daemon) => listener.on_daemon_down(daemon),
            Self::TopicConflict(topic, id, reason) => {
                listener.on_topic_conflict(topic, *id, reason);
            }
            Self::PeerConflict(peer, reason) => listener.on_peer_conflict(peer, reason),
            Self::PatternMatched(pattern, topic) => {
                listener.on_pattern_matched(pattern.as_str(), topic);
            }
            Self::PatternUnmatched(pattern, topic) => {
                listener.on_pattern_unmatched(pattern.as_str(), topic);
            }
            Self::PatternRefused(pattern, topic, reason) => {
                listener.on_pattern_refused(pattern.as_str(), topic, reason);
            }
            Self::Connection(sink, subscriber, disconnected) => {
                sink.tell(*subscriber, *disconnected);
            }
            Self::Discarded(_) => {}
        }
    }
}
