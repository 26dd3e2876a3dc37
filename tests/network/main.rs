//! The engine on a real network: hosts are network namespaces, cables are veth pairs, and the kernel
//! drops, delays and disconnects. Tests. They need root, `ip` and `nft`, and say SKIPPED without.
//!
//! | module | what |
//! |---|---|
//! | `delivery` | everything arrives, whatever the network loses, and the counters say why |
//! | `pauses` | stopped processes and pulled cables, shorter and longer than the timeouts |
//! | `requests` | requests and responses under loss, and many responders at once |
//! | `departures` | each role is killed; the others go on |
//! | `interfaces` | hosts with more than one |
//! | `ipv6` | the other family, by addresses of its own network, of the link, and on loopback |
//! | `nat` | instances in containers with mapped ports, which meet through daemons |
//! | `lab` | how the network is made, broken and removed |

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

mod delivery;
mod departures;
mod interfaces;
mod ipv6;
mod lab;
mod nat;
mod pauses;
mod requests;
#[allow(dead_code, unused_imports, reason = "shared with `tests/acceptance`")]
#[path = "../acceptance/support/mod.rs"]
mod support;

use support::role;

/// Not a test of its own: what the child processes of the others run.
#[test]
fn role() {
    if let (Ok(name), Ok(config)) = (std::env::var(role::NAME), std::env::var(role::CONFIG)) {
        role::play(&name, &config);
    }
}

/// Not a test of its own: the discovery daemons of the others.
#[test]
fn daemon() {
    support::daemon::play();
}
