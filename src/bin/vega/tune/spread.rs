//! How topics fall on the places of a configuration, and what that costs those who listen. Layer: bin.
//! Pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use anyhow::anyhow;
use vega::{Config, TemplateRanges, TopicRoute, Transport};

use super::demand::{Demand, Rate};

/// Where topics share a socket: template, group and port. Of unicast, the port is the preferred one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Socket {
    pub(super) template: String,
    pub(super) address: Option<String>,
    pub(super) port: u16,
}

impl Socket {
    /// Whether what is sent to the one arrives at the other, too: templates may have multicast groups
    /// and ports in common, while a unicast port belongs to one socket.
    fn hears(&self, other: &Self) -> bool {
        let is_same = self.address == other.address && self.port == other.port;
        self == other || (is_same && self.address.is_some())
    }
}

/// How all topics fall.
#[derive(Debug)]
pub(crate) struct Spread<'a> {
    pub(super) demand: &'a Demand,
    /// By template, in the order of the configuration; those without topics are left out.
    pub(super) templates: Vec<TemplateSpread<'a>>,
    /// Where each topic is; nothing for shared memory.
    places: Vec<Option<(Socket, u32)>>,
    /// Topics at each socket, by stream.
    sockets: BTreeMap<Socket, BTreeMap<u32, Vec<usize>>>,
}

/// How the topics of one template fall.
#[derive(Debug)]
pub(super) struct TemplateSpread<'a> {
    pub(super) ranges: TemplateRanges<'a>,
    pub(super) topics: usize,
    /// Places with topics.
    pub(super) used: u64,
    /// Topics that share their place with another one.
    pub(super) sharing: usize,
}

/// What arrives at a subscriber in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Heard {
    /// What it listens to.
    pub(super) wanted: Rate,
    /// Of its places: packed with what it wants, taken apart and discarded message by message.
    pub(super) same_place: Rate,
    /// Of other streams of its sockets: discarded packet by packet.
    pub(super) same_socket: Rate,
    /// Of other ports of its groups: discarded by the kernel.
    pub(super) same_group: Rate,
}

impl Heard {
    /// What the subscriber itself has to discard.
    pub(crate) fn foreign(&self) -> Rate {
        self.same_place + self.same_socket
    }

    /// The foreign part of what the subscriber gets.
    pub(crate) fn foreign_share(&self) -> f64 {
        let all = self.wanted + self.foreign();
        if all > 0.0 { self.foreign() / all } else { 0.0 }
    }
}

