//! `[[poller]]` of a configuration file. Layer: config. Runs once, on the thread that loads the file.

use super::read_names;
use crate::config::document::{List, Names, Section};
use crate::config::error::Fault;
use crate::config::settings::{CORES, DEFAULT_SLEEP, IdleKind, MAX_POLLERS, PollerConfig, SLEEP};
use crate::config::value::{choice, choice_names};

pub(in crate::config) const POLLER_KEYS: &[&str] = &["name", "idle", "sleep", "core"];

const IDLE_CHOICES: [(&str, IdleKind); 5] = [
    ("busy_spin", IdleKind::BusySpin),
    ("yield", IdleKind::Yield),
    ("backoff", IdleKind::Backoff),
    ("sleep", IdleKind::Sleep { pause: DEFAULT_SLEEP }),
    ("block", IdleKind::Block),
];

pub(super) fn read_pollers(root: &Section<'_>) -> (Vec<PollerConfig>, Names) {
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
