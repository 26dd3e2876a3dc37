//! UDP with calls that every Unix system has: one packet per system call. Layer: transport/sys; no
//! thread owns it. Compiled on Linux too, where a socket can be told to use it.
#![expect(unsafe_code, reason = "a view of initialized bytes as maybe uninitialized ones")]

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;

use socket2::{MaybeUninitSlice, SockAddr, Socket};

use super::Datagram;

/// The call behind [`send_each`].
pub(in crate::transport) const SEND_EACH: &str = "sendto";

/// Sends one datagram.
///
/// # Errors
///
/// The error of `sendto`.
pub(in crate::transport) fn send(
    socket: &Socket,
    to: Option<&SockAddr>,
    bytes: &[u8],
) -> io::Result<()> {
    match to {
        Some(to) => socket.send_to(bytes, to),
        None => socket.send(bytes),
    }
    .map(drop)
}

/// Sends each segment of a run with its own call. Returns how many the kernel took before it
/// refused one.
///
/// # Errors
///
/// The error of `send` when not even the first segment was taken.
pub(in crate::transport) fn send_each(
    socket: &Socket,
    to: Option<&SockAddr>,
    bytes: &[u8],
    segment_bytes: usize,
) -> io::Result<usize> {
    let mut sent = 0;
    for segment in bytes.chunks(segment_bytes) {
        match send(socket, to, segment) {
            Ok(()) => sent += 1,
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(sent)
}

/// Receives one datagram.
///
/// # Errors
///
/// The error of `recvmsg`; `InvalidData` when the source is no address of IP.
pub(in crate::transport) fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Datagram> {
    let capacity = buffer.len();
    // SAFETY: both types have the same layout, and `recv_from_vectored` promises to write nothing
    // uninitialized, so the bytes stay initialized for whoever reads `buffer` afterwards.
    let buffer = unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
    let (length, flags, source) =
        socket.recv_from_vectored(&mut [MaybeUninitSlice::new(buffer)])?;
    let source = source.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    let length = length.min(capacity);
    Ok(Datagram {
        length,
        segment_bytes: length.max(1),
        source: SocketAddr::new(source.ip(), source.port()),
        is_truncated: flags.is_truncated(),
        kernel_drops: None,
    })
}
