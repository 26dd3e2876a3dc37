//! What the machine can do without an engine: the denominators of all ratios. Layer: bin.
//!
//! Both sides are threads of this process, pinned to the cores that the engine's two processes have
//! in the other rounds: sockets and cache lines do not care which process is on a core, and memory
//! is shared between threads in safe Rust.

pub(super) mod link;
pub(super) mod one_way;
pub(super) mod ping_pong;
mod words;
