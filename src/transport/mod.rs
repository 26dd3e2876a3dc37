//! Bytes in and out. Layer: transport, above `wire` and below `ring`; it uses neither.
//!
//! This layer knows interfaces, sockets and mapped files. It does not know what the bytes mean:
//! packets, sessions, topics and peers belong to the layers above, which is why everything here
//! can be tested with arbitrary bytes, and why a faulty peer can do no more to it than waste a
//! system call.
//!
//! * [`interface`] turns what the configuration names into one concrete local interface. Nothing
//!   here listens wider than that interface.
//! * [`lookup`] turns a host name into an address.
//! * [`udp`] sends *runs*: contiguous packets of equal size that lie in a packet ring, handed to
//!   the kernel in one system call, and receives runs the same way.
//!   When a configuration asks for it, [`udp`] also loses, doubles, delays and reorders what it
//!   receives; `fault` decides.
//! * [`shm`] keeps the files of shared-memory rings: who may open them, who still lives, what may
//!   be removed.
//! * `sys` is the only place that talks to the operating system without the standard library. It
//!   has one file of portable calls, compiled and tested everywhere, and one of Linux calls.
//!
//! # Threads
//!
//! No thread is started here, and no lock is taken but around injected faults. A [`udp::UdpSocket`]
//! is shared by the threads that send on it and the one thread that receives from it; every other
//! value belongs to whoever holds it. No call but `Alarm::poll` blocks: sockets are non-blocking and
//! file locks are tried, not awaited.
//!
//! # Failures
//!
//! What goes wrong while opening is an error that names the interface, address, option or path.
//! What goes wrong afterwards falls in three classes. *Back pressure* (the kernel has no room) is
//! `WouldBlock`, and the caller keeps its packets. *Loss* (nobody listens, the queue of a receiver
//! is full) is not an error: it is counted where the kernel tells us, and reliability above repairs
//! it. Everything else is an `io::Error` that the caller reports.

mod fault;
pub(crate) mod interface;
pub(crate) mod lookup;
pub(crate) mod shm;
mod sys;
pub(crate) mod udp;

pub(crate) use sys::{
    Alarm, accept_barriers, barrier_in_all_processes, can_demote, cycles, demote, fetch,
    finish_loads,
};
