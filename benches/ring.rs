//! The packet ring: messages become frames, and frames are read in place or out of a datagram.
//! Benchmarks.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vega::internals::{RingProbe, parse};

/// From a small quote to nearly a packet.
const PAYLOADS: [usize; 3] = [32, 256, 1024];

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    for bytes in PAYLOADS {
        let payload = vec![7; bytes];
        let mut ring = RingProbe::packets();
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| ring.append(black_box(&payload)));
        });
    }
}

/// One iteration reads a whole shared ring, with all payloads; the throughput counts frames.
fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    for bytes in PAYLOADS {
        let mut ring = RingProbe::shared();
        let frames = ring.fill(&vec![7; bytes]);
        assert_eq!(ring.read().0, frames);
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| black_box(&ring).read());
        });
    }
}

/// One iteration parses a full packet; the throughput counts frames.
fn parse_packet(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for bytes in PAYLOADS {
        let packet = RingProbe::packet(&vec![7; bytes]);
        let (frames, body_bytes) = parse(&packet);
        assert_eq!(body_bytes, frames * bytes);
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| parse(black_box(&packet)));
        });
    }
}

criterion_group!(ring, append, read, parse_packet);
criterion_main!(ring);
