//! Opening sockets: what is bound where, and with which options. Layer: transport; runs on the
//! thread that starts an instance or adds a topic to it.
//!
//! Every socket is bound to an address of its interface, or to a multicast group joined there:
//! never to the wildcard address, which would accept what arrives on any network of the host.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use thiserror::Error;

use super::{FaultSource, UdpSocket};
use crate::config::Family;
use crate::counters::{Counter, Counters};
use crate::transport::interface::Interface;
use crate::transport::sys;

/// The kernel takes buffer sizes as a C `int`, and doubles them.
const MAX_BUFFER_BYTES: usize = 1 << 30;

/// Nothing is sent there.
const ANY_PORT: u16 = 9;
/// What Linux needs before IPv6 groups can be sent to on the loopback interface.
const LOOPBACK_ROUTE: &str = " (as root: ip -6 route add local ff00::/8 dev lo table local; or do without multicast: \
     [discovery] kind = \"daemon\", topics by unicast or ipc)";

/// What the opener of a socket asks for.
#[derive(Clone, Debug)]
pub(crate) struct SocketOptions {
    /// Bytes of receive buffer to ask for; [`UdpSocket::receive_buffer_bytes`] says what was
    /// granted. More than 1 GiB is asked for as 1 GiB.
    pub(crate) receive_buffer_bytes: usize,
    /// Bytes of send buffer to ask for. More than 1 GiB is asked for as 1 GiB.
    pub(crate) send_buffer_bytes: usize,
    /// Use only the system calls that every Unix system has. Slower; for tests of that path and for
    /// ruling the faster one out when something goes wrong.
    pub(crate) force_portable: bool,
    /// What happens to what is received, if anything is to. The kernel then keeps no runs together,
    /// so that each datagram has its own fate.
    pub(crate) faults: Option<Arc<FaultSource>>,
    /// Where it is counted that the kernel does not know runs, or that the device refuses them.
    pub(crate) counters: Option<Arc<Counters>>,
}

