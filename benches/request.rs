//! What a request costs with few and with many open ones. Benchmarks.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vega::internals::{ExpiryProbe, RequestProbe};

const OPEN: [u32; 3] = [1, 1_000, 1_000_000];

/// Opened by a caller, tracked, and closed.
fn register(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request/register_and_close");
    for open in OPEN {
        let requests = RequestProbe::new(open as usize);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(open), |bencher| {
            bencher.iter(|| requests.register_and_close());
        });
    }
}

/// From the response frame to the listener of its request.
fn respond(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request/respond");
    for open in OPEN {
        let mut requests = RequestProbe::new(open as usize);
        requests.respond();
        assert_eq!(requests.responses(), 1);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(open), |bencher| {
            bencher.iter(|| requests.respond());
        });
    }
}

/// Expired by the timing wheel in the order of registration, and opened again.
fn expire(criterion: &mut Criterion) {
    expiry(criterion, "request/expire_and_register", ExpiryProbe::in_order);
}

/// The same with random timeouts.
fn expire_scattered(criterion: &mut Criterion) {
    expiry(criterion, "request/expire_scattered_and_register", ExpiryProbe::scattered);
}

fn expiry(criterion: &mut Criterion, name: &str, probe: fn(u32) -> ExpiryProbe) {
    let mut group = criterion.benchmark_group(name);
    for open in OPEN {
        let mut requests = probe(open);
        let expired: usize = (0..3 * open).map(|_| requests.expire_next()).sum();
        assert!(expired >= open as usize, "{expired}");
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(open), |bencher| {
            bencher.iter(|| requests.expire_next());
        });
    }
}

criterion_group!(request, register, respond, expire, expire_scattered);
criterion_main!(request);
