//! From the topic hash of a frame to the listener, with few and with many topics. Benchmarks.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vega::internals::DispatchProbe;

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

criterion_group!(dispatch, deliver);
criterion_main!(dispatch);
