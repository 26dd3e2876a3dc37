//! The inside of a [`Host`](super::Host): an instance that does what standard input says. Tests.
//! Runs on the main thread of the test `role` of a child process.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Write};
use std::time::Duration;

use vega::{
    Config, Counter, Instance, InstanceId, Message, PatternSubscription, Publisher, Response,
    SendError, SentRequest, Subscription, TopicPattern,
};

use super::listeners::{
    Collector, FirstOnly, Journals, Prover, RETRY_PAUSE, Responder, Slow, describe,
};

use super::{Journal, TRANSPORTS, Tally, WAIT, payload};

/// The test that plays the role.
pub(crate) const TEST: &str = "role";
/// Name of the instance; present only in children.
pub(crate) const NAME: &str = "VEGA_ACCEPTANCE_NAME";
/// The configuration, as text.
pub(crate) const CONFIG: &str = "VEGA_ACCEPTANCE_CONFIG";
/// The receiver tag of the instance; without it, it has none.
pub(crate) const RECEIVER_TAG: &str = "VEGA_ACCEPTANCE_TAG";
/// What replies begin with.
pub(crate) const OK: &str = "@ok";
pub(crate) const ERROR: &str = "@error";
/// Instead of a number of bytes: another size for each payload.
pub(crate) const MIXED: &str = "mixed";

/// Requests that are open at the same time when many are sent.
const MOST_OPEN: usize = 64;

/// Carries out commands until standard input ends.
pub(crate) fn play(name: &str, config: &str) {
    let config = Config::parse(config).unwrap();
    let tag = std::env::var(RECEIVER_TAG).map_or(0, |tag| tag.parse().unwrap());
    let builder = Instance::builder().name(name).config(config).receiver_tag(tag);
    let instance = match builder.start() {
        Ok(instance) => instance,
        Err(error) => return reply(Err(error.to_string())),
    };
    reply(Ok(String::new()));
    let mut role = Role {
        name: name.to_owned(),
        instance,
        publishers: HashMap::new(),
        subscriptions: HashMap::new(),
        patterns: HashMap::new(),
        journals: Journals::default(),
        crowd: Vec::new(),
        sent: 0,
        cycles: 0,
    };
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        reply(role.obey(&words));
        match words[..] {
            ["exit"] => std::process::exit(0),
            ["leave"] => return,
            _ => (),
        }
    }
}

/// Tells the parent what became of a command.
pub(crate) fn reply(result: Result<String, String>) {
    let mut out = std::io::stdout().lock();
    // A parent that is gone needs no reply.
    let _ = match result {
        Ok(text) => writeln!(out, "\n{OK} {text}"),
        Err(text) => writeln!(out, "\n{ERROR} {}", text.replace('\n', " ")),
    };
    let _ = out.flush();
}

struct Role {
    name: String,
    instance: Instance,
    publishers: HashMap<String, Publisher>,
    subscriptions: HashMap<String, Subscription>,
    patterns: HashMap<String, PatternSubscription>,
    /// Kept when a subscription ends.
    journals: Journals,
    /// More instances, each with a subscription of its own.
    crowd: Vec<(Subscription, Instance)>,
    /// Number of the last payload.
    sent: u64,
    /// Instances that came and went.
    cycles: u32,
}