/// Why a socket could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    /// The operating system gives no socket.
    #[error("cannot create a UDP socket")]
    Create(#[source] io::Error),
    /// The range of ports is empty.
    #[error("no port to bind on {interface}")]
    NoPorts {
        /// Name and address of the interface.
        interface: String,
    },
    /// Somebody has every port of the range.
    #[error("all ports from {first} to {last} of {interface} are taken (tried: {tried})")]
    PortsTaken {
        /// Name and address of the interface.
        interface: String,
        /// The lowest port that was tried.
        first: u16,
        /// The highest port that was tried.
        last: u16,
        /// How many were tried.
        tried: usize,
    },
    /// The address cannot be bound, for a reason other than that it is taken.
    #[error("cannot bind {address} on {interface}")]
    Bind {
        /// Name and address of the interface.
        interface: String,
        /// What was to be bound.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The address cannot be a group.
    #[error("group {group} is no {family} multicast address", family = family.as_str())]
    NotMulticast {
        /// That of the interface.
        family: Family,
        /// What was to be joined.
        group: IpAddr,
    },
    /// The interface does not join the group.
    #[error("cannot join group {group} on {interface}")]
    Join {
        /// Name and address of the interface.
        interface: String,
        /// What was to be joined.
        group: IpAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The routing table does not lead groups to the interface.
    #[error(
        "multicast does not leave by {interface}: no route for {group}{}",
        if *is_loopback { LOOPBACK_ROUTE } else { "" }
    )]
    NoRoute {
        /// Name and address of the interface.
        interface: String,
        /// What was to be reached.
        group: IpAddr,
        /// Linux has no such route for the loopback interface, unless it is told to.
        is_loopback: bool,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no way from the interface to the destination.
    #[error("cannot connect {interface} to {destination}")]
    Connect {
        /// Name and address of the interface.
        interface: String,
        /// What was to be connected to.
        destination: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// A socket option is refused.
    #[error("cannot set {option} on a socket of {interface}")]
    Option {
        /// Name and address of the interface.
        interface: String,
        /// The option, as the operating system calls it.
        option: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
}

impl UdpSocket {
    /// Opens a socket for unicast data on the first of `ports` that nobody has, and keeps it from
    /// everybody else.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; a port that is refused for another reason than being taken ends the search.
    pub(crate) fn bind_unicast(
        interface: &Interface,
        ports: impl IntoIterator<Item = u16>,
        options: &SocketOptions,
    ) -> Result<Self, OpenError> {
        let socket = create(interface, options)?;
        let (mut first, mut last, mut tried) = (u16::MAX, 0, 0);
        for port in ports {
            let address = SocketAddr::new(interface.address, port);
            match socket.bind(&interface.scoped(address).into()) {
                Ok(()) => return finish(socket, interface, options),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    (first, last, tried) = (first.min(port), last.max(port), tried + 1);
                }
                Err(source) => {
                    return Err(OpenError::Bind {
                        interface: interface.to_string(),
                        address,
                        source,
                    });
                }
            }
        }
        let interface = interface.to_string();
        Err(if tried == 0 {
            OpenError::NoPorts { interface }
        } else {
            OpenError::PortsTaken { interface, first, last, tried }
        })
    }

    /// Opens a socket that receives one multicast group on one interface. Several processes of a
    /// host can do so with the same group and port, and each receives everything.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub(crate) fn bind_multicast(
        interface: &Interface,
        group: IpAddr,
        port: u16,
        options: &SocketOptions,
    ) -> Result<Self, OpenError> {
        let family = interface.family();
        if !group.is_multicast() || Family::of(group) != family {
            return Err(OpenError::NotMulticast { family, group });
        }
        find_route(interface, group, options)?;
        let socket = create(interface, options)?;
        set(interface, "SO_REUSEADDR", sys::native::share_multicast_port(&socket))?;
        let only = match family {
            Family::V4 => "IP_MULTICAST_ALL",
            Family::V6 => "SO_BINDTODEVICE",
        };
        set(interface, only, sys::native::receive_own_groups_only(&socket, interface))?;
        bind(&socket, interface, SocketAddr::new(group, port))?;
        let joined = match group {
            IpAddr::V4(group) => {
                let at = InterfaceIndexOrAddress::Index(interface.index);
                socket.join_multicast_v4_n(&group, &at)
            }
            IpAddr::V6(group) => socket.join_multicast_v6(&group, interface.index),
        };
        joined.map_err(|source| OpenError::Join {
            interface: interface.to_string(),
            group,
            source,
        })?;
        finish(socket, interface, options)
    }

    /// Opens a socket that sends to any unicast or multicast address and receives what is sent back
    /// to it. `ttl` bounds how many routers a multicast packet may pass: 0 stays on this host.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub(crate) fn open_sender(
        interface: &Interface,
        ttl: u8,
        options: &SocketOptions,
    ) -> Result<Self, OpenError> {
        let socket = create(interface, options)?;
        send_to_groups(&socket, interface, ttl)?;
        bind(&socket, interface, SocketAddr::new(interface.address, 0))?;
        finish(socket, interface, options)
    }

    /// Lets a bound socket send to multicast groups through an interface, like one that
    /// [`UdpSocket::open_sender`] opens.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub(crate) fn send_to_groups(&self, interface: &Interface, ttl: u8) -> Result<(), OpenError> {
        send_to_groups(&self.socket, interface, ttl)
    }

    /// Opens a socket that sends to one destination from the address of this one, cheaper than one that
    /// must look up the way for every packet. It receives what comes from there; what members of a group
    /// answer comes from addresses of their own, and to this socket.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub(crate) fn open_connected(
        &self,
        interface: &Interface,
        ttl: u8,
        destination: SocketAddr,
        options: &SocketOptions,
    ) -> Result<Self, OpenError> {
        let socket = create(interface, options)?;
        send_to_groups(&socket, interface, ttl)?;
        // Nobody else is to share the address: the way in is open for this one binding only.
        for one in [&self.socket, &socket] {
            set(interface, "SO_REUSEADDR", one.set_reuse_address(true))?;
        }
        let bound = bind(&socket, interface, self.local_address);
        for one in [&self.socket, &socket] {
            set(interface, "SO_REUSEADDR", one.set_reuse_address(false))?;
        }
        bound?;
        socket.connect(&interface.scoped(destination).into()).map_err(|source| {
            OpenError::Connect { interface: interface.to_string(), destination, source }
        })?;
        finish(socket, interface, options)
    }
}

