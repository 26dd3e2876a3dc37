//! What has to be of one address family in a configuration file. Layer: config. Runs once, on the thread
//! that loads the file.
//!
//! A socket has the family of its interface. So a group, and what others are told instead of an
//! address, has to be of that family; and discovery, which is sent from the control socket, of the
//! family of that one. Everything else may differ: a template of another family has sockets of its own.

use crate::config::document::Section;
use crate::config::error::Fault;
use crate::config::family::Family;
use crate::config::host::{Advertise, Host};
use crate::config::interface::InterfaceSpec;
use crate::config::settings::{ControlConfig, DiscoveryConfig};

/// A group that a section names belongs to the family of its interface.
pub(super) fn check_group(
    section: &Section<'_>,
    key: &'static str,
    family: Family,
    interface: &InterfaceSpec,
) {
    if !section.is_faulty() && family != interface.family() {
        section.fault(key, differs(family, interface), group_of(interface.family()));
    }
}

/// So does the address that others are told. What a section neither says nor uses elsewhere is judged
/// where it is said.
pub(super) fn check_advertise(
    section: &Section<'_>,
    interface: &InterfaceSpec,
    advertise: &Advertise,
) {
    let Some(family) = advertise.host.as_ref().and_then(Host::family) else { return };
    let key = ["advertise", "interface"].into_iter().find(|key| section.has(key));
    if let Some(key) = key
        && family != interface.family()
        && !section.is_faulty()
    {
        let fault = Fault::AdvertiseDiffers {
            advertise: advertise.host.as_ref().map(ToString::to_string).unwrap_or_default(),
            family,
            interface: interface.to_string(),
            interface_family: interface.family(),
        };
        let allowed = format!("advertise = an {} address or a host name", interface.family());
        section.fault(key, fault, allowed);
    }
}

/// The discovery group and the daemons are reached from the control socket.
pub(super) fn check_control(
    (discovery_section, discovery): (&Section<'_>, &DiscoveryConfig),
    (control_section, control): (&Section<'_>, &ControlConfig),
) {
    if discovery_section.is_faulty() || control_section.is_faulty() {
        return;
    }
    let here = control.interface.family();
    let fault = |what, family| Fault::ControlDiffers { what, family, control: here };
    let group = discovery.interface.family();
    if discovery.kind.uses_multicast() && group != here {
        // They do not differ by the default, which they share: one of them is in the file.
        let fault = fault("the group of discovery", group);
        let allowed = "interfaces of one family for [discovery] and [control]";
        if discovery_section.has("interface") {
            discovery_section.fault("interface", fault, allowed);
        } else {
            control_section.fault("interface", fault, allowed);
        }
    }
    let families = discovery.daemons.iter().filter_map(|daemon| daemon.host.family());
    if let Some(family) = families.into_iter().find(|family| *family != here) {
        let allowed = format!("{here} addresses or host names");
        discovery_section.fault("daemons", fault("a daemon", family), allowed);
    }
}

fn differs(family: Family, interface: &InterfaceSpec) -> Fault {
    Fault::FamilyDiffers {
        family,
        interface: interface.to_string(),
        interface_family: interface.family(),
    }
}

const fn group_of(family: Family) -> &'static str {
    match family {
        Family::V4 => "224.0.1.0 to 239.255.255.255",
        Family::V6 => "ff00::/8, but not ff01:: and ff02::, where ff11:: and ff12:: are free",
    }
}
