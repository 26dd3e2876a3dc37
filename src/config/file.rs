//! The tables and keys of a configuration file, and what they mean together. Layer: config. Runs
//! once, on the thread that loads the file.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::Config;
use super::document::{List, Names, Report, Section};
use super::error::{ConfigError, Fault};
use super::host::{Advertise, DaemonAddress, Host};
use super::interface::InterfaceSpec;
use super::quantity::format_duration;
use super::range::{AddressRange, PortRange, StreamRange, is_usable_multicast, parse_address};
use super::settings::{
    CLIENT_TIMEOUT, CORES, COUNTER_ROWS, Carrier, ControlConfig, CounterFile, CountersConfig,
    DEFAULT_SLEEP, DISCOVERY_TIMEOUT, DaemonConfig, DiscoveryConfig, DiscoveryKind, FAULT_DELAY,
    FaultConfig, FlowControl, IdleKind, IpcConfig, LimitsConfig, MAX_DAEMONS, MAX_NAME_CHARS,
    MAX_POLLERS, MAX_TEMPLATES, MAX_TOPIC_RULES, MESSAGE_BYTES, MIN_WINDOW_PACKETS, OPEN_REQUESTS,
    Offload, PACKET_BYTES, PACKET_STEP, PEER_TIMEOUT, PEERS, PollerConfig, REFRESH, REPAIR_TIMEOUT,
    RESOLVE, ResponsesConfig, RingPages, SEEDS, SLEEP, SlowConsumer, TTL, Template, Transport,
    UdpSettings, WINDOW_BYTES,
};
use super::topics::TopicRule;
use super::value::{choice, choice_names, size, size_range, text, text_or_number, wrong_type};

