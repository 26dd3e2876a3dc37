//! Where the packets of a publication leave: the sockets that it shares with others. Layer: engine.
//! Borrowed for one transmission, by the thread that transmits.

use crate::counters::{Counter, Counters};
use crate::engine::send_socket::Way;
use crate::protocol::lane::Outlet;
use crate::transport::udp::UdpSocket;

/// Sockets, as lanes see them.
pub(super) struct SocketOutlet<'a> {
    /// For whoever has none of their own.
    pub(super) socket: &'a UdpSocket,
    pub(super) packet_bytes: usize,
    pub(super) counters: &'a Counters,
}

impl Outlet<Way> for SocketOutlet<'_> {
    #[inline]
    fn send(&mut self, to: &Way, run: &[u8]) -> bool {
        let (socket, to) = match to {
            Way::Shared(to) => (self.socket, Some(to)),
            Way::Own(socket) => (&**socket, None),
        };
        let mut rest = run;
        while !rest.is_empty() {
            match socket.send_run(to, rest, self.packet_bytes) {
                Ok(sent) => rest = rest.get(sent * self.packet_bytes..).unwrap_or_default(),
                // A part of a run may have gone; sending it again makes duplicates, not loss.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    // The destination cannot be reached now: to its receiver this is loss.
                    self.counters.add(Counter::SendErrors, 1);
                    tracing::debug!(%error, "a run was not sent");
                    return true;
                }
            }
        }
        true
    }
}
