//! What `benches/instructions.sh` counts instructions of: each hot path, a given number of times,
//! on one thread. Benchmarks; run without a case, it goes through all of them once.
//!
//! Only what happens inside [`measured`] counts. Paths whose work depends on the clock are left
//! out: how often a stream over UDP calls the kernel is decided by what the last call took.

#![expect(clippy::unwrap_used, reason = "a benchmark fails where it unwraps")]

use std::hint::black_box;

use vega::internals::{
    CounterProbe, DispatchProbe, ExpiryProbe, ReceiveProbe, RequestProbe, RingProbe, parse,
};
use vega::{Config, Instance};

const QUOTE: [u8; 32] = [7; 32];
/// Passes of a case when all are gone through: enough to show that they work.
const PASSES: u64 = 10;

/// A path, by name. Runs it so many times, and returns how many messages that were.
type Case = (&'static str, fn(u64) -> u64);

const CASES: &[Case] = &[
    ("append 32 B", append),
    ("send ipc 32 B", send_ipc),
    ("read from ipc 32 B", read),
    ("parse from a packet 32 B", parse_packet),
    ("receive from packets 32 B", receive),
    ("dispatch, 1 topic", |passes| dispatch(1, passes)),
    ("dispatch, 10000 topics", |passes| dispatch(10_000, passes)),
    ("of which counting", count),
    ("request, opened and closed", register),
    ("response to its request", respond),
    ("request, expired and opened", expire),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let named = |argument: &String| CASES.iter().find(|(name, _)| name == argument);
    match (arguments.first().map(String::as_str), arguments.first().and_then(named)) {
        (Some("--list"), _) => CASES.iter().for_each(|(name, _)| println!("{name}")),
        (_, Some((_, case))) => {
            let passes = arguments.get(1).map_or(PASSES, |passes| passes.parse().unwrap());
            println!("{}", case(passes));
        }
        _ => CASES.iter().for_each(|(name, case)| {
            assert!(case(PASSES) > 0, "{name}");
        }),
    }
}

/// Once to warm up, then so many times more, which is what counts.
#[inline(never)]
fn measured(passes: u64, pass: &mut dyn FnMut()) {
    for _ in 0..passes {
        pass();
    }
}

fn run(passes: u64, mut pass: impl FnMut()) -> u64 {
    pass();
    measured(passes, &mut pass);
    passes
}

fn append(passes: u64) -> u64 {
    let mut ring = RingProbe::packets();
    run(passes, || ring.append(black_box(&QUOTE)))
}

/// By the public API, to nobody: a ring takes messages whether it is read or not.
fn send_ipc(passes: u64) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let rings = directory.path().join("rings");
    let config = Config::parse(&format!("[ipc]\ndirectory = {rings:?}\n")).unwrap();
    let instance = Instance::builder().config(config).start().unwrap();
    let mut publisher = instance.publisher("ipc.instructions").unwrap();
    run(passes, || {
        publisher.send(black_box(&QUOTE)).unwrap();
    })
}

fn read(passes: u64) -> u64 {
    let mut ring = RingProbe::shared();
    let frames = ring.fill(&QUOTE) as u64;
    // A pass reads a whole ring: some ten thousand frames.
    frames * run(passes.div_ceil(1_000), || assert!(black_box(&ring).read().0 > 0))
}

fn parse_packet(passes: u64) -> u64 {
    let packet = RingProbe::packet(&QUOTE);
    let frames = parse(&packet).0 as u64;
    frames * run(passes, || assert!(parse(black_box(&packet)).0 > 0))
}

fn receive(passes: u64) -> u64 {
    let mut stream = ReceiveProbe::new(&QUOTE);
    let messages = stream.messages() as u64;
    // A pass receives a whole ring: some forty thousand messages.
    messages * run(passes.div_ceil(10_000), || assert!(stream.receive() > 0))
}

fn dispatch(topics: usize, passes: u64) -> u64 {
    let mut poller = DispatchProbe::new(topics);
    run(passes, || poller.deliver(black_box(&QUOTE)))
}

fn count(passes: u64) -> u64 {
    let mut counters = CounterProbe::new();
    run(passes, || counters.count_message(black_box(32)))
}

fn register(passes: u64) -> u64 {
    let requests = RequestProbe::new(1_000);
    run(passes, || assert!(requests.register_and_close()))
}

fn respond(passes: u64) -> u64 {
    let mut requests = RequestProbe::new(1_000);
    run(passes, || requests.respond())
}

/// One for each pass, on average.
fn expire(passes: u64) -> u64 {
    let mut requests = ExpiryProbe::scattered(1_000);
    run(passes, || {
        requests.expire_next();
    })
}
