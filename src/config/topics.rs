//! From a topic's name to where its messages travel. Layer: config. Immutable; any thread may ask,
//! on the slow path: patterns are regular expressions, tried one after the other.

use std::net::IpAddr;

use regex::Regex;
use thiserror::Error;

use super::Config;
use super::error::Fault;
use super::family::Family;
use super::pattern::full_match;
use super::settings::{Carrier, Template, Transport};
use super::spread::Choice;
use crate::id::TopicHash;

/// The longest topic name, in bytes of UTF-8: its length travels in one byte.
pub const MAX_TOPIC_BYTES: usize = 255;

/// A pattern, and the template of the topics that it matches.
#[derive(Clone, Debug)]
pub(crate) struct TopicRule {
    pattern: String,
    full_match: Regex,
    /// Index into `Config::templates`.
    template: usize,
}

impl TopicRule {
    /// # Errors
    ///
    /// `EmptyPattern` when there is none, `Regex` when it is no regular expression.
    pub(super) fn new(pattern: &str, template: usize) -> Result<Self, Fault> {
        if pattern.is_empty() {
            return Err(Fault::EmptyPattern);
        }
        let full_match = full_match(pattern).map_err(Fault::Regex)?;
        Ok(Self { pattern: pattern.to_owned(), full_match, template })
    }

    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }
}

impl PartialEq for TopicRule {
    fn eq(&self, other: &Self) -> bool {
        (&self.pattern, self.template) == (&other.pattern, other.template)
    }
}

impl Eq for TopicRule {}

/// Where the messages of one topic travel: the same on every machine with the same configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRoute<'a> {
    topic: &'a str,
    hash: TopicHash,
    template: &'a Template,
    address: Option<IpAddr>,
    port: Option<u16>,
    stream: Option<u32>,
}

impl<'a> TopicRoute<'a> {
    fn new(topic: &'a str, template: &'a Template) -> Self {
        let bytes = topic.as_bytes();
        let address = match &template.carrier {
            Carrier::Multicast { addresses, .. } => {
                Some(addresses.pick(Choice::Address.hash(bytes)))
            }
            Carrier::Unicast { .. } | Carrier::Ipc => None,
        };
        let udp = template.udp();
        Self {
            topic,
            hash: TopicHash::of(topic),
            template,
            address,
            port: udp.map(|udp| udp.ports.pick(Choice::Port.hash(bytes))),
            stream: udp.map(|udp| udp.streams.pick(Choice::Stream.hash(bytes))),
        }
    }

    /// The topic.
    #[must_use]
    pub const fn topic(&self) -> &'a str {
        self.topic
    }

    /// The hash that stands for the topic on the wire.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash.0
    }

    /// The name of the template whose pattern is the first to match.
    #[must_use]
    pub fn template(&self) -> &'a str {
        &self.template.name
    }

    /// The transport.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.template.transport()
    }

    /// The multicast group; `None` for the other transports.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether its data travels by IPv6: the interface of its template says so. False for shared memory.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.template.udp().is_some_and(|udp| udp.interface.family() == Family::V6)
    }

    /// The port of the multicast group, or the one that a unicast subscriber tries first; `None`
    /// for shared memory.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The stream; `None` for shared memory, where each publisher has its own ring.
    #[must_use]
    pub const fn stream(&self) -> Option<u32> {
        self.stream
    }

    pub(crate) const fn topic_hash(&self) -> TopicHash {
        self.hash
    }

    /// The settings behind [`TopicRoute::template`].
    pub(crate) const fn settings(&self) -> &'a Template {
        self.template
    }
}

/// Why a topic has no route.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The name is empty.
    #[error("a topic name needs at least one byte")]
    EmptyTopic,
    /// The name has more than [`MAX_TOPIC_BYTES`] bytes.
    #[error("a topic name of {length} bytes is too long (allowed: 1 to {MAX_TOPIC_BYTES})")]
    TooLong {
        /// Bytes of the name in UTF-8.
        length: usize,
    },
    /// No `[[topic]]` pattern of the configuration matches the whole name.
    #[error("no [[topic]] pattern of the configuration matches topic {topic:?}")]
    NoPattern {
        /// The name.
        topic: String,
    },
}

