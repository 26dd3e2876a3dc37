//! The topics of a system: which they are, how much travels on them, who listens. Layer: bin. Plain
//! data, and how it is read from a file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use vega::{Config, MAX_TOPIC_BYTES, RouteError};

use crate::bounded;

/// The largest file that is read, in bytes: a hundred thousand topics and more.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// How much travels on a topic in a second, by whatever measure its file uses: messages, packets,
/// bytes.
pub(super) type Rate = f64;

/// What a system needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Demand {
    /// Each once, in the order in which they came.
    pub(super) topics: Vec<Topic>,
    /// By name. Empty when nobody is known: then each topic is listened to by somebody who listens to
    /// nothing else.
    pub(super) subscribers: BTreeMap<String, BTreeSet<usize>>,
    /// Instances on each host; empty when nothing is known of hosts.
    pub(super) hosts: BTreeMap<String, u64>,
    /// Where rates are from.
    pub(super) rates: Rates,
}

/// One topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) rate: Rate,
    /// Who publishes it, if that is known.
    pub(super) publishers: BTreeSet<String>,
}

/// Where rates are from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Rates {
    /// One for each topic.
    #[default]
    Assumed,
    Given,
    Measured,
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assumed => "none given, so each topic counts as one",
            Self::Given => "as given",
            Self::Measured => "messages per second, as measured",
        })
    }
}