impl<'a> Spread<'a> {
    /// # Errors
    ///
    /// When a topic has no template.
    pub(crate) fn new(config: &'a Config, demand: &'a Demand) -> anyhow::Result<Self> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut places = Vec::with_capacity(demand.topics.len());
        let mut sockets: BTreeMap<Socket, BTreeMap<u32, Vec<usize>>> = BTreeMap::new();
        for (index, topic) in demand.topics.iter().enumerate() {
            let route = config.route(&topic.name).map_err(|error| anyhow!("{error}"))?;
            *counts.entry(route.template()).or_default() += 1;
            let place = place(&route);
            if let Some((socket, stream)) = &place {
                let streams = sockets.entry(socket.clone()).or_default();
                streams.entry(*stream).or_default().push(index);
            }
            places.push(place);
        }
        let of = |ranges: TemplateRanges<'a>| {
            let topics = *counts.get(ranges.name())?;
            let mine =
                || sockets.iter().filter(move |(socket, _)| socket.template == ranges.name());
            let streams = || mine().flat_map(|(_, streams)| streams.values());
            Some(TemplateSpread {
                ranges,
                topics,
                used: streams().count() as u64,
                sharing: streams().map(Vec::len).filter(|count| *count > 1).sum(),
            })
        };
        let templates = config.templates().filter_map(of).collect();
        Ok(Self { demand, templates, places, sockets })
    }

    /// Places that several topics share, the most crowded first.
    pub(super) fn collisions(&self) -> Vec<(&Socket, u32, &[usize])> {
        let mut all: Vec<_> = self
            .sockets
            .iter()
            .flat_map(|(socket, streams)| {
                streams.iter().map(move |(stream, topics)| (socket, *stream, topics.as_slice()))
            })
            .filter(|(_, _, topics)| topics.len() > 1)
            .collect();
        all.sort_by_key(|(socket, stream, topics)| (usize::MAX - topics.len(), *socket, *stream));
        all
    }

    /// Templates with topics that have multicast groups and ports in common, or unicast ports.
    pub(super) fn overlaps(
        &self,
    ) -> impl Iterator<Item = (&TemplateRanges<'a>, &TemplateRanges<'a>)> {
        fn meet<T: PartialOrd>(one: &RangeInclusive<T>, other: &RangeInclusive<T>) -> bool {
            one.start() <= other.end() && other.start() <= one.end()
        }
        let meet_on_both = |one: &TemplateRanges<'_>, other: &TemplateRanges<'_>| {
            let ports =
                one.ports().zip(other.ports()).is_some_and(|(one, other)| meet(&one, &other));
            let groups = match (one.addresses(), other.addresses()) {
                (Some(one), Some(other)) => meet(&one, &other),
                (None, None) => true,
                _ => false,
            };
            ports && groups
        };
        let all = self.templates.iter().map(|template| &template.ranges);
        let pairs = all.enumerate().flat_map(move |(index, one)| {
            self.templates[index + 1..].iter().map(move |other| (one, &other.ranges))
        });
        pairs.filter(move |(one, other)| meet_on_both(one, other))
    }

    /// Sockets of a template, and how many topics each has.
    pub(super) fn sockets_of(&self, template: &str) -> Vec<(&Socket, usize)> {
        let mine = self.sockets.iter().filter(|(socket, _)| socket.template == template);
        mine.map(|(socket, streams)| (socket, streams.values().map(Vec::len).sum())).collect()
    }

    /// How many places of a template have so many topics: for 0, 1, 2 and so on.
    pub(super) fn occupancy(&self, template: &TemplateSpread<'_>) -> Vec<u64> {
        let mut counts = vec![template.ranges.places().unwrap_or(0) - template.used];
        let mine =
            self.sockets.iter().filter(|(socket, _)| socket.template == template.ranges.name());
        for topics in mine.flat_map(|(_, streams)| streams.values().map(Vec::len)) {
            if counts.len() <= topics {
                counts.resize(topics + 1, 0);
            }
            counts[topics] += 1;
        }
        counts
    }

    /// The other topics at the place of a topic, and those at its socket on other streams.
    pub(crate) fn neighbours(&self, topic: usize) -> (Vec<&'a str>, Vec<&'a str>) {
        let Some((socket, stream)) = &self.places[topic] else { return Default::default() };
        let (mut same_place, mut same_socket) = (Vec::new(), Vec::new());
        let of_group = self.sockets.iter().filter(|(other, _)| socket.hears(other));
        for (other, streams) in of_group {
            for (other_stream, topics) in streams {
                let others = topics.iter().filter(|other| **other != topic);
                let names = others.map(|other| self.demand.topics[*other].name.as_str());
                if other == socket && other_stream == stream {
                    same_place.extend(names);
                } else {
                    same_socket.extend(names);
                }
            }
        }
        (same_place, same_socket)
    }

    /// What arrives where these topics are listened to.
    pub(crate) fn heard(&self, wanted: &[usize]) -> Heard {
        let mut heard = Heard::default();
        let rate = |topic: &usize| self.demand.topics[*topic].rate;
        heard.wanted += wanted.iter().map(rate).sum::<Rate>();
        let own: BTreeSet<usize> = wanted.iter().copied().collect();
        let mut at: BTreeMap<&Socket, BTreeSet<u32>> = BTreeMap::new();
        for (socket, stream) in wanted.iter().filter_map(|topic| self.places[*topic].as_ref()) {
            at.entry(socket).or_default().insert(*stream);
        }
        for (socket, streams) in &at {
            for (stream, topics) in &self.sockets[*socket] {
                let others = topics.iter().filter(|topic| !own.contains(topic));
                match (socket.address.is_some(), streams.contains(stream)) {
                    (true, true) => heard.same_place += others.map(rate).sum::<Rate>(),
                    (true, false) => heard.same_socket += others.map(rate).sum::<Rate>(),
                    // A unicast publisher sends what shares a place with what is wanted from it.
                    (false, true) => {
                        let sent =
                            others.filter(|topic| self.shares_publisher(**topic, topics, &own));
                        heard.same_place += sent.map(rate).sum::<Rate>();
                    }
                    (false, false) => {}
                }
            }
        }
        for (other, streams) in &self.sockets {
            let Some(group) = &other.address else { continue };
            let sent = || streams.values().flatten().map(rate).sum::<Rate>();
            // Each template has sockets of its own, and all of one group and port get the same.
            let beside = at.keys().filter(|own| **own != other && own.hears(other)).count();
            if beside > 0 {
                heard.same_socket += beside as f64 * sent();
            } else if !at.contains_key(other)
                && at.keys().any(|own| own.address.as_ref() == Some(group))
            {
                heard.same_group += sent();
            }
        }
        heard
    }

    /// Whether the publisher of a topic publishes one of `own` at the same place; if nothing is known
    /// of publishers, it does.
    fn shares_publisher(&self, topic: usize, place: &[usize], own: &BTreeSet<usize>) -> bool {
        let publishers = |topic: usize| &self.demand.topics[topic].publishers;
        place.iter().filter(|other| own.contains(other)).any(|other| {
            let (here, there) = (publishers(topic), publishers(*other));
            here.is_empty() || there.is_empty() || !here.is_disjoint(there)
        })
    }
}

