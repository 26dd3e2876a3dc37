//! The acceptance points of the engine, each between real processes over real sockets. Tests.
//!
//! | module | points |
//! |---|---|
//! | `delivery` | 1 every transport, 2 several subscribers on one host, 11 large messages |
//! | `requests` | 3 to 8 and 10: multi-response requests |
//! | `sockets` | 9 ranges of ports |
//! | `topics` | 12 handles that end and begin again, refusals |
//! | `departures` | 13 killed processes, 14 goodbyes |
//! | `hostile` | 15 datagrams of strangers |
//! | `scale` | 16 many topics, many instances |
//! | `callbacks` | 17 panics, 18 `close`, 19 everything else in callbacks |
//! | `pressure` | slow receivers, claims, overflow |
//! | `faults` | losses, copies and delays on purpose |
//! | `lifecycle` | what starting and stopping leaves behind |

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

mod callbacks;
mod delivery;
mod departures;
mod faults;
mod hostile;
mod lifecycle;
mod pressure;
mod requests;
mod scale;
mod sockets;
mod support;
mod topics;

use support::role;

/// Not a test of its own: what the child processes of the others run.
#[test]
fn role() {
    if let (Ok(name), Ok(config)) = (std::env::var(role::NAME), std::env::var(role::CONFIG)) {
        role::play(&name, &config);
    }
}
