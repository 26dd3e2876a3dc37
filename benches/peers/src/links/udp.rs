//! Plain UDP sockets, spun. Layer: peers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::cases::Transport;
use crate::console::Console;
use crate::part::Part;
use crate::place::Place;
use crate::polled::{self, Channel, Inlet, Link, Outlet};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 0, 9);
/// More than any message has.
const BUFFER_BYTES: usize = 1 << 11;

/// Plays a part.
pub(super) fn play(part: &Part, console: &Console) -> anyhow::Result<()> {
    let is_multicast = part.case.transport == Transport::Multicast;
    polled::play(&Udp { place: part.place.clone(), is_multicast }, part, console)
}

struct Udp {
    place: Place,
    is_multicast: bool,
}

struct Sender(UdpSocket);

struct Receiver {
    socket: UdpSocket,
    buffer: [u8; BUFFER_BYTES],
}

impl Udp {
    fn address(&self, channel: Channel) -> SocketAddr {
        let port = self.place.port(channel as u16);
        (if self.is_multicast { GROUP } else { Ipv4Addr::LOCALHOST }, port).into()
    }
}

impl Link for Udp {
    type Outlet = Sender;
    type Inlet = Receiver;

    fn outlet(&self, channel: Channel) -> anyhow::Result<Sender> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
        socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
        socket.connect(&self.address(channel).into())?;
        Ok(Sender(socket.into()))
    }

    fn inlet(&self, channel: Channel) -> anyhow::Result<Receiver> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.bind(&self.address(channel).into())?;
        if self.is_multicast {
            socket.join_multicast_v4(&GROUP, &Ipv4Addr::LOCALHOST)?;
        }
        socket.set_nonblocking(true)?;
        Ok(Receiver { socket: socket.into(), buffer: [0; BUFFER_BYTES] })
    }
}

impl Outlet for Sender {
    #[inline]
    fn send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        Ok(self.0.send(message)? == message.len())
    }
}

impl Inlet for Receiver {
    #[inline]
    fn poll(&mut self, mut on_message: impl FnMut(&[u8])) -> anyhow::Result<usize> {
        match self.socket.recv(&mut self.buffer) {
            Ok(bytes) => {
                on_message(&self.buffer[..bytes]);
                Ok(1)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}