impl TemplateSpread<'_> {
    /// The part of the topics that shares a place.
    pub(super) fn collision_rate(&self) -> f64 {
        self.sharing as f64 / self.topics.max(1) as f64
    }

    /// The same for other names, on average.
    pub(super) fn expected_rate(&self) -> Option<f64> {
        Some(expected_rate(self.topics, self.ranges.places()?))
    }

    /// How many places have so many of the topics, on average.
    pub(super) fn expected_places(&self, topics: usize) -> f64 {
        let places = self.ranges.places().unwrap_or(1) as f64;
        let share = 1.0 / places;
        // Binomial, term by term: factorials of thousands are beyond any number.
        let mut probability = (self.topics as f64 * (-share).ln_1p()).exp();
        for taken in 0..topics {
            let (taken, left) = (taken as f64, self.topics.saturating_sub(taken) as f64);
            probability *= left / (taken + 1.0) * share / (1.0 - share);
        }
        if places > 1.0 { places * probability } else { f64::from(u8::from(topics == self.topics)) }
    }
}

/// The part of `topics` that shares a place with another one, on average.
pub(super) fn expected_rate(topics: usize, places: u64) -> f64 {
    let others = topics.saturating_sub(1) as f64;
    if places <= 1 {
        return if others > 0.0 { 1.0 } else { 0.0 };
    }
    -(others * (-1.0 / places as f64).ln_1p()).exp_m1()
}

/// The fewest places at which topics collide no more than this, on average.
#[expect(clippy::cast_possible_truncation, reason = "saturates, which is many places")]
pub(super) fn places_for(topics: usize, target: f64) -> u64 {
    let others = topics.saturating_sub(1) as f64;
    if others == 0.0 || target >= 1.0 {
        return 1;
    }
    // 1 - (1 - 1/n)^others <= target, solved for n; saturates for a target of zero.
    let each = -((-target).ln_1p() / others).exp_m1();
    (1.0 / each).ceil() as u64
}

