//! UDP as Linux does it best: a run of packets in one system call, both ways. Layer: transport/sys;
//! no thread owns it.
//!
//! `UDP_SEGMENT` hands the kernel one large buffer that it cuts into packets as late as it can, and
//! `UDP_GRO` gives such a run back in one piece. Over loopback that moves ten times the packets of
//! one call per packet. `msghdr` and its parts are built on the stack for every call: filling 150
//! bytes is nothing beside a system call, and there is no self-referential state to keep valid.
#![expect(unsafe_code, reason = "control messages and batched calls have no safe interface")]

use std::ffi::c_void;
use std::io;
use std::mem::{self, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr;

use socket2::{SockAddr, Socket};

use super::{Datagram, MAX_SEGMENTS};
use crate::config::Family;
use crate::transport::interface::Interface;

/// Linux doubles what was asked for, to account for its own bookkeeping, and reports the double.
pub(in crate::transport) const RECEIVE_BUFFER_FACTOR: usize = 2;

/// The call behind [`send_each`].
pub(in crate::transport) const SEND_EACH: &str = "sendmmsg";

/// Room for the control messages of one call, with the alignment that they need: the segment size
/// and the drop counter take 24 bytes each.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Whether this kernel knows `UDP_SEGMENT`. It must be asked: one that does not know it ignores the
/// control message and sends the whole run as one datagram.
pub(in crate::transport) fn can_segment(socket: &Socket) -> bool {
    let mut value: libc::c_int = 0;
    let mut length = socklen_of::<libc::c_int>();
    // SAFETY: `value` and `length` are valid for the writes of the call, and `length` says how
    // large `value` is.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    result == 0
}

/// Asks for runs in one piece, or for packets one by one, and says whether they come like that. A
/// kernel that cannot keep runs together is none the worse: they then arrive packet by packet.
pub(in crate::transport) fn receive_runs(socket: &Socket, wanted: bool) -> bool {
    let enabled = libc::c_int::from(wanted);
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, &enabled).is_ok()
}

/// Makes the kernel refuse to cut up what this socket sends, as it does where a device cannot checksum.
#[cfg(test)]
pub(in crate::transport) fn send_without_checksums(socket: &Socket) {
    let enabled: libc::c_int = 1;
    set_option(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, &enabled).expect("an old option");
}

/// Asks for the count of dropped datagrams. A kernel that does not count says nothing.
pub(in crate::transport) fn count_kernel_drops(socket: &Socket) {
    let enabled: libc::c_int = 1;
    let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &enabled);
}

/// Lets further sockets of this host bind the same group and port.
///
/// # Errors
///
/// The error of `setsockopt`.
pub(in crate::transport) fn share_multicast_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Keeps out what other sockets of this host joined, before the socket is bound. By default Linux delivers
/// every IPv4 group that anybody joined, on any interface; an IPv6 group that this socket joined, it
/// delivers on any interface where somebody did, unless the socket is tied to one. The groups of a
/// link are tied to theirs when they are bound.
///
/// # Errors
///
/// The error of `setsockopt`; for IPv6, kernels before 5.7 want a privilege.
pub(in crate::transport) fn receive_own_groups_only(
    socket: &Socket,
    interface: &Interface,
) -> io::Result<()> {
    match interface.family() {
        Family::V4 => socket.set_multicast_all_v4(false),
        Family::V6 => socket.bind_device(Some(interface.name.as_bytes())),
    }
}

/// Sends IPv4 multicast out of one interface, by index: an address can be on several.
///
/// # Errors
///
/// The error of `setsockopt`.
pub(in crate::transport) fn set_multicast_interface(
    socket: &Socket,
    address: Ipv4Addr,
    index: u32,
) -> io::Result<()> {
    let request = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: 0 },
        imr_address: libc::in_addr { s_addr: u32::from(address).to_be() },
        imr_ifindex: libc::c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?,
    };
    set_option(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request)
}

