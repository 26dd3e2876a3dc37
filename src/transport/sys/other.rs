//! UDP on systems other than Linux: the portable calls, and a plain answer to what only Linux has.
//! Layer: transport/sys; no thread owns it.

use std::io;
use std::net::Ipv4Addr;

use socket2::{SockAddr, Socket};

use crate::transport::interface::Interface;

pub(in crate::transport) use super::portable::{
    SEND_EACH, receive, receive as receive_single, send, send_each,
};

/// How many bytes the kernel reports as granted for one byte of receive buffer.
pub(in crate::transport) const RECEIVE_BUFFER_FACTOR: usize = 1;

/// Segmentation by the kernel is a Linux matter.
pub(in crate::transport) fn can_segment(_: &Socket) -> bool {
    false
}

/// Runs in one piece are a Linux matter, too.
pub(in crate::transport) fn receive_runs(_: &Socket, _: bool) -> bool {
    false
}

/// So is the count of dropped datagrams.
pub(in crate::transport) fn count_kernel_drops(_: &Socket) {}

/// Lets further sockets of this host bind the same group and port.
///
/// # Errors
///
/// The error of `setsockopt`.
pub(in crate::transport) fn share_multicast_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)
}

/// Multicast sockets are bound to their group, which is all the filter that these systems need.
///
/// # Errors
///
/// None.
pub(in crate::transport) fn receive_own_groups_only(_: &Socket, _: &Interface) -> io::Result<()> {
    Ok(())
}

/// Sends IPv4 multicast out of the interface that has this address.
///
/// # Errors
///
/// The error of `setsockopt`.
pub(in crate::transport) fn set_multicast_interface(
    socket: &Socket,
    address: Ipv4Addr,
    _index: u32,
) -> io::Result<()> {
    socket.set_multicast_if_v4(&address)
}

/// Never reached: [`can_segment`] says no.
///
/// # Errors
///
/// Always `Unsupported`.
pub(in crate::transport) fn send_segmented(
    _: &Socket,
    _: Option<&SockAddr>,
    _: &[u8],
    _: usize,
) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
