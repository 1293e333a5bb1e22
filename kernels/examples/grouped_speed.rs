//! Speed of group-scaled products, one thread, for every ISA of this machine.
//!
//! `GLIBC_TUNABLES=glibc.malloc.hugetlb=1 cargo run --release -p sterna-kernels --example
//! grouped_speed [isa]`
//!
//! GB/s of packed bytes from memory beside a plain read of the same bytes, alternating; weights a
//! second; and the tokens a second of a model with 4.02e9 such weights (Bonsai 4B's shape).

use std::time::Instant;

use sterna_kernels::{
    BlockActivations, GroupCodes, GroupShape, Grouped, Isa, OutputRows, grouped_matmul,
};

/// Bytes of the matrices: more than any cache holds.
const WORKING_SET: usize = if cfg!(target_pointer_width = "64") {
    512 << 20
} else {
    256 << 20
};
/// Rows of a slice of work, well under a scheduler tick.
const ROWS: usize = 256;
/// Weights that a 4B model reads for a token.
const MODEL: f64 = 4.02e9;

fn main() {
    let only = std::env::args().nth(1);
    for codes in [GroupCodes::Ternary, GroupCodes::Trits8, GroupCodes::Binary] {
        for cols in [2560, 9728] {
            let shape = GroupShape::new(ROWS, cols, 128, codes).expect("whole groups");
            let bytes = matrices(shape);
            for isa in Isa::supported() {
                if only.as_deref().is_none_or(|name| name == isa.name()) {
                    for n_tokens in [1, 2, 4, 8, 64] {
                        run(isa, shape, &bytes, n_tokens);
                    }
                }
            }
        }
    }
}

/// Matrices of `shape`, one behind the other: random codes without the unused 3, scales of 0.02.
fn matrices(shape: GroupShape) -> Vec<u8> {
    let n = WORKING_SET / shape.packed_bytes() * shape.packed_bytes();
    let mut state = 1u32;
    let mut bytes: Vec<u8> = (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    for group in bytes.chunks_exact_mut(shape.tile_bytes() / shape.groups()) {
        let (codes, scales) = group.split_at_mut(shape.code_bytes());
        shape.codes().spread(codes);
        scales.as_chunks_mut().0.fill(0x251f_u16.to_le_bytes());
    }
    bytes
}

fn run(isa: Isa, shape: GroupShape, bytes: &[u8], n_tokens: usize) {
    let cols = shape.cols();
    let x: Vec<f32> = (0..n_tokens * cols)
        .map(|i| (i * 37 % 255) as f32 - 127.0)
        .collect();
    let mut q = BlockActivations::with_capacity(n_tokens, cols);
    q.quantize(isa, &x, cols);
    let mut out = vec![0.0; n_tokens * ROWS];
    let slices = bytes.chunks_exact(shape.packed_bytes());
    let turns = (if isa.name() == "scalar" { 20 } else { 400 }) / n_tokens.min(8);
    let (mut product, mut read) = (Vec::new(), Vec::new());
    for (turn, slice) in slices.cycle().take(2 * turns).enumerate() {
        let w = Grouped::new(shape, slice).expect("fits");
        let start = Instant::now();
        if turn % 2 == 0 {
            let view = OutputRows::new(&mut out, n_tokens, ROWS).expect("fits");
            grouped_matmul(isa, w, &q, view);
            product.push(start.elapsed().as_secs_f64());
        } else {
            std::hint::black_box(isa.read_through(slice));
            read.push(start.elapsed().as_secs_f64());
        }
    }
    // The tenth percentile leaves out other processes' time.
    let [product, read] = [product, read].map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 10]
    });
    let weights = (n_tokens * ROWS * cols) as f64 / product;
    println!(
        "{:<11} {:?} K={cols} x {n_tokens:<2} {:6.2} GB/s (plain read {:6.2}, {:3.0} %), {:6.1} G weights/s, 4B: {:6.1} tokens/s",
        isa.name(),
        shape.codes(),
        shape.packed_bytes() as f64 / product / 1e9,
        shape.packed_bytes() as f64 / read / 1e9,
        read / product * 100.0,
        weights / 1e9,
        weights / MODEL
    );
}
