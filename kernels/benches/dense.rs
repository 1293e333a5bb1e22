//! Output heads: bytes a second, for one token and for four.
//!
//! `cargo bench -p sterna-kernels --bench dense -- q6_k`

mod common;

use std::hint::black_box;

use common::{MATRIX_BYTES, bytes, isas};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sterna_kernels::{Dense, DenseInput, DenseType, OutputRows, dense_matmul};

fn heads(c: &mut Criterion) {
    const K: usize = 2560;
    let weights = bytes(MATRIX_BYTES);
    for isa in isas() {
        let mut group = c.benchmark_group(format!("{}/head", isa.name()));
        for ty in [DenseType::F16, DenseType::Q8_0, DenseType::Q6K] {
            let row_bytes = ty.row_bytes(K).expect("whole blocks");
            let rows = weights.len() / row_bytes;
            let w = Dense::new(ty, rows, K, &weights[..rows * row_bytes]).expect("the size fits");
            for n_tokens in [1, 4] {
                let x: Vec<f32> = (0..n_tokens * K).map(|i| (i * 37 % 255) as f32).collect();
                let mut input = DenseInput::with_capacity(n_tokens, K);
                input.set(isa, &x, K, ty);
                let mut out = vec![0.0; n_tokens * rows];
                group.throughput(Throughput::Bytes((rows * row_bytes) as u64));
                group.bench_function(format!("{}x{n_tokens}", ty.name()), |b| {
                    b.iter(|| {
                        let view =
                            OutputRows::new(&mut out, n_tokens, rows).expect("the size fits");
                        dense_matmul(isa, w, black_box(&input), view);
                    });
                });
            }
        }
    }
}

criterion_group! { name = benches; config = common::config(); targets = heads }
criterion_main!(benches);
