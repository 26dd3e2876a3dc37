//! From a host name to an address. Layer: transport. Asks the operating system, which may take many
//! seconds: not for a thread that has anything else to do.

use std::io;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

/// The first IPv4 address of a host.
///
/// # Errors
///
/// What the operating system says, or that it knows no IPv4 address.
///
/// # Blocking
///
/// As long as the name servers take, or their timeout.
pub(crate) fn lookup(host: &str) -> io::Result<Ipv4Addr> {
    let found = (host, 0).to_socket_addrs()?.find_map(|address| match address.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    });
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has no IPv4 address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_the_name_that_every_host_has() {
        assert_eq!(lookup("127.1.2.3").unwrap(), Ipv4Addr::new(127, 1, 2, 3));
        assert!(lookup("localhost").unwrap().is_loopback());
        assert!(lookup("no host has a name with blanks").is_err());
    }
}
