//! `[ipc]`, `[counters]`, `[limits]` and `[fault]` of a configuration file. Layer: config. Runs once, on the
//! thread that loads the file.

use std::path::PathBuf;

use crate::config::document::Section;
use crate::config::settings::{
    COUNTER_ROWS, CounterFile, CountersConfig, FAULT_DELAY, FaultConfig, IpcConfig, LimitsConfig,
    MESSAGE_BYTES, OPEN_REQUESTS, PEER_TIMEOUT, PEERS, RingPages, SEEDS,
};
use crate::config::value::{choice, choice_names, text};

pub(in crate::config) const IPC_KEYS: &[&str] = &["directory", "pages", "reader_timeout"];

pub(in crate::config) const COUNTERS_KEYS: &[&str] = &["file", "rows"];

pub(in crate::config) const LIMITS_KEYS: &[&str] =
    &["max_message_bytes", "max_open_requests", "max_peers"];

pub(in crate::config) const FAULT_KEYS: &[&str] =
    &["seed", "loss", "duplicate", "reorder", "delay", "jitter"];

const RING_PAGES: [(&str, RingPages); 3] = [
    ("on_demand", RingPages::OnDemand),
    ("prefault", RingPages::Prefault),
    ("huge", RingPages::Huge),
];
const COUNTER_FILES: [(&str, CounterFile); 2] =
    [("auto", CounterFile::Auto), ("off", CounterFile::Off)];

pub(super) fn read_ipc(root: &Section<'_>, default: IpcConfig) -> IpcConfig {
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

pub(super) fn read_counters(root: &Section<'_>, default: CountersConfig) -> CountersConfig {
    let section = root.table("counters", COUNTERS_KEYS);
    CountersConfig {
        file: section.read("file", default.file, choice_names(&COUNTER_FILES), |value| {
            choice(value, &COUNTER_FILES)
        }),
        rows: section.integer("rows", default.rows, &COUNTER_ROWS),
    }
}

pub(super) fn read_limits(root: &Section<'_>, default: LimitsConfig) -> LimitsConfig {
    let section = root.table("limits", LIMITS_KEYS);
    let (message, requests) = (default.max_message_bytes, default.max_open_requests);
    LimitsConfig {
        max_message_bytes: section.size("max_message_bytes", message, &MESSAGE_BYTES),
        max_open_requests: section.integer("max_open_requests", requests, &OPEN_REQUESTS),
        max_peers: section.integer("max_peers", default.max_peers, &PEERS),
    }
}

pub(super) fn read_fault(root: &Section<'_>, default: FaultConfig) -> FaultConfig {
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
