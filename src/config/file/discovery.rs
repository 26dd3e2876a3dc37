//! `[discovery]` and `[daemon]` of a configuration file. Layer: config. Runs once, on the thread that loads
//! the file.

use std::net::{IpAddr, SocketAddr};

use toml::de::DeValue;

use super::families::check_group;
use super::sockets::MULTICAST_ALLOWED;
use crate::config::document::Section;
use crate::config::error::Fault;
use crate::config::family::Family;
use crate::config::host::DaemonAddress;
use crate::config::quantity::format_duration;
use crate::config::range::{is_usable_multicast, parse_address};
use crate::config::settings::{
    CLIENT_TIMEOUT, Carrier, DISCOVERY_TIMEOUT, DaemonConfig, DiscoveryConfig, DiscoveryKind,
    MAX_DAEMONS, PEERS, REFRESH, RESOLVE, TTL, Template, discovery_group,
};
use crate::config::value::{choice, choice_names, text, wrong_type};

pub(in crate::config) const DISCOVERY_KEYS: &[&str] =
    &["kind", "daemons", "resolve", "interface", "address", "port", "ttl", "refresh", "timeout"];

pub(in crate::config) const DAEMON_KEYS: &[&str] =
    &["interface", "port", "client_timeout", "max_clients"];

const DISCOVERY_KINDS: [(&str, DiscoveryKind); 3] = [
    ("multicast", DiscoveryKind::Multicast),
    ("daemon", DiscoveryKind::Daemon),
    ("both", DiscoveryKind::Both),
];

pub(super) fn read_discovery(section: &Section<'_>, default: DiscoveryConfig) -> DiscoveryConfig {
    let kind = section.read("kind", default.kind, choice_names(&DISCOVERY_KINDS), |value| {
        choice(value, &DISCOVERY_KINDS)
    });
    let allowed = format!("1 to {MAX_DAEMONS} times {}", DaemonAddress::ALLOWED);
    let daemons = section.read("daemons", default.daemons, allowed.as_str(), read_daemons);
    if !section.is_faulty() && kind.uses_daemons() == daemons.is_empty() {
        if daemons.is_empty() {
            section.fault("kind", Fault::DaemonsNeeded, format!("daemons, {allowed}"));
        } else {
            section.fault("daemons", Fault::DaemonsUnused, choice_names(&DISCOVERY_KINDS[1..]));
        }
    }
    let interface = section.interface(&default.interface);
    let group = discovery_group(interface.family());
    let address = section.read("address", group, MULTICAST_ALLOWED, read_group);
    check_group(section, "address", Family::of(address), &interface);
    let discovery = DiscoveryConfig {
        kind,
        daemons,
        resolve: section.duration("resolve", default.resolve, &RESOLVE),
        interface,
        address,
        port: section.integer("port", default.port, &(1..=u16::MAX)),
        ttl: section.integer("ttl", default.ttl, &TTL),
        refresh: section.duration("refresh", default.refresh, &REFRESH),
        timeout: section.duration("timeout", default.timeout, &DISCOVERY_TIMEOUT),
    };
    if !section.is_faulty() && discovery.timeout < 2 * discovery.refresh {
        let key = if section.has("timeout") { "timeout" } else { "refresh" };
        let fault = Fault::TimeoutTooShort {
            timeout: format_duration(discovery.timeout),
            refresh: format_duration(discovery.refresh),
        };
        section.fault(key, fault, "a timeout of at least twice the refresh interval");
    }
    discovery
}

fn read_daemons(value: &DeValue<'_>) -> Result<Vec<DaemonAddress>, Fault> {
    let list = value.as_array().ok_or_else(|| wrong_type(value))?;
    match list.len() {
        0 => Err(Fault::EmptyList),
        1..=MAX_DAEMONS => {
            list.iter().map(|item| DaemonAddress::parse(text(item.get_ref())?)).collect()
        }
        found => Err(Fault::TooMany { found }),
    }
}

fn read_group(value: &DeValue<'_>) -> Result<IpAddr, Fault> {
    let address = parse_address(text(value)?)?;
    if is_usable_multicast(address) { Ok(address) } else { Err(Fault::NotMulticast) }
}

pub(super) fn read_daemon(root: &Section<'_>, default: DaemonConfig) -> DaemonConfig {
    let section = root.table("daemon", DAEMON_KEYS);
    DaemonConfig {
        interface: section.interface(&default.interface),
        port: section.integer("port", default.port, &(1..=u16::MAX)),
        client_timeout: section.duration("client_timeout", default.client_timeout, &CLIENT_TIMEOUT),
        max_clients: section.integer("max_clients", default.max_clients, &PEERS),
    }
}

/// A topic on the group and port of discovery would receive every announcement, and the other way
/// round.
pub(super) fn check_apart(
    discovery_section: &Section<'_>,
    discovery: &DiscoveryConfig,
    section: Option<&Section<'_>>,
    template: &Template,
) {
    let Carrier::Multicast { udp, addresses, .. } = &template.carrier else { return };
    if !discovery.kind.uses_multicast() {
        return;
    }
    let overlaps = addresses.contains(discovery.address) && udp.ports.contains(discovery.port);
    let is_faulty = discovery_section.is_faulty() || section.is_some_and(Section::is_faulty);
    if !overlaps || is_faulty {
        return;
    }
    let blamed = [
        (section, "addresses"),
        (section, "ports"),
        (Some(discovery_section), "address"),
        (Some(discovery_section), "port"),
    ];
    // The defaults do not overlap, so at least one of these is in the file.
    let blamed = blamed
        .into_iter()
        .find_map(|(section, key)| Some((section?, key)).filter(|(section, key)| section.has(key)));
    if let Some((section, key)) = blamed {
        let fault = Fault::DiscoveryOverlap {
            template: template.name.clone(),
            discovery: SocketAddr::new(discovery.address, discovery.port).to_string(),
        };
        section.fault(key, fault, "addresses or ports that do not meet");
    }
}
