//! Ten threads in each of two processes do with 80 topics over all transports whatever comes to their
//! minds, for half a minute: subscribe and unsubscribe, publish and destroy, ask, answer, reset and
//! close, follow patterns, count heartbeats, start other instances and close them. Nothing fails but what
//! is documented to, nothing hangs, everything still works afterwards, and nothing is left. Tests.
//!
//! A run tells its seed. `VEGA_TORTURE_SEED` repeats what each thread does one after the other, though not
//! how threads meet; `VEGA_TORTURE_SECONDS` gives it another time.
//!
//! # What counts as a leak
//!
//! The time is cut into rounds. After each one everything is given up but the instance, which settles.
//! What it keeps then - tables as large as they have been, memory to use again - does not grow with
//! what was done: the last round ends with what an early one ended with, and at most
//! [`ALLOWED_BYTES`] more. A table that doubles stays below that; fifteen bytes for each of the forty
//! thousand deeds of the rounds between do not. At the end the instance goes, and what the process has
//! then is compared with what it had after another, short life of the same kind: threads and
//! descriptors to the last one, bytes up to a kilobyte. No file stays in the folder for shared memory.

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

#[path = "../allocations/allocator.rs"]
mod allocator;
mod crew;
mod deeds;
mod heap;
mod recorder;
#[allow(dead_code, unused_imports, reason = "shared with `tests/acceptance`")]
#[path = "../acceptance/support/mod.rs"]
mod support;
mod watchdog;

use std::fmt;
use std::process::Command;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vega::{Config, Counter, Instance, Publisher, Subscription};

use crew::{Common, THREADS, TOPICS, topic};
use support::{Host, Journal, Place, Report, Settings, WAIT, eventually, payload, role};
use watchdog::Post;

const SEED: &str = "VEGA_TORTURE_SEED";
const SECONDS: &str = "VEGA_TORTURE_SECONDS";
const DEFAULT_SECONDS: u64 = 30;
const PROCESSES: usize = 2;
const ROUNDS: u32 = 6;
/// By this round tables have about the size that they need; it is what the last one is held to.
const FULL_GROWN: usize = 1;
const ALLOWED_BYTES: isize = 512 << 10;
/// A publication that nobody uses any more stays this long to deliver what it holds.
const LINGER: Duration = Duration::from_secs(1);
/// The life that what is left at the end is compared with.
const SHORT_LIFE: Duration = Duration::from_secs(2);

#[test]
fn ten_threads_do_what_they_like_and_leave_nothing() {
    let seed = setting(SEED).unwrap_or_else(|| u64::from(std::process::id()) << 8 | 1);
    let time = Duration::from_secs(setting(SECONDS).unwrap_or(DEFAULT_SECONDS));
    println!("{SEED}={seed}");
    let place = Place::with(Settings { window: "256KiB", timeout: "10s", ..Settings::default() });
    let config = config_text(&place);
    let mut hosts: Vec<_> = (0..PROCESSES)
        .map(|number| {
            let command = Command::new(std::env::current_exe().unwrap());
            Host::try_start_by(command, &format!("process-{number}"), &config).unwrap()
        })
        .collect();
    live(&mut hosts, seed, &[SHORT_LIFE]);
    let before = resources(&mut hosts);
    let rounds = vec![time / ROUNDS; ROUNDS.try_into().unwrap()];
    let kept = live(&mut hosts, seed.wrapping_add(1), &rounds);
    let after = resources(&mut hosts);

    let context = format!("{SEED}={seed}");
    println!("kept after each round: {kept:?}\nat the end: {before:?}, {after:?}");
    for process in 0..hosts.len() {
        let first = kept[FULL_GROWN][process].bytes;
        let last = kept.last().unwrap()[process].bytes;
        assert!(last <= first + ALLOWED_BYTES, "{context}: the heap grows: {kept:?}");
        let (before, after) = (&before[process], &after[process]);
        assert_eq!((after.threads, after.descriptors), (before.threads, before.descriptors));
        assert!(after.bytes <= before.bytes + 1024, "{context}: {before:?}, {after:?}");
    }
    hosts.into_iter().for_each(Host::leave);
    assert_eq!(place.shared_files(), Vec::<std::path::PathBuf>::new(), "{context}");
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
}

