//! trits5 against I2_S rows, alternating, for every ISA of this machine: the speedup, and G
//! weights/s of each; and how fast the one is packed as the other.
//!
//! `GLIBC_TUNABLES=glibc.malloc.hugetlb=1 cargo run --release -p sterna-kernels --example
//! layout_speed [isa [threads]]`
//!
//! Each thread has matrices of its own, of 256 MiB in I2_S, so that they come from memory.

use std::time::Instant;

use sterna_kernels::{
    Isa, OutputRows, QuantizedActivations, Ternary, TernaryLayout, pack_trits5_into, ternary_matmul,
};

/// Bytes of a thread's matrices in I2_S.
const WORKING_SET: usize = 256 << 20;
/// Rows of a slice of work, well under a scheduler tick.
const ROWS: usize = 256;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let only = arguments.next();
    let threads: usize = arguments.next().map_or(1, |n| n.parse().expect("a number"));
    for isa in Isa::supported() {
        if isa.name() == "scalar" || only.as_deref().is_some_and(|name| name != isa.name()) {
            continue;
        }
        for cols in [2560, 6912] {
            let runs: Vec<Vec<(usize, f64, f64)>> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..threads)
                    .map(|thread| scope.spawn(move || run(isa, cols, thread as u32)))
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("it ran"))
                    .collect()
            });
            for (index, (n_tokens, ..)) in runs[0].iter().enumerate() {
                let sum = |of: fn(&(usize, f64, f64)) -> f64| {
                    runs.iter().map(|run| of(&run[index])).sum::<f64>()
                };
                let (i2_s, trits5) = (sum(|run| run.1), sum(|run| run.2));
                println!(
                    "{:<10} {threads} threads, K={cols} x {n_tokens:<3} trits5 {:5.2} times I2_S, {trits5:6.1} and {i2_s:6.1} G weights/s",
                    isa.name(),
                    trits5 / i2_s
                );
            }
        }
    }
}

/// For each number of tokens the weights a second, in 1e9, of I2_S and trits5.
fn run(isa: Isa, cols: usize, seed: u32) -> Vec<(usize, f64, f64)> {
    let rows = WORKING_SET / Ternary::row_bytes(cols) / ROWS * ROWS;
    let mut state = seed;
    let i2_s: Vec<u8> = (0..rows * Ternary::row_bytes(cols))
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let random = (state >> 24) as u8;
            random & !((random >> 1) & random & 0x55) // code 3 becomes 2
        })
        .collect();
    let w = Ternary::new(rows, cols, &i2_s, 1.0).expect("fits");
    let mut trits5 = vec![0; TernaryLayout::Trits5.bytes(rows, cols)];
    let seconds = (0..3).map(|_| {
        let start = Instant::now();
        assert!(pack_trits5_into(isa, w, &mut trits5), "no code is 3");
        start.elapsed().as_secs_f64()
    });
    let seconds = seconds.fold(f64::MAX, f64::min);
    if seed == 0 {
        println!(
            "K={cols} packed as trits5 at {:.1} GB/s of I2_S",
            i2_s.len() as f64 / seconds / 1e9
        );
    }
    [1, 2, 3, 4, 6, 8, 16, 64]
        .into_iter()
        .map(|n_tokens| {
            let x: Vec<f32> = (0..n_tokens * cols)
                .map(|i| (i * 37 % 255) as f32 - 127.0)
                .collect();
            let mut q = QuantizedActivations::with_capacity(n_tokens, cols);
            q.quantize(isa, &x, cols);
            let mut out = vec![0.0; n_tokens * ROWS];
            let mut times = [Vec::new(), Vec::new()];
            for round in 0..2000 / n_tokens.max(5) {
                for (layout, (bytes, times)) in [TernaryLayout::I2S, TernaryLayout::Trits5]
                    .into_iter()
                    .zip([&i2_s, &trits5].into_iter().zip(&mut times))
                {
                    let n = layout.bytes(ROWS, cols);
                    let at = round % (rows / ROWS) * n;
                    let w = Ternary::with_layout(layout, ROWS, cols, &bytes[at..at + n], 1.0)
                        .expect("fits");
                    let view = OutputRows::new(&mut out, n_tokens, ROWS).expect("fits");
                    let start = Instant::now();
                    ternary_matmul(isa, w, &q, view);
                    times.push(start.elapsed().as_secs_f64());
                }
            }
            let [i2_s, trits5] = times.map(|mut times| {
                times.sort_by(f64::total_cmp);
                (ROWS * cols) as f64 / times[times.len() / 4] / 1e9
            });
            (n_tokens, i2_s, trits5)
        })
        .collect()
}
