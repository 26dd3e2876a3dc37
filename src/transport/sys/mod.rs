//! The system calls that the standard library does not offer. Layer: transport, at its bottom; no
//! thread owns anything here.
//!
//! `portable` sends and receives with calls that every Unix system has; `native` is the best that
//! this system has: `linux` there, `other` elsewhere, which falls back on `portable`. Both sides of
//! that choice have the same functions. The facade holds what they share.

mod alarm;
mod barrier;
mod cache;
mod cycles;
mod files;
mod interfaces;
#[cfg(target_os = "linux")]
pub(super) mod linux;
#[cfg(not(target_os = "linux"))]
pub(super) mod other;
pub(super) mod portable;

#[cfg(target_os = "linux")]
pub(super) use linux as native;
#[cfg(not(target_os = "linux"))]
pub(super) use other as native;

pub(crate) use alarm::Alarm;
pub(crate) use barrier::{accept_barriers, barrier_in_all_processes};
pub(crate) use cache::{can_demote, demote, fetch, finish_loads};
pub(crate) use cycles::cycles;
pub(super) use files::{
    effective_user, is_locked_by_other, lock_byte, make_huge, prefault, reserve, unlock_all,
    unlock_byte,
};
pub(super) use interfaces::{LocalAddress, local_addresses};

use std::net::SocketAddr;

/// Most segments of one run. Linux before 6.9 refuses more.
pub(super) const MAX_SEGMENTS: usize = 64;

/// What one receive call found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    /// Bytes written to the buffer, never more than its length.
    pub(super) length: usize,
    /// Length of every segment but the last, which may be shorter. At least 1.
    pub(super) segment_bytes: usize,
    /// Without the number of an interface, like every address outside this layer.
    pub(super) source: SocketAddr,
    /// The datagram was longer than the buffer and its end is lost.
    pub(super) is_truncated: bool,
    /// Datagrams that this socket dropped for want of space since it was opened, modulo 2^32, when
    /// the kernel says so.
    pub(super) kernel_drops: Option<u32>,
}
