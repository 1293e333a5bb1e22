//! Speed of the heavy kernels, one thread, for every ISA of this machine.
//!
//! `cargo run --release -p sterna-kernels --example gemv_speed [isa]`
//!
//! Decode: one token by matrices that together exceed every cache, GB/s of packed weight bytes.
//! Prefill: 128 tokens, G multiply-adds/s. Figures leave out other processes' time as well as they
//! can; see `undisturbed`.

use std::time::Instant;

use sterna_kernels::{
    Dense, DenseInput, DenseType, Isa, KvBuffer, KvType, OutputRows, QuantizedActivations,
    QuantizedQueries, Queries, Ternary, attention_mix, attention_scores, dense_matmul, self_test,
    softmax, ternary_matmul,
};

fn main() {
    let only = std::env::args().nth(1);
    // The same small pseudo-random pattern everywhere; no two rows are equal.
    let mut state = 1u32;
    let bytes: Vec<u8> = (0..working_set())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let random = (state >> 24) as u8;
            random & !((random >> 1) & random & 0x55) // code 3 becomes 2
        })
        .collect();
    memory(&bytes);
    for isa in Isa::supported() {
        if only.as_deref().is_none_or(|name| name == isa.name()) {
            decode(isa, &bytes);
            prefill(isa, &bytes);
            heads(isa, &bytes);
            attention(isa);
            let seconds = undisturbed(50, |_| self_test(isa).expect("the kernels are right"));
            println!(
                "{:<11} self_test {:8.0} us",
                isa.name(),
                seconds / 50.0 * 1e6
            );
        }
    }
}

/// Bytes to stream in decode: 512 MiB, less where memory is 32-bit.
fn working_set() -> usize {
    if cfg!(target_pointer_width = "64") {
        512 << 20
    } else {
        256 << 20
    }
}

fn quantized(isa: Isa, n_tokens: usize, k: usize) -> QuantizedActivations {
    let x: Vec<f32> = (0..n_tokens * k)
        .map(|i| (i * 37 % 255) as f32 - 127.0)
        .collect();
    let mut q = QuantizedActivations::with_capacity(n_tokens, k);
    q.quantize(isa, &x, k);
    q
}

