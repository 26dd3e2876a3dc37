//! A configuration file as a whole: its tables, each read by a module of its own, and what they mean
//! together. Layer: config. Runs once, on the thread that loads the file.

pub(super) mod discovery;
pub(super) mod endpoints;
mod families;
pub(super) mod pollers;
pub(super) mod process;
mod sockets;
pub(super) mod templates;
pub(super) mod topics;

use std::collections::HashMap;

use toml::de::DeTable;

use self::discovery::{DISCOVERY_KEYS, check_apart, read_daemon, read_discovery};
use self::endpoints::{CONTROL_KEYS, read_control, read_responses};
use self::families::{check_advertise, check_control};
use self::pollers::read_pollers;
use self::process::{read_counters, read_fault, read_ipc, read_limits};
use self::sockets::read_advertised_host;
use self::templates::{TEMPLATE_KEYS, read_template};
use self::topics::read_topics;
use super::Config;
use super::document::{List, Names, Report, Section};
use super::error::{ConfigError, Fault};
use super::family::Family;
use super::host::Advertise;
use super::interface::InterfaceSpec;
use super::settings::{
    ControlConfig, CountersConfig, DaemonConfig, DiscoveryConfig, FaultConfig, IpcConfig,
    LimitsConfig, MAX_NAME_CHARS, MAX_TEMPLATES, Offload, ResponsesConfig, Template, Transport,
};
use super::value::{choice, choice_names, text};

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

const OFFLOADS: [(&str, Offload); 2] = [("auto", Offload::Auto), ("off", Offload::Off)];

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

fn read_root(root: &Section<'_>) -> Config {
    let interface = root.interface(&InterfaceSpec::Loopback(Family::V4));
    let advertise = Advertise { host: read_advertised_host(root, None), ports: None };
    check_advertise(root, &interface, &advertise);
    let (pollers, poller_names) = read_pollers(root);
    let control_section = root.table("control", CONTROL_KEYS);
    let control = read_control(&control_section, ControlConfig::on(&interface, &advertise));
    let discovery_section = root.table("discovery", DISCOVERY_KEYS);
    let discovery = read_discovery(&discovery_section, DiscoveryConfig::on(&interface));
    check_control((&discovery_section, &discovery), (&control_section, &control));

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
        control,
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
