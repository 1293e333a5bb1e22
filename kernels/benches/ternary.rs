//! Ternary products: decode (bytes of packed weights a second) and several tokens (multiply-adds a
//! second).
//!
//! `cargo bench -p sterna-kernels --bench ternary -- avx512vnni/decode`

mod common;

use std::hint::black_box;

use common::{MATRIX_BYTES, bytes, isas};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sterna_kernels::{OutputRows, QuantizedActivations, Ternary, ternary_matmul};

/// Widths of the 2B-4T shape: hidden state and FFN.
const WIDTHS: [usize; 2] = [2560, 6912];

fn quantized(isa: sterna_kernels::Isa, n_tokens: usize, k: usize) -> QuantizedActivations {
    let x: Vec<f32> = (0..n_tokens * k)
        .map(|i| (i * 37 % 255) as f32 - 127.0)
        .collect();
    let mut q = QuantizedActivations::with_capacity(n_tokens, k);
    q.quantize(isa, &x, k);
    q
}

/// One token by a matrix that exceeds every cache.
fn decode(c: &mut Criterion) {
    let weights = bytes(MATRIX_BYTES);
    for isa in isas() {
        let mut group = c.benchmark_group(format!("{}/decode", isa.name()));
        for k in WIDTHS {
            let rows = weights.len() / Ternary::row_bytes(k);
            let size = rows * Ternary::row_bytes(k);
            let w = Ternary::new(rows, k, &weights[..size], 1.0).expect("the size fits");
            let (x, mut out) = (quantized(isa, 1, k), vec![0.0; rows]);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("k{k}"), |b| {
                b.iter(|| {
                    let view = OutputRows::new(&mut out, 1, rows).expect("the size fits");
                    ternary_matmul(isa, w, black_box(&x), view);
                });
            });
        }
    }
}

/// Many tokens by some rows: arithmetic.
fn prefill(c: &mut Criterion) {
    const ROWS: usize = 256;
    for isa in isas() {
        let mut group = c.benchmark_group(format!("{}/prefill", isa.name()));
        for k in WIDTHS {
            let weights = bytes(ROWS * Ternary::row_bytes(k));
            let w = Ternary::new(ROWS, k, &weights, 1.0).expect("the size fits");
            for n_tokens in [2, 4, 8, 64, 512] {
                let (x, mut out) = (quantized(isa, n_tokens, k), vec![0.0; n_tokens * ROWS]);
                group.throughput(Throughput::Elements((n_tokens * ROWS * k) as u64));
                group.bench_function(format!("k{k}x{n_tokens}"), |b| {
                    b.iter(|| {
                        let view =
                            OutputRows::new(&mut out, n_tokens, ROWS).expect("the size fits");
                        ternary_matmul(isa, w, black_box(&x), view);
                    });
                });
            }
        }
    }
}

criterion_group! { name = benches; config = common::config(); targets = decode, prefill }
criterion_main!(benches);
