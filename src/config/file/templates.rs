//! `[[template]]` of a configuration file. Layer: config. Runs once, on the thread that loads the file.

use toml::de::DeValue;

use super::families::check_group;
use super::sockets::{
    MULTICAST_ALLOWED, check_window, read_advertise, read_packet_bytes, read_ports,
    read_receiver_timeout, read_repair_timeout, read_streams,
};
use crate::config::document::{Names, Section};
use crate::config::error::Fault;
use crate::config::host::Advertise;
use crate::config::interface::InterfaceSpec;
use crate::config::range::AddressRange;
use crate::config::settings::{
    Carrier, FlowControl, SlowConsumer, TTL, Template, Transport, UdpSettings, WINDOW_BYTES,
    default_packet_bytes, topic_groups,
};
use crate::config::value::{choice, choice_names, text};

/// Those of every template come first, then those of both kinds by UDP, then those of `multicast` alone,
/// then those of `unicast` alone.
pub(in crate::config) const TEMPLATE_KEYS: &[&str] = &[
    "name",
    "transport",
    "poller",
    "packet_bytes",
    "window_bytes",
    "slow_consumer",
    "interface",
    "ports",
    "streams",
    "receiver_timeout",
    "repair_timeout",
    "flow_control",
    "addresses",
    "ttl",
    "advertise",
    "advertise_ports",
];

const SLOW_CONSUMERS: [(&str, SlowConsumer); 2] =
    [("hold", SlowConsumer::Hold), ("drop", SlowConsumer::Drop)];

const FLOW_CONTROL_ALLOWED: &str = "\"min\", \"max\", or \"tagged:N\" with N from 1 to 4294967295";

pub(super) fn read_template(
    section: &Section<'_>,
    name: &str,
    (interface, advertise): (&InterfaceSpec, &Advertise),
    pollers: &Names,
) -> Template {
    let choices = &Transport::CHOICES;
    let transport =
        section.require("transport", choice_names(choices), |value| choice(value, choices));
    // All keys are checked when the transport is not known.
    let default =
        Template::built_in(transport.unwrap_or(Transport::Multicast), interface, advertise);
    if transport.is_none()
        && let Some(udp) = default.udp()
    {
        read_advertise(section, advertise.clone(), udp.ports, &udp.interface);
    }
    let applicable = transport.map_or_else(|| TEMPLATE_KEYS.to_vec(), template_keys);
    let transport = default.transport();
    for key in TEMPLATE_KEYS.iter().filter(|key| !applicable.contains(key) && section.has(key)) {
        section.fault(key, Fault::Inapplicable(transport), applicable.join(", "));
    }
    let window_bytes = section.size("window_bytes", default.window_bytes, &WINDOW_BYTES);
    let packet_bytes = default_packet_bytes(transport, window_bytes);
    let template = Template {
        name: name.to_owned(),
        poller: section.reference("poller", pollers).unwrap_or(default.poller),
        packet_bytes: read_packet_bytes(section, packet_bytes),
        window_bytes,
        slow_consumer: read_slow_consumer(section, default.slow_consumer),
        carrier: read_carrier(section, default.carrier),
    };
    check_window(section, template.packet_bytes, template.window_bytes);
    template
}

/// The keys that a template of `transport` may have.
pub(in crate::config) fn template_keys(transport: Transport) -> Vec<&'static str> {
    match transport {
        Transport::Ipc => TEMPLATE_KEYS[..6].to_vec(),
        Transport::Multicast => TEMPLATE_KEYS[..14].to_vec(),
        Transport::Unicast => [&TEMPLATE_KEYS[..12], &TEMPLATE_KEYS[14..]].concat(),
    }
}

fn read_carrier(section: &Section<'_>, default: Carrier) -> Carrier {
    let read_udp = |default: UdpSettings| UdpSettings {
        interface: section.interface(&default.interface),
        ports: read_ports(section, default.ports),
        streams: read_streams(section, default.streams),
        receiver_timeout: read_receiver_timeout(section, default.receiver_timeout),
        repair_timeout: read_repair_timeout(section, default.repair_timeout),
        flow_control: section.read(
            "flow_control",
            default.flow_control,
            FLOW_CONTROL_ALLOWED,
            read_flow_control,
        ),
    };
    match default {
        Carrier::Multicast { udp, ttl, .. } => {
            let udp = read_udp(udp);
            let default = topic_groups(udp.interface.family());
            let addresses = section.read("addresses", default, MULTICAST_ALLOWED, |value| {
                AddressRange::parse(text(value)?)
            });
            check_group(section, "addresses", addresses.family(), &udp.interface);
            Carrier::Multicast { udp, addresses, ttl: section.integer("ttl", ttl, &TTL) }
        }
        Carrier::Unicast { udp, advertise } => {
            let udp = read_udp(udp);
            let advertise = read_advertise(section, advertise, udp.ports, &udp.interface);
            Carrier::Unicast { udp, advertise }
        }
        Carrier::Ipc => Carrier::Ipc,
    }
}

fn read_slow_consumer(section: &Section<'_>, default: SlowConsumer) -> SlowConsumer {
    section.read("slow_consumer", default, choice_names(&SLOW_CONSUMERS), |value| {
        choice(value, &SLOW_CONSUMERS)
    })
}

fn read_flow_control(value: &DeValue<'_>) -> Result<FlowControl, Fault> {
    let text = text(value)?;
    match text.strip_prefix("tagged:") {
        Some(tag) => match tag.parse() {
            Ok(tag @ 1..) => Ok(FlowControl::Tagged(tag)),
            _ => Err(Fault::OutOfRange),
        },
        None => choice(value, &[("min", FlowControl::Min), ("max", FlowControl::Max)]),
    }
}
