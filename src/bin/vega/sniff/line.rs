//! Events and snapshots as lines: JSON for machines, text for people. Layer: bin.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use vega::{DownReason, Peer, Side, SnifferEvent, TopicAdvert};

use super::filter::Filter;
use crate::output::{Table, count, milliseconds, one_line};

/// One line of JSON. `at_ms` is counted from the start of the command.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    SnifferUp {
        id: String,
        address: String,
        group: Option<String>,
    },
    InstanceUp {
        at_ms: f64,
        #[serde(flatten)]
        instance: InstanceJson,
    },
    InstanceDown {
        at_ms: f64,
        #[serde(flatten)]
        instance: InstanceJson,
        reason: &'static str,
    },
    Advertised {
        at_ms: f64,
        #[serde(flatten)]
        advert: AdvertJson,
    },
    Withdrawn {
        at_ms: f64,
        #[serde(flatten)]
        advert: AdvertJson,
    },
    TopicConflict {
        at_ms: f64,
        instance: String,
        refused: &'a str,
        held: &'a str,
    },
    Full {
        at_ms: f64,
        /// Missing when there are too many instances.
        instance: Option<String>,
        limit: usize,
    },
    DaemonUp {
        at_ms: f64,
        daemon: &'a str,
    },
    DaemonDown {
        at_ms: f64,
        daemon: &'a str,
    },
    Trouble {
        at_ms: f64,
        counter: &'static str,
        increase: u64,
    },
    /// Events that were not printed because standard output is too slow.
    Skipped {
        events: u64,
    },
    Snapshot(&'a SnapshotJson),
}

/// An instance. Numbers that identify are in hexadecimal digits.
#[derive(Clone, Debug, Serialize)]
pub(super) struct InstanceJson {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) control: String,
    pub(super) responses: String,
    pub(super) host: String,
    pub(super) refresh_ms: f64,
    pub(super) timeout_ms: f64,
}

impl InstanceJson {
    pub(super) fn new(peer: &Peer) -> Self {
        Self {
            id: peer.id().to_string(),
            name: peer.name().to_owned(),
            control: peer.control_address().to_string(),
            responses: peer.response_address().to_string(),
            host: format!("{:016x}", peer.host()),
            refresh_ms: milliseconds(peer.refresh()),
            timeout_ms: milliseconds(peer.timeout()),
        }
    }
}

/// One side of one topic: an address and a stream, or the file of a ring. A subscriber by shared memory
/// has neither.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AdvertJson {
    pub(super) topic: String,
    pub(super) side: &'static str,
    pub(super) transport: String,
    pub(super) address: Option<String>,
    pub(super) stream: Option<u32>,
    pub(super) ring: Option<String>,
    pub(super) instance: String,
    pub(super) name: String,
}

impl AdvertJson {
    pub(super) fn new(advert: &TopicAdvert, name: &str) -> Self {
        Self {
            topic: advert.topic().to_owned(),
            side: side(advert),
            transport: advert.transport().to_string(),
            address: advert.address().map(|address| address.to_string()),
            stream: advert.stream(),
            ring: advert.ring().map(str::to_owned),
            instance: advert.instance().to_string(),
            name: name.to_owned(),
        }
    }

    /// Where its data arrives, for people.
    fn place(&self) -> Option<String> {
        match (&self.address, self.stream, &self.ring) {
            (Some(address), Some(stream), _) => Some(format!("{address} stream {stream}")),
            (_, _, ring) => ring.clone(),
        }
    }
}

/// Everything that is seen, by name and by topic.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SnapshotJson {
    pub(super) instances: Vec<InstanceJson>,
    pub(super) adverts: Vec<AdvertJson>,
    pub(super) daemons_up: Vec<String>,
}

impl SnapshotJson {
    /// `3 instances, 12 topics`.
    pub(super) fn summary(&self) -> String {
        let topics: std::collections::BTreeSet<_> =
            self.adverts.iter().map(|advert| &advert.topic).collect();
        let instances = count(self.instances.len() as u64, "instance");
        format!("{instances}, {}", count(topics.len() as u64, "topic"))
    }
}

fn side(advert: &TopicAdvert) -> &'static str {
    match advert.side() {
        Side::Publisher => "publisher",
        Side::Subscriber => "subscriber",
        _ => "other",
    }
}

const fn reason_of(reason: DownReason) -> &'static str {
    match reason {
        DownReason::Goodbye => "goodbye",
        DownReason::Expired => "silent",
        _ => "gone",
    }
}

/// An event as JSON; `None` for one of a later version.
pub(super) fn json<'a>(at: Duration, event: &'a SnifferEvent, names: &Filter) -> Option<Line<'a>> {
    let at_ms = milliseconds(at);
    let advert_json = |it: &TopicAdvert| AdvertJson::new(it, &names.name(it.instance()));
    Some(match event {
        SnifferEvent::InstanceUp(peer) => {
            Line::InstanceUp { at_ms, instance: InstanceJson::new(peer) }
        }
        SnifferEvent::InstanceDown(peer, reason) => Line::InstanceDown {
            at_ms,
            instance: InstanceJson::new(peer),
            reason: reason_of(*reason),
        },
        SnifferEvent::Advertised(it) => Line::Advertised { at_ms, advert: advert_json(it) },
        SnifferEvent::Withdrawn(it) => Line::Withdrawn { at_ms, advert: advert_json(it) },
        SnifferEvent::TopicConflict { instance, refused, held } => {
            Line::TopicConflict { at_ms, instance: instance.to_string(), refused, held }
        }
        SnifferEvent::Full { instance, limit } => {
            Line::Full { at_ms, instance: instance.map(|id| id.to_string()), limit: *limit }
        }
        SnifferEvent::DaemonUp(daemon) => Line::DaemonUp { at_ms, daemon },
        SnifferEvent::DaemonDown(daemon) => Line::DaemonDown { at_ms, daemon },
        SnifferEvent::Trouble { counter, increase } => {
            Line::Trouble { at_ms, counter: counter.label(), increase: *increase }
        }
        _ => return None,
    })
}