impl Role {
    fn obey(&mut self, words: &[&str]) -> Result<String, String> {
        match words {
            ["subscribe", topic, how, count, millis] => {
                self.subscribe(topic, how, number(count)?, duration(millis)?)
            }
            ["unsubscribe", topic] => {
                taken(self.subscriptions.remove(*topic))?.unsubscribe();
                Ok(String::new())
            }
            ["subscribe-regex", pattern] => {
                let listener = Collector(self.journals.clone());
                let regex = TopicPattern::regex(pattern).map_err(text)?;
                let subscribed = self.instance.subscribe_pattern(regex, listener).map_err(text)?;
                self.patterns.insert((*pattern).to_owned(), subscribed);
                Ok(String::new())
            }
            ["unsubscribe-regex", pattern] => {
                taken(self.patterns.remove(*pattern))?.unsubscribe();
                Ok(String::new())
            }
            ["matched", pattern] => Ok(taken(self.patterns.get(*pattern))?.topics().join(" ")),
            ["resubscribe", topic, rounds] => {
                for _ in 0..number::<u32>(rounds)? {
                    let subscribed = self.instance.subscribe(topic, Journal::new(topic));
                    subscribed.map_err(text)?.unsubscribe();
                }
                Ok(String::new())
            }
            ["cycle", rounds] => {
                for _ in 0..number::<u32>(rounds)? {
                    self.cycle()?;
                }
                Ok(String::new())
            }
            ["publish", topic] => {
                let publisher = self.instance.publisher(topic).map_err(text)?;
                self.publishers.insert((*topic).to_owned(), publisher);
                Ok(String::new())
            }
            ["unpublish", topic] => {
                taken(self.publishers.remove(*topic))?;
                Ok(String::new())
            }
            ["wait-for-subscribers", topic, count, millis] => {
                let publisher = taken(self.publishers.get(*topic))?;
                let (count, timeout) = (number(count)?, duration(millis)?);
                let there = publisher.wait_for_subscribers(count, timeout);
                there.then(String::new).ok_or_else(|| format!("{}", publisher.subscribers()))
            }
            ["subscribers", topic] => {
                Ok(taken(self.publishers.get(*topic))?.subscribers().to_string())
            }
            ["wait-for-publishers", topic, count, millis] => {
                let subscription = taken(self.subscriptions.get(*topic))?;
                let (count, timeout) = (number(count)?, duration(millis)?);
                let there = subscription.wait_for_publishers(count, timeout);
                there.then(String::new).ok_or_else(|| format!("{}", subscription.publishers()))
            }
            ["send", topic, count, MIXED] => self.send(topic, number(count)?, payload::mixed_bytes),
            ["send", topic, count, bytes] => {
                let bytes = number(bytes)?;
                self.send(topic, number(count)?, |_| bytes)
            }
            ["expect", topic, count, millis] => {
                let journal = self.journals.of(topic);
                let there = journal.wait_for(number(count)?, duration(millis)?);
                let report = journal.report();
                there.then(|| report.to_string()).ok_or_else(|| format!("{report:?}"))
            }
            ["report", topic] => Ok(self.journals.of(topic).report().to_string()),
            ["echo", from, to] => self.echo(from, to),
            ["ask-for", topic, answers] => self.ask_for(topic, number(answers)?),
            ["ask-all", topic, requests, answers] => {
                self.ask_all(topic, number(requests)?, number(answers)?)
            }
            ["crowd", topic, count, bytes] => self.crowd(topic, number(count)?, number(bytes)?),
            ["request", topic, millis] => self.request(topic, duration(millis)?),
            ["counter", label] => {
                let counters = self.instance.counters();
                let found = Counter::ALL.iter().find(|counter| counter.label() == *label);
                found
                    .map(|counter| counters.get(*counter).to_string())
                    .ok_or_else(|| "which?".to_owned())
            }
            ["peers"] => Ok(self.instance.peers().len().to_string()),
            ["close"] => self.instance.close().map(|()| String::new()).map_err(text),
            ["id"] => Ok(self.instance.id().to_string()),
            ["publisher-id", topic] => Ok(taken(self.publishers.get(*topic))?.id().to_string()),
            ["response-address"] => Ok(self.instance.response_address().to_string()),
            ["address", topic] => {
                let subscription = taken(self.subscriptions.get(*topic))?;
                Ok(taken(subscription.address())?.to_string())
            }
            ["exit" | "leave"] => Ok(String::new()),
            _ => Err("no such command".to_owned()),
        }
    }

    fn subscribe(
        &mut self,
        topic: &str,
        how: &str,
        amount: usize,
        pause: Duration,
    ) -> Result<String, String> {
        let journal = self.journals.of(topic);
        let subscribed = match how {
            "collect" => self.instance.subscribe(topic, journal),
            "slow" => self.instance.subscribe(topic, Slow { journal, pause }),
            "respond" => {
                let name = self.name.clone();
                let responder = Responder { journal, name, answers: amount, pause };
                self.instance.subscribe(topic, responder)
            }
            "respond-large" => {
                let answer = payload::numbered(amount as u64, amount);
                self.instance.subscribe(topic, Prover { journal, answer })
            }
            "describe" => self.instance.subscribe(topic, vega::on_request(describe)),
            "collect-first" => self.instance.subscribe(topic, FirstOnly { journal, first: None }),
            _ => return Err("no such behaviour".to_owned()),
        };
        self.subscriptions.insert(topic.to_owned(), subscribed.map_err(text)?);
        Ok(String::new())
    }

    /// The life of another instance: closed at the end, or dropped with what it has.
    fn cycle(&mut self) -> Result<(), String> {
        let config = self.instance.config().clone();
        let instance = Instance::builder().name("cycle").config(config).start().map_err(text)?;
        let mut handles = Vec::new();
        for transport in TRANSPORTS {
            let topic = format!("{transport}.cycle");
            let journal = Journal::new(&topic);
            let subscription = instance.subscribe(&topic, journal.clone()).map_err(text)?;
            let mut publisher = instance.publisher(&topic).map_err(text)?;
            if !publisher.wait_for_subscribers(1, WAIT) {
                return Err("its own subscription is not matched".to_owned());
            }
            publisher.request(b"?", WAIT, ()).map_err(text)?;
            publisher.send(&payload::numbered(1, 10)).map_err(text)?;
            if !journal.wait_for(1, WAIT) {
                return Err("its own message did not arrive".to_owned());
            }
            handles.push((subscription, publisher));
        }
        self.cycles += 1;
        if self.cycles.is_multiple_of(2) {
            instance.close().map_err(text)?;
        }
        Ok(())
    }

