//! Time saved by leaving out zeros, one thread, for every ISA of this machine.
//!
//! `cargo run --release -p sterna-kernels --example sparse_speed [isa]`
//!
//! The feed-forward matrices of the 2B-4T shape, of as many layers as exceed the caches: `up` by
//! listed rows, `down` by columns, at several shares of rows or columns that are needed. Times are
//! relative to the whole product of such matrices, measured in turn with it.

use std::time::Instant;

use sterna_kernels::{
    Isa, Line, NonZero, OutputRows, QuantizedActivations, Ternary, TernaryColumns, pack_columns,
    ternary_columns_matmul, ternary_matmul, ternary_matmul_rows,
};

const HIDDEN: usize = 2560;
const FFN: usize = 6912;
const LAYERS: usize = 24;
const ROUNDS: usize = 4;

fn main() {
    let only = std::env::args().nth(1);
    let mut random = Random(1);
    let bytes: Vec<Vec<u8>> = (0..LAYERS)
        .map(|_| {
            let n = FFN * Ternary::row_bytes(HIDDEN);
            (0..n)
                .map(|_| {
                    let byte = random.next() as u8;
                    byte & !((byte >> 1) & byte & 0x55) // code 3 becomes 2
                })
                .collect()
        })
        .collect();
    let down: Vec<Ternary<'_>> = bytes.iter().map(|b| ternary(HIDDEN, FFN, b)).collect();
    let up: Vec<Ternary<'_>> = bytes.iter().map(|b| ternary(FFN, HIDDEN, b)).collect();
    let start = Instant::now();
    let lines: Vec<Vec<Line>> = down.iter().map(|w| by_columns(*w)).collect();
    let ms = start.elapsed().as_secs_f64() * 1e3 / LAYERS as f64;
    println!("by columns: {ms:.1} ms a matrix [{HIDDEN}, {FFN}]");
    let columns: Vec<TernaryColumns<'_>> = lines
        .iter()
        .map(|lines| TernaryColumns::new(HIDDEN, FFN, lines, 1.0).expect("fits"))
        .collect();
    for isa in Isa::supported() {
        if isa.name() == "scalar" || only.as_deref().is_some_and(|name| name != isa.name()) {
            continue;
        }
        for n_tokens in [1, 4] {
            for percent in [5, 10, 20, 30, 50, 70, 100] {
                let rows = rows(isa, &up, n_tokens, percent, &mut random);
                let columns = by_zeros(isa, &down, &columns, n_tokens, percent, &mut random);
                println!(
                    "{:<10} {n_tokens} tokens, {percent:>3} % needed: rows {:5.2} of the whole ({:5.1} GB/s), columns {:5.2} ({:5.1} GB/s)",
                    isa.name(),
                    rows.0,
                    rows.1,
                    columns.0,
                    columns.1
                );
            }
        }
    }
}

/// Time of listed rows over time of all, and what the listed rows read a second.
fn rows(
    isa: Isa,
    up: &[Ternary<'_>],
    n_tokens: usize,
    percent: usize,
    random: &mut Random,
) -> (f64, f64) {
    let x = quantized(isa, n_tokens, HIDDEN, 100, random);
    let lists: Vec<Vec<u32>> = up
        .iter()
        .map(|_| {
            (0..FFN as u32)
                .filter(|_| random.percent(percent))
                .collect()
        })
        .collect();
    let mut out = vec![0.0; n_tokens * FFN];
    let bytes = lists.iter().map(Vec::len).sum::<usize>() * Ternary::row_bytes(HIDDEN);
    compare(
        bytes,
        |layer, out| {
            let view = OutputRows::new(out, n_tokens, FFN).expect("fits");
            ternary_matmul_rows(isa, up[layer], &x, &lists[layer], view);
        },
        |layer, out| {
            let view = OutputRows::new(out, n_tokens, FFN).expect("fits");
            ternary_matmul(isa, up[layer], &x, view);
        },
        &mut out,
    )
}

/// Time by columns over time by rows, and what the columns read a second (counted once for all
/// tokens).
fn by_zeros(
    isa: Isa,
    down: &[Ternary<'_>],
    columns: &[TernaryColumns<'_>],
    n_tokens: usize,
    percent: usize,
    random: &mut Random,
) -> (f64, f64) {
    let x = quantized(isa, n_tokens, FFN, percent, random);
    let mut nonzero = NonZero::default();
    nonzero.set(&x);
    let mut out = vec![0.0; n_tokens * HIDDEN];
    let bytes = nonzero.count() / n_tokens * HIDDEN / 4 * columns.len();
    compare(
        bytes,
        |layer, out| {
            nonzero.set(&x);
            let view = OutputRows::new(out, n_tokens, HIDDEN).expect("fits");
            ternary_columns_matmul(isa, columns[layer], &x, &nonzero, view);
        },
        |layer, out| {
            let view = OutputRows::new(out, n_tokens, HIDDEN).expect("fits");
            ternary_matmul(isa, down[layer], &x, view);
        },
        &mut out,
    )
}

/// Time of `some` over time of `all` and bytes a second of `some`, matrix by matrix in turn. The
/// tenth percentile: a matrix takes well under a scheduler tick, so that even on a busy machine
/// some run alone.
fn compare(
    bytes: usize,
    mut some: impl FnMut(usize, &mut [f32]),
    mut all: impl FnMut(usize, &mut [f32]),
    out: &mut [f32],
) -> (f64, f64) {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for layer in 0..LAYERS {
            let start = Instant::now();
            some(layer, out);
            times[0].push(start.elapsed().as_secs_f64());
            let start = Instant::now();
            all((layer + LAYERS / 2) % LAYERS, out);
            times[1].push(start.elapsed().as_secs_f64());
        }
    }
    let [some, all] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 10]
    });
    (some / all, bytes as f64 / LAYERS as f64 / some / 1e9)
}

fn quantized(
    isa: Isa,
    n_tokens: usize,
    k: usize,
    percent: usize,
    random: &mut Random,
) -> QuantizedActivations {
    let x: Vec<f32> = (0..n_tokens * k)
        .map(|_| {
            let value = (random.next() % 127 + 1) as f32;
            if random.percent(percent) { value } else { 0.0 }
        })
        .collect();
    let mut q = QuantizedActivations::with_capacity(n_tokens, k);
    q.quantize(isa, &x, k);
    q
}

fn ternary(rows: usize, cols: usize, bytes: &[u8]) -> Ternary<'_> {
    Ternary::new(rows, cols, bytes, 1.0).expect("fits")
}

fn by_columns(w: Ternary<'_>) -> Vec<Line> {
    let mut lines = vec![Line::default(); TernaryColumns::n_lines(w.rows(), w.cols())];
    for (tile, lines) in lines.chunks_exact_mut(w.cols()).enumerate() {
        pack_columns(Isa::SCALAR, w, tile, lines);
    }
    lines
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn percent(&mut self, percent: usize) -> bool {
        (self.next() % 100) < percent as u64
    }
}
