//! An instance that cannot start leaves nothing behind, whatever it lacks, and starts as soon as that
//! is there. Tests.
//!
//! What is left behind is counted for a whole process, so each test has one to itself: it runs this
//! program again, under limits that a shell sets, with one of the plays below.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use vega::{Config, Instance, Message, PublishError};

use crate::support::{Place, Settings, WAIT, eventually};

/// The test that plays.
const TEST: &str = "lacking";
/// What is lacking; present only in children.
const PLAY: &str = "VEGA_ACCEPTANCE_LACKING";
/// Address space of a thread's stack in these children: far more than all else that they take.
const STACK_BYTES: usize = 512 << 20;

/// What sanitizers reserve is more than this.
const MOST_ADDRESSES_KIB: u64 = 1 << 30;

/// Runs a play in a process of its own, after `limits`.
fn run(play: &str, limits: &str) {
    let script = format!("{limits} && exec \"$0\" --exact {TEST} --nocapture");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(PLAY, play)
        .env("RUST_MIN_STACK", STACK_BYTES.to_string())
        // One heap, or each thread has 64 MiB of addresses for its own.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let [said, wrong] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{play}: {}\n{said}\n{wrong}", output.status);
    assert!(said.contains("1 passed"), "{said}");
}

/// What a child does; nothing in any other process.
pub(crate) fn play() {
    match std::env::var(PLAY).as_deref() {
        Ok("descriptors") => descriptors(),
        Ok("threads") => threads(),
        Ok("ports") => ports(),
        Ok("interfaces") => interfaces(),
        Ok("shared memory") => shared_memory(),
        Ok(other) => panic!("{other}: which?"),
        Err(_) => {}
    }
}

#[test]
fn without_descriptors_nothing_is_left_at_whatever_step_they_run_out() {
    run("descriptors", "ulimit -n 96");
}

/// The limit is one of addresses, which root has, too, other than the one of processes: there is no
/// thread without a stack.
#[test]
fn without_threads_nothing_is_left_at_whatever_step_they_run_out() {
    if address_space_kib() > MOST_ADDRESSES_KIB {
        eprintln!("SKIPPED: this build reserves more addresses than can be limited");
        return;
    }
    run("threads", &format!("ulimit -v {}", 16 * (STACK_BYTES >> 10)));
}

#[test]
fn without_a_port_nothing_is_left() {
    run("ports", "true");
}

#[test]
fn without_an_interface_nothing_is_left() {
    run("interfaces", "true");
}

/// By design this is no failure to start: topics by UDP need no shared memory.
#[test]
fn without_shared_memory_topics_of_it_are_refused_and_the_others_work() {
    run("shared memory", "true");
}

/// A stage for a play: what the process has when nothing is started.
struct Stage {
    place: Place,
    threads: usize,
    descriptors: usize,
}

impl Stage {
    fn new(settings: Settings) -> Self {
        let place = Place::with(settings);
        // The first one loads what a process loads once.
        start(&place.config_text()).unwrap();
        let mut stage = Self { place, threads: 0, descriptors: 0 };
        eventually("what the first one had is gone", || {
            let before = (stage.threads, stage.descriptors);
            (stage.threads, stage.descriptors) = resources();
            before == (stage.threads, stage.descriptors)
        });
        stage
    }

    fn text(&self) -> String {
        self.place.config_text()
    }

    /// Neither threads nor descriptors nor files are left, and an instance starts now.
    fn is_as_before(&self, what: &str) {
        let expected = (self.threads, self.descriptors);
        eventually(&format!("{what}: nothing is left"), || resources() == expected);
        assert_eq!(files(&self.place), Vec::<PathBuf>::new(), "{what}");
        start(&self.text()).unwrap_or_else(|error| panic!("{what}: {error}"));
        eventually(&format!("{what}: nothing is left of it"), || resources() == expected);
        assert_eq!(files(&self.place), Vec::<PathBuf>::new(), "{what}");
    }

    /// An instance with this configuration does not start, for this reason.
    fn refuses(&self, text: &str, reason: &str) {
        let error = start(text).expect_err(reason);
        assert!(error.contains(reason), "{error}");
    }
}

/// Starts an instance and closes it.
fn start(text: &str) -> Result<(), String> {
    let config = Config::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let instance = Instance::builder().config(config).start().map_err(|error| error.to_string())?;
    instance.close().unwrap();
    Ok(())
}

/// Threads and file descriptors of this process.
fn resources() -> (usize, usize) {
    let count = |what| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    (count("task"), count("fd"))
}

fn address_space_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    size.trim_end_matches("kB").trim().parse().unwrap()
}

fn files(place: &Place) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place.ring_directory()).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// With a daemon that has a name there is one thread more.
fn named_daemon(text: &str) -> String {
    let with = "[discovery]\nkind = 'both'\ndaemons = ['localhost:1']\nresolve = '1h'\n";
    text.replace("[discovery]\n", with)
}

/// Takes all descriptors but a few, from none up to as many as it takes.
fn descriptors() {
    let stage = Stage::new(Settings { response_poller: "answers", ..Settings::default() });
    let text = named_daemon(&stage.text());
    let mut reasons = Vec::new();
    for free in 0.. {
        let mut taken: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        taken.truncate(taken.len() - free);
        let started = start(&text);
        drop(taken);
        stage.is_as_before(&format!("{free} descriptors"));
        match started {
            Ok(()) => break,
            Err(reason) => reasons.push(reason),
        }
    }
    for step in ["[responses] ", "[control] ", "[discovery] ", "threads: "] {
        let is_there = reasons.iter().any(|reason| reason.contains(step));
        assert!(is_there, "never failed at {step}: {reasons:#?}");
    }
}

