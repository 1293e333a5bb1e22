//! The machine's limits on one thread: what the other benches are to be compared with.
//!
//! `cargo bench -p sterna-kernels --bench limits`

mod common;

use std::hint::black_box;

use common::{MATRIX_BYTES, bytes, isas};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn limits(c: &mut Criterion) {
    const TURNS: u32 = 1 << 14;
    let memory = bytes(MATRIX_BYTES);
    for isa in isas() {
        let mut group = c.benchmark_group(format!("{}/limit", isa.name()));
        group.throughput(Throughput::Bytes(memory.len() as u64));
        group.bench_function("read", |b| b.iter(|| isa.read_through(black_box(&memory))));
        let run = isa.multiply_add_peak(TURNS);
        group.throughput(Throughput::Elements(run.multiply_adds));
        group.bench_function("int8", |b| {
            b.iter(|| isa.multiply_add_peak(black_box(TURNS)))
        });
    }
}

criterion_group! { name = benches; config = common::config(); targets = limits }
criterion_main!(benches);