/// An event for people: `   1.204s + pricer  instance ...`. What is gone has a minus.
pub(super) fn text(at: Duration, event: &SnifferEvent, names: &Filter) -> Option<String> {
    let peer_text = |sign: char, peer: &Peer, end: &str| {
        let (control, responses) = (peer.control_address(), peer.response_address());
        let (name, id) = (shown(&names.name(peer.id())), peer.id());
        format!("{sign} {name}  instance {id} at {control}, responses at {responses}{end}")
    };
    let advert_text = |sign: char, it: &TopicAdvert| {
        let advert = AdvertJson::new(it, &names.name(it.instance()));
        let (name, topic) = (shown(&advert.name), shown(&advert.topic));
        let (side, transport) = (advert.side, &advert.transport);
        let place = advert.place().map(|place| format!(", {place}")).unwrap_or_default();
        format!("{sign} {name}  {side} of {topic} by {transport}{place}")
    };
    let said = match event {
        SnifferEvent::InstanceUp(peer) => {
            peer_text('+', peer, &format!(", every {:?}", peer.refresh()))
        }
        SnifferEvent::InstanceDown(peer, reason) => {
            peer_text('-', peer, &format!(", {}", reason_of(*reason)))
        }
        SnifferEvent::Advertised(it) => advert_text('+', it),
        SnifferEvent::Withdrawn(it) => advert_text('-', it),
        SnifferEvent::TopicConflict { instance, refused, held } => {
            let (name, refused, held) = (names.name(*instance), shown(refused), shown(held));
            format!("! {}  {refused} has the hash of {held}", shown(&name))
        }
        SnifferEvent::Full { instance: None, limit } => {
            format!("! more than {} are not seen", count(*limit as u64, "instance"))
        }
        SnifferEvent::Full { instance: Some(id), limit } => {
            let (name, adverts) = (shown(&names.name(*id)), count(*limit as u64, "advert"));
            format!("! {name}  more than {adverts} are not seen")
        }
        SnifferEvent::DaemonUp(daemon) => format!("+ daemon {daemon} answers"),
        SnifferEvent::DaemonDown(daemon) => format!("- daemon {daemon} answers no more"),
        SnifferEvent::Trouble { counter, increase } => {
            let (label, unit) = (counter.label(), counter.unit());
            format!("! {label} +{increase} {unit}: {}", counter.description())
        }
        _ => return None,
    };
    Some(format!("{:>9.3}s {said}", at.as_secs_f64()))
}

/// Names come from the network: nothing of them moves the cursor.
pub(super) fn shown(name: &str) -> String {
    one_line(name.as_bytes())
}

pub(super) const INSTANCE_HEADER: [&str; 6] =
    ["instance", "id", "control", "responses", "refresh", "timeout"];
pub(super) const TOPIC_HEADER: [&str; 5] = ["topic", "side", "transport", "place", "instance"];
/// Columns of that which are cut where there is no room.
pub(super) const TOPIC_NAMES: [usize; 3] = [0, 3, 4];

pub(super) fn instance_cells(it: &InstanceJson) -> [String; 6] {
    let time = |ms: f64| format!("{:?}", Duration::from_secs_f64(ms / 1e3));
    [
        shown(&it.name),
        it.id.clone(),
        it.control.clone(),
        it.responses.clone(),
        time(it.refresh_ms),
        time(it.timeout_ms),
    ]
}

pub(super) fn topic_cells(it: &AdvertJson) -> [String; 5] {
    let who = if it.name.is_empty() { &it.instance } else { &it.name };
    // In short, as `vega stat` and `vega top` have it.
    let place = match (&it.address, it.stream, &it.ring) {
        (Some(address), Some(stream), _) => format!("{address}/{stream}"),
        (_, _, ring) => ring.clone().unwrap_or_else(|| "-".to_owned()),
    };
    [shown(&it.topic), it.side.to_owned(), it.transport.clone(), place, shown(who)]
}

/// A snapshot for people.
pub(super) fn snapshot_text(snapshot: &SnapshotJson) -> String {
    let mut text = snapshot.summary();
    let mut add = |table: Table| {
        // Writing to a string does not fail.
        let _ = write!(text, "\n\n{table}");
    };
    if !snapshot.instances.is_empty() {
        let mut table = Table::new(&INSTANCE_HEADER).spare(&[5, 4, 3]);
        snapshot.instances.iter().for_each(|it| table.row(instance_cells(it)));
        add(table);
    }
    if !snapshot.adverts.is_empty() {
        let mut table = Table::new(&TOPIC_HEADER).names(&TOPIC_NAMES);
        snapshot.adverts.iter().for_each(|it| table.row(topic_cells(it)));
        add(table);
    }
    text
}
