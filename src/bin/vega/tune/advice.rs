//! Ranges on which topics collide less, and configuration files that have them. Layer: bin.
//!
//! Ranges are only ever widened: one that is shifted or narrowed would move topics for no gain, and
//! all files of a system have to change together as it is. Streams are what places are made of, for
//! they cost nothing; groups are added where subscribers would otherwise share sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use serde::Serialize;
use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};
use vega::{Config, TemplateRanges, Transport};

use super::demand::Demand;
use super::spread::{Spread, TemplateSpread, expected_rate, places_for};

/// Streams grow by this part from one attempt to the next: names collide more or less than the
/// average of all names.
const STEP: u32 = 4;
const MAX_ATTEMPTS: usize = 64;

/// What to change in one template.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Change {
    pub(super) template: String,
    /// The new ranges; those that stay as they are are left out.
    pub(super) addresses: Option<String>,
    pub(super) streams: Option<String>,
    /// With these ranges: places, the part of the topics that shares one, and the same for other
    /// names on average.
    pub(super) places: u64,
    pub(super) collision_rate: f64,
    pub(super) expected_rate: f64,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    /// The part of the topics that may share a place.
    pub(super) collisions: f64,
    /// Multicast groups of a template at most: each costs its subscribers a membership, and switches
    /// an entry.
    pub(super) groups: u32,
}

/// What to change for a goal, template by template; nothing for those that reach it.
///
/// # Errors
///
/// When a range that should do is not allowed, or none does.
pub(super) fn advise(
    base: &str,
    demand: &Demand,
    spread: &Spread<'_>,
    goal: Goal,
) -> anyhow::Result<Vec<Change>> {
    let missed = spread.templates.iter().filter(|template| {
        template.ranges.places().is_some() && template.collision_rate() > goal.collisions
    });
    missed.map(|template| improve(base, demand, template, goal)).collect()
}

fn improve(
    base: &str,
    demand: &Demand,
    template: &TemplateSpread<'_>,
    goal: Goal,
) -> anyhow::Result<Change> {
    let Sizes { groups, ports, streams } = Sizes::of(&template.ranges);
    let name = template.ranges.name();
    let topics = u32::try_from(template.topics).unwrap_or(u32::MAX);
    let wider = match template.ranges.transport() {
        // One topic for each socket, if there may be so many groups.
        Transport::Multicast => topics.div_ceil(ports).min(goal.groups).max(groups),
        _ => groups,
    };
    let wanted = places_for(template.topics, goal.collisions);
    let needed = wanted.div_ceil(u64::from(wider) * u64::from(ports));
    let mut count = u32::try_from(needed).unwrap_or(u32::MAX).max(streams);
    for _ in 0..MAX_ATTEMPTS {
        let change = Change {
            template: name.to_owned(),
            addresses: (wider > groups).then(|| addresses(&template.ranges, wider)).flatten(),
            streams: (count > streams).then(|| stream_range(&template.ranges, count)).flatten(),
            places: u64::from(wider) * u64::from(ports) * u64::from(count),
            collision_rate: 0.0,
            expected_rate: 0.0,
        };
        let text = apply(base, std::slice::from_ref(&change))?;
        let config = Config::parse(&text)
            .with_context(|| format!("[[template]] {name:?} cannot be widened as needed"))?;
        let now = Spread::new(&config, demand)?;
        let reached = now.templates.iter().find(|now| now.ranges.name() == name);
        let rate = reached.map_or(1.0, TemplateSpread::collision_rate);
        if rate <= goal.collisions {
            let expected_rate = expected_rate(template.topics, change.places);
            return Ok(Change { collision_rate: rate, expected_rate, ..change });
        }
        count = count.saturating_add((count / STEP).max(1));
    }
    anyhow::bail!(
        "no ranges of [[template]] {name:?} keep collisions of {topics} topics at {}%: try a higher \
         --target",
        100.0 * goal.collisions
    )
}

/// How many there are of each.
struct Sizes {
    groups: u32,
    ports: u32,
    streams: u32,
}

impl Sizes {
    fn of(ranges: &TemplateRanges<'_>) -> Self {
        let span = |low: u32, high: u32| (high - low).saturating_add(1);
        Self {
            groups: ranges
                .addresses()
                .map_or(1, |it| span(group_number(*it.start()), group_number(*it.end()))),
            ports: ranges.ports().map_or(1, |it| span((*it.start()).into(), (*it.end()).into())),
            streams: ranges.streams().map_or(1, |it| span(*it.start(), *it.end())),
        }
    }
}

