//! From a host name to an address. Layer: transport. Asks the operating system, which may take many
//! seconds: not for a thread that has anything else to do.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};

use crate::config::Family;

/// The first address of a host that is of a family.
///
/// # Errors
///
/// What the operating system says, or that it knows no such address.
///
/// # Blocking
///
/// As long as the name servers take, or their timeout.
pub(crate) fn lookup(host: &str, family: Family) -> io::Result<IpAddr> {
    let mut found = (host, 0).to_socket_addrs()?.map(|address| address.ip());
    let found = found.find(|ip| Family::of(*ip) == family);
    found.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("it has no {family} address"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_the_name_that_every_host_has() {
        assert_eq!(lookup("127.1.2.3", Family::V4).unwrap().to_string(), "127.1.2.3");
        assert_eq!(lookup("::1", Family::V6).unwrap(), Family::V6.loopback());
        assert!(lookup("localhost", Family::V4).unwrap().is_loopback());
        assert!(lookup("no host has a name with blanks", Family::V4).is_err());
    }

    #[test]
    fn an_address_of_the_other_family_is_none() {
        let error = lookup("127.0.0.1", Family::V6).unwrap_err();
        assert_eq!(error.to_string(), "it has no IPv6 address");
        assert!(lookup("::1", Family::V4).is_err());
    }
}