/// Topics of shared memory and responses have pollers of their own.
fn config_text(place: &Place) -> String {
    let own = "transport = 'ipc'\npoller = 'rings'";
    let text = place.config_text().replace("transport = 'ipc'", own);
    text + "[[poller]]\nname = 'rings'\nidle = 'backoff'\n"
}

/// All processes do the same at the same time.
fn all(hosts: &mut [Host], order: impl Fn(u64) -> String + Sync) -> Vec<String> {
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, host) in (0..).zip(hosts) {
            let order = &order;
            let give = move || {
                let order = order(number);
                host.order(&order).unwrap_or_else(|error| panic!("{number}: {order}: {error}"))
            };
            threads.push(std::thread::Builder::new().spawn_scoped(scope, give).unwrap());
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// An instance in each process, from its start to its end. Returns what was kept after each round.
fn live(hosts: &mut [Host], seed: u64, rounds: &[Duration]) -> Vec<Vec<Resources>> {
    all(hosts, |_| "begin".to_owned());
    let mut kept = Vec::new();
    for (round, time) in (0_u64..).zip(rounds) {
        let seed = |process: u64| seed ^ process << 60 ^ round << 40;
        let told = all(hosts, |process| format!("round {} {}", seed(process), time.as_millis()));
        println!("round {round}: {told:?}");
        all(hosts, |_| "settle".to_owned());
        kept.push(resources(hosts));
    }
    for order in ["listen", "speak", "hear", "hush", "settle", "end"] {
        all(hosts, |_| order.to_owned());
    }
    kept
}

fn resources(hosts: &mut [Host]) -> Vec<Resources> {
    all(hosts, |_| "resources".to_owned()).iter().map(|told| told.parse().unwrap()).collect()
}

/// What a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Resources {
    threads: usize,
    descriptors: usize,
    bytes: isize,
}

impl Resources {
    fn now() -> Self {
        let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
        Self { threads: count("task"), descriptors: count("fd"), bytes: heap::bytes_in_use() }
    }

    fn resembles(&self, other: &Self) -> bool {
        (self.threads, self.descriptors) == (other.threads, other.descriptors)
            && self.bytes.abs_diff(other.bytes) < ALLOWED_BYTES.unsigned_abs() / 8
    }
}

/// Whether one instance runs, and no thread of another one any more: each has its name once.
fn is_one_instance() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
    let mut names: Vec<_> = tasks.filter_map(|task| name(task).ok()).collect();
    let threads = names.len();
    names.sort();
    names.dedup();
    names.len() == threads
}

/// Returns when nothing has come or gone for longer than publications stay that nobody uses.
fn outwait_publications() {
    let (mut last, mut same) = (Resources::now(), 0);
    eventually("nothing comes or goes", || {
        let now = Resources::now();
        same = if now.resembles(&last) { same + 1 } else { 0 };
        last = now;
        std::thread::sleep(LINGER / 10);
        same > 12
    });
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.threads, self.descriptors, self.bytes)
    }
}

impl FromStr for Resources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<isize> = text.split_whitespace().filter_map(|it| it.parse().ok()).collect();
        let &[threads, descriptors, bytes] = words.as_slice() else {
            return Err(format!("not resources: {text:?}"));
        };
        let count = |number: isize| usize::try_from(number).map_err(|error| error.to_string());
        Ok(Self { threads: count(threads)?, descriptors: count(descriptors)?, bytes })
    }
}