fn addresses(ranges: &TemplateRanges<'_>, groups: u32) -> Option<String> {
    let first = *ranges.addresses()?.start();
    // Beyond the last multicast address the configuration says no.
    let last = group_number(first).saturating_add(groups - 1);
    let last = match first {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(last)),
        IpAddr::V6(first) => {
            IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() >> 32 << 32 | u128::from(last)))
        }
    };
    Some(format!("{first}-{last}"))
}

/// The last 32 bits of a group, in which those of a range differ.
#[expect(clippy::cast_possible_truncation, reason = "the higher bits are not asked for")]
fn group_number(group: IpAddr) -> u32 {
    match group {
        IpAddr::V4(group) => group.to_bits(),
        IpAddr::V6(group) => group.to_bits() as u32,
    }
}

fn stream_range(ranges: &TemplateRanges<'_>, streams: u32) -> Option<String> {
    let first = *ranges.streams()?.start();
    Some(format!("{first}-{}", first.saturating_add(streams - 1)))
}

/// The configuration file `base` with changes; everything else of it, comments included, is kept.
///
/// # Errors
///
/// When it is no TOML, or lacks a template.
pub(super) fn apply(base: &str, changes: &[Change]) -> anyhow::Result<String> {
    let mut document: DocumentMut = base.parse()?;
    if !changes.is_empty() && !document.contains_key("template") {
        document.insert("template", Item::ArrayOfTables(built_in()?));
    }
    for change in changes {
        let keys = [("addresses", &change.addresses), ("streams", &change.streams)];
        let keys = keys.into_iter().filter_map(|(key, range)| Some((key, range.as_deref()?)));
        match document.get_mut("template") {
            Some(Item::ArrayOfTables(tables)) => {
                let is_it =
                    |table: &&mut Table| name_of(table.get("name")) == Some(&change.template);
                let table = tables.iter_mut().find(is_it).context("a template is gone")?;
                keys.for_each(|(key, range)| set(table.entry(key), range));
            }
            Some(Item::Value(Value::Array(tables))) => {
                let tables = tables.iter_mut().filter_map(Value::as_inline_table_mut);
                let name = |table: &InlineTable| table.get("name")?.as_str().map(str::to_owned);
                let mut tables =
                    tables.filter(|table| name(table).as_ref() == Some(&change.template));
                let table = tables.next().context("a template is gone")?;
                for (key, range) in keys {
                    table.insert(key, range.into());
                }
            }
            _ => anyhow::bail!("the templates of the file are no tables"),
        }
    }
    let text = document.to_string();
    // The parser makes all ends of lines alike.
    Ok(if base.contains("\r\n") { text.replace('\n', "\r\n") } else { text })
}

fn name_of(item: Option<&Item>) -> Option<&str> {
    item?.as_str()
}

/// Changes a value and leaves what stands around it.
fn set(entry: toml_edit::Entry<'_>, range: &str) {
    let item = entry.or_insert(Item::None);
    let decor = item.as_value().map(|value| value.decor().clone());
    let mut value = Value::from(range);
    if let Some(decor) = decor {
        *value.decor_mut() = decor;
    }
    *item = Item::Value(value);
}

/// The templates of a file that has none of its own. They leave the choice of pollers to the defaults,
/// which exist whatever the file calls them.
fn built_in() -> anyhow::Result<ArrayOfTables> {
    let document: DocumentMut = Config::default_toml().parse()?;
    let tables = document.get("template").and_then(Item::as_array_of_tables);
    let mut tables = tables.context("the default has templates")?.clone();
    for table in tables.iter_mut() {
        table.remove("poller");
        table.set_position(None);
    }
    Ok(tables)
}

/// The templates of a configuration file alone, without comments: a list replaces the whole list, so
/// that all of them are needed.
///
/// # Errors
///
/// When it is no TOML.
pub(super) fn fragment(text: &str) -> anyhow::Result<String> {
    let document: DocumentMut = text.parse()?;
    let mut plain = DocumentMut::new();
    let mut all = ArrayOfTables::new();
    let tables: Vec<Vec<(&str, Value)>> = match document.get("template") {
        Some(Item::ArrayOfTables(tables)) => {
            tables.iter().map(|table| values(table.iter())).collect()
        }
        Some(Item::Value(Value::Array(tables))) => tables
            .iter()
            .filter_map(Value::as_inline_table)
            .map(|table| table.iter().map(|(key, value)| (key, value.clone())).collect())
            .collect(),
        _ => Vec::new(),
    };
    for keys in tables {
        let mut table = Table::new();
        for (key, mut value) in keys {
            value.decor_mut().clear();
            table.insert(key, Item::Value(value));
        }
        all.push(table);
    }
    plain.insert("template", Item::ArrayOfTables(all));
    Ok(plain.to_string())
}

