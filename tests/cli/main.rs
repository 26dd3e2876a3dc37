//! The command line, end to end: real processes, real sockets, what they print and how they end.
//! Tests.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod config;
mod counters;
mod daemon;
mod import;
mod ipv6;
mod lifecycle;
mod output;
mod pcap;
mod pubsub;
mod request;
mod sim;
mod sniff;
mod terminals;
mod tune;
mod world;