impl Config {
    /// Finds the template of `topic`, which is that of the first pattern to match the whole name,
    /// and the place that the topic has in it.
    ///
    /// ```
    /// # fn main() -> Result<(), vega::RouteError> {
    /// let config = vega::Config::default();
    /// let route = config.route("prices.EURUSD")?;
    /// assert_eq!(route.transport(), vega::Transport::Multicast);
    /// assert_eq!(config.route("ipc.prices.EURUSD")?.template(), "ipc");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RouteError`] when the name is empty or longer than [`MAX_TOPIC_BYTES`], or when no
    /// pattern matches.
    pub fn route<'a>(&'a self, topic: &'a str) -> Result<TopicRoute<'a>, RouteError> {
        match topic.len() {
            0 => return Err(RouteError::EmptyTopic),
            length if length > MAX_TOPIC_BYTES => return Err(RouteError::TooLong { length }),
            _ => {}
        }
        self.topics
            .iter()
            .find(|rule| rule.full_match.is_match(topic))
            .and_then(|rule| self.templates.get(rule.template))
            .map(|template| TopicRoute::new(topic, template))
            .ok_or_else(|| RouteError::NoPattern { topic: topic.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::id::InstanceId;

    fn config(text: &str) -> Config {
        Config::parse(text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The vectors in the documentation of `spread`, and those of the protocol:
    /// `docs/wire-protocol.md`, "Topic hash and routes".
    #[test]
    fn golden_routes() {
        let config = Config::default();
        for (topic, hash, address, port, stream, unicast_port) in [
            ("prices.EURUSD", 0x68f1_c4a5_6511_2984, [239, 255, 0, 17], 35007, 8, 35061),
            ("orders", 0xa88c_cdc9_fa49_74fb, [239, 255, 0, 16], 35007, 2, 35069),
            ("a", 0xe6c6_32b6_1e96_4e1f, [239, 255, 0, 18], 35007, 7, 35069),
            ("Größe/λ", 0x69b2_19cf_eefe_9c06, [239, 255, 0, 13], 35006, 1, 35040),
        ] {
            let route = config.route(topic).unwrap();
            assert_eq!((route.topic(), route.hash()), (topic, hash));
            assert_eq!(route.address(), Some(IpAddr::from(address)));
            assert_eq!((route.port(), route.stream()), (Some(port), Some(stream)));
            let unicast = config.templates.iter().find(|template| template.name == "unicast");
            let unicast = TopicRoute::new(topic, unicast.unwrap());
            assert_eq!((unicast.port(), unicast.stream()), (Some(unicast_port), Some(stream)));
        }
        let id = InstanceId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let Config { responses, control, .. } = config;
        assert_eq!((responses.preferred_port(id), responses.stream(id)), (35006, 7));
        assert_eq!(control.preferred_port(id), 35049);
    }

    #[test]
    fn each_transport_has_the_places_that_it_needs() {
        let config = Config::default();
        let multicast = config.route("a").unwrap();
        assert_eq!(
            (multicast.template(), multicast.transport()),
            ("multicast", Transport::Multicast)
        );
        assert!(multicast.address().is_some() && multicast.port().is_some());
        assert_eq!(multicast.topic_hash(), TopicHash::of("a"));
        let unicast = config.route("unicast.a").unwrap();
        assert_eq!((unicast.template(), unicast.address()), ("unicast", None));
        assert!(unicast.port().is_some() && unicast.stream().is_some());
        let ipc = config.route("ipc.a").unwrap();
        assert_eq!((ipc.transport(), ipc.port(), ipc.stream()), (Transport::Ipc, None, None));
        assert_eq!(ipc.settings().name, "ipc");
    }

    #[test]
    fn patterns_match_the_whole_name_and_the_first_wins() {
        let config = config(
            "[[topic]]\npattern = 'a|ab'\ntemplate = 'ipc'\n\
             [[topic]]\npattern = 'ab.*'\ntemplate = 'unicast'\n\
             [[topic]]\npattern = '(?m)^x$'\ntemplate = 'multicast'\n",
        );
        let template = |topic| config.route(topic).map(|route| route.template());
        assert_eq!(template("ab"), Ok("ipc"));
        assert_eq!(template("abc"), Ok("unicast"));
        assert_eq!(template("x"), Ok("multicast"));
        for topic in ["xab", "aa", "x\n", "x\ny", "\nx"] {
            assert_eq!(template(topic), Err(RouteError::NoPattern { topic: topic.to_owned() }));
        }
    }

    #[test]
    fn names_have_a_length_of_1_to_255_bytes() {
        let config = Config::default();
        assert_eq!(config.route(""), Err(RouteError::EmptyTopic));
        assert!(config.route(&"x".repeat(MAX_TOPIC_BYTES)).is_ok());
        let long = "ä".repeat(128);
        assert_eq!(config.route(&long), Err(RouteError::TooLong { length: 256 }));
        let error = config.route(&long).unwrap_err().to_string();
        assert_eq!(error, "a topic name of 256 bytes is too long (allowed: 1 to 255)");
    }

    /// Pearson's statistic over the 240 places of the default template has mean 239 and standard
    /// deviation 22 when names spread evenly; 340 is more than four deviations above.
    #[test]
    fn topics_spread_over_all_combinations() {
        const TOPICS: u32 = 10_000;
        const PLACES: u32 = 12 * 2 * 10;
        let config = Config::default();
        let mut counts = BTreeMap::new();
        for number in 0..TOPICS {
            let topic = format!("prices.{number}");
            let route = config.route(&topic).unwrap();
            *counts.entry((route.address(), route.port(), route.stream())).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), PLACES as usize);
        let expected = f64::from(TOPICS) / f64::from(PLACES);
        let statistic: f64 =
            counts.values().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
        assert!(statistic < 340.0, "{statistic}");
    }

    #[test]
    fn patterns_are_checked_on_their_own() {
        assert_eq!(TopicRule::new("", 0), Err(Fault::EmptyPattern));
        assert!(matches!(TopicRule::new("a)(b", 0), Err(Fault::Regex(_))));
        let error = TopicRule::new("(a", 0).unwrap_err();
        assert_eq!(error, Fault::Regex("unclosed group".to_owned()));
        assert!(matches!(TopicRule::new(r"(\w{900}){900}", 0), Err(Fault::Regex(_))));
    }
}