fn values<'a>(items: impl Iterator<Item = (&'a str, &'a Item)>) -> Vec<(&'a str, Value)> {
    items.filter_map(|(key, item)| Some((key, item.as_value()?.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(template: &str, addresses: Option<&str>, streams: Option<&str>) -> Change {
        Change {
            template: template.to_owned(),
            addresses: addresses.map(str::to_owned),
            streams: streams.map(str::to_owned),
            places: 0,
            collision_rate: 0.0,
            expected_rate: 0.0,
        }
    }

    fn demand(topics: usize) -> Demand {
        let names: Vec<String> = (0..topics).map(|number| format!("prices.{number}")).collect();
        Demand::of_names(names.iter().map(String::as_str))
    }

    #[test]
    fn the_goal_is_reached_by_widening() {
        let base = Config::default_toml();
        for (topics, target) in [(100, 0.05), (100, 0.0), (2_000, 0.01)] {
            let (config, demand) = (Config::default(), demand(topics));
            let spread = Spread::new(&config, &demand).unwrap();
            let goal = Goal { collisions: target, groups: 64 };
            // On average, no finite number of places has no collision at all.
            if target == 0.0 {
                continue;
            }
            let changes = advise(base, &demand, &spread, goal).unwrap();
            let [change] = changes.as_slice() else { panic!("one template: {changes:?}") };
            assert!(change.collision_rate <= target, "{change:?}");
            let text = apply(base, &changes).unwrap();
            let config = Config::parse(&text).unwrap();
            let after = Spread::new(&config, &demand).unwrap();
            assert!(after.templates[0].collision_rate() <= target);
            assert_eq!(after.templates[0].ranges.places(), Some(change.places));
            assert!(advise(&text, &demand, &after, goal).unwrap().is_empty(), "once is enough");
            assert_eq!(text.lines().count(), base.lines().count(), "comments are kept");
        }
    }

    #[test]
    fn a_file_without_templates_gets_all_of_them() {
        let base = "# mine\n[[poller]]\nname = \"fast\"\n\n[[topic]]\npattern = '.*'\ntemplate = \
                    \"multicast\"\n";
        let text = apply(base, &[change("multicast", None, Some("1-77"))]).unwrap();
        let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let streams: Vec<_> = config.templates().filter_map(|it| it.streams()).collect();
        assert_eq!(streams, [1..=77, 1..=10]);
        assert!(text.starts_with("# mine\n"), "{text}");
        assert!(text.contains("# Range of multicast groups"), "{text}");
    }

    #[test]
    fn only_the_changed_values_change() {
        let base = "[[template]] # one\nname = 'a'\ntransport = \"multicast\"\nstreams = \"1-2\"   # few\n\
                    [[template]]\nname = 'b'\ntransport = 'ipc'\n";
        let changes = [change("a", Some("239.1.0.1-239.1.0.9"), Some("1-9"))];
        let text = apply(base, &changes).unwrap();
        assert!(text.contains("streams = \"1-9\"   # few\n"), "{text}");
        assert!(text.contains("addresses = \"239.1.0.1-239.1.0.9\"\n"), "{text}");
        assert!(text.contains("[[template]] # one\n"), "{text}");
        let fragment = fragment(&text).unwrap();
        assert!(!fragment.contains('#') && fragment.contains("name = 'b'"), "{fragment}");
        assert!(fragment.parse::<DocumentMut>().is_ok());
    }

    #[test]
    fn ends_of_lines_stay_as_they_are() {
        let base = "[[template]]\r\nname = 'a'\r\ntransport = 'multicast'\r\n# mine\r\n\
                    [[topic]]\r\npattern = '.*'\r\ntemplate = 'a'\r\n";
        assert_eq!(apply(base, &[]).unwrap(), base);
        let changed = apply(base, &[change("a", None, Some("1-9"))]).unwrap();
        assert_eq!(changed.matches("\r\n").count(), changed.matches('\n').count(), "{changed:?}");
        assert!(Config::parse(&changed).is_ok());
    }

    #[test]
    fn templates_in_one_line_are_changed_as_well() {
        let base = "template = [{ name = 'a', transport = 'unicast' }]\n\
                    topic = [{ pattern = '.*', template = 'a' }]\n";
        let text = apply(base, &[change("a", None, Some("1-9"))]).unwrap();
        let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(config.templates().next().unwrap().streams(), Some(1..=9));
        assert!(fragment(&text).unwrap().contains("streams = \"1-9\""));
    }
}
