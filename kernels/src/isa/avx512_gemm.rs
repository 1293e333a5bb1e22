//! The ternary product for many tokens in AVX-512 VNNI.
//!
//! Codes of some rows are unpacked once and meet all tokens in tiles of 4 rows by up to 6 tokens, whose 24 sums stay in
//! registers. A tile's activations stay in L1 while the codes, which lie in the order of use, pass from L2.
//!
//! ```text
//! 64 columns of a tile:  4 loads of codes · T x (load · 4 x vpdpbusd)
//! ```
//!
//! Plain loops throughout: `map` and `array::from_fn` stay out of line around intrinsics.

use std::arch::x86_64::*;

use super::avx2::{load, prefetch_far};
use super::avx512_gemv::{halves, load_q};
use super::avx512_sums::add_lanes;
use super::token_tiles::token_tiles;
use crate::ternary::write_token;
use crate::{OutputRows, QuantizedActivations, Ternary};

/// With fewer tokens the codes are better unpacked in registers: beside the multiplications that costs nothing on Zen 4
/// (README.md has the figures).
pub(super) const MIN_TOKENS: usize = 65;

/// Rows and tokens of a tile.
const R: usize = 4;
const T: usize = 6;
/// Rows that are unpacked together.
const ROWS: usize = 32;
/// Blocks of a chunk, 2560 columns: codes of 32 rows are 80 KB, activations of a tile 15 KB.
const CHUNK: usize = 20;
/// Tokens of a panel; its activations of a chunk, 320 KB, are read from L2 for each group of rows.
const TOKENS: usize = 128;

/// 64 codes of each row of a tile.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Step([[u8; 64]; R]);

/// The codes of [`ROWS`] rows in one chunk, by tiles: aligned, since a load that crosses cache lines costs two.
type Codes = [[Step; 2 * CHUNK]; ROWS / R];

/// See [`crate::ternary_matmul`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn matmul(w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>) {
    let range = out.range();
    let n_blocks = w.row(range.start).len();
    let mut codes: Codes = [[Step([[0; 64]; R]); 2 * CHUNK]; ROWS / R];
    for r0 in range.clone().step_by(ROWS) {
        let r1 = range.end.min(r0 + ROWS);
        for t0 in (0..x.n_tokens()).step_by(TOKENS) {
            let t1 = x.n_tokens().min(t0 + TOKENS);
            let mut sums = [[[0; R]; ROWS / R]; TOKENS];
            for b0 in (0..n_blocks).step_by(CHUNK) {
                let b1 = n_blocks.min(b0 + CHUNK);
                for (i, r) in (r0..r1).enumerate() {
                    unpack_row(&w.row(r)[b0..b1], &mut codes[i / R], i % R);
                }
                let tiles = &codes[..(r1 - r0).div_ceil(R)];
                for (first, n) in token_tiles(t1 - t0, T) {
                    let (t, sums) = (t0 + first, &mut sums[first..]);
                    match n {
                        6 => token_tile::<6>(tiles, x, t, b0..b1, sums),
                        5 => token_tile::<5>(tiles, x, t, b0..b1, sums),
                        4 => token_tile::<4>(tiles, x, t, b0..b1, sums),
                        3 => token_tile::<3>(tiles, x, t, b0..b1, sums),
                        2 => token_tile::<2>(tiles, x, t, b0..b1, sums),
                        _ => token_tile::<1>(tiles, x, t, b0..b1, sums),
                    }
                }
            }
            for (t, sums) in (t0..t1).zip(&sums) {
                write_token(w, x, out, r0, t, &sums.as_flattened()[..r1 - r0]);
            }
        }
    }
}

/// Unpacks a row's blocks into its place in the steps of its tile. Past the last row a tile keeps what an earlier one
/// left, and those sums are not used.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn unpack_row(row: &[[u8; 32]], steps: &mut [Step; 2 * CHUNK], at: usize) {
    let mask = _mm512_set1_epi8(3);
    for (block, steps) in row.iter().zip(steps.as_chunks_mut::<2>().0) {
        prefetch_far(block);
        let codes = _mm512_broadcast_i64x4(load(block));
        for (step, by) in steps.iter_mut().zip([shift(6, 4), shift(2, 0)]) {
            let codes = _mm512_and_si512(_mm512_srlv_epi16(codes, by), mask);
            // SAFETY: a reference to 64 bytes, any alignment.
            unsafe { _mm512_storeu_si512(step.0[at].as_mut_ptr().cast(), codes) };
        }
    }
}

/// All tiles for tokens t..t + N; adds to sums[token][tile].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn token_tile<const N: usize>(
    tiles: &[[Step; 2 * CHUNK]],
    x: &QuantizedActivations,
    t: usize,
    blocks: std::ops::Range<usize>,
    sums: &mut [[[i32; R]; ROWS / R]],
) {
    let mut tokens: [&[[i8; 64]]; N] = [&[]; N];
    for (i, token) in tokens.iter_mut().enumerate() {
        *token = x.token_row(t + i).q[blocks.clone()]
            .as_flattened()
            .as_chunks()
            .0;
    }
    for (i, steps) in tiles.iter().enumerate() {
        let tile = tile(steps, tokens);
        for (sums, tile) in sums.iter_mut().zip(tile) {
            for (sum, add) in sums[i].iter_mut().zip(tile) {
                *sum += add;
            }
        }
    }
}

/// sums[t][r] of code * q over one chunk.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn tile<const N: usize>(steps: &[Step; 2 * CHUNK], x: [&[[i8; 64]]; N]) -> [[i32; R]; N] {
    let n = x[0].len().min(2 * CHUNK);
    let steps = &steps[..n];
    let mut tokens = x;
    for token in &mut tokens {
        *token = &token[..n];
    }
    let mut acc = [[_mm512_setzero_si512(); R]; N];
    for (g, step) in steps.iter().enumerate() {
        let mut codes = [_mm512_setzero_si512(); R];
        for (codes, row) in codes.iter_mut().zip(&step.0) {
            // SAFETY: a reference to 64 bytes, aligned by `Step`.
            *codes = unsafe { _mm512_load_si512(row.as_ptr().cast()) };
        }
        for t in 0..N {
            let q = load_q(&tokens[t][g]);
            for r in 0..R {
                acc[t][r] = _mm512_dpbusd_epi32(acc[t][r], codes[r], q);
            }
        }
    }
    let mut sums = [[0; R]; N];
    for t in 0..N {
        // SAFETY: 16 bytes, any alignment.
        unsafe { _mm_storeu_si128(sums[t].as_mut_ptr().cast(), add_lanes(acc[t])) };
    }
    sums
}

/// Shifts of 16-bit lanes: one in the low half, another in the high half.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn shift(low: u8, high: u8) -> __m512i {
    _mm512_and_si512(halves(low, high), _mm512_set1_epi16(0xFF))
}
