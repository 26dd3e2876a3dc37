//! The addresses of this host. Layer: transport/sys; no thread owns it.
#![expect(unsafe_code, reason = "getifaddrs returns a linked list of C structures")]

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// One address and the interface that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::transport) struct LocalAddress {
    pub(in crate::transport) name: String,
    pub(in crate::transport) index: u32,
    pub(in crate::transport) address: IpAddr,
    pub(in crate::transport) is_up: bool,
    pub(in crate::transport) is_loopback: bool,
}

/// Frees the list when the walk ends, however it ends.
struct List(*mut libc::ifaddrs);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the pointer comes from a successful `getifaddrs` and is freed once, here.
        unsafe { libc::freeifaddrs(self.0) }
    }
}

/// Lists the IPv4 and IPv6 addresses of this host in the order of the kernel.
///
/// # Errors
///
/// The error of `getifaddrs`.
pub(in crate::transport) fn local_addresses() -> io::Result<Vec<LocalAddress>> {
    let mut head = ptr::null_mut();
    // SAFETY: `head` is a valid place for the pointer that the call writes.
    if unsafe { libc::getifaddrs(&raw mut head) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let list = List(head);
    let mut addresses = Vec::new();
    let mut next = list.0;
    // SAFETY: every node is valid until the list is freed, which `list` does after the loop.
    while let Some(node) = unsafe { next.as_ref() } {
        addresses.extend(local_of(node));
        next = node.ifa_next;
    }
    Ok(addresses)
}

/// `None` for addresses of other families and for interfaces that vanished meanwhile.
fn local_of(node: &libc::ifaddrs) -> Option<LocalAddress> {
    // SAFETY: the address is null or points to a socket address that lives as long as the node.
    let family = i32::from(unsafe { node.ifa_addr.as_ref() }?.sa_family);
    let address = match family {
        libc::AF_INET => {
            // SAFETY: the family says that it is a `sockaddr_in`; the alignment is not promised.
            let found = unsafe { ptr::read_unaligned(node.ifa_addr.cast::<libc::sockaddr_in>()) };
            IpAddr::V4(Ipv4Addr::from(u32::from_be(found.sin_addr.s_addr)))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is a `sockaddr_in6`; the alignment is not promised.
            let found = unsafe { ptr::read_unaligned(node.ifa_addr.cast::<libc::sockaddr_in6>()) };
            IpAddr::V6(Ipv6Addr::from(found.sin6_addr.s6_addr))
        }
        _ => return None,
    };
    // SAFETY: the name is a NUL-terminated string that lives as long as the node.
    let name = unsafe { CStr::from_ptr(node.ifa_name) };
    // SAFETY: as above; the call only reads the name.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let has = |flag: libc::c_int| node.ifa_flags & flag.cast_unsigned() != 0;
    (index != 0).then(|| LocalAddress {
        name: name.to_string_lossy().into_owned(),
        index,
        address,
        is_up: has(libc::IFF_UP),
        is_loopback: has(libc::IFF_LOOPBACK),
    })
}
