//! What waiting costs: processes that have nothing to do take no processor time when their pollers
//! block, and each of the other strategies works too. Tests.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::{Behaviour, Host, Place, Report, Settings, TRANSPORTS, Tally, eventually};

/// How long nothing happens.
const SILENCE: Duration = Duration::from_secs(2);
/// Of a core, in thousandths. A blocking instance takes one; a thread that wakes every
/// millisecond takes some ten, one that spins up to a thousand.
const FEW_THOUSANDTHS: u64 = 20;
/// Of all threads of a process, in a second: a blocking instance wakes ten times to see who lives, and
/// five times more. A thread that looks around every millisecond wakes a thousand times.
const FEW_WAKES: u64 = 100;

/// Two processes that have exchanged something by each transport.
struct Pair([Host; 2]);

impl Pair {
    fn start(place: &Place) -> Self {
        Self::try_start(place.config_text())
    }

    fn try_start(config: String) -> Self {
        let start = |name| {
            let command = Command::new(std::env::current_exe().unwrap());
            Host::try_start_by(command, name, &config).unwrap()
        };
        let mut hosts = [start("publisher"), start("subscriber")];
        let [publisher, subscriber] = &mut hosts;
        for transport in TRANSPORTS {
            let topic = format!("{transport}.now-and-then");
            subscriber.subscribe(&topic, Behaviour::Collect);
            publisher.publish(&topic);
            publisher.wait_for_subscribers(&topic, 1);
        }
        Self(hosts)
    }

    /// Sends one message by each transport; all that were ever sent have arrived then.
    fn exchange(&mut self, sent: u64) {
        let [publisher, subscriber] = &mut self.0;
        for transport in TRANSPORTS {
            let topic = format!("{transport}.now-and-then");
            publisher.send(&topic, 1, 100);
            assert_eq!(subscriber.expect(&topic, sent), Report::complete(sent), "{topic}");
        }
    }

    /// What each process has taken while nothing happened.
    fn be_silent(&self) -> [Cost; 2] {
        Cost::during(SILENCE, [0, 1].map(|at| self.0[at].process()))
    }
}

/// Of all threads of a process.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// On a processor, in nanoseconds.
    running_ns: u64,
    /// Times that a thread went to sleep by itself.
    wakes: u64,
}

impl Cost {
    /// Since the threads of the process started.
    fn of(process: u32) -> Self {
        let mut cost = Self { running_ns: 0, wakes: 0 };
        for thread in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
            let at = |file| fs::read_to_string(thread.as_ref().unwrap().path().join(file)).unwrap();
            let running = at("schedstat");
            cost.running_ns += running.split(' ').next().unwrap().parse::<u64>().unwrap();
            let status = at("status");
            let wakes = status.lines().find_map(|it| it.strip_prefix("voluntary_ctxt_switches:"));
            cost.wakes += wakes.unwrap().trim().parse::<u64>().unwrap();
        }
        cost
    }

    fn during<const N: usize>(time: Duration, processes: [u32; N]) -> [Self; N] {
        let before = processes.map(Self::of);
        std::thread::sleep(time);
        let mut costs = processes.map(Self::of);
        for (cost, before) in costs.iter_mut().zip(before) {
            *cost = cost.since(before);
        }
        costs
    }

    fn since(self, before: Self) -> Self {
        Self { running_ns: self.running_ns - before.running_ns, wakes: self.wakes - before.wakes }
    }

    fn thousandths(self, time: Duration) -> u64 {
        self.running_ns * 1000 / u64::try_from(time.as_nanos()).unwrap()
    }

    fn wakes_per_second(self) -> u64 {
        self.wakes / SILENCE.as_secs()
    }
}

/// Announcements as often as by default.
fn settings(idle: &'static str) -> Settings {
    Settings { idle, refresh: "1s", ..Settings::default() }
}

