//! Where the packets of a publication leave: the socket that it shares with others. Layer: engine.
//! Borrowed for one transmission, by the thread that transmits.

use crate::counters::{Counter, Counters};
use crate::protocol::lane::Outlet;
use crate::transport::udp::{Destination, UdpSocket};

/// A socket, as lanes see it.
pub(super) struct SocketOutlet<'a> {
    pub(super) socket: &'a UdpSocket,
    pub(super) packet_bytes: usize,
    pub(super) counters: &'a Counters,
}

impl Outlet<Destination> for SocketOutlet<'_> {
    #[inline]
    fn send(&mut self, to: &Destination, run: &[u8]) -> bool {
        let mut rest = run;
        while !rest.is_empty() {
            match self.socket.send_run(Some(to), rest, self.packet_bytes) {
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