/// A thread that does nothing but have a stack.
struct Idler(Sender<()>, JoinHandle<()>);

impl Idler {
    fn start() -> Option<Self> {
        let (end, ends) = bounded(0);
        let thread = std::thread::Builder::new().spawn(move || {
            let _ = ends.recv();
        });
        Some(Self(end, thread.ok()?))
    }

    fn end(self) {
        drop(self.0);
        self.1.join().unwrap();
    }
}

/// Takes the addresses for all stacks but a few, from none up to as many as it takes.
fn threads() {
    let stage = Stage::new(Settings { response_poller: "answers", ..Settings::default() });
    let text = named_daemon(&stage.text());
    let mut reasons = Vec::new();
    for free in 0.. {
        // What an instance takes beside stacks.
        let reserve = Vec::<u8>::with_capacity(STACK_BYTES / 2);
        let mut taken: Vec<_> = std::iter::from_fn(Idler::start).collect();
        drop(reserve);
        taken.drain(taken.len() - free..).for_each(Idler::end);
        let started = start(&text);
        taken.into_iter().for_each(Idler::end);
        stage.is_as_before(&format!("{free} threads"));
        match started {
            Ok(()) => break,
            Err(reason) => reasons.push(reason),
        }
    }
    // Requests, two pollers, resolver, conductor; perhaps one fitted into what was left.
    assert!(reasons.len() >= 4, "{reasons:#?}");
    assert!(reasons.iter().all(|reason| reason.starts_with("threads: ")), "{reasons:#?}");
}

#[expect(clippy::disallowed_methods, reason = "a stranger has the port, who knows no `transport`")]
fn ports() {
    let stage = Stage::new(Settings { response_ports: "35004", ..Settings::default() });
    let text = stage.text() + "[control]\nports = '35010'\n";
    let discovery = stage.place.discovery_group();
    let at = |port| SocketAddr::from((stage.place.address(), port));
    for (address, reason) in [
        (at(35004), "[responses] socket"),
        (at(35010), "[control] socket"),
        (discovery, "[discovery] socket"),
    ] {
        let stranger = UdpSocket::bind(address).unwrap();
        stage.refuses(&text, reason);
        drop(stranger);
        start(&text).unwrap();
        stage.is_as_before(reason);
    }
}

fn interfaces() {
    let stage = Stage::new(Settings::default());
    let text = stage.text();
    let elsewhere = "interface = '203.0.113.77'\n";
    for (table, config) in [
        ("responses", text.replace("[responses]\n", &format!("[responses]\n{elsewhere}"))),
        ("discovery", text.replace("[discovery]\n", &format!("[discovery]\n{elsewhere}"))),
        ("control", format!("{text}[control]\n{elsewhere}")),
    ] {
        stage.refuses(&config, &format!("[{table}] interface"));
        stage.is_as_before(table);
    }
    // Looked up here, before any socket is opened. No name server is asked for such a name.
    let name = "x".repeat(100);
    stage.refuses(&format!("advertise = '{name}'\n{text}"), "advertise");
    stage.is_as_before("advertise");
}

fn shared_memory() {
    let stage = Stage::new(Settings::default());
    let directory = stage.place.ring_directory();
    let unusable = stage.place.ring_directory().with_file_name("unusable");
    let text = |directory: &Path| {
        stage.text().replace(
            &stage.place.ring_directory().display().to_string(),
            &directory.display().to_string(),
        )
    };
    let [is_a_file, is_open_to_others, has_no_parent] =
        [unusable.join("file"), unusable.join("open"), unusable.join("missing").join("directory")];
    std::fs::create_dir(&unusable).unwrap();
    drop(File::create(&is_a_file).unwrap());
    std::fs::create_dir(&is_open_to_others).unwrap();
    open_to_others(&is_open_to_others);
    for directory in [&is_a_file, &is_open_to_others, &has_no_parent] {
        let what = directory.display().to_string();
        let config = Config::parse(&text(directory)).unwrap();
        let instance = Instance::builder().config(config).start().unwrap();
        let error = instance.publisher("ipc.topic").unwrap_err();
        assert!(matches!(&error, PublishError::SharedMemory { .. }), "{what}: {error}");
        assert!(error.to_string().contains(&what), "{error}");
        let error = instance.subscribe("ipc.topic", |_: &Message<'_>| {}).unwrap_err();
        assert!(error.to_string().contains(&what), "{error}");
        let (heard, hears) = bounded(1);
        let listen = move |_: &Message<'_>| heard.send(()).unwrap();
        let subscription = instance.subscribe("unicast.topic", listen).unwrap();
        let mut publisher = instance.publisher("unicast.topic").unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        publisher.send(b"").unwrap();
        hears.recv_timeout(WAIT).unwrap();
        // It counts for itself.
        assert_eq!(instance.counters().get(vega::Counter::MessagesSent), 1);
        drop((subscription, publisher));
        instance.close().unwrap();
        drop(instance);
        stage.is_as_before(&what);
    }
    assert_eq!(std::fs::read_dir(&is_open_to_others).unwrap().count(), 0);
    assert!(directory.exists());
}

fn open_to_others(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
}