/// Sends a run in one call, cut into segments by the kernel: all of it, or none.
///
/// # Errors
///
/// The error of `sendmsg`.
pub(in crate::transport) fn send_segmented(
    socket: &Socket,
    to: Option<&SockAddr>,
    bytes: &[u8],
    segment_bytes: usize,
) -> io::Result<()> {
    let segment = u16::try_from(segment_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut control = Control([0; 64]);
    let mut vector = vector_of(bytes);
    let mut header = header_to(to, &mut vector);
    header.msg_control = (&raw mut control).cast();
    // SAFETY: only computes a size.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(socklen_of::<u16>()) } as _;
    // SAFETY: `control` is aligned and larger than the space that `msg_controllen` announces, so
    // the first control message lies inside it and has room for the two bytes written.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = libc::UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(socklen_of::<u16>()) as _;
        ptr::write_unaligned(libc::CMSG_DATA(message).cast(), segment);
    }
    // SAFETY: everything that `header` points to outlives the call, which only reads it.
    unsafe { sendmsg(socket, &header) }.map(drop)
}

/// Sends one datagram. This, [`receive_single`] and the two below are not the calls of the C library: as points where a thread
/// can be cancelled those take two locked instructions more, which shows in a loop that mostly finds
/// nothing.
///
/// # Errors
///
/// The error of `sendto`.
pub(in crate::transport) fn send(
    socket: &Socket,
    to: Option<&SockAddr>,
    bytes: &[u8],
) -> io::Result<()> {
    let (address, length) = to.map_or((ptr::null(), 0), |to| (to.as_ptr(), to.len()));
    let descriptor = socket.as_raw_fd();
    // SAFETY: the call only reads, the bytes and an address of the length that is stated.
    let sent = unsafe {
        libc::syscall(libc::SYS_sendto, descriptor, bytes.as_ptr(), bytes.len(), 0, address, length)
    };
    if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// # Safety
///
/// As for `sendmsg`: what `header` points to is valid for reads of the lengths that it states.
unsafe fn sendmsg(socket: &Socket, header: &libc::msghdr) -> io::Result<usize> {
    // SAFETY: by contract.
    let sent =
        unsafe { libc::syscall(libc::SYS_sendmsg, socket.as_raw_fd(), ptr::from_ref(header), 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// # Safety
///
/// As for `recvmsg`: what `header` points to is valid for writes of the lengths that it states.
unsafe fn recvmsg(socket: &Socket, header: &mut libc::msghdr) -> io::Result<usize> {
    // SAFETY: by contract.
    let received =
        unsafe { libc::syscall(libc::SYS_recvmsg, socket.as_raw_fd(), ptr::from_mut(header), 0) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Sends a run of at most [`MAX_SEGMENTS`] segments, one datagram each, in one call. Returns how
/// many the kernel took before it refused one.
///
/// # Errors
///
/// The error of `sendmmsg` when not even the first segment was taken.
pub(in crate::transport) fn send_each(
    socket: &Socket,
    to: Option<&SockAddr>,
    bytes: &[u8],
    segment_bytes: usize,
) -> io::Result<usize> {
    let mut vectors = [vector_of(&[]); MAX_SEGMENTS];
    // SAFETY: all zeroes is a valid `mmsghdr`.
    let mut messages: [libc::mmsghdr; MAX_SEGMENTS] = unsafe { mem::zeroed() };
    let mut count = 0;
    let slots = messages.iter_mut().zip(&mut vectors);
    for (segment, (message, vector)) in bytes.chunks(segment_bytes).zip(slots) {
        *vector = vector_of(segment);
        message.msg_hdr = header_to(to, vector);
        count += 1;
    }
    // SAFETY: the first `count` headers are filled; what they point to outlives the call, which
    // writes only the lengths inside `messages`.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives one datagram, or one run that the kernel kept together.
///
/// # Errors
///
/// The error of `recvmsg`.
pub(in crate::transport) fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut source = Source { v6: NOWHERE };
    let mut control = Control([0; 64]);
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut header = header_to(None, &mut vector);
    header.msg_name = (&raw mut source).cast();
    header.msg_namelen = socklen_of::<Source>();
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = size_of::<Control>() as _;
    // SAFETY: `header` points to the buffer, the address and the control space with their true
    // sizes, all exclusively borrowed or owned here for the length of the call.
    let length = unsafe { recvmsg(socket, &mut header) }?;
    let (segment_bytes, kernel_drops) = read_control(&header);
    let length = length.min(buffer.len());
    Ok(Datagram {
        length,
        segment_bytes: segment_bytes.unwrap_or(length).max(1),
        source: source.address(),
        is_truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        kernel_drops,
    })
}

/// Receives one datagram from a socket that keeps no runs together. To find nothing takes 290 ns
/// where [`receive`] takes 410, and so does to find something: header, vector and control messages
/// have to be fetched from this process, and given back. What it leaves out is how many datagrams the
/// kernel has dropped.
///
/// # Errors
///
/// The error of `recvfrom`.
pub(in crate::transport) fn receive_single(
    socket: &Socket,
    buffer: &mut [u8],
) -> io::Result<Datagram> {
    let mut source = Source { v6: NOWHERE };
    let mut source_length = socklen_of::<Source>();
    // SAFETY: the buffer, the address and its length are valid for writes of the sizes that are
    // stated, exclusively borrowed or owned here for the length of the call.
    let length = unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            socket.as_raw_fd(),
            buffer.as_mut_ptr(),
            buffer.len(),
            // The whole length, also of what does not fit.
            libc::MSG_TRUNC,
            &raw mut source,
            &raw mut source_length,
        )
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    Ok(Datagram {
        length: length.min(buffer.len()),
        segment_bytes: length.max(1),
        source: source.address(),
        is_truncated: length > buffer.len(),
        kernel_drops: None,
    })
}

/// Room for the source address of either family.
#[repr(C)]
union Source {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

const NOWHERE: libc::sockaddr_in6 = libc::sockaddr_in6 {
    sin6_family: 0,
    sin6_port: 0,
    sin6_flowinfo: 0,
    sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
    sin6_scope_id: 0,
};

impl Source {
    fn address(&self) -> SocketAddr {
        // SAFETY: every byte is initialized, and both structures are plain numbers that begin with the family.
        let v6 = unsafe { &self.v6 };
        if i32::from(v6.sin6_family) == libc::AF_INET6 {
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            return SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, 0).into();
        }
        // The sockets of this layer are of these two families only.
        // SAFETY: as above.
        let v4 = unsafe { &self.v4 };
        let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
        SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into()
    }
}

/// The segment size and the drop count among the control messages of a receive call.
fn read_control(header: &libc::msghdr) -> (Option<usize>, Option<u32>) {
    let (mut segment_bytes, mut kernel_drops) = (None, None);
    // SAFETY: `header` is what `recvmsg` left: its control space holds well-formed messages up to
    // `msg_controllen`, and the walk stays inside.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: a message that is not null lies inside the aligned control space.
    while let Some(found) = unsafe { message.as_ref() } {
        match (found.cmsg_level, found.cmsg_type) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: the kernel wrote one `int` after this message header.
                let size: libc::c_int =
                    unsafe { ptr::read_unaligned(libc::CMSG_DATA(found).cast()) };
                segment_bytes = usize::try_from(size).ok();
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                // SAFETY: the kernel wrote one 32-bit counter after this message header.
                kernel_drops = Some(unsafe { ptr::read_unaligned(libc::CMSG_DATA(found).cast()) });
            }
            _ => {}
        }
        // SAFETY: as for the first message.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    (segment_bytes, kernel_drops)
}

/// The kernel only reads what a vector for sending points to; C has no type to say so.
fn vector_of(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// A header with one vector, for the given destination or for the one that the socket has.
fn header_to(to: Option<&SockAddr>, vector: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zeroes is a valid `msghdr` without address, vectors and control messages.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    if let Some(to) = to {
        header.msg_name = to.as_ptr().cast::<c_void>().cast_mut();
        header.msg_namelen = to.len();
    }
    header.msg_iov = vector;
    header.msg_iovlen = 1;
    header
}

fn set_option<T>(
    socket: &Socket,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which the call only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(value).cast(),
            socklen_of::<T>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[expect(clippy::cast_possible_truncation, reason = "the types measured here are a few bytes")]
const fn socklen_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}
