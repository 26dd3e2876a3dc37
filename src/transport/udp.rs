//! UDP sockets that send and receive runs of packets. Layer: transport. Any thread may send on a
//! [`UdpSocket`]; one thread, the poller that owns the [`ReceiveBuffer`], receives from it.
//!
//! A *run* is what a packet ring has at hand: contiguous packets of equal size, the last one
//! possibly shorter. A run of one takes the cheapest call there is; a longer one costs one system
//! call where the kernel cuts it up (`UDP_SEGMENT`), one where it takes a batch (`sendmmsg`), and
//! one per packet elsewhere. Whether the kernel can is asked when a socket opens; whether the
//! *device* can is only known when it refuses, so a socket that was refused once, and got the same
//! run through without, does not try again.

mod faulty;
mod open;
mod receive;
#[cfg(test)]
mod tests;

pub(crate) use faulty::FaultSource;
pub(crate) use open::{OpenError, SocketOptions, find_route};
pub(crate) use receive::{ReceiveBuffer, Received};

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{SockAddr, Socket};

use super::interface::scoped;
use super::sys::{self, Datagram};
use crate::config::Family;
use crate::counters::{Counter, Counters};

/// Most packets of one run, whatever their size.
pub(crate) const MAX_SEGMENTS: usize = sys::MAX_SEGMENTS;

/// Most bytes of one run, and of one packet: what 64 KiB have room for behind the headers of IPv6, 40
/// bytes, and UDP, 8. Those of IPv4 are 20 bytes shorter; one limit serves both.
pub(crate) const MAX_RUN_BYTES: usize = 65_535 - 48;

/// How often one call starts over because the peer of a connected socket refused an *earlier*
/// packet. Each refusal needs another ICMP message to arrive between two system calls.
const MAX_REFUSALS: usize = 8;

/// Where a run goes: a socket address as the kernel wants it, built once and reused. Made by
/// [`UdpSocket::destination`], and good for sockets of the same interface.
#[derive(Clone, Debug)]
pub(crate) struct Destination(SockAddr);

/// A non-blocking socket of one address family, bound to one interface. Opened by the functions in `udp/open.rs`.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    socket: Socket,
    local_address: SocketAddr,
    /// By which the kernel knows the interface.
    interface_index: u32,
    receive_buffer_bytes: usize,
    portable: bool,
    /// Cleared by whichever sender finds out that the device cannot.
    can_segment: AtomicBool,
    receives_runs: bool,
    /// For the time being the kernel keeps no runs together. Written by the receiving thread only.
    receives_singly: AtomicBool,
    /// Told when the device cannot.
    counters: Option<Arc<Counters>>,
    /// Written by the receiving thread only.
    kernel_drops: AtomicU64,
    faults: Option<Box<faulty::Faults>>,
}

impl UdpSocket {
    /// How many packets of `segment_bytes` fit into one run: 1 to [`MAX_SEGMENTS`].
    pub(crate) const fn max_run_segments(segment_bytes: usize) -> usize {
        match MAX_RUN_BYTES.checked_div(segment_bytes) {
            Some(0) => 1,
            Some(count) if count < MAX_SEGMENTS => count,
            _ => MAX_SEGMENTS,
        }
    }