impl Demand {
    /// Topics without rates.
    pub(crate) fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut demand = Self::default();
        let mut known = HashMap::new();
        names.into_iter().for_each(|name| {
            demand.topic(&mut known, name, None);
        });
        demand.settle();
        demand
    }

    /// The topics of a file: a name in each line, then perhaps a rate, then perhaps the names of those
    /// who listen, with commas between. Lines with a tab are divided at tabs, others at blanks. What
    /// follows a `#` at the beginning of a line is a comment.
    ///
    /// # Errors
    ///
    /// What cannot be read, with the line.
    pub(crate) fn from_file(path: &Path, default_rate: Option<Rate>) -> anyhow::Result<Self> {
        let name = path.display();
        let bytes = bounded::read(path, MAX_FILE_BYTES).with_context(|| name.to_string())?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            anyhow::anyhow!("{name}:{line}: this is not UTF-8")
        })?;
        // Some editors begin files with a mark of the byte order.
        let demand = Self::parse(text.trim_start_matches('\u{feff}'), default_rate)
            .map_err(|(line, what)| anyhow::anyhow!("{name}:{line}: {what}"))?;
        anyhow::ensure!(!demand.topics.is_empty(), "{name} names no topic");
        Ok(demand)
    }

    fn parse(text: &str, default_rate: Option<Rate>) -> Result<Self, (usize, String)> {
        let mut demand = Self::default();
        let mut known = HashMap::new();
        if default_rate.is_some() {
            demand.rates = Rates::Given;
        }
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_end();
            if line.trim_start().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let fault = |what: String| (number, what);
            let columns: Vec<&str> = if line.contains('\t') {
                line.split('\t').map(str::trim).collect()
            } else {
                line.split_whitespace().collect()
            };
            let [name, rest @ ..] = columns.as_slice() else { continue };
            if name.is_empty() || name.len() > MAX_TOPIC_BYTES {
                let length = name.len();
                return Err(fault(format!(
                    "a topic name of {length} bytes (allowed: 1 to {MAX_TOPIC_BYTES})"
                )));
            }
            let rate = match rest.first().filter(|rate| !rate.is_empty() && **rate != "-") {
                Some(text) => {
                    demand.rates = Rates::Given;
                    let rate =
                        text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 0.0);
                    let allowed = "a number from 0 on, or - for none";
                    Some(rate.ok_or_else(|| fault(format!("rate {text:?} (allowed: {allowed})")))?)
                }
                None => default_rate,
            };
            if let Some(more) = rest.get(2) {
                return Err(fault(format!(
                    "{more:?} after name, rate and subscribers (names with blanks need tabs between \
                     the columns)"
                )));
            }
            let topic = demand.topic(&mut known, name, rate);
            for subscriber in rest.get(1).into_iter().flat_map(|names| names.split(',')) {
                if !subscriber.is_empty() {
                    demand.subscribers.entry(subscriber.to_owned()).or_default().insert(topic);
                }
            }
        }
        demand.settle();
        Ok(demand)
    }

    /// The number of a topic, which is new or is there already; its rate grows by `rate`.
    pub(super) fn topic(
        &mut self,
        known: &mut HashMap<String, usize>,
        name: &str,
        rate: Option<Rate>,
    ) -> usize {
        let index = *known.entry(name.to_owned()).or_insert_with(|| {
            self.topics.push(Topic { name: name.to_owned(), ..Topic::default() });
            self.topics.len() - 1
        });
        self.topics[index].rate += rate.unwrap_or(0.0);
        index
    }

    /// The names of all topics.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|topic| topic.name.as_str())
    }

    /// The number of a topic.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.topics.iter().position(|topic| topic.name == name)
    }

    /// Those topics that have a route, and why the others have none. Of subscribers, nothing is left.
    pub(crate) fn routed(&self, config: &Config) -> (Self, Vec<RouteError>) {
        let mut known = Self { rates: self.rates, ..Self::default() };
        let mut unknown = Vec::new();
        for topic in &self.topics {
            match config.route(&topic.name) {
                Ok(_) => known.topics.push(topic.clone()),
                Err(error) => unknown.push(error),
            }
        }
        (known, unknown)
    }

    /// Without any rate, topics count alike.
    pub(super) fn settle(&mut self) {
        if self.rates == Rates::Assumed {
            self.topics.iter_mut().for_each(|topic| topic.rate = 1.0);
        }
    }

    /// Names of subscribers, and what they listen to.
    pub(super) fn listeners(&self) -> Vec<(&str, Vec<usize>)> {
        if self.subscribers.is_empty() {
            let alone = self.topics.iter().enumerate();
            return alone.map(|(index, topic)| (topic.name.as_str(), vec![index])).collect();
        }
        let listed = self.subscribers.iter();
        listed.map(|(name, topics)| (name.as_str(), topics.iter().copied().collect())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_names_rates_and_subscribers() {
        let text = "# topic rate subscribers\n\nprices.A 100 risk,gui\nprices.B\n  orders\t5\tgui\n\
                    with blanks\t-\n";
        let demand = Demand::parse(text, None).unwrap();
        let topics: Vec<_> = demand.topics.iter().map(|it| (it.name.as_str(), it.rate)).collect();
        let expected =
            [("prices.A", 100.0), ("prices.B", 0.0), ("orders", 5.0), ("with blanks", 0.0)];
        assert_eq!(topics, expected);
        assert_eq!(demand.listeners(), [("gui", vec![0, 2]), ("risk", vec![0])]);
        assert_eq!(demand.rates, Rates::Given);
    }

    #[test]
    fn without_rates_topics_count_alike_and_without_subscribers_they_are_heard_alone() {
        let demand = Demand::parse("a\nb\na\n", None).unwrap();
        assert_eq!(demand.listeners(), [("a", vec![0]), ("b", vec![1])]);
        assert!(demand.topics.iter().all(|topic| topic.rate == 1.0));
        let demand = Demand::parse("a 3\nb\n", Some(7.0)).unwrap();
        assert_eq!(demand.topics.iter().map(|topic| topic.rate).collect::<Vec<_>>(), [3.0, 7.0]);
    }

    #[test]
    fn faults_name_their_line() {
        let line = |text: &str| Demand::parse(text, None).map_err(|(line, _)| line).unwrap_err();
        assert_eq!(line("a\nb x\n"), 2);
        assert_eq!(line("a -1\n"), 1);
        assert_eq!(line("a inf\n"), 1);
        assert_eq!(line(&format!("\n\n{}\n", "x".repeat(256))), 3);
        assert_eq!(line("a 1 b c\n"), 1);
    }
}
