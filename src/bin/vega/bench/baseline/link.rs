//! One direction of a baseline: a UDP socket pair, or a flag in memory. Layer: bin. Each end is
//! owned by one thread, which spins or
//! waits in the kernel.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::bench::load::TransportArg;

/// The group of the raw multicast sockets. They share it with the engine's default range; their
/// ports are their own.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 0, 9);
/// The same for IPv6, in the scope that does not leave the interface.
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff11, 0, 0, 0, 0, 0x7665, 0x6761, 9);
/// The number of the loopback interface, the same on every host.
const LOOPBACK_INDEX: u32 = 1;
/// Asked for; the system grants what it allows.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// Who blocks looks up so often, in case the round is over.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// A flag on cache lines of its own: two, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Flag(AtomicU64);

/// The sending end.
#[derive(Debug)]
pub(crate) enum Sender {
    /// To a group, or connected.
    Udp(UdpSocket, Option<SocketAddr>),
    /// The flag, and its value.
    Flag(Arc<Flag>, u64),
}

/// The receiving end.
#[derive(Debug)]
pub(crate) enum Receiver {
    Udp {
        socket: UdpSocket,
        blocks: bool,
    },
    /// The flag, and its value when it was last seen.
    Flag(Arc<Flag>, u64),
}

/// Opens the link that a transport is compared with, by the same version of IP. A receiver that `blocks` waits in the kernel;
/// a flag has nothing to wait in.
///
/// # Errors
///
/// When the system refuses a socket.
pub(crate) fn open(
    transport: TransportArg,
    is_ipv6: bool,
    blocks: bool,
) -> io::Result<(Sender, Receiver)> {
    let loopback = match is_ipv6 {
        false => IpAddr::V4(Ipv4Addr::LOCALHOST),
        true => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    match transport {
        TransportArg::Multicast => multicast(loopback, blocks),
        TransportArg::Unicast => unicast(loopback, blocks),
        TransportArg::Ipc => {
            let flag = Arc::new(Flag::default());
            Ok((Sender::Flag(Arc::clone(&flag), 0), Receiver::Flag(flag, 0)))
        }
    }
}

fn unicast(loopback: IpAddr, blocks: bool) -> io::Result<(Sender, Receiver)> {
    let (sender, receiver) = (bind(loopback)?, bind(loopback)?);
    sender.connect(&receiver.local_addr()?)?;
    receiver.connect(&sender.local_addr()?)?;
    Ok((Sender::Udp(sender.into(), None), waiting(receiver, blocks)?))
}

fn multicast(loopback: IpAddr, blocks: bool) -> io::Result<(Sender, Receiver)> {
    let sender = bind(loopback)?;
    let receiver = match loopback {
        IpAddr::V4(loopback) => {
            let receiver = bind(GROUP.into())?;
            sender.set_multicast_if_v4(&loopback)?;
            sender.set_multicast_loop_v4(true)?;
            receiver.join_multicast_v4(&GROUP, &loopback)?;
            receiver
        }
        IpAddr::V6(_) => {
            let receiver = bind(GROUP_V6.into())?;
            sender.set_multicast_if_v6(LOOPBACK_INDEX)?;
            sender.set_multicast_loop_v6(true)?;
            receiver.join_multicast_v6(&GROUP_V6, LOOPBACK_INDEX)?;
            receiver
        }
    };
    let group = receiver.local_addr()?.as_socket();
    Ok((Sender::Udp(sender.into(), group), waiting(receiver, blocks)?))
}

fn waiting(socket: Socket, blocks: bool) -> io::Result<Receiver> {
    socket.set_nonblocking(!blocks)?;
    socket.set_read_timeout(blocks.then_some(LONGEST_WAIT))?;
    Ok(Receiver::Udp { socket: socket.into(), blocks })
}

/// A socket on a free port of the loopback address or of the group.
fn bind(address: IpAddr) -> io::Result<Socket> {
    let (domain, address) = match address {
        IpAddr::V4(_) => (Domain::IPV4, SocketAddr::new(address, 0)),
        IpAddr::V6(ip) => (Domain::IPV6, SocketAddrV6::new(ip, 0, 0, LOOPBACK_INDEX).into()),
    };
    let socket = Socket::new(domain, Type::DGRAM, None)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

impl Sender {
    #[inline]
    pub(crate) fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket, Some(group)) => socket.send_to(payload, *group).map(drop),
            Self::Udp(socket, None) => socket.send(payload).map(drop),
            Self::Flag(flag, value) => {
                *value += 1;
                // Release: pairs with the Acquire in `receive`.
                flag.0.store(*value, Ordering::Release);
                Ok(())
            }
        }
    }
}

impl Receiver {
    /// Whether a look waits.
    pub(crate) const fn blocks(&self) -> bool {
        matches!(self, Self::Udp { blocks: true, .. })
    }

    /// Looks once; returns how many bytes have come, if anything has.
    #[inline]
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Udp { socket, .. } => match socket.recv(buffer) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) => match error.kind() {
                    // Both are what a wait in vain is called, depending on the system.
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(None),
                    _ => Err(error),
                },
            },
            Self::Flag(flag, seen) => {
                let value = flag.0.load(Ordering::Acquire);
                let came = value != *seen;
                *seen = value;
                Ok(came.then_some(0))
            }
        }
    }
}
