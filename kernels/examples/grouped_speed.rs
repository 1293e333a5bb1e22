//! Speed of group-scaled products for every ISA of this machine.
//!
//! `GLIBC_TUNABLES=glibc.malloc.hugetlb=1 cargo run --release -p sterna-kernels --example
//! grouped_speed [isa [threads]]`
//!
//! GB/s of packed bytes from memory beside a plain read of the same bytes, alternating, of all
//! threads together; weights a second; and the tokens a second of a model with 4.02e9 such weights
//! (Bonsai 4B's shape).

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
    let mut arguments = std::env::args().skip(1);
    let only = arguments.next();
    let threads: usize = arguments.next().map_or(1, |n| n.parse().expect("a number"));
    for codes in GroupCodes::ALL {
        for cols in [2560, 9728] {
            let shape = GroupShape::new(ROWS, cols, 128, codes).expect("whole groups");
            // Each thread has matrices of its own.
            let bytes: Vec<Vec<u8>> = (0..threads as u32).map(|n| matrices(shape, n)).collect();
            for isa in Isa::supported() {
                if only.as_deref().is_none_or(|name| name == isa.name()) {
                    for n_tokens in [1, 2, 4, 8, 16, 128] {
                        let run = |bytes: &[u8]| measure(isa, shape, bytes, n_tokens);
                        report(isa, shape, n_tokens, &in_threads(&bytes, &run));
                    }
                }
            }
        }
    }
}

/// Seconds of a product with a slice of rows and of reading it, in each thread.
fn in_threads(bytes: &[Vec<u8>], run: &(dyn Fn(&[u8]) -> [f64; 2] + Sync)) -> Vec<[f64; 2]> {
    // WebAssembly has no threads.
    if let [bytes] = bytes {
        return vec![run(bytes)];
    }
    std::thread::scope(|scope| {
        let spawn = |bytes| scope.spawn(move || run(bytes));
        let threads: Vec<_> = bytes.iter().map(|bytes| spawn(bytes)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().expect("it ran");
        threads.into_iter().map(join).collect()
    })
}

/// Matrices of `shape`, one behind the other: random codes without the unused 3, scales of 0.02.
fn matrices(shape: GroupShape, seed: u32) -> Vec<u8> {
    let n = WORKING_SET / shape.packed_bytes() * shape.packed_bytes();
    let mut state = seed;
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

fn measure(isa: Isa, shape: GroupShape, bytes: &[u8], n_tokens: usize) -> [f64; 2] {
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
    [product, read].map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 10]
    })
}

fn report(isa: Isa, shape: GroupShape, n_tokens: usize, seconds: &[[f64; 2]]) {
    let rate = |of: usize| seconds.iter().map(|seconds| 1.0 / seconds[of]).sum::<f64>();
    let (product, read) = (rate(0), rate(1));
    let bytes = shape.packed_bytes() as f64 / 1e9;
    let weights = (n_tokens * ROWS * shape.cols()) as f64 * product;
    println!(
        "{:<11} {:?} K={} x {n_tokens:<2} {:6.2} GB/s (plain read {:6.2}, {:3.0} %), {:6.1} G weights/s, 4B: {:6.1} tokens/s",
        isa.name(),
        shape.codes(),
        shape.cols(),
        bytes * product,
        bytes * read,
        product / read * 100.0,
        weights / 1e9,
        weights / MODEL
    );
}
