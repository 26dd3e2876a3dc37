//! Low-latency publish/subscribe and multi-response requests over UDP multicast, UDP unicast and
//! shared memory.

mod config;
mod counters;
mod discovery;
mod engine;
mod id;
mod instance;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod listener;
mod protocol;
mod request;
mod ring;
mod time;
mod transport;
mod wire;

pub use config::{
    Config, ConfigError, MAX_TOPIC_BYTES, Problem, RouteError, TopicRoute, Transport,
};
pub use counters::{Counter, CounterSnapshot};
pub use id::{InstanceId, PublisherId, RequestId};
pub use instance::{
    Claim, CloseError, Instance, InstanceBuilder, PublishError, Publisher, RequestError,
    SharedPublisher, StartError, SubscribeError, Subscription,
};
pub use listener::{
    Delivery, DownReason, InstanceListener, Listener, Message, MessageLoss, OwnedMessage,
    OwnedRequest, OwnedResponse, Peer, Request, RespondError, Response, ResponseListener,
    SendError, SendStatus, SentRequest, TopicReceiver,
};
