//! One error type per operation. Layer: instance. Causes of lower layers are kept as sources, so
//! that their types are no part of the API.

use std::error::Error as StdError;

use thiserror::Error;

use crate::config::{ConfigError, RouteError};
use crate::engine::patterns::PatternSubscriptionError;
use crate::engine::{self, TopicError};
use crate::listener::SendError;
use crate::request::RegisterError;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// Why an instance did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// An interface that the configuration names does not exist here.
    #[error("[{section}] interface: {source}")]
    Interface {
        /// Table of the configuration.
        section: &'static str,
        /// What was looked for, and what there is.
        source: Source,
    },
    /// A setting that was given to a builder is none that a configuration could have.
    #[error(transparent)]
    Setting(#[from] ConfigError),
    /// A socket cannot be opened; when all ports of a range are taken, the range is named.
    #[error("[{section}] socket: {source}")]
    Socket {
        /// Table of the configuration.
        section: &'static str,
        /// Interface, address and cause.
        source: Source,
    },
    /// The name of a host that others are to be told is not found.
    #[error("advertise = {host:?}: {source}")]
    Lookup {
        /// The name.
        host: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The operating system gives no thread or no poll instance.
    #[error("threads: {source}")]
    Threads {
        /// What the operating system says.
        source: std::io::Error,
    },
}

impl From<engine::StartError> for StartError {
    fn from(error: engine::StartError) -> Self {
        match error {
            engine::StartError::Interface { section, source } => {
                Self::Interface { section, source: Box::new(source) }
            }
            engine::StartError::Socket { section, source } => {
                Self::Socket { section, source: Box::new(source) }
            }
            engine::StartError::Lookup { host, source } => Self::Lookup { host, source },
            engine::StartError::Thread(source) => Self::Threads { source },
        }
    }
}

macro_rules! topic_errors {
    ($(#[doc = $doc:literal])+ $name:ident, $in_use:literal) => {
        $(#[doc = $doc])+
        #[derive(Debug, Error)]
        #[non_exhaustive]
        pub enum $name {
            /// The configuration has no route for the topic, or the name is not one.
            #[error(transparent)]
            Route(#[from] RouteError),
            #[doc = $in_use]
            #[error("topic {topic:?}: {}", $in_use)]
            InUse {
                /// The topic.
                topic: String,
            },
            /// A socket or an interface of the topic's template cannot be used; when all ports of a
            /// range are taken, the range is named.
            #[error("{message}")]
            Transport {
                /// Template and cause.
                message: String,
                /// The cause.
                source: Source,
            },
            /// Rings cannot be created or read.
            #[error("shared memory is not available: {reason}")]
            SharedMemory {
                /// Path and cause.
                reason: String,
            },
            /// Another topic in use here or at a peer has the same hash, or this instance has as
            /// many topics as one can have.
            #[error("topic refused: {reason}")]
            Refused {
                /// The other topic or the limit.
                reason: String,
            },
            /// The instance was closed.
            #[error("the instance is closed")]
            Closed,
        }

        impl From<TopicError> for $name {
            fn from(error: TopicError) -> Self {
                match error {
                    TopicError::Route(error) => Self::Route(error),
                    TopicError::Closed => Self::Closed,
                    TopicError::InUse { topic } => Self::InUse { topic },
                    TopicError::Interface { template, source } => Self::Transport {
                        message: format!("[[template]] {template:?} interface: {source}"),
                        source: Box::new(source),
                    },
                    TopicError::Socket { template, source } => Self::Transport {
                        message: format!("[[template]] {template:?} socket: {source}"),
                        source: Box::new(source),
                    },
                    TopicError::SharedMemory { reason } => Self::SharedMemory { reason },
                    TopicError::Advertise(error) => Self::Refused { reason: error.to_string() },
                }
            }
        }
    };
}

topic_errors! {
    /// Why a topic cannot be published.
    PublishError, "This instance has a publisher for it already."
}

topic_errors! {
    /// Why a topic cannot be subscribed to.
    SubscribeError, "This instance is subscribed to it already."
}

/// Why a pattern cannot be subscribed to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SubscribePatternError {
    /// This instance is subscribed to the same pattern already.
    #[error("pattern {pattern:?}: this instance is subscribed to it already")]
    InUse {
        /// The pattern.
        pattern: String,
    },
    /// This instance has as many pattern subscriptions as one can have.
    #[error("pattern {pattern:?}: this instance has {limit} patterns already")]
    TooMany {
        /// The pattern.
        pattern: String,
        /// How many there can be.
        limit: usize,
    },
    /// The operating system gives no thread to follow patterns with.
    #[error("thread: {source}")]
    Thread {
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The instance was closed.
    #[error("the instance is closed")]
    Closed,
}

impl SubscribePatternError {
    pub(super) fn new(pattern: String, error: PatternSubscriptionError) -> Self {
        match error {
            PatternSubscriptionError::InUse => Self::InUse { pattern },
            PatternSubscriptionError::TooMany { limit } => Self::TooMany { pattern, limit },
            PatternSubscriptionError::Thread(source) => Self::Thread { source },
            PatternSubscriptionError::Closed => Self::Closed,
        }
    }
}

/// Why a request was not sent. No callback will be called for it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A request needs time to be answered.
    #[error("a request timeout of zero is not allowed (allowed: more than 0 ns)")]
    ZeroTimeout,
    /// As many requests are open as `[limits] max_open_requests` allows.
    #[error("{limit} requests are open already")]
    TooManyOpen {
        /// The limit.
        limit: usize,
    },
    /// The request could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl From<RegisterError> for RequestError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::ZeroTimeout => Self::ZeroTimeout,
            RegisterError::Full { limit } => Self::TooManyOpen { limit },
        }
    }
}

/// Why an instance was not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Called from a callback of the same instance.
    #[error("an instance cannot be closed from one of its callbacks: close would wait for itself")]
    InCallback,
}
