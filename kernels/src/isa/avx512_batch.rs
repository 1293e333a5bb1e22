//! The ternary product for several tokens in AVX-512 VNNI: tiles of 4 rows by up to 4 tokens; codes are unpacked in registers,
//! beside the multiplications.
//!
//! ```text
//! a block of 4 rows:  4 x (vbroadcasti64x4 · 2 x vpsrlvw · 2 x vpandd) · 2T x (load · 4 x vpdpbusd)      128 columns
//! ```

use std::arch::x86_64::*;

use super::avx2::{load, prefetch_far};
use super::avx512_gemm::shift;
use super::avx512_gemv::load_q;
use super::avx512_sums::{add_lanes, write4};
use super::token_tiles::token_tiles;
use crate::ternary::{Activations, Block};
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Rows and tokens of a tile.
const R: usize = 4;
const T: usize = 4;
/// Rows whose packed bytes stay in cache while all tokens pass over them.
const ROWS: usize = 32;

/// See [`crate::ternary_matmul`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn matmul(w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>) {
    let range = out.range();
    for start in range.clone().step_by(ROWS) {
        let rows = start..range.end.min(start + ROWS);
        for (t, n) in token_tiles(x.n_tokens(), T) {
            let rows = rows.clone();
            match n {
                4 => token_tile::<4>(w, x, out, rows, t),
                3 => token_tile::<3>(w, x, out, rows, t),
                2 => token_tile::<2>(w, x, out, rows, t),
                _ => token_tile::<1>(w, x, out, rows, t),
            }
        }
    }
}

/// Rows `rows` for tokens t..t + N.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn token_tile<const N: usize>(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    rows: std::ops::Range<usize>,
    t: usize,
) {
    let mut tokens: [&[Activations]; N] = [&[]; N];
    for (i, token) in tokens.iter_mut().enumerate() {
        *token = x.token_row(t + i).q;
    }
    for r in rows.clone().step_by(R) {
        let mut tile_rows: [&[Block]; R] = [&[]; R];
        for (i, row) in tile_rows.iter_mut().enumerate() {
            // Past the last row the last one again; its result is not stored.
            *row = w.row((r + i).min(rows.end - 1));
        }
        for (i, sums) in tile::<N>(tile_rows, tokens).into_iter().enumerate() {
            write4(w, x, out, r, t + i, sums);
        }
    }
}

/// For each token the sums of code * q of four rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn tile<const N: usize>(mut w: [&[Block]; R], mut x: [&[Activations]; N]) -> [__m128i; N] {
    let n = w[0].len();
    for row in &mut w {
        *row = &row[..n];
    }
    for token in &mut x {
        *token = &token[..n];
    }
    let mask = _mm512_set1_epi8(3);
    let shifts = [shift(6, 4), shift(2, 0)];
    let mut acc = [[_mm512_setzero_si512(); R]; N];
    for b in 0..n {
        let mut codes = [[_mm512_setzero_si512(); R]; 2];
        for r in 0..R {
            prefetch_far(&w[r][b]);
            let block = _mm512_broadcast_i64x4(load(&w[r][b]));
            for half in 0..2 {
                codes[half][r] = _mm512_and_si512(_mm512_srlv_epi16(block, shifts[half]), mask);
            }
        }
        for t in 0..N {
            let q = x[t][b].as_chunks::<64>().0;
            for half in 0..2 {
                let q = load_q(&q[half]);
                for r in 0..R {
                    acc[t][r] = _mm512_dpbusd_epi32(acc[t][r], codes[half][r], q);
                }
            }
        }
    }
    let mut sums = [_mm_setzero_si128(); N];
    for t in 0..N {
        sums[t] = add_lanes(acc[t]);
    }
    sums
}
