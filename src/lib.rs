//! Low-latency publish/subscribe and multi-response requests over UDP multicast, UDP unicast and
//! shared memory, without a broker.
//!
//! An [`Instance`] is one engine in one process. Through it, an application publishes to and
//! subscribes to *topics*, which are names; the [`Config`] says which transport carries which.
//! Instances find each other by multicast, or through discovery daemons where there is none.
//!
//! | to | use |
//! |---|---|
//! | start | [`Instance::builder`], with a [`Config`] or without |
//! | publish | [`Instance::publisher`]: [`Publisher::send`], [`Publisher::try_claim`] to write in place |
//! | publish from several threads | [`Instance::shared_publisher`] |
//! | listen | [`Instance::subscribe`] with a closure or a [`Listener`] |
//! | listen to all topics that look alike | [`Instance::subscribe_pattern`] with a [`TopicPattern`] |
//! | listen on a thread of one's own | [`Instance::subscribe_channel`] |
//! | ask many | [`Publisher::request`], which gives a [`SentRequest`] |
//! | answer, any number of times | [`Request::respond`], later with [`Request::to_owned`] |
//! | wait for the other side | [`Publisher::wait_for_subscribers`], [`Subscription::wait_for_publishers`] |
//! | find others without multicast | `vega daemon`, or a [`DiscoveryDaemon`] of one's own |
//! | watch what others advertise, unseen | `vega sniff`, or a [`Sniffer`] |
//! | read packets of a capture | `vega sniff --pcap`, or [`inspect`] |
//! | know which subscribers answer | [`Publisher::activate_heartbeats`] |
//! | see what happens | [`Instance::counters`], [`HostCounters`], [`InstanceListener`], [`Listener::on_message_lost`] |
//!
//! # Guarantees
//!
//! * Messages of one publisher arrive in order, none twice. What is lost on the way is not sent
//!   again in this version; a listener is told exactly how many messages are missing before it gets
//!   the next one.
//! * A receiver that is too slow is [`SendError::BackPressured`] for the sender, not loss.
//! * A request ends once: closed, or expired with one call of [`ResponseListener::on_timeout`].
//! * Nothing listens wider than the configuration says; by default that is the loopback interface.
//!
//! # Threads
//!
//! Messages are sent on the thread that calls [`Publisher::send`]. Listeners run on the pollers that
//! the configuration names, one call at a time and never under a lock; timeouts and events of the
//! instance run on a thread of their own. Callbacks may do anything but block and
//! [close](Instance::close) their instance. A callback that panics is counted, and the next one runs.
//!
//! # Features
//!
//! `cli` (default) is what the `vega` program needs; applications turn it off. It includes `sim`, a
//! deterministic simulator of the protocol.
//!
//! The documents beside the source go further: the user guide, configuration, operations, the wire
//! protocol, and the architecture with its reasons.

mod config;
mod counters;
mod discovery;
mod engine;
#[cfg(any(test, feature = "internals"))]
#[doc(hidden)]
pub mod fuzz;
mod id;
pub mod inspect;
mod instance;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod listener;
mod protocol;
mod random;
mod request;
mod ring;
#[cfg(feature = "sim")]
pub mod sim;
mod time;
mod transport;
mod wire;

pub use config::{
    Config, ConfigError, MAX_TOPIC_BYTES, PatternError, Problem, RouteError, TemplateRanges,
    TopicPattern, TopicRoute, Transport,
};
pub use counters::prometheus::render as prometheus;
pub use counters::{
    Column, Counter, CounterFileError, CounterRow, CounterSnapshot, RowKind, Shape,
};
pub use id::{InstanceId, PublisherId, RequestId};
pub use instance::{
    Claim, CloseError, DaemonBuilder, DaemonCounters, DiscoveryDaemon, HostCounters,
    HostCountersError, Instance, InstanceBuilder, PatternSubscription, PublishError, Publisher,
    RequestError, SharedPublisher, Sniffer, SnifferBuilder, StartError, SubscribeError,
    SubscribePatternError, Subscription,
};
pub use listener::{
    ConnectionListener, DaemonClient, DaemonEvent, DaemonTrouble, Delivery, DisconnectReason,
    DownReason, HeartbeatError, HeartbeatParameters, InstanceListener, Listener, Message,
    MessageLoss, OwnedMessage, OwnedRequest, OwnedResponse, Peer, Request, RespondError, Response,
    ResponseListener, SendError, SendStatus, SentRequest, SharedListener, Side, SnifferEvent,
    SnifferSnapshot, TopicAdvert, TopicReceiver, on_request,
};

/// Compiles and runs the programs in the guide.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../docs/guide/concepts.md")]
    struct Concepts;
    #[doc = include_str!("../docs/guide/configuration.md")]
    struct Configuration;
    #[doc = include_str!("../docs/guide/instance.md")]
    struct Instance;
    #[doc = include_str!("../docs/guide/publish-subscribe.md")]
    struct PublishSubscribe;
    #[doc = include_str!("../docs/guide/request-response.md")]
    struct RequestResponse;
    #[doc = include_str!("../docs/guide/discovery-daemon.md")]
    struct Daemons;
    #[doc = include_str!("../docs/guide/heartbeats.md")]
    struct Heartbeats;
    #[doc = include_str!("../docs/guide/sniffer.md")]
    struct Sniffer;
    #[doc = include_str!("../docs/guide/containers.md")]
    struct Containers;
    #[doc = include_str!("../docs/guide/tuning.md")]
    struct Tuning;
}

/// Compiles and runs the program in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
