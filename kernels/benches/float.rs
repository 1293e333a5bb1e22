//! The float steps between the products, at the 2B-4T shape's widths: numbers a second.
//!
//! `cargo bench -p sterna-kernels --bench float -- attention`

mod common;

use std::hint::black_box;

use common::isas;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sterna_kernels::{
    KvBuffer, KvType, QuantizedActivations, QuantizedQueries, Queries, add_assign, attention_mix,
    attention_scores, relu2_mul, rms_norm, rope_angles, rope_frequencies, rope_rotate_half,
    silu_mul, softmax,
};

fn numbers(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| (i * 37 % 255) as f32 * 0.01 - 1.27)
        .collect()
}

fn rows(c: &mut Criterion) {
    for isa in isas() {
        let mut group = c.benchmark_group(format!("{}/row", isa.name()));
        let (x, y, mut out) = (numbers(6912), numbers(6912), vec![0.0; 6912]);
        group.throughput(Throughput::Elements(6912));
        group.bench_function("rms_norm", |b| {
            b.iter(|| rms_norm(isa, black_box(&x), &y, 1e-5, &mut out));
        });
        group.bench_function("relu2_mul", |b| {
            b.iter(|| relu2_mul(isa, black_box(&x), &y, &mut out));
        });
        group.bench_function("silu_mul", |b| {
            b.iter(|| silu_mul(isa, black_box(&x), &y, &mut out));
        });
        group.bench_function("add_assign", |b| {
            b.iter(|| add_assign(isa, &mut out, black_box(&y)));
        });
        let mut quantized = QuantizedActivations::with_capacity(1, 6912);
        group.bench_function("quantize", |b| {
            b.iter(|| quantized.quantize(isa, black_box(&x), 6912));
        });
        group.throughput(Throughput::Elements(128));
        let (mut cos, mut sin) = (vec![0.0; 64], vec![0.0; 64]);
        let frequencies = rope_frequencies(500_000.0, 128);
        rope_angles(&frequencies, 1.0, 77, &mut cos, &mut sin);
        let mut head = numbers(128);
        group.bench_function("rope", |b| {
            b.iter(|| rope_rotate_half(isa, black_box(&mut head), &cos, &sin));
        });
    }
}

/// The query heads of a kv head over a long context.
fn attention(c: &mut Criterion) {
    const HEAD: usize = 128;
    /// Query heads that share a kv head.
    const QUERIES: usize = 4;
    for isa in isas() {
        let mut group = c.benchmark_group(format!("{}/attention", isa.name()));
        for positions in [128, 1024, 4096] {
            let queries = numbers(QUERIES * HEAD);
            let mut quantized = QuantizedQueries::default();
            quantized.quantize(isa, &queries, HEAD);
            let mut scores = vec![0.0; QUERIES * positions];
            let mut mixed = vec![0.0; QUERIES * HEAD];
            group.throughput(Throughput::Elements((QUERIES * positions * HEAD) as u64));
            for ty in KvType::ALL {
                let cache = KvBuffer::store(isa, ty, &numbers(positions * HEAD), HEAD);
                let cache = cache.rows();
                let next = Some(cache.first(0, HEAD));
                let queries = match ty {
                    KvType::F32 | KvType::F16 => Queries::Floats(&queries),
                    KvType::Int8 => quantized.heads(0..QUERIES),
                };
                group.bench_function(format!("scores{positions}/{}", ty.name()), |b| {
                    b.iter(|| {
                        attention_scores(
                            isa,
                            HEAD,
                            black_box(queries),
                            cache,
                            next,
                            0.088,
                            positions,
                            &mut scores,
                        )
                    });
                });
                group.bench_function(format!("mix{positions}/{}", ty.name()), |b| {
                    b.iter(|| {
                        attention_mix(
                            isa,
                            HEAD,
                            black_box(&scores),
                            positions,
                            cache,
                            next,
                            &mut mixed,
                        )
                    });
                });
            }
            group.bench_function(format!("softmax{positions}"), |b| {
                b.iter(|| softmax(isa, black_box(&mut scores)));
            });
        }
    }
}

criterion_group! { name = benches; config = common::config(); targets = rows, attention }
criterion_main!(benches);
