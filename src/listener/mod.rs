//! What the engine hands to users, and what users implement. Layer: listener, below the engine,
//! because the engine calls it. Nothing here knows sockets, threads or rings: a request answers
//! through a small handle that the engine puts in.

mod channel;
mod connection;
mod daemon;
mod events;
mod loss;
mod message;
mod request;
mod response;
mod send;
mod sent_request;
mod shared;
mod sniffer;

pub use channel::{Delivery, TopicReceiver};
pub use connection::{ConnectionListener, DisconnectReason, HeartbeatError, HeartbeatParameters};
pub use daemon::{DaemonClient, DaemonEvent, DaemonTrouble};
pub use events::{DownReason, InstanceListener, Peer, Side, TopicAdvert};
pub use loss::MessageLoss;
pub use message::{Listener, Message, OwnedMessage, on_request};
pub use request::{OwnedRequest, Request, RespondError};
pub use response::{OwnedResponse, Response, ResponseListener};
pub use send::{SendError, SendStatus};
pub use sent_request::SentRequest;
pub use shared::SharedListener;
pub use sniffer::{SnifferEvent, SnifferSnapshot};

pub(crate) use channel::ChannelListener;
pub(crate) use connection::ConnectionSink;
pub(crate) use events::Event;
pub(crate) use request::{Reply, Respond};
pub(crate) use sent_request::{RequestControl, RequestOrigin, SpareRequests};
pub(crate) use shared::ListenerHandle;
