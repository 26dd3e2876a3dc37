//! What the machine can do without an engine: the denominators of all ratios. Layer: bin.
//!
//! Both sides are threads of this process, pinned to the cores that the engine's two processes have
//! in the other rounds: sockets and cache lines do not care which process is on a core, and memory
//! is shared between threads in safe Rust.

pub(super) mod link;
pub(super) mod one_way;
pub(super) mod open_loop;
pub(super) mod ping_pong;
mod sides;
mod words;

use std::time::Duration;

/// Once the sender has ended, whatever is still on its way arrives within this time.
const QUIET: Duration = Duration::from_millis(50);