fn place(route: &TopicRoute<'_>) -> Option<(Socket, u32)> {
    debug_assert!(route.transport() != Transport::Ipc || route.port().is_none());
    let socket = Socket {
        template: route.template().to_owned(),
        address: route.address().map(|address| address.to_string()),
        port: route.port()?,
    };
    Some((socket, route.stream()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(names: &[&str]) -> Demand {
        Demand::of_names(names.iter().copied())
    }

    fn config(template: &str) -> Config {
        let text = format!(
            "[[template]]\nname = 't'\n{template}\n[[topic]]\npattern = '.*'\ntemplate = 't'\n"
        );
        Config::parse(&text).unwrap()
    }

    const ONE_SOCKET: &str =
        "transport = 'multicast'\naddresses = '239.255.0.9'\nports = '35006'\nstreams = '1-2'";

    #[test]
    fn what_shares_a_socket_is_heard_and_what_shares_a_place_is_packed_together() {
        let config = config(ONE_SOCKET);
        // By their hashes: at least one of both streams has two of five topics.
        let demand = demand(&["a", "b", "c", "d", "e"]);
        let spread = Spread::new(&config, &demand).unwrap();
        let [template] = spread.templates.as_slice() else { panic!("one template") };
        assert_eq!((template.topics, template.ranges.places()), (5, Some(2)));
        let stream = |topic| config.route(topic).unwrap().stream().unwrap();
        let with_a =
            ["b", "c", "d", "e"].into_iter().filter(|it| stream(it) == stream("a")).count();
        let heard = spread.heard(&[0]);
        assert_eq!(heard.wanted, 1.0);
        assert_eq!((heard.same_place, heard.same_socket), (with_a as f64, 4.0 - with_a as f64));
        assert_eq!(heard.foreign_share(), 0.8);
        let (place, socket) = spread.neighbours(0);
        assert_eq!((place.len(), socket.len()), (with_a, 4 - with_a));
        assert_eq!(spread.heard(&[0, 1, 2, 3, 4]).foreign(), 0.0);
        let occupancy = spread.occupancy(template);
        let topics: u64 = (0..).zip(&occupancy).map(|(topics, places)| topics * places).sum();
        assert_eq!((occupancy.iter().sum::<u64>(), topics), (2, 5));
    }

    #[test]
    fn the_kernel_discards_what_goes_to_other_ports_of_a_group() {
        let config = config(&ONE_SOCKET.replace("'35006'", "'35006-35007'"));
        let names: Vec<String> = (0..50).map(|number| format!("t{number}")).collect();
        let demand = demand(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let spread = Spread::new(&config, &demand).unwrap();
        let heard = spread.heard(&[0]);
        assert_eq!(heard.wanted + heard.foreign() + heard.same_group, 50.0);
        assert!(heard.same_group > 0.0 && heard.foreign() > 0.0);
    }

    #[test]
    fn templates_that_share_groups_hear_each_other() {
        let templates =
            ["s", "t"].map(|name| format!("[[template]]\nname = '{name}'\n{ONE_SOCKET}\n"));
        let topic = |name| format!("[[topic]]\npattern = '{name}.'\ntemplate = '{name}'\n");
        let config = Config::parse(&(templates.concat() + &topic("s") + &topic("t"))).unwrap();
        let demand = demand(&["s1", "t1", "t2"]);
        let spread = Spread::new(&config, &demand).unwrap();
        let heard = Heard { wanted: 1.0, same_socket: 2.0, ..Heard::default() };
        assert_eq!(spread.heard(&[0]), heard);
        assert_eq!(spread.neighbours(0), (Vec::new(), vec!["t1", "t2"]));
        // A socket for each template: what both of them get, one of them discards.
        assert_eq!(spread.heard(&[0, 1, 2]).foreign(), 3.0);
        let overlaps: Vec<_> =
            spread.overlaps().map(|(one, two)| [one.name(), two.name()]).collect();
        assert_eq!(overlaps, [["s", "t"]]);
    }

    #[test]
    fn unicast_brings_what_its_publisher_packs_together() {
        let config = config("transport = 'unicast'\nports = '35008'\nstreams = '1'");
        let mut demand = demand(&["a", "b", "c"]);
        let unknown = Spread::new(&config, &demand).unwrap().heard(&[0]);
        assert_eq!((unknown.same_place, unknown.same_socket), (2.0, 0.0));
        for (topic, publisher) in [(0, "x"), (1, "x"), (2, "y")] {
            demand.topics[topic].publishers.insert(publisher.to_owned());
        }
        assert_eq!(Spread::new(&config, &demand).unwrap().heard(&[0]).same_place, 1.0);
    }

    #[test]
    fn shared_memory_brings_nothing_foreign() {
        let config = Config::default();
        let demand = demand(&["ipc.a", "ipc.b"]);
        let spread = Spread::new(&config, &demand).unwrap();
        assert_eq!(spread.heard(&[0]), Heard { wanted: 1.0, ..Heard::default() });
        assert_eq!(spread.templates[0].expected_rate(), None);
        assert!(spread.collisions().is_empty());
    }

    #[test]
    fn the_expectation_is_that_of_the_birthday_problem() {
        // 23 people, 365 days: one of them shares a birthday with probability 1 - (364/365)^22.
        assert!((expected_rate(23, 365) - 0.058_57).abs() < 1e-4);
        assert_eq!(
            (expected_rate(1, 1), expected_rate(2, 1), expected_rate(1, 7)),
            (0.0, 1.0, 0.0)
        );
        for (topics, target) in [(2, 0.5), (100, 0.05), (10_000, 0.01)] {
            let places = places_for(topics, target);
            assert!(expected_rate(topics, places) <= target);
            assert!(expected_rate(topics, places - 1) > target, "{topics} at {target}");
        }
        assert_eq!(places_for(1, 0.0), 1);
        assert_eq!(places_for(5, 0.0), u64::MAX);
    }

    #[test]
    fn expected_places_add_up() {
        let config = Config::default();
        let names: Vec<String> = (0..500).map(|number| format!("t{number}")).collect();
        let demand = demand(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let spread = Spread::new(&config, &demand).unwrap();
        let template = &spread.templates[0];
        let expected: Vec<f64> = (0..=60).map(|topics| template.expected_places(topics)).collect();
        assert!((expected.iter().sum::<f64>() - 240.0).abs() < 1e-6);
        let topics: f64 = expected.iter().enumerate().map(|(count, it)| count as f64 * it).sum();
        assert!((topics - 500.0).abs() < 1e-6);
    }
}
