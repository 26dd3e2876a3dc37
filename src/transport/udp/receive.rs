//! What one receive call yields. Layer: transport; a [`ReceiveBuffer`] belongs to one poller.

use std::fmt;
use std::net::SocketAddr;
use std::slice::Chunks;

use crate::transport::sys::Datagram;

/// Holds the longest run that the kernel can deliver.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// The memory that a poller receives into, allocated once.
pub(crate) struct ReceiveBuffer(Box<[u8]>);

impl ReceiveBuffer {
    /// A buffer into which every datagram and every run fits.
    pub(crate) fn new() -> Self {
        Self::with_capacity(RECEIVE_BUFFER_BYTES)
    }

    /// A buffer into which longer datagrams do not fit.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(vec![0; bytes].into_boxed_slice())
    }

    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The view of what was just received into [`ReceiveBuffer::space`].
    #[inline]
    pub(super) fn received(&self, datagram: &Datagram) -> Received<'_> {
        Received {
            source: datagram.source,
            bytes: self.filled(datagram),
            segment_bytes: datagram.segment_bytes.max(1),
        }
    }

    /// The bytes of what was just received; none of a datagram that did not fit.
    #[inline]
    pub(super) fn filled(&self, datagram: &Datagram) -> &[u8] {
        let length = if datagram.is_truncated { 0 } else { datagram.length };
        self.0.get(..length).unwrap_or_default()
    }

    /// A packet that was received before, as if it came now. One that is longer than the buffer
    /// comes out empty.
    pub(super) fn put(&mut self, source: SocketAddr, packet: &[u8]) -> Received<'_> {
        let bytes = match self.0.get_mut(..packet.len()) {
            Some(space) => {
                space.copy_from_slice(packet);
                &*space
            }
            None => &[],
        };
        Received { source, bytes, segment_bytes: bytes.len().max(1) }
    }
}

impl fmt::Debug for ReceiveBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiveBuffer({} bytes)", self.0.len())
    }
}

/// One packet, or a run of packets from one source that the kernel kept together. No packet at all
/// for an empty or a truncated datagram, whose bytes are empty: who reads sockets counts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'b> {
    source: SocketAddr,
    bytes: &'b [u8],
    /// Length of each packet but the last, which may be shorter. Never 0.
    segment_bytes: usize,
}

impl<'b> Received<'b> {
    /// Where it was sent from, and where feedback goes.
    pub(crate) fn source(&self) -> SocketAddr {
        self.source
    }

    /// All packets, end to end.
    pub(crate) fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// The packets in the order in which they were sent.
    pub(crate) fn segments(&self) -> Chunks<'b, u8> {
        self.bytes.chunks(self.segment_bytes)
    }
}
