//! `[responses]` and `[control]` of a configuration file. Layer: config. Runs once, on the thread that loads
//! the file.

use super::sockets::{
    check_window, read_advertise, read_packet_bytes, read_ports, read_receiver_timeout,
    read_repair_timeout, read_streams,
};
use crate::config::document::{Names, Section};
use crate::config::settings::{ControlConfig, ResponsesConfig, WINDOW_BYTES};

pub(in crate::config) const RESPONSES_KEYS: &[&str] = &[
    "poller",
    "interface",
    "ports",
    "advertise",
    "advertise_ports",
    "streams",
    "packet_bytes",
    "window_bytes",
    "receiver_timeout",
    "repair_timeout",
];

pub(in crate::config) const CONTROL_KEYS: &[&str] =
    &["interface", "ports", "advertise", "advertise_ports"];

pub(super) fn read_responses(
    root: &Section<'_>,
    default: ResponsesConfig,
    pollers: &Names,
) -> ResponsesConfig {
    let section = root.table("responses", RESPONSES_KEYS);
    let ports = read_ports(&section, default.ports);
    let interface = section.interface(&default.interface);
    let responses = ResponsesConfig {
        poller: section.reference("poller", pollers).unwrap_or(default.poller),
        advertise: read_advertise(&section, default.advertise, ports, &interface),
        interface,
        ports,
        streams: read_streams(&section, default.streams),
        packet_bytes: read_packet_bytes(&section, default.packet_bytes),
        window_bytes: section.size("window_bytes", default.window_bytes, &WINDOW_BYTES),
        receiver_timeout: read_receiver_timeout(&section, default.receiver_timeout),
        repair_timeout: read_repair_timeout(&section, default.repair_timeout),
    };
    check_window(&section, responses.packet_bytes, responses.window_bytes);
    responses
}

pub(super) fn read_control(section: &Section<'_>, default: ControlConfig) -> ControlConfig {
    let ports = read_ports(section, default.ports);
    let interface = section.interface(&default.interface);
    let advertise = read_advertise(section, default.advertise, ports, &interface);
    ControlConfig { interface, ports, advertise }
}
