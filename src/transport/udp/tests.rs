//! Tests with real sockets, on loopback only, through each way to send and to receive. Here is what they
//! are made of.

mod groups;
mod opening;
mod receiving;
mod runs;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mio::{Events, Poll};
use proptest::prelude::*;

use super::*;
use crate::config::{Config, InterfaceSpec};
use crate::transport::interface::{Interface, resolve};

/// How a run leaves: cut by the kernel, as a batch, or packet by packet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Segmented,
    Batched,
    Portable,
}

/// How a run leaves, and in packets of which family.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Way {
    how: How,
    family: Family,
}

const LOOPBACK: IpAddr = Family::V4.loopback();
const SEGMENTED: Way = Way { how: How::Segmented, family: Family::V4 };
const PORTABLE: Way = Way { how: How::Portable, family: Family::V4 };

/// Every way that this machine has. Without IPv6 that is said where people see it.
fn ways() -> Vec<Way> {
    let mut families = vec![Family::V4];
    match resolve(&InterfaceSpec::Loopback(Family::V6)) {
        Ok(_) => families.push(Family::V6),
        Err(reason) => {
            use std::io::Write as _;
            // Not by a macro: the harness would keep that to itself.
            let _ = writeln!(io::stderr(), "\nSKIPPED for IPv6: {reason}");
        }
    }
    let of = |family| [How::Segmented, How::Batched, How::Portable].map(|how| Way { how, family });
    families.into_iter().flat_map(of).collect()
}

/// Those of IPv4, whose groups every loopback interface carries. IPv6 needs a route there, and is tested
/// in networks of its own.
fn group_ways() -> impl Iterator<Item = Way> {
    ways().into_iter().filter(|way| way.family == Family::V4)
}

impl Way {
    fn options(self) -> SocketOptions {
        SocketOptions {
            receive_buffer_bytes: 1 << 20,
            send_buffer_bytes: 1 << 20,
            force_portable: self.how == How::Portable,
            faults: None,
            counters: None,
        }
    }

    fn loopback(self) -> Interface {
        resolve(&InterfaceSpec::Loopback(self.family)).unwrap()
    }

    fn prepared(self, socket: UdpSocket) -> UdpSocket {
        if self.how != How::Segmented {
            socket.can_segment.store(false, Ordering::Relaxed);
        }
        socket
    }

    fn sender(self) -> UdpSocket {
        self.prepared(UdpSocket::open_sender(&self.loopback(), 0, &self.options()).unwrap())
    }

    fn connected(self, to: &UdpSocket) -> UdpSocket {
        let to = to.local_address();
        let opened = self.sender().open_connected(&self.loopback(), 0, to, &self.options());
        self.prepared(opened.unwrap())
    }

    fn receiver(self) -> UdpSocket {
        UdpSocket::bind_unicast(&self.loopback(), [0], &self.options()).unwrap()
    }
}

fn loopback() -> Interface {
    SEGMENTED.loopback()
}

fn to(socket: &UdpSocket) -> Destination {
    socket.destination(socket.local_address())
}

/// A socket as a poller has it. Waiting is bounded so that a lost packet fails the test.
struct Inbox<'s> {
    socket: &'s UdpSocket,
    poll: Poll,
    buffer: ReceiveBuffer,
}

impl<'s> Inbox<'s> {
    fn of(socket: &'s UdpSocket) -> Self {
        Self::with_buffer(socket, ReceiveBuffer::new())
    }

    fn with_buffer(socket: &'s UdpSocket, buffer: ReceiveBuffer) -> Self {
        let poll = Poll::new().unwrap();
        poll.registry().register(&mut &*socket, Token(0), Interest::READABLE).unwrap();
        Self { socket, poll, buffer }
    }

    /// The next datagram or run: who sent it, and its packets.
    fn next(&mut self) -> (SocketAddr, Vec<Vec<u8>>) {
        let mut events = Events::with_capacity(1);
        loop {
            if let Some(received) = self.socket.recv(&mut self.buffer).unwrap() {
                let packets = received.segments().map(<[u8]>::to_vec).collect();
                return (received.source(), packets);
            }
            self.poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
            assert!(!events.is_empty(), "nothing arrived");
        }
    }

    fn packets(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while packets.len() < count {
            packets.extend(self.next().1);
        }
        packets
    }

    fn is_empty(&mut self) -> bool {
        self.socket.recv(&mut self.buffer).unwrap().is_none()
    }
}

/// Bytes that tell where in the run they lie.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

/// Sends everything, in as many calls as the socket wants.
fn send_all(socket: &UdpSocket, to: Option<&Destination>, bytes: &[u8], segment_bytes: usize) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let sent = socket.send_run(to, rest, segment_bytes).unwrap();
        rest = rest.get(sent * segment_bytes..).unwrap_or_default();
    }
}

fn split(bytes: &[u8], segment_bytes: usize) -> Vec<Vec<u8>> {
    bytes.chunks(segment_bytes).map(<[u8]>::to_vec).collect()
}
