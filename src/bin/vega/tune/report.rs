//! What `vega tune` tells: tables and figures for people, a document for machines. Layer: bin.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::advice::{Change, Goal};
use super::chart::Bars;
use super::demand::{Demand, Rates};
use super::hosts::{self, Shared};
use super::spread::{Heard, Socket, Spread, TemplateSpread};
use vega::Transport;

use crate::output::{Page, Rows};

/// Rows of the lists that can be long; JSON has all of them.
const MAX_ROWS: usize = 12;
/// Names in one cell, and how many characters they may have together, apart from the first.
const MAX_NAMES: usize = 2;
const MAX_NAME_CHARS: usize = 16;

/// Everything that was found out.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    topics: usize,
    rates: Rates,
    templates: Vec<Template>,
    collisions: Vec<Collision>,
    subscribers: Vec<Subscriber>,
    /// The foreign part of what arrives at all of them together, and the same with the changes.
    foreign_share: f64,
    foreign_share_then: Option<f64>,
    /// Templates that have groups and ports, or unicast ports, in common.
    overlaps: Vec<Overlap>,
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
struct Overlap {
    templates: [String; 2],
    is_multicast: bool,
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
        then: Option<&Spread<'_>>,
    ) -> Self {
        let (hosts, fits) = hosts;
        let subscribers = subscribers(spread);
        Self {
            topics: spread.demand.topics.len(),
            rates: spread.demand.rates,
            templates: spread.templates.iter().map(Template::new).collect(),
            collisions: spread
                .collisions()
                .iter()
                .map(|it| Collision::new(spread.demand, it))
                .collect(),
            foreign_share: foreign_share(&subscribers),
            foreign_share_then: then.map(|spread| foreign_share(&self::subscribers(spread))),
            subscribers,
            overlaps: spread
                .overlaps()
                .map(|(one, other)| Overlap {
                    templates: [one, other].map(|it| it.name().to_owned()),
                    is_multicast: one.transport() == Transport::Multicast,
                })
                .collect(),
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
        let topics = if self.topics == 1 { "topic" } else { "topics" };
        format!(
            "{} {topics}; rates: {}. Of what arrives at subscribers, {} is foreign.",
            self.topics,
            self.rates,
            percent(self.foreign_share)
        )
    }

    fn tables(&self) -> Vec<Rows> {
        let mut tables = vec![self.template_rows(), self.range_rows()];
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
        }
        for Overlap { templates: [one, other], is_multicast } in &self.overlaps {
            let what = if *is_multicast {
                "groups and ports in common: who listens to one discards the packets of the other"
            } else {
                "ports in common, but no sockets: who listens to both takes ports for each"
            };
            text.push_str(&format!("\n\nThe templates {one:?} and {other:?} have {what}."));
        }
        if !self.fits {
            text.push_str(
                "\n\nThe ranges of [responses] and [control] have not enough ports for the instances of \
                 a host: each takes one of both.",
            );
        }
        match &self.toml {
            Some(toml) => text.push_str(&format!(
                "\n\nThese templates keep collisions at {} or below{}. They replace those of the file, for \
                 all applications at once:\n\n{}",
                percent(self.target),
                self.foreign_share_then.map_or_else(String::new, |share| format!(
                    ", and what is foreign at {}",
                    percent(share)
                )),
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
            ]
        };
        Rows {
            title: "Templates",
            header: vec![
                "template", "topics", "places", "used", "unused", "sharing", "rate", "expected",
            ],
            numbers: 1..8,
            rows: self.templates.iter().map(row).collect(),
        }
    }

    fn range_rows(&self) -> Rows {
        let row = |it: &Template| {
            vec![
                it.template.clone(),
                it.transport.clone(),
                or_dash(it.addresses.as_ref()),
                or_dash(it.ports.as_ref()),
                or_dash(it.streams.as_ref()),
            ]
        };
        Rows {
            title: "Ranges",
            header: vec!["template", "transport", "addresses", "ports", "streams"],
            numbers: 1..1,
            rows: self.templates.iter().map(row).collect(),
        }
    }

    fn collision_rows(&self) -> Rows {
        let row = |it: &Collision| {
            let socket = match it.address.as_deref() {
                Some(group) if group.contains(':') => format!("[{group}]:{}", it.port),
                group => format!("{}:{}", group.unwrap_or("*"), it.port),
            };
            vec![
                socket,
                it.stream.to_string(),
                it.topics.len().to_string(),
                number(it.rate),
                names(&it.topics),
            ]
        };
        Rows {
            title: "Crowded places",
            header: vec!["group:port", "stream", "topics", "per second", "which"],
            numbers: 1..4,
            rows: first(&self.collisions, row),
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
            title: "What subscribers hear in a second",
            header: vec!["subscriber", "topics", "wanted", "place", "socket", "group", "foreign"],
            numbers: 1..7,
            rows: first(&self.subscribers, row),
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
            addresses: ranges.addresses().map(range),
            ports: ranges.ports().map(range),
            streams: ranges.streams().map(range),
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

fn foreign_share(subscribers: &[Subscriber]) -> f64 {
    let wanted: f64 = subscribers.iter().map(|it| it.wanted).sum();
    let foreign: f64 = subscribers.iter().map(|it| it.same_place + it.same_socket).sum();
    if wanted + foreign > 0.0 { foreign / (wanted + foreign) } else { 0.0 }
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

/// The first rows of what can be long, and how many there are besides.
fn first<T>(all: &[T], row: impl Fn(&T) -> Vec<String>) -> Vec<Vec<String>> {
    let mut rows: Vec<_> = all.iter().take(MAX_ROWS).map(row).collect();
    let more = all.len() - rows.len();
    if more > 0 {
        let mut last = vec![String::new(); rows[0].len()];
        last[0] = format!("and {more} more");
        rows.push(last);
    }
    rows
}

/// As configuration files have it.
fn range<T: PartialEq + ToString>(range: RangeInclusive<T>) -> String {
    let (low, high) = range.into_inner();
    if low == high { low.to_string() } else { format!("{}-{}", low.to_string(), high.to_string()) }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// With one digit after the point, or as many as it takes to see anything.
pub(crate) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let digits = if percent > 0.0 && percent < 0.05 { 3 } else { 1 };
    format!("{percent:.digits$} %")
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
    let mut chars = 0;
    let fits = |name: &&String| {
        let is_first = chars == 0;
        chars += name.chars().count();
        is_first || chars <= MAX_NAME_CHARS
    };
    let shown: Vec<_> = all.iter().take(MAX_NAMES).take_while(fits).map(String::as_str).collect();
    let (more, shown) = (all.len() - shown.len(), shown.join(", "));
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
