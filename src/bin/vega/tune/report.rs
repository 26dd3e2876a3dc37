//! What `vega tune` tells: tables and figures for people, a document for machines. Layer: bin.

use serde::Serialize;

use super::advice::{Change, Goal};
use super::chart::Bars;
use super::demand::{Demand, Rates};
use super::hosts::{self, Shared};
use super::spread::{Heard, Socket, Spread, TemplateSpread};
use crate::output::{Page, Rows};

/// Rows of the lists that can be long; JSON has all of them.
const MAX_ROWS: usize = 12;
/// Names in one cell.
const MAX_NAMES: usize = 3;

/// The lists that can be long.
const CROWDED: &str = "Crowded places";
const HEARD: &str = "What subscribers hear in a second";

/// Everything that was found out.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    topics: usize,
    rates: Rates,
    templates: Vec<Template>,
    collisions: Vec<Collision>,
    subscribers: Vec<Subscriber>,
    hosts: Vec<Shared>,
    /// The ranges hold the instances of a host.
    fits: bool,
    target: f64,
    changes: Vec<Change>,
    /// All templates, with the changes; nothing when there are none.
    toml: Option<String>,
    #[serde(skip)]
    figures: Vec<Bars>,
}

#[derive(Debug, Serialize)]
struct Template {
    template: String,
    transport: String,
    topics: usize,
    addresses: Option<String>,
    ports: Option<String>,
    streams: Option<String>,
    /// Combinations of them; those with topics, and those without.
    places: Option<u64>,
    used: u64,
    unused: Option<u64>,
    /// Topics that share a place.
    sharing: usize,
    collision_rate: f64,
    /// The same for other names, on average.
    expected_rate: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Collision {
    template: String,
    address: Option<String>,
    port: u16,
    stream: u32,
    topics: Vec<String>,
    rate: f64,
}

#[derive(Debug, Serialize)]
struct Subscriber {
    subscriber: String,
    topics: usize,
    wanted: f64,
    same_place: f64,
    same_socket: f64,
    same_group: f64,
    foreign_share: f64,
}

impl Findings {
    pub(super) fn new(
        spread: &Spread<'_>,
        hosts: (Vec<Shared>, bool),
        goal: Goal,
        changes: Vec<Change>,
        toml: Option<String>,
    ) -> Self {
        let (hosts, fits) = hosts;
        Self {
            topics: spread.demand.topics.len(),
            rates: spread.demand.rates,
            templates: spread.templates.iter().map(Template::new).collect(),
            collisions: spread
                .collisions()
                .iter()
                .map(|it| Collision::new(spread.demand, it))
                .collect(),
            subscribers: subscribers(spread),
            hosts,
            fits,
            target: goal.collisions,
            changes,
            toml,
            figures: figures(spread),
        }
    }

    /// Whether collisions are within the target, and the instances of a host within their ports.
    pub(super) fn is_good(&self) -> bool {
        self.changes.is_empty() && self.fits
    }

    fn summary(&self) -> String {
        let wanted: f64 = self.subscribers.iter().map(|it| it.wanted).sum();
        let foreign: f64 = self.subscribers.iter().map(|it| it.same_place + it.same_socket).sum();
        let share = if wanted + foreign > 0.0 { foreign / (wanted + foreign) } else { 0.0 };
        format!(
            "{} topics; rates: {}. Of what arrives at subscribers, {} is foreign.",
            self.topics,
            self.rates,
            percent(share)
        )
    }

    fn tables(&self) -> Vec<Rows> {
        let mut tables = vec![self.template_rows()];
        tables.extend(
            [self.collision_rows(), self.subscriber_rows(), self.host_rows(), self.change_rows()]
                .into_iter()
                .filter(|rows| !rows.rows.is_empty()),
        );
        tables
    }

    /// As people read it in a terminal.
    pub(super) fn text(&self) -> String {
        let mut text = self.summary();
        for rows in self.tables() {
            text.push_str(&format!("\n\n{}\n{}", rows.title, rows.table()));
            let left_out = match rows.title {
                CROWDED => self.collisions.len().saturating_sub(MAX_ROWS),
                HEARD => self.subscribers.len().saturating_sub(MAX_ROWS),
                _ => 0,
            };
            if left_out > 0 {
                text.push_str(&format!("\nand {left_out} more: see --json"));
            }
        }
        if !self.fits {
            text.push_str(
                "\n\nThe instances of a host need more ports than [responses] and [control] have.",
            );
        }
        match &self.toml {
            Some(toml) => text.push_str(&format!(
                "\n\nThese templates keep collisions at {} or below. They replace those of the file, for \
                 all applications at once:\n\n{}",
                percent(self.target),
                toml.trim_end()
            )),
            None => text.push_str(&format!(
                "\n\nCollisions are at {} or below: nothing has to change.",
                percent(self.target)
            )),
        }
        text
    }