fn send_to_groups(socket: &Socket, interface: &Interface, ttl: u8) -> Result<(), OpenError> {
    // Subscribers on the same host are as good as any others: what is sent is looped back.
    match interface.address {
        IpAddr::V4(address) => {
            let through = sys::native::set_multicast_interface(socket, address, interface.index);
            set(interface, "IP_MULTICAST_IF", through)?;
            set(interface, "IP_MULTICAST_LOOP", socket.set_multicast_loop_v4(true))?;
            set(interface, "IP_MULTICAST_TTL", socket.set_multicast_ttl_v4(ttl.into()))
        }
        IpAddr::V6(_) => {
            set(interface, "IPV6_MULTICAST_IF", socket.set_multicast_if_v6(interface.index))?;
            set(interface, "IPV6_MULTICAST_LOOP", socket.set_multicast_loop_v6(true))?;
            set(interface, "IPV6_MULTICAST_HOPS", socket.set_multicast_hops_v6(ttl.into()))
        }
    }
}

/// Looks whether the routing table leads an IPv6 group to the interface: joining works without, sending does
/// not. IPv4 groups are sent by the interface that is asked for, whatever the table says.
///
/// # Errors
///
/// `NoRoute`, or that no socket can be had to find out.
pub(crate) fn find_route(
    interface: &Interface,
    group: IpAddr,
    options: &SocketOptions,
) -> Result<(), OpenError> {
    if interface.family() == Family::V4 {
        return Ok(());
    }
    let socket = create(interface, options)?;
    send_to_groups(&socket, interface, 0)?;
    let anywhere_there = interface.scoped(SocketAddr::new(group, ANY_PORT));
    match socket.connect(&anywhere_there.into()) {
        Err(source) if source.kind() == io::ErrorKind::NetworkUnreachable => {
            Err(OpenError::NoRoute {
                interface: interface.to_string(),
                group,
                is_loopback: interface.is_loopback,
                source,
            })
        }
        // Whatever else is wrong is told by what follows.
        _ => Ok(()),
    }
}

/// A socket with everything that does not depend on where it is bound. The buffers come before the
/// binding, so that no packet meets the small default.
fn create(interface: &Interface, options: &SocketOptions) -> Result<Socket, OpenError> {
    let domain = match interface.family() {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket =
        Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).map_err(OpenError::Create)?;
    if interface.family() == Family::V6 {
        set(interface, "IPV6_V6ONLY", socket.set_only_v6(true))?;
    }
    set(interface, "O_NONBLOCK", socket.set_nonblocking(true))?;
    // Linux grants what it can, other systems refuse what is too much. Neither is a reason to have
    // no socket: `receive_buffer_bytes` tells what came of it.
    let _ = socket.set_recv_buffer_size(options.receive_buffer_bytes.min(MAX_BUFFER_BYTES));
    let _ = socket.set_send_buffer_size(options.send_buffer_bytes.min(MAX_BUFFER_BYTES));
    if !options.force_portable {
        sys::native::count_kernel_drops(&socket);
    }
    Ok(socket)
}

fn bind(socket: &Socket, interface: &Interface, address: SocketAddr) -> Result<(), OpenError> {
    socket.bind(&interface.scoped(address).into()).map_err(|source| OpenError::Bind {
        interface: interface.to_string(),
        address,
        source,
    })
}

fn set(
    interface: &Interface,
    option: &'static str,
    result: io::Result<()>,
) -> Result<(), OpenError> {
    result.map_err(|source| OpenError::Option { interface: interface.to_string(), option, source })
}

fn finish(
    socket: Socket,
    interface: &Interface,
    options: &SocketOptions,
) -> Result<UdpSocket, OpenError> {
    let granted = socket.recv_buffer_size().map_err(OpenError::Create)?;
    let address = socket.local_addr().map_err(OpenError::Create)?;
    // A socket that was just bound to an address has one.
    let local_address = address.as_socket().map_or_else(
        || SocketAddr::new(interface.address, 0),
        |address| SocketAddr::new(address.ip(), address.port()),
    );
    // What has arrived since the binding has come packet by packet, which is as good.
    let receives_runs = !options.force_portable
        && options.faults.is_none()
        && sys::native::receive_runs(&socket, true);
    let can_segment = !options.force_portable && sys::native::can_segment(&socket);
    if let Some(counters) = options.counters.as_ref().filter(|_| !(can_segment && receives_runs)) {
        counters.add(Counter::OffloadsMissing, 1);
    }
    Ok(UdpSocket {
        can_segment: AtomicBool::new(can_segment),
        socket,
        local_address,
        interface_index: interface.index,
        receive_buffer_bytes: granted / sys::native::RECEIVE_BUFFER_FACTOR,
        portable: options.force_portable,
        receives_runs,
        receives_singly: AtomicBool::new(false),
        counters: options.counters.clone(),
        kernel_drops: AtomicU64::new(0),
        faults: options.faults.as_ref().map(|source| Box::new(source.next_socket())),
    })
}
