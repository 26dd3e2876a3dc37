//! From the packet, or from the topic hash of a frame, to the listener, with few and with many topics,
//! and what counting takes of that. Benchmarks.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vega::internals::{CounterProbe, DispatchProbe, ReceiveProbe};

/// From a small quote to nearly a packet.
const PAYLOADS: [usize; 3] = [32, 256, 1024];

/// One iteration receives as many packets as a ring holds; the throughput counts messages.
fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive");
    for bytes in PAYLOADS {
        let mut stream = ReceiveProbe::new(&vec![7; bytes]);
        group.throughput(Throughput::Elements(stream.messages() as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| stream.receive());
        });
    }
}

fn deliver(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dispatch");
    for topics in [1, 10_000] {
        let mut poller = DispatchProbe::new(topics);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(topics), |bencher| {
            bencher.iter(|| poller.deliver(black_box(&[7; 32])));
        });
    }
}

fn count(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("count");
    let mut counters = CounterProbe::new();
    group.bench_function("message in its row", |bencher| {
        bencher.iter(|| counters.count_message(black_box(32)));
    });
    group.bench_function("batch in the totals", |bencher| {
        bencher.iter(|| counters.count_batch(black_box(1)));
    });
}

criterion_group!(dispatch, receive, deliver, count);
criterion_main!(dispatch);