    pub(super) fn page(&self) -> Page<&Bars> {
        Page {
            title: "Where topics fall".to_owned(),
            summary: self.summary(),
            origin: format!(
                "vega {}, target: at most {} of the topics of a template share a place",
                env!("CARGO_PKG_VERSION"),
                percent(self.target)
            ),
            tables: self.tables(),
            heading: "Distribution",
            figures: self.figures.iter().collect(),
        }
    }

    fn template_rows(&self) -> Rows {
        let row = |it: &Template| {
            vec![
                it.template.clone(),
                it.topics.to_string(),
                or_dash(it.places),
                it.used.to_string(),
                or_dash(it.unused),
                it.sharing.to_string(),
                percent(it.collision_rate),
                or_dash(it.expected_rate.map(percent)),
                it.transport.clone(),
                ranges(it),
            ]
        };
        Rows {
            title: "Templates",
            header: vec![
                "template",
                "topics",
                "places",
                "used",
                "unused",
                "sharing",
                "rate",
                "expected",
                "transport",
                "ranges",
            ],
            numbers: 1..8,
            rows: self.templates.iter().map(row).collect(),
        }
    }

    fn collision_rows(&self) -> Rows {
        let row = |it: &Collision| {
            let address = it.address.as_deref().unwrap_or("*");
            vec![
                format!("{address}:{}", it.port),
                it.stream.to_string(),
                it.topics.len().to_string(),
                number(it.rate),
                names(&it.topics),
            ]
        };
        Rows {
            title: CROWDED,
            header: vec!["group:port", "stream", "topics", "per second", "which"],
            numbers: 1..4,
            rows: self.collisions.iter().take(MAX_ROWS).map(row).collect(),
        }
    }

    fn subscriber_rows(&self) -> Rows {
        let row = |it: &Subscriber| {
            vec![
                it.subscriber.clone(),
                it.topics.to_string(),
                number(it.wanted),
                number(it.same_place),
                number(it.same_socket),
                number(it.same_group),
                percent(it.foreign_share),
            ]
        };
        Rows {
            title: HEARD,
            header: vec![
                "subscriber",
                "topics",
                "wanted",
                "same place",
                "same socket",
                "same group",
                "foreign",
            ],
            numbers: 1..7,
            rows: self.subscribers.iter().take(MAX_ROWS).map(row).collect(),
        }
    }

    fn host_rows(&self) -> Rows {
        let row = |it: &Shared| {
            vec![
                it.sockets.to_owned(),
                it.instances.to_string(),
                it.room.to_string(),
                format!("{:.1}", it.displaced),
                it.ports.clone(),
            ]
        };
        Rows {
            title: "Ports of a host",
            header: vec!["sockets", "instances", "room", "displaced", "ports"],
            numbers: 1..4,
            rows: self.hosts.iter().map(row).collect(),
        }
    }