/// Not a test of its own: what the processes run.
#[test]
fn role() {
    let Ok(config) = std::env::var(role::CONFIG) else { return };
    let config = Config::parse(&config).unwrap();
    let posts: Vec<_> = (0..=THREADS).map(|_| Arc::new(Post::default())).collect();
    watchdog::watch(posts.clone());
    let (own, posts) = posts.split_last().unwrap();
    let mut process = Process { config, posts: posts.to_vec(), common: None, probes: Vec::new() };
    role::reply(Ok(String::new()));
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        if !line.starts_with("round") {
            own.begin(line.clone());
        }
        let told = process.obey(&words);
        own.end();
        role::reply(told);
        if line == "leave" {
            return;
        }
    }
}

struct Process {
    config: Config,
    posts: Vec<Arc<Post>>,
    common: Option<Arc<Common>>,
    probes: Vec<(Subscription, Journal, Option<Publisher>)>,
}

impl Process {
    fn obey(&mut self, order: &[&str]) -> Result<String, String> {
        match order {
            ["begin"] => {
                let config = self.config.clone();
                let instance = Instance::builder().name("main").config(config.clone()).start();
                let instance = instance.map_err(|error| error.to_string())?;
                self.common = Some(Arc::new(Common::new(instance, config)));
            }
            ["round", seed, millis] => {
                let time = Duration::from_millis(millis.parse().unwrap());
                let common = self.common();
                let deeds = crew::run(common, seed.parse().unwrap(), time, &self.posts);
                common.let_go();
                let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
                let (received, lost) = (&common.findings.received, &common.findings.lost);
                return Ok(format!(
                    "{deeds} deeds, {} received, {} lost, {} requests",
                    read(received),
                    read(lost),
                    read(&common.opened)
                ));
            }
            ["settle"] => self.settle()?,
            ["listen"] => self.listen(),
            ["speak"] => self.speak(),
            ["hear"] => self.hear(),
            ["hush"] => self.probes.clear(),
            ["resources"] => return Ok(Resources::now().to_string()),
            ["end"] => {
                let common = self.common.take().unwrap();
                common.instance.close().map_err(|error| error.to_string())?;
                let errors = common.findings.take();
                if !errors.is_empty() {
                    return Err(errors.join("; "));
                }
            }
            ["leave"] => {}
            _ => return Err(format!("no such order: {order:?}")),
        }
        Ok(String::new())
    }

    fn common(&self) -> &Arc<Common> {
        self.common.as_ref().unwrap()
    }

    /// Waits until nothing is under way, and tells what has been found wrong.
    fn settle(&self) -> Result<(), String> {
        let common = self.common();
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        eventually("every request ends, and each ends once", || {
            read(&common.opened) == read(&common.closed) + read(&common.expired)
        });
        let counters = || common.instance.counters();
        eventually("no request is open", || counters().get(Counter::OpenRequests) == 0);
        eventually("the other process is left", || common.instance.peers().len() == 1);
        eventually("the other instances have stopped", is_one_instance);
        outwait_publications();
        let none = [Counter::Malformed, Counter::CallbackPanics, Counter::SendErrors];
        for counter in none {
            let found = counters().get(counter);
            if found > 0 {
                common.findings.report(|| format!("{}: {found}", counter.label()));
            }
        }
        let errors = common.findings.take();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }

    fn listen(&mut self) {
        let instance = &self.common.as_ref().unwrap().instance;
        self.probes = (0..TOPICS)
            .map(|number| {
                let journal = Journal::new(&topic(number));
                (instance.subscribe(&topic(number), journal.clone()).unwrap(), journal, None)
            })
            .collect();
    }

    fn speak(&mut self) {
        let instance = &self.common.as_ref().unwrap().instance;
        for (subscription, _, publisher) in &mut self.probes {
            let name = subscription.topic();
            let publisher = publisher.insert(instance.publisher(name).unwrap());
            assert!(publisher.wait_for_subscribers(PROCESSES, WAIT), "{name}");
            publisher.send_blocking(&payload::numbered(1, 100), WAIT).unwrap();
        }
    }

    fn hear(&self) {
        for (subscription, journal, _) in &self.probes {
            let all = PROCESSES.try_into().unwrap();
            assert_eq!(journal.expect(all), Report::complete(all), "{}", subscription.topic());
        }
    }
}
