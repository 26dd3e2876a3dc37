//! From what the configuration names to one concrete local interface. Layer: transport; no thread
//! owns it, an [`Interface`] is plain data.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use thiserror::Error;

use super::sys::{self, LocalAddress};
use crate::config::{Family, InterfaceSpec, network_of};

#[cfg(test)]
mod tests;

/// A local interface, and the address of it that sockets bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) address: IpAddr,
    /// The index by which the kernel knows it.
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) is_loopback: bool,
}

impl Interface {
    /// The family of what sockets there send and receive.
    pub(crate) const fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// An address as the kernel wants it here: one that is valid on a single link, or inside a single
    /// interface, needs the number of this interface. Elsewhere addresses do without, because it means
    /// nothing to other hosts.
    pub(crate) fn scoped(&self, address: SocketAddr) -> SocketAddr {
        scoped(address, self.index)
    }
}

/// As [`Interface::scoped`], for the interface with this index.
pub(super) fn scoped(address: SocketAddr, index: u32) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if needs_scope(*v6.ip()) => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, index).into()
        }
        other => other,
    }
}

/// Link-local addresses, and groups of an interface or a link.
pub(super) const fn needs_scope(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.octets();
    match first {
        0xff => second & 0xf <= 2,
        _ => ip.is_unicast_link_local(),
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}

impl From<&LocalAddress> for Interface {
    fn from(local: &LocalAddress) -> Self {
        Self {
            address: local.address,
            index: local.index,
            name: local.name.clone(),
            is_loopback: local.is_loopback,
        }
    }
}

/// Why no interface could be resolved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum InterfaceError {
    /// Nothing on this host matches.
    #[error("no local interface that is up matches {wanted} (this host has {existing})")]
    NotFound {
        /// What was asked for.
        wanted: InterfaceSpec,
        /// Every address of this host with its interface.
        existing: String,
    },
    /// The operating system does not tell its interfaces.
    #[error("cannot list the interfaces of this host")]
    List(#[source] io::Error),
}

/// Finds the interface that `spec` names. Where several addresses match, one of another interface than
/// loopback is preferred, then one that is valid beyond its link, then the order of the kernel decides:
/// `0.0.0.0/0` means "some real network, if there is one".
///
/// # Errors
///
/// [`InterfaceError`]; `NotFound` lists what there is.
pub(crate) fn resolve(spec: &InterfaceSpec) -> Result<Interface, InterfaceError> {
    choose(spec, &sys::local_addresses().map_err(InterfaceError::List)?)
}

fn choose(spec: &InterfaceSpec, locals: &[LocalAddress]) -> Result<Interface, InterfaceError> {
    let is_in = |local: &LocalAddress, zone: &Option<String>| {
        zone.as_ref().is_none_or(|zone| local.name == *zone)
    };
    let found = match spec {
        InterfaceSpec::Loopback(family) => at_loopback(family.loopback(), locals),
        InterfaceSpec::Address { address, zone } => {
            first_up(locals, |local| local.address == *address && is_in(local, zone))
                .or_else(|| at_loopback(*address, locals))
        }
        InterfaceSpec::Subnet { network, prefix, zone } => first_up(locals, |local| {
            Family::of(local.address) == Family::of(*network)
                && network_of(local.address, *prefix) == *network
                && is_in(local, zone)
        }),
        InterfaceSpec::Name { name, family } => {
            first_up(locals, |local| local.name == *name && Family::of(local.address) == *family)
        }
    };
    found.ok_or_else(|| InterfaceError::NotFound { wanted: spec.clone(), existing: list(locals) })
}

/// All of 127/8 is loopback, whether or not the interface carries that very address. Of IPv6 it is one
/// address, and the interface has it unless that family is switched off.
fn at_loopback(address: IpAddr, locals: &[LocalAddress]) -> Option<Interface> {
    if !address.is_loopback() {
        return None;
    }
    let loopback = first_up(locals, |local| {
        local.is_loopback && (address.is_ipv4() || local.address == address)
    })?;
    Some(Interface { address, ..loopback })
}

fn first_up(locals: &[LocalAddress], matches: impl Fn(&LocalAddress) -> bool) -> Option<Interface> {
    let candidates = locals.iter().filter(|local| local.is_up && matches(local));
    let is_of_one_link = |local: &LocalAddress| match local.address {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    candidates.min_by_key(|local| (local.is_loopback, is_of_one_link(local))).map(Into::into)
}

fn list(locals: &[LocalAddress]) -> String {
    let each = locals.iter().map(|local| {
        let state = if local.is_up { "" } else { ", down" };
        format!("{} ({}{state})", local.name, local.address)
    });
    let all = each.collect::<Vec<_>>().join(", ");
    if all.is_empty() { "no address".to_owned() } else { all }
}
