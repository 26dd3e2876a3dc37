//! From what the configuration names to one concrete local interface. Layer: transport; no thread
//! owns it, an [`Interface`] is plain data.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use thiserror::Error;

use super::sys::{self, LocalAddress};
use crate::config::InterfaceSpec;

#[cfg(test)]
mod tests;

/// The longest prefix of an IPv4 subnet.
const MAX_PREFIX: u8 = 32;

/// A local interface, and the address of it that sockets bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) address: Ipv4Addr,
    /// The index by which the kernel knows it.
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) is_loopback: bool,
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
        /// Every IPv4 address of this host with its interface.
        existing: String,
    },
    /// The engine speaks IPv4.
    #[error("interface address {address} is not supported (allowed: an IPv4 address)")]
    NotIpv4 {
        /// The address that was asked for.
        address: IpAddr,
    },
    /// No such subnet.
    #[error("prefix length {prefix} of subnet {network} is out of range (allowed: 0 to 32)")]
    Prefix {
        /// The address of the subnet.
        network: Ipv4Addr,
        /// The prefix length that was asked for.
        prefix: u8,
    },
    /// The operating system does not tell its interfaces.
    #[error("cannot list the interfaces of this host")]
    List(#[source] io::Error),
}

/// Finds the interface that `spec` names. Where several match, one that is not loopback is
/// preferred, then the order of the kernel decides: `0.0.0.0/0` means "some real network, if there
/// is one".
///
/// # Errors
///
/// [`InterfaceError`]; `NotFound` lists what there is.
pub(crate) fn resolve(spec: &InterfaceSpec) -> Result<Interface, InterfaceError> {
    choose(spec, &sys::local_addresses().map_err(InterfaceError::List)?)
}

fn choose(spec: &InterfaceSpec, locals: &[LocalAddress]) -> Result<Interface, InterfaceError> {
    let found = match spec {
        InterfaceSpec::Loopback => at_loopback(Ipv4Addr::LOCALHOST, locals),
        InterfaceSpec::Address(IpAddr::V4(address)) => {
            first_up(locals, |local| local.address == *address)
                .or_else(|| at_loopback(*address, locals))
        }
        InterfaceSpec::Address(address @ IpAddr::V6(_)) => {
            return Err(InterfaceError::NotIpv4 { address: *address });
        }
        InterfaceSpec::Subnet { network, prefix } => {
            if *prefix > MAX_PREFIX {
                return Err(InterfaceError::Prefix { network: *network, prefix: *prefix });
            }
            let mask = mask_of(*prefix);
            let network = u32::from(*network) & mask;
            first_up(locals, |local| u32::from(local.address) & mask == network)
        }
        InterfaceSpec::Name(name) => first_up(locals, |local| local.name == *name),
    };
    found.ok_or_else(|| InterfaceError::NotFound { wanted: spec.clone(), existing: list(locals) })
}

/// All of 127/8 is loopback, whether or not the interface carries that very address.
fn at_loopback(address: Ipv4Addr, locals: &[LocalAddress]) -> Option<Interface> {
    if !address.is_loopback() {
        return None;
    }
    let loopback = first_up(locals, |local| local.is_loopback)?;
    Some(Interface { address, ..loopback })
}

fn first_up(locals: &[LocalAddress], matches: impl Fn(&LocalAddress) -> bool) -> Option<Interface> {
    let candidates = || locals.iter().filter(|local| local.is_up && matches(local));
    candidates().find(|local| !local.is_loopback).or_else(|| candidates().next()).map(Into::into)
}

fn mask_of(prefix: u8) -> u32 {
    // A shift by all 32 bits is no shift at all in the instruction set, hence the checked one.
    u32::MAX.checked_shl(u32::from(MAX_PREFIX - prefix)).unwrap_or(0)
}

fn list(locals: &[LocalAddress]) -> String {
    let each = locals.iter().map(|local| {
        let state = if local.is_up { "" } else { ", down" };
        format!("{} ({}{state})", local.name, local.address)
    });
    let all = each.collect::<Vec<_>>().join(", ");
    if all.is_empty() { "no IPv4 address".to_owned() } else { all }
}
