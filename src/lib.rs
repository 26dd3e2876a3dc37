//! Low-latency publish/subscribe and multi-response requests over UDP multicast, UDP unicast and
//! shared memory.

mod config;
mod counters;
mod discovery;
mod engine;
mod id;
mod instance;
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
