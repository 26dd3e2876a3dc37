//! Reads the sockets of threads that are in no hurry: discovery, daemons, feedback. Layer: engine. Runs on
//! the thread that owns the socket.

use std::net::SocketAddr;

use crate::counters::{Counter, Counters};
use crate::transport::udp::{ReceiveBuffer, UdpSocket};

/// Hands over what waits in a socket, at most `burst` runs of it. True when there may be more.
pub(super) fn read(
    socket: &UdpSocket,
    buffer: &mut ReceiveBuffer,
    burst: usize,
    counters: &Counters,
    mut take: impl FnMut(SocketAddr, &[u8]),
) -> bool {
    for _ in 0..burst {
        let received = match socket.recv(buffer) {
            Ok(Some(received)) => received,
            Ok(None) => return false,
            Err(error) => {
                counters.add(Counter::ReceiveErrors, 1);
                tracing::debug!(%error, "receive failed");
                return false;
            }
        };
        if received.bytes().is_empty() {
            counters.add(Counter::Malformed, 1);
        }
        let source = received.source();
        received.segments().for_each(|datagram| take(source, datagram));
    }
    true
}