#[test]
fn a_blocking_instance_takes_no_processor_time_when_idle() {
    let place = Place::with(settings("block"));
    let mut pair = Pair::start(&place);
    for sent in 1..=2 {
        // The second time it is woken out of silence.
        pair.exchange(sent);
        for cost in pair.be_silent() {
            assert!(cost.thousandths(SILENCE) < FEW_THOUSANDTHS, "{cost:?}");
            assert!(cost.wakes_per_second() < FEW_WAKES, "{cost:?}");
        }
    }
}

/// What the test above measures is what it says: pollers that spin do not pass it.
#[test]
fn a_spinning_instance_takes_processor_time_when_idle() {
    for idle in ["busy_spin", "yield"] {
        let place = Place::with(settings(idle));
        // One, and not for long: other tests want the processor, too, and who yields it gets it late.
        let host = Host::start(&place, "spinning");
        let before = Cost::of(host.process());
        eventually(&format!("{idle} takes more than blocking may"), || {
            Cost::of(host.process()).since(before).thousandths(SILENCE) > FEW_THOUSANDTHS
        });
    }
}

/// What each `epoll` of a process waits for: the lines of its descriptors. One that is known by two
/// descriptors is there once.
fn polls_of(process: u32) -> BTreeSet<Vec<String>> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fdinfo")).unwrap();
    let waits_for = descriptors.map(|descriptor| {
        let text = fs::read_to_string(descriptor.unwrap().path()).unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with("tfd:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    });
    waits_for.filter(|lines| !lines.is_empty()).collect()
}

/// All that a poller waits for wakes it in one place: its sockets, its rings and its commands.
#[test]
fn each_poller_waits_in_one_place() {
    let place = Place::with(Settings { response_poller: "responses", ..settings("block") });
    let mut pair = Pair::start(&place);
    pair.exchange(1);
    for host in &pair.0 {
        let polls = polls_of(host.process());
        assert_eq!(polls.len(), 3, "two pollers and the conductor: {polls:?}");
    }
}

#[test]
fn every_strategy_delivers_and_answers() {
    const REQUESTS: u64 = 100;
    for idle in ["busy_spin", "yield", "backoff", "sleep", "block"] {
        let place = Place::with(settings(idle));
        let mut pair = Pair::start(&place);
        (1..=3).for_each(|sent| pair.exchange(sent));
        let [asker, responder] = &mut pair.0;
        for transport in TRANSPORTS {
            let topic = format!("{transport}.asked");
            responder.subscribe(&topic, Behaviour::RespondLarge(64));
            asker.publish(&topic);
            asker.wait_for_subscribers(&topic, 1);
            let tally = asker.ask_all(&topic, REQUESTS, 1);
            assert_eq!(tally, Tally::complete(REQUESTS), "{topic} {idle}");
        }
    }
}

/// The cores that a thread of a process may run on, as the kernel lists them.
fn cores_of(process: u32, name: &str) -> String {
    let thread = fs::read_dir(format!("/proc/{process}/task")).unwrap().find_map(|thread| {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        status.starts_with(&format!("Name:\t{name}\n")).then_some(status)
    });
    let status = thread.unwrap_or_else(|| panic!("no thread {name}"));
    let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    cores.unwrap().trim().to_owned()
}

#[test]
fn a_poller_runs_on_its_core_and_no_other_thread_is_held_there() {
    let allowed = cores_of(std::process::id(), "idle::a_poller_");
    let core = allowed.split([',', '-']).next_back().unwrap();
    let place = Place::with(settings("block"));
    let named = "[[poller]]\nname = 'default'\n";
    let config = place.config_text().replace(named, &format!("{named}core = {core}\n"));
    let mut pair = Pair::try_start(config);
    // Threads name and pin themselves before they deliver anything.
    pair.exchange(1);
    for host in &pair.0 {
        assert_eq!(cores_of(host.process(), "vega-default"), core);
        assert_eq!(cores_of(host.process(), "vega-conductor"), allowed);
        assert_eq!(cores_of(host.process(), "vega-requests"), allowed);
    }
}