    /// Sends a run of contiguous packets, each `segment_bytes` long, the last one possibly shorter,
    /// and returns how many of them the kernel took: at least one. Without a destination the socket
    /// must be connected.
    ///
    /// A peer that is not there is not an error: its packets are lost, as they would be on any
    /// network.
    ///
    /// # Errors
    ///
    /// * `WouldBlock`: back pressure; the kernel has no room and took nothing.
    /// * `InvalidInput`: an empty run, or one of more than [`UdpSocket::max_run_segments`] packets.
    /// * Everything else as the kernel says it, for instance that the network is down.
    pub(crate) fn send_run(
        &self,
        to: Option<&Destination>,
        bytes: &[u8],
        segment_bytes: usize,
    ) -> io::Result<usize> {
        let segments = segments_of(bytes.len(), segment_bytes)?;
        let to = to.map(|destination| &destination.0);
        for _ in 0..MAX_REFUSALS {
            match self.send_once(to, bytes, segment_bytes, segments) {
                // The kernel reports the fate of an earlier packet and has not looked at this one.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) if is_back_pressure(&error) => break,
                result => return result,
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send_once(
        &self,
        to: Option<&SockAddr>,
        bytes: &[u8],
        segment_bytes: usize,
        segments: usize,
    ) -> io::Result<usize> {
        if segments == 1 {
            return if self.portable {
                sys::portable::send(&self.socket, to, bytes)
            } else {
                sys::native::send(&self.socket, to, bytes)
            }
            .map(|()| 1);
        }
        if !self.can_segment.load(Ordering::Relaxed) {
            return self.send_each(to, bytes, segment_bytes);
        }
        match sys::native::send_segmented(&self.socket, to, bytes, segment_bytes) {
            Ok(()) => Ok(segments),
            Err(error) if may_lack_segmentation(&error) => {
                // The error has other causes too. Only if the same run passes without
                // segmentation was segmentation the cause.
                let sent = self.send_each(to, bytes, segment_bytes)?;
                self.give_up_segmentation(&error);
                Ok(sent)
            }
            Err(error) => Err(error),
        }
    }

    #[cold]
    fn give_up_segmentation(&self, error: &io::Error) {
        if !self.can_segment.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Some(counters) = &self.counters {
            counters.add(Counter::OffloadsRefused, 1);
        }
        let (instead, _) = self.path();
        tracing::info!(socket = %self.local_address, %error, instead, "UDP_SEGMENT is refused");
    }

    /// The ways by which runs leave and arrive, as the system calls and options are named.
    pub(crate) fn path(&self) -> (&'static str, &'static str) {
        let sends = match (self.can_segment.load(Ordering::Relaxed), self.portable) {
            (true, _) => "UDP_SEGMENT",
            (false, false) => sys::native::SEND_EACH,
            (false, true) => sys::portable::SEND_EACH,
        };
        (sends, if self.receives_runs { "UDP_GRO" } else { "recvmsg" })
    }

    fn send_each(
        &self,
        to: Option<&SockAddr>,
        bytes: &[u8],
        segment_bytes: usize,
    ) -> io::Result<usize> {
        if self.portable {
            sys::portable::send_each(&self.socket, to, bytes, segment_bytes)
        } else {
            sys::native::send_each(&self.socket, to, bytes, segment_bytes)
        }
    }

    /// Receives what is next in the queue of the socket: one packet, or a run that the kernel kept
    /// together. `None` when the queue is empty, and only then: with edge-triggered readiness the
    /// caller must read until it sees `None`. With faults it must also come back, without being
    /// called, while [`UdpSocket::is_holding`].
    ///
    /// A datagram that does not fit into the buffer is counted and arrives without any segment.
    ///
    /// # Errors
    ///
    /// As the kernel says them. None of them means that the queue is empty.
    pub(crate) fn recv<'b>(
        &self,
        buffer: &'b mut ReceiveBuffer,
    ) -> io::Result<Option<Received<'b>>> {
        match &self.faults {
            None => Ok(self.take(buffer)?.map(|datagram| buffer.received(&datagram))),
            Some(faults) => faults.recv(self, buffer),
        }
    }

    /// Lets packets come one by one, which is faster as long as they are far apart, or in runs. To be
    /// changed to `singly` when the queue has just been found empty: a run that gets there before the
    /// kernel knows loses all packets but the first. Changes nothing where runs never come.
    #[cold]
    pub(crate) fn receive_singly(&self, singly: bool) {
        if self.receives_runs && sys::native::receive_runs(&self.socket, !singly) {
            self.receives_singly.store(singly, Ordering::Relaxed);
        }
    }

    /// Whether packets come one by one, for the time being.
    #[inline]
    pub(crate) fn receives_singly(&self) -> bool {
        self.receives_singly.load(Ordering::Relaxed)
    }

    /// Whether [`UdpSocket::recv`] may have something later that the kernel does not announce.
    /// Never without faults.
    #[inline]
    pub(crate) fn is_holding(&self) -> bool {
        self.faults.as_ref().is_some_and(|faults| faults.is_holding())
    }

    /// What is next in the queue of the kernel.
    #[inline]
    fn take(&self, buffer: &mut ReceiveBuffer) -> io::Result<Option<Datagram>> {
        let mut refusals = 0;
        let datagram = loop {
            let result = if self.portable {
                sys::portable::receive(&self.socket, buffer.space())
            } else if self.receives_singly() {
                sys::native::receive_single(&self.socket, buffer.space())
            } else {
                sys::native::receive(&self.socket, buffer.space())
            };
            match result {
                Ok(datagram) => break datagram,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    // It is about a packet that was sent, and says nothing about the queue.
                    io::ErrorKind::ConnectionRefused if refusals < MAX_REFUSALS => refusals += 1,
                    _ => return Err(error),
                },
            }
        };
        if let Some(drops) = datagram.kernel_drops {
            self.note_kernel_drops(drops);
        }
        Ok(Some(datagram))
    }

    /// Extends the 32-bit count of the kernel. A count that is behind is not news.
    fn note_kernel_drops(&self, counted: u32) {
        let known = self.kernel_drops.load(Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "the kernel counts modulo 2^32")]
        let news = counted.wrapping_sub(known as u32);
        if news != 0 && news <= u32::MAX / 2 {
            self.kernel_drops.store(known + u64::from(news), Ordering::Relaxed);
        }
    }

    /// Datagrams that the kernel dropped because the receive buffer of this socket was full, as far
    /// as the packets received since have told. A run that the kernel kept together counts as one.
    /// Always 0 on systems that do not tell.
    pub(crate) fn kernel_drops(&self) -> u64 {
        self.kernel_drops.load(Ordering::Relaxed)
    }

    /// Bytes of payload for which the kernel granted a receive buffer. Less than what was asked for
    /// means that the system limits it (`net.core.rmem_max` on Linux). An estimate for packets of
    /// usual size: the kernel charges its own bookkeeping too, and much of it for small packets.
    pub(crate) fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    /// The address that this socket is bound to, and at which it receives.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// The family of the addresses that this socket can send to.
    pub(crate) fn family(&self) -> Family {
        Family::of_socket(self.local_address)
    }

    /// An address to send to. One that is valid on a single link means that of this socket's interface.
    pub(crate) fn destination(&self, address: SocketAddr) -> Destination {
        Destination(scoped(address, self.interface_index).into())
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Implemented for the reference because a socket is shared by threads while a poller waits for it.
impl Source for &UdpSocket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).deregister(registry)
    }
}

/// The number of segments, if it can be one run.
fn segments_of(run_bytes: usize, segment_bytes: usize) -> io::Result<usize> {
    if run_bytes == 0 || segment_bytes == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let segments = run_bytes.div_ceil(segment_bytes);
    if segments > MAX_SEGMENTS || run_bytes > MAX_RUN_BYTES {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(segments)
}

/// The buffer of the socket, of the queue of the device, or kernel memory is exhausted: for now.
fn is_back_pressure(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

/// What Linux answers when the device cannot checksum, the segments exceed its MTU, or somebody between
/// this process and the kernel does not know the option.
fn may_lack_segmentation(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::ENOPROTOOPT | libc::EOPNOTSUPP)
    )
}