    /// Starts more instances, which answer as `respond-large` does.
    fn crowd(&mut self, topic: &str, count: usize, bytes: usize) -> Result<String, String> {
        for index in 0..count {
            let config = self.instance.config().clone();
            let name = format!("{}-{index}", self.name);
            let instance = Instance::builder().name(name).config(config).start().map_err(text)?;
            let answer = payload::numbered(bytes as u64, bytes);
            let listener = Prover { journal: Journal::new(topic), answer };
            let subscription = instance.subscribe(topic, listener).map_err(text)?;
            self.crowd.push((subscription, instance));
        }
        Ok(String::new())
    }

    fn send(
        &mut self,
        topic: &str,
        count: u64,
        bytes_of: impl Fn(u64) -> usize,
    ) -> Result<String, String> {
        let publisher = taken(self.publishers.get_mut(topic))?;
        for _ in 0..count {
            self.sent += 1;
            let payload = payload::numbered(self.sent, bytes_of(self.sent));
            publisher.send_blocking(&payload, WAIT).map_err(text)?;
        }
        Ok(String::new())
    }

    fn echo(&mut self, from: &str, to: &str) -> Result<String, String> {
        let publisher = self.instance.shared_publisher(to).map_err(text)?;
        if !publisher.wait_for_subscribers(1, WAIT) {
            return Err(format!("nobody listens to {to}"));
        }
        let back = move |message: &Message<'_>| {
            publisher.send(message.payload()).unwrap();
        };
        let subscription = self.instance.subscribe(from, back).map_err(text)?;
        self.subscriptions.insert(from.to_owned(), subscription);
        Ok(String::new())
    }

    fn ask_for(&mut self, topic: &str, answers: usize) -> Result<String, String> {
        let publisher = taken(self.publishers.get_mut(topic))?;
        let (answer, answered) = crossbeam_channel::unbounded();
        let tell = move |_: &SentRequest, response: &Response<'_>| {
            // An answer too many may come when nobody waits any more.
            let _ = answer.send(String::from_utf8_lossy(response.payload()).into_owned());
        };
        let request = publisher.request(b"?", WAIT, tell).map_err(text)?;
        let answers: Result<Vec<_>, _> =
            (0..answers).map(|_| answered.recv_timeout(WAIT).map_err(text)).collect();
        request.close();
        answers.map(|answers| answers.join(" "))
    }

    /// Each request waits for answers of so many different instances, and is closed then.
    fn ask_all(&mut self, topic: &str, requests: u64, answers: usize) -> Result<String, String> {
        let publisher = taken(self.publishers.get_mut(topic))?;
        let (answer, answered) = crossbeam_channel::unbounded();
        let mut open: HashMap<u64, (SentRequest, HashSet<InstanceId>)> = HashMap::new();
        let mut tally = Tally::default();
        let mut sent = 0;
        while tally.answered < requests {
            if sent < requests && open.len() < MOST_OPEN {
                let answer = answer.clone();
                let number = sent;
                let tell = move |_: &SentRequest, response: &Response<'_>| {
                    let is_intact = payload::number_of(response.payload()).is_some();
                    // An answer too many may come when nobody waits any more.
                    let _ = answer.send((number, response.responder(), is_intact));
                };
                match publisher.request(&payload::numbered(number, 100), WAIT, tell) {
                    Ok(request) => {
                        open.insert(number, (request, HashSet::new()));
                        sent += 1;
                        continue;
                    }
                    Err(error) if error == SendError::BackPressured.into() => {
                        std::thread::sleep(RETRY_PAUSE);
                        if open.is_empty() {
                            continue;
                        }
                    }
                    Err(error) => return Err(error.to_string()),
                }
            }
            let Ok((number, responder, is_intact)) = answered.recv_timeout(WAIT) else {
                let waiting = open.values().map(|(_, from)| from.len()).max();
                return Err(format!("{tally:?} of {requests}; open: {}, {waiting:?}", open.len()));
            };
            tally.damaged += u64::from(!is_intact);
            match open.get_mut(&number) {
                Some((request, from)) => {
                    tally.repeated += u64::from(!from.insert(responder));
                    if from.len() == answers {
                        request.close();
                        open.remove(&number);
                        tally.answered += 1;
                    }
                }
                None => tally.repeated += 1,
            }
        }
        Ok(tally.to_string())
    }

    fn request(&mut self, topic: &str, timeout: Duration) -> Result<String, String> {
        let publisher = taken(self.publishers.get_mut(topic))?;
        let (expired, expiry) = crossbeam_channel::bounded(1);
        let ignore = |_: &SentRequest, _: &Response<'_>| {};
        let tell = move |_: &SentRequest| expired.send(()).unwrap();
        let request = publisher.request(b"?", timeout, (ignore, tell)).map_err(text)?;
        expiry.recv().map_err(text)?;
        Ok(request.number_of_responses().to_string())
    }
}

fn taken<T>(found: Option<T>) -> Result<T, String> {
    found.ok_or_else(|| "nothing of that name here".to_owned())
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

fn duration(millis: &str) -> Result<Duration, String> {
    number(millis).map(Duration::from_millis)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