    fn change_rows(&self) -> Rows {
        let row = |it: &Change| {
            vec![
                it.template.clone(),
                it.places.to_string(),
                percent(it.collision_rate),
                percent(it.expected_rate),
                it.addresses.clone().unwrap_or_else(|| "-".to_owned()),
                it.streams.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        };
        Rows {
            title: "Recommended",
            header: vec!["template", "places", "rate", "expected", "addresses", "streams"],
            numbers: 1..4,
            rows: self.changes.iter().map(row).collect(),
        }
    }
}

impl Template {
    fn new(template: &TemplateSpread<'_>) -> Self {
        let ranges = template.ranges;
        Self {
            template: ranges.name().to_owned(),
            transport: ranges.transport().to_string(),
            topics: template.topics,
            addresses: ranges.addresses().map(|it| format!("{}-{}", it.start(), it.end())),
            ports: ranges.ports().map(|it| format!("{}-{}", it.start(), it.end())),
            streams: ranges.streams().map(|it| format!("{}-{}", it.start(), it.end())),
            places: ranges.places(),
            used: template.used,
            unused: ranges.places().map(|places| places - template.used),
            sharing: template.sharing,
            collision_rate: template.collision_rate(),
            expected_rate: template.expected_rate(),
        }
    }
}

impl Collision {
    fn new(demand: &Demand, (socket, stream, topics): &(&Socket, u32, &[usize])) -> Self {
        let of = |topic: &usize| &demand.topics[*topic];
        Self {
            template: socket.template.clone(),
            address: socket.address.clone(),
            port: socket.port,
            stream: *stream,
            topics: topics.iter().map(|topic| of(topic).name.clone()).collect(),
            rate: topics.iter().map(|topic| of(topic).rate).sum(),
        }
    }
}

/// Those who discard the most come first.
fn subscribers(spread: &Spread<'_>) -> Vec<Subscriber> {
    let listeners = spread.demand.listeners();
    let each = listeners.into_iter().map(|(name, topics)| {
        let heard = spread.heard(&topics);
        let Heard { wanted, same_place, same_socket, same_group } = heard;
        Subscriber {
            subscriber: name.to_owned(),
            topics: topics.len(),
            wanted,
            same_place,
            same_socket,
            same_group,
            foreign_share: heard.foreign_share(),
        }
    });
    let mut all: Vec<_> = each.collect();
    let foreign = |it: &Subscriber| it.same_place + it.same_socket;
    all.sort_by(|a, b| foreign(b).total_cmp(&foreign(a)));
    all
}

fn figures(spread: &Spread<'_>) -> Vec<Bars> {
    let with_places = spread.templates.iter().filter(|it| it.ranges.places().is_some());
    with_places
        .flat_map(|template| [sockets(spread, template), occupancy(spread, template)])
        .collect()
}

fn sockets(spread: &Spread<'_>, template: &TemplateSpread<'_>) -> Bars {
    let name = template.ranges.name();
    let mut counts: Vec<_> = spread.sockets_of(name).into_iter().map(|(_, count)| count).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let ranges = &template.ranges;
    let all = match (ranges.places(), ranges.streams()) {
        (Some(places), Some(streams)) => places / (u64::from(streams.end() - streams.start()) + 1),
        _ => 0,
    };
    let unused = usize::try_from(all).unwrap_or(0).saturating_sub(counts.len());
    Bars {
        title: format!("{name}: topics at each socket, {unused} of {all} have none"),
        axis: "sockets with topics, the most crowded first".to_owned(),
        ends: ("1".to_owned(), counts.len().to_string()),
        values: counts.iter().map(|count| *count as f64).collect(),
        expected: Vec::new(),
        expected_name: "",
    }
}

/// Without those places that have none: in wide ranges, nothing else could be seen beside them.
fn occupancy(spread: &Spread<'_>, template: &TemplateSpread<'_>) -> Bars {
    let counts = spread.occupancy(template);
    let most = counts.len() - 1;
    let unused = counts.first().copied().unwrap_or(0);
    Bars {
        title: format!(
            "{}: places by the number of their topics, {unused} have none",
            template.ranges.name()
        ),
        axis: "topics at a place".to_owned(),
        ends: ("1".to_owned(), most.to_string()),
        values: counts.iter().skip(1).map(|count| *count as f64).collect(),
        expected: (1..=most).map(|topics| template.expected_places(topics)).collect(),
        expected_name: "on average",
    }
}

/// How a host's ports are shared, by what was seen or said.
pub(super) fn hosts(
    config: &vega::Config,
    demand: &Demand,
    given: Option<u64>,
) -> (Vec<Shared>, bool) {
    match given.or_else(|| demand.hosts.values().max().copied()) {
        Some(instances) => (hosts::shared(config, instances), hosts::fits(config, instances)),
        None => (Vec::new(), true),
    }
}

fn ranges(template: &Template) -> String {
    let all = [&template.addresses, &template.ports, &template.streams];
    let given: Vec<_> = all.into_iter().flatten().map(String::as_str).collect();
    if given.is_empty() { "-".to_owned() } else { given.join(" ") }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// As few digits as tell it apart.
pub(crate) fn number(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

fn names(all: &[String]) -> String {
    let shown = all.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(MAX_NAMES) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}