/// Seconds that `n` equal slices of work would take undisturbed: n times the tenth percentile.
/// Slices last well under a scheduler tick, so that even on a busy machine some run alone.
fn undisturbed(n: usize, mut slice: impl FnMut(usize)) -> f64 {
    let mut times: Vec<f64> = (0..n)
        .map(|i| {
            let start = Instant::now();
            slice(i);
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[n / 10] * n as f64
}

fn matmul(isa: Isa, w: Ternary<'_>, x: &QuantizedActivations, out: &mut [f32]) {
    let view = OutputRows::new(out, x.n_tokens(), w.rows()).expect("the shape is right");
    ternary_matmul(isa, w, x, view);
}

fn ternary(bytes: &[u8], rows: usize, k: usize) -> Ternary<'_> {
    Ternary::new(rows, k, &bytes[..rows * Ternary::row_bytes(k)], 1.0).expect("fits")
}

fn decode(isa: Isa, bytes: &[u8]) {
    for k in [2560, 6912] {
        let x = quantized(isa, 1, k);
        for (what, size) in [("DRAM", bytes.len()), ("cache", 200 << 10)] {
            let size = if isa.name() == "scalar" {
                size.min(32 << 20)
            } else {
                size
            };
            let rows = (size / Ternary::row_bytes(k)).min(256);
            let slice_bytes = rows * Ternary::row_bytes(k);
            let mut out = vec![0.0; rows];
            let slices = size / slice_bytes;
            let seconds = undisturbed(slices.max(400), |i| {
                let start = i % slices * slice_bytes;
                matmul(isa, ternary(&bytes[start..], rows, k), &x, &mut out);
            });
            let speed = (slices.max(400) * slice_bytes) as f64 / seconds / 1e9;
            println!(
                "{:<11} decode  K={k} {what:<6} {speed:7.2} GB/s",
                isa.name()
            );
        }
    }
}

fn prefill(isa: Isa, bytes: &[u8]) {
    let rows = match isa.name() {
        "scalar" => 4,
        name if name.starts_with("simd128") => 16,
        _ => 64,
    };
    let slices = 100;
    for k in [2560, 6912] {
        for n_tokens in [2, 3, 4, 8, 16, 32, 128] {
            let x = quantized(isa, n_tokens, k);
            let mut out = vec![0.0; n_tokens * rows];
            let seconds = undisturbed(slices, |i| {
                matmul(
                    isa,
                    ternary(&bytes[i * rows * Ternary::row_bytes(k)..], rows, k),
                    &x,
                    &mut out,
                );
            });
            let speed = (slices * n_tokens * rows * k) as f64 / seconds / 1e9;
            println!(
                "{:<11} prefill K={k} x {n_tokens:<3} {speed:7.1} GMAC/s",
                isa.name()
            );
        }
    }
}

fn heads(isa: Isa, bytes: &[u8]) {
    let (k, rows) = (2560, 64);
    for ty in [DenseType::F16, DenseType::Q8_0, DenseType::Q6K] {
        for (n_tokens, what, size) in [
            (1, "cache", 200 << 10),
            (1, "DRAM", bytes.len() / 2),
            (4, "DRAM", bytes.len() / 2),
            (8, "DRAM", bytes.len() / 2),
            (8, "cache", 200 << 10),
            (8, "L2", 1 << 20),
        ] {
            let x: Vec<f32> = (0..n_tokens * k)
                .map(|i| (i * 37 % 255) as f32 - 127.0)
                .collect();
            let mut input = DenseInput::with_capacity(n_tokens, k);
            input.set(isa, &x, k, ty);
            let slice_bytes = rows * ty.row_bytes(k).expect("whole blocks");
            let size = if isa.name() == "scalar" {
                size.min(16 << 20)
            } else {
                size
            };
            let slices = (size / slice_bytes).max(1);
            let mut out = vec![0.0; n_tokens * rows];
            let seconds = undisturbed(slices.max(400), |i| {
                let w = Dense::new(
                    ty,
                    rows,
                    k,
                    &bytes[i % slices * slice_bytes..][..slice_bytes],
                )
                .expect("fits");
                let view = OutputRows::new(&mut out, n_tokens, rows).expect("the shape is right");
                dense_matmul(isa, w, &input, view);
            });
            let speed = (slices.max(400) * slice_bytes) as f64 / seconds / 1e9;
            println!(
                "{:<11} head    {:<4} x {n_tokens} {what:<6} {speed:7.2} GB/s",
                isa.name(),
                ty.name()
            );
        }
    }
}

fn attention(isa: Isa) {
    let (n, d, n_queries) = (1024, 128, 4);
    let numbers: Vec<f32> = (0..n * d).map(|i| (i % 97) as f32 * 0.01).collect();
    let q = &numbers[..n_queries * d];
    let (mut scores, mut mixed) = (vec![0.0; n_queries * n], vec![0.0; n_queries * d]);
    let passes = 201;
    let say = |what: &str, seconds: f64| {
        let us = seconds / passes as f64 * 1e6;
        println!(
            "{:<11} attention {what:<11} {us:7.2} us for {n_queries} heads, {n} positions of {d}",
            isa.name()
        );
    };
    for ty in KvType::ALL {
        let cache = KvBuffer::store(isa, ty, &numbers, d);
        let cache = cache.rows();
        let mut quantized = QuantizedQueries::default();
        quantized.quantize(isa, q, d);
        let queries = match ty {
            KvType::F32 | KvType::F16 => Queries::Floats(q),
            KvType::Int8 => quantized.heads(0..n_queries),
        };
        let seconds = undisturbed(passes, |_| {
            attention_scores(isa, d, queries, cache, None, 0.088, n, &mut scores)
        });
        say(&format!("scores {}", ty.name()), seconds);
        let seconds = undisturbed(passes, |_| softmax(isa, &mut scores));
        say("softmax", seconds);
        let seconds = undisturbed(passes, |_| {
            attention_mix(isa, d, &scores, n, cache, None, &mut mixed)
        });
        say(&format!("mix {}", ty.name()), seconds);
    }
}

/// Memory bandwidth at this moment: a plain sum over the same bytes.
fn memory(bytes: &[u8]) {
    let slice = 256 << 10;
    let mut total = 0u64;
    let seconds = undisturbed(bytes.len() / slice, |i| {
        for chunk in bytes[i * slice..][..slice].as_chunks::<8>().0 {
            total = total.wrapping_add(u64::from_le_bytes(*chunk));
        }
    });
    let speed = (bytes.len() / slice * slice) as f64 / seconds / 1e9;
    println!("memory read, plain loop      {speed:7.2} GB/s (checksum {total:x})");
}