pub(super) const ROOT_KEYS: &[&str] = &[
    "interface",
    "advertise",
    "offload",
    "poller",
    "responses",
    "control",
    "discovery",
    "daemon",
    "ipc",
    "counters",
    "limits",
    "fault",
    "template",
    "topic",
];
pub(super) const POLLER_KEYS: &[&str] = &["name", "idle", "sleep", "core"];
pub(super) const RESPONSES_KEYS: &[&str] = &[
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
pub(super) const CONTROL_KEYS: &[&str] = &["interface", "ports", "advertise", "advertise_ports"];
pub(super) const DISCOVERY_KEYS: &[&str] =
    &["kind", "daemons", "resolve", "interface", "address", "port", "ttl", "refresh", "timeout"];
pub(super) const DAEMON_KEYS: &[&str] = &["interface", "port", "client_timeout", "max_clients"];
pub(super) const IPC_KEYS: &[&str] = &["directory", "pages", "reader_timeout"];
pub(super) const COUNTERS_KEYS: &[&str] = &["file", "rows"];
pub(super) const LIMITS_KEYS: &[&str] = &["max_message_bytes", "max_open_requests", "max_peers"];
pub(super) const FAULT_KEYS: &[&str] = &["seed", "loss", "duplicate", "reorder", "delay", "jitter"];
/// Those of every template come first, then those of both kinds by UDP, then those of `multicast` alone,
/// then those of `unicast` alone.
pub(super) const TEMPLATE_KEYS: &[&str] = &[
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
pub(super) const TOPIC_KEYS: &[&str] = &["pattern", "template"];

/// The patterns used when a file has no `[[topic]]`; the templates carry the transports' names.
const BUILT_IN_TOPICS: [(&str, Transport); 3] = [
    (r"ipc\..*", Transport::Ipc),
    (r"unicast\..*", Transport::Unicast),
    (".*", Transport::Multicast),
];

const SLOW_CONSUMERS: [(&str, SlowConsumer); 2] =
    [("hold", SlowConsumer::Hold), ("drop", SlowConsumer::Drop)];
const FLOW_CONTROL_ALLOWED: &str = "\"min\", \"max\", or \"tagged:N\" with N from 1 to 4294967295";

const OFFLOADS: [(&str, Offload); 2] = [("auto", Offload::Auto), ("off", Offload::Off)];

const DISCOVERY_KINDS: [(&str, DiscoveryKind); 3] = [
    ("multicast", DiscoveryKind::Multicast),
    ("daemon", DiscoveryKind::Daemon),
    ("both", DiscoveryKind::Both),
];
const RING_PAGES: [(&str, RingPages); 3] = [
    ("on_demand", RingPages::OnDemand),
    ("prefault", RingPages::Prefault),
    ("huge", RingPages::Huge),
];
const COUNTER_FILES: [(&str, CounterFile); 2] =
    [("auto", CounterFile::Auto), ("off", CounterFile::Off)];

const IDLE_CHOICES: [(&str, IdleKind); 5] = [
    ("busy_spin", IdleKind::BusySpin),
    ("yield", IdleKind::Yield),
    ("backoff", IdleKind::Backoff),
    ("sleep", IdleKind::Sleep { pause: DEFAULT_SLEEP }),
    ("block", IdleKind::Block),
];

/// The configuration that `text` describes; problems name `origin` as their file.
///
/// # Errors
///
/// Every problem of the text.
pub(super) fn read(origin: &str, text: &str) -> Result<Config, ConfigError> {
    // Recovery lets the rest of a file be judged when one line of it is no TOML.
    let (document, errors) = DeTable::parse_recoverable(text);
    let report = Report::new(text, &errors);
    let config = read_root(&Section::root(&report, document.get_ref(), ROOT_KEYS));
    report.finish(origin)?;
    Ok(config)
}

/// The configuration of an empty file.
pub(super) fn built_in() -> Config {
    let report = Report::new("", &[]);
    read_root(&Section::root(&report, &DeTable::new(), ROOT_KEYS))
}

/// Without the patterns whose template is not among `templates`.
fn built_in_topics(templates: &Names) -> Vec<TopicRule> {
    let rules = BUILT_IN_TOPICS.iter().filter_map(|(pattern, transport)| {
        let template = templates.position(transport.as_str())?;
        // Constants, which every test that builds a default configuration compiles.
        Some(TopicRule::new(pattern, template).expect("built-in pattern"))
    });
    rules.collect()
}

fn read_root(root: &Section<'_>) -> Config {
    let interface = root.interface(&InterfaceSpec::Loopback);
    let advertise = Advertise { host: read_advertised_host(root, None), ports: None };
    let (pollers, poller_names) = read_pollers(root);
    let discovery_section = root.table("discovery", DISCOVERY_KEYS);
    let discovery = read_discovery(&discovery_section, DiscoveryConfig::on(&interface));

    let (templates, template_names) = match root.list("template", TEMPLATE_KEYS, MAX_TEMPLATES) {
        List::Tables(sections) => {
            let names = read_names("template", &sections);
            let of = |(section, name): (&Section<'_>, &Option<String>)| {
                let name = name.as_deref().unwrap_or_default();
                let template =
                    read_template(section, name, (&interface, &advertise), &poller_names);
                check_apart(&discovery_section, &discovery, Some(section), &template);
                template
            };
            (sections.iter().zip(&names.names).map(of).collect(), names)
        }
        list => {
            let templates =
                Transport::CHOICES.map(|(_, of)| Template::built_in(of, &interface, &advertise));
            for template in &templates {
                check_apart(&discovery_section, &discovery, None, template);
            }
            let names = templates.iter().map(|template| template.name.clone());
            (templates.to_vec(), Names::built_in("template", names, root, &list))
        }
    };
    let offload = root.read("offload", Offload::default(), choice_names(&OFFLOADS), |value| {
        choice(value, &OFFLOADS)
    });
    Config {
        offload,
        pollers,
        responses: read_responses(root, ResponsesConfig::on(&interface, &advertise), &poller_names),
        control: read_control(root, ControlConfig::on(&interface, &advertise)),
        daemon: read_daemon(root, DaemonConfig::on(&interface)),
        discovery,
        ipc: read_ipc(root, IpcConfig::default()),
        counters: read_counters(root, CountersConfig::default()),
        limits: read_limits(root, LimitsConfig::default()),
        fault: read_fault(root, FaultConfig::default()),
        templates,
        topics: read_topics(root, &template_names),
    }
}

/// The names of the tables of one list: each is required, and none is there twice.
fn read_names(table: &'static str, sections: &[Section<'_>]) -> Names {
    let allowed = format!("1 to {MAX_NAME_CHARS} characters of A-Z a-z 0-9 . _ -");
    let mut first_lines: HashMap<String, usize> = HashMap::new();
    let mut names = Names { table, names: Vec::new(), complete: true };
    for section in sections {
        let name = section.require("name", allowed.as_str(), |value| {
            let name = text(value)?;
            if is_name(name) { Ok(name.to_owned()) } else { Err(Fault::BadName) }
        });
        names.complete &= name.is_some() && section.is_whole();
        if let Some(name) = &name {
            check_unique(&mut first_lines, section, "name", name, "a name of its own");
        }
        names.names.push(name);
    }
    names
}

/// Notes a fault of `key` when another table of the list has the same `value` there.
fn check_unique(
    first_lines: &mut HashMap<String, usize>,
    section: &Section<'_>,
    key: &'static str,
    value: &str,
    allowed: &str,
) {
    if let Some(&first_line) = first_lines.get(value) {
        section.fault(key, Fault::Duplicate { first_line }, allowed);
    } else if let Some(line) = section.line(key) {
        first_lines.insert(value.to_owned(), line);
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn read_pollers(root: &Section<'_>) -> (Vec<PollerConfig>, Names) {
    match root.list("poller", POLLER_KEYS, MAX_POLLERS) {
        List::Tables(sections) => {
            let names = read_names("poller", &sections);
            let of = |(section, name): (&Section<'_>, &Option<String>)| {
                read_poller(section, PollerConfig::new(name.as_deref().unwrap_or_default()))
            };
            (sections.iter().zip(&names.names).map(of).collect(), names)
        }
        list => {
            let poller = PollerConfig::new("default");
            let names = Names::built_in("poller", [poller.name.clone()], root, &list);
            (vec![poller], names)
        }
    }
}

fn read_poller(section: &Section<'_>, default: PollerConfig) -> PollerConfig {
    let idle = if section.has("idle") {
        section.read("idle", None, choice_names(&IDLE_CHOICES), |value| {
            choice(value, &IDLE_CHOICES).map(Some)
        })
    } else {
        Some(default.idle)
    };
    let pause = section.duration("sleep", DEFAULT_SLEEP, &SLEEP);
    let idle = match idle {
        Some(IdleKind::Sleep { .. }) => IdleKind::Sleep { pause },
        Some(other) => {
            if section.has("sleep") {
                section.fault("sleep", Fault::InapplicableToIdle, "");
            }
            other
        }
        None => default.idle,
    };
    let core = section.has("core").then(|| section.integer("core", 0, &CORES));
    PollerConfig { idle, core, ..default }
}

fn read_responses(
    root: &Section<'_>,
    default: ResponsesConfig,
    pollers: &Names,
) -> ResponsesConfig {
    let section = root.table("responses", RESPONSES_KEYS);
    let ports = read_ports(&section, default.ports);
    let responses = ResponsesConfig {
        poller: section.reference("poller", pollers).unwrap_or(default.poller),
        interface: section.interface(&default.interface),
        ports,
        advertise: read_advertise(&section, default.advertise, ports),
        streams: read_streams(&section, default.streams),
        packet_bytes: read_packet_bytes(&section, default.packet_bytes),
        window_bytes: section.size("window_bytes", default.window_bytes, &WINDOW_BYTES),
        receiver_timeout: read_receiver_timeout(&section, default.receiver_timeout),
        repair_timeout: read_repair_timeout(&section, default.repair_timeout),
    };
    check_window(&section, responses.packet_bytes, responses.window_bytes);
    responses
}

fn read_control(root: &Section<'_>, default: ControlConfig) -> ControlConfig {
    let section = root.table("control", CONTROL_KEYS);
    let ports = read_ports(&section, default.ports);
    ControlConfig {
        interface: section.interface(&default.interface),
        ports,
        advertise: read_advertise(&section, default.advertise, ports),
    }
}

fn read_discovery(section: &Section<'_>, default: DiscoveryConfig) -> DiscoveryConfig {
    let kind = section.read("kind", default.kind, choice_names(&DISCOVERY_KINDS), |value| {
        choice(value, &DISCOVERY_KINDS)
    });
    let allowed = format!("1 to {MAX_DAEMONS} times \"host\" or \"host:port\"");
    let daemons = section.read("daemons", default.daemons, allowed.as_str(), read_daemons);
    if !section.is_faulty() && kind.uses_daemons() == daemons.is_empty() {
        if daemons.is_empty() {
            section.fault("kind", Fault::DaemonsNeeded, format!("daemons, {allowed}"));
        } else {
            section.fault("daemons", Fault::DaemonsUnused, choice_names(&DISCOVERY_KINDS[1..]));
        }
    }
    let discovery = DiscoveryConfig {
        kind,
        daemons,
        resolve: section.duration("resolve", default.resolve, &RESOLVE),
        interface: section.interface(&default.interface),
        address: section.read("address", default.address, MULTICAST_ALLOWED, read_group),
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

fn read_daemon(root: &Section<'_>, default: DaemonConfig) -> DaemonConfig {
    let section = root.table("daemon", DAEMON_KEYS);
    DaemonConfig {
        interface: section.interface(&default.interface),
        port: section.integer("port", default.port, &(1..=u16::MAX)),
        client_timeout: section.duration("client_timeout", default.client_timeout, &CLIENT_TIMEOUT),
        max_clients: section.integer("max_clients", default.max_clients, &PEERS),
    }
}

fn read_ipc(root: &Section<'_>, default: IpcConfig) -> IpcConfig {
    let section = root.table("ipc", IPC_KEYS);
    IpcConfig {
        directory: section.read("directory", default.directory, "a path, or \"\"", |value| {
            Ok(Some(text(value)?).filter(|path| !path.is_empty()).map(PathBuf::from))
        }),
        pages: section.read("pages", default.pages, choice_names(&RING_PAGES), |value| {
            choice(value, &RING_PAGES)
        }),
        reader_timeout: section.duration("reader_timeout", default.reader_timeout, &PEER_TIMEOUT),
    }
}

fn read_counters(root: &Section<'_>, default: CountersConfig) -> CountersConfig {
    let section = root.table("counters", COUNTERS_KEYS);
    CountersConfig {
        file: section.read("file", default.file, choice_names(&COUNTER_FILES), |value| {
            choice(value, &COUNTER_FILES)
        }),
        rows: section.integer("rows", default.rows, &COUNTER_ROWS),
    }
}

fn read_limits(root: &Section<'_>, default: LimitsConfig) -> LimitsConfig {
    let section = root.table("limits", LIMITS_KEYS);
    let (message, requests) = (default.max_message_bytes, default.max_open_requests);
    LimitsConfig {
        max_message_bytes: section.size("max_message_bytes", message, &MESSAGE_BYTES),
        max_open_requests: section.integer("max_open_requests", requests, &OPEN_REQUESTS),
        max_peers: section.integer("max_peers", default.max_peers, &PEERS),
    }
}

fn read_fault(root: &Section<'_>, default: FaultConfig) -> FaultConfig {
    let section = root.table("fault", FAULT_KEYS);
    FaultConfig {
        seed: section.integer("seed", default.seed, &SEEDS),
        loss: section.probability("loss", default.loss),
        duplicate: section.probability("duplicate", default.duplicate),
        reorder: section.probability("reorder", default.reorder),
        delay: section.duration("delay", default.delay, &FAULT_DELAY),
        jitter: section.duration("jitter", default.jitter, &FAULT_DELAY),
    }
}

fn read_template(
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
        read_advertise(section, advertise.clone(), udp.ports);
    }
    let applicable = transport.map_or_else(|| TEMPLATE_KEYS.to_vec(), template_keys);
    let transport = default.transport();
    for key in TEMPLATE_KEYS.iter().filter(|key| !applicable.contains(key) && section.has(key)) {
        section.fault(key, Fault::Inapplicable(transport), applicable.join(", "));
    }
    let template = Template {
        name: name.to_owned(),
        poller: section.reference("poller", pollers).unwrap_or(default.poller),
        packet_bytes: read_packet_bytes(section, default.packet_bytes),
        window_bytes: section.size("window_bytes", default.window_bytes, &WINDOW_BYTES),
        slow_consumer: read_slow_consumer(section, default.slow_consumer),
        carrier: read_carrier(section, default.carrier),
    };
    check_window(section, template.packet_bytes, template.window_bytes);
    template
}

/// The keys that a template of `transport` may have.
pub(super) fn template_keys(transport: Transport) -> Vec<&'static str> {
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
        Carrier::Multicast { udp, addresses, ttl } => Carrier::Multicast {
            udp: read_udp(udp),
            addresses: section.read("addresses", addresses, MULTICAST_ALLOWED, |value| {
                AddressRange::parse(text(value)?)
            }),
            ttl: section.integer("ttl", ttl, &TTL),
        },
        Carrier::Unicast { udp, advertise } => {
            let udp = read_udp(udp);
            let advertise = read_advertise(section, advertise, udp.ports);
            Carrier::Unicast { udp, advertise }
        }
        Carrier::Ipc => Carrier::Ipc,
    }
}

fn read_topics(root: &Section<'_>, templates: &Names) -> Vec<TopicRule> {
    let sections = match root.list("topic", TOPIC_KEYS, MAX_TOPIC_RULES) {
        List::Tables(sections) => sections,
        list => {
            let rules = built_in_topics(templates);
            let is_lacking = rules.len() < BUILT_IN_TOPICS.len();
            if is_lacking && templates.complete && matches!(list, List::Absent) {
                let names = BUILT_IN_TOPICS.map(|(_, transport)| transport.as_str()).join(", ");
                root.fault(
                    "template",
                    Fault::TopicsNeeded,
                    format!("templates {names}, or [[topic]]"),
                );
            }
            return rules;
        }
    };
    let mut first_lines: HashMap<String, usize> = HashMap::new();
    let mut rules = Vec::with_capacity(sections.len());
    for section in &sections {
        let Some(rule) = read_topic(section, templates) else { continue };
        let allowed = "each pattern once: the first match wins";
        check_unique(&mut first_lines, section, "pattern", rule.pattern(), allowed);
        rules.push(rule);
    }
    rules
}

fn read_topic(section: &Section<'_>, templates: &Names) -> Option<TopicRule> {
    let template = section.reference("template", templates);
    if !section.has("template") && section.is_whole() {
        section.fault("template", Fault::Missing, templates.allowed());
    }
    section.require("pattern", "a regular expression for whole topic names", |value| {
        TopicRule::new(text(value)?, template.unwrap_or_default())
    })
}

const PORTS_ALLOWED: &str = "1 to 65535";
const MULTICAST_ALLOWED: &str = "224.0.1.0 to 239.255.255.255";

fn read_group(value: &DeValue<'_>) -> Result<Ipv4Addr, Fault> {
    let address = parse_address(text(value)?)?;
    if is_usable_multicast(address) { Ok(address) } else { Err(Fault::NotMulticast) }
}

fn read_ports(section: &Section<'_>, default: PortRange) -> PortRange {
    section.read("ports", default, PORTS_ALLOWED, |value| PortRange::parse(&text_or_number(value)?))
}

fn read_advertised_host(section: &Section<'_>, default: Option<Host>) -> Option<Host> {
    section.read("advertise", default, Host::ALLOWED, |value| Host::parse(text(value)?).map(Some))
}

/// What to tell of sockets whose ports are of `ports`.
fn read_advertise(section: &Section<'_>, default: Advertise, ports: PortRange) -> Advertise {
    let host = read_advertised_host(section, default.host);
    let mapped = section.read("advertise_ports", default.ports, PORTS_ALLOWED, |value| {
        PortRange::parse(&text_or_number(value)?).map(Some)
    });
    if let Some(mapped) = mapped
        && !section.is_faulty()
        && !mapped.is_as_long_as(ports)
    {
        let fault = Fault::PortsDiffer { ports: ports.to_string(), mapped: mapped.to_string() };
        section.fault("advertise_ports", fault, "as many ports as the range has");
    }
    Advertise { host, ports: mapped }
}

fn read_streams(section: &Section<'_>, default: StreamRange) -> StreamRange {
    section.read("streams", default, "1 to 4294967295", |value| {
        StreamRange::parse(&text_or_number(value)?)
    })
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

fn read_repair_timeout(section: &Section<'_>, default: Duration) -> Duration {
    section.duration("repair_timeout", default, &REPAIR_TIMEOUT)
}

fn read_receiver_timeout(section: &Section<'_>, default: Duration) -> Duration {
    section.duration("receiver_timeout", default, &PEER_TIMEOUT)
}

fn read_packet_bytes(section: &Section<'_>, default: usize) -> usize {
    let allowed = format!("{}, a multiple of {PACKET_STEP}", size_range(&PACKET_BYTES));
    section.read("packet_bytes", default, allowed, |value| match size(value, &PACKET_BYTES)? {
        bytes if bytes.is_multiple_of(PACKET_STEP) => Ok(bytes),
        _ => Err(Fault::NotAMultiple(PACKET_STEP)),
    })
}

fn check_window(section: &Section<'_>, packet_bytes: usize, window_bytes: usize) {
    let needed = MIN_WINDOW_PACKETS * packet_bytes;
    if !section.is_faulty() && window_bytes < needed {
        let key = if section.has("window_bytes") { "window_bytes" } else { "packet_bytes" };
        let minimum = MIN_WINDOW_PACKETS;
        let fault = Fault::WindowTooSmall { window_bytes, packet_bytes, minimum };
        section.fault(key, fault, format!("a window of at least {needed}"));
    }
}

/// A topic on the group and port of discovery would receive every announcement, and the other way
/// round.
fn check_apart(
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
            discovery: format!("{}:{}", discovery.address, discovery.port),
        };
        section.fault(key, fault, "addresses or ports that do not meet");
    }
}
