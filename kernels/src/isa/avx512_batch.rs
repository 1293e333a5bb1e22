//! The ternary product for several tokens in AVX-512 VNNI, unpacked in registers: tiles of 4 rows by up to 4 tokens, or of 2 rows by up
//! to 8.
//!
//! Codes 1 and 3 of four come down by one shift, and then all four are masked where they lie: the first and the third times 4,
//! in the low half of a register, the others in the high half, which is the order in which the activations lie. The low half's sums are
//! shifted once a tile.
//!
//! ```text
//! a block of R rows:  R x (vbroadcasti64x4 · vpsrlw · 2 x vpandd) · 2T x (load · R x vpdpbusd)      128 columns
//! ```

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx2::{load, prefetch_far};
use super::avx512_gemv::{halves, load_q};
use super::avx512_sums::add_lanes_low_times_4;
use super::token_tiles::token_tiles;
use crate::ternary::{Activations, Block, write_token};
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Tokens of a tile of 4 rows, and of one of 2 rows.
const FEW: usize = 4;
const MANY: usize = 8;
/// Rows whose packed bytes stay in cache while all tokens pass over them.
const ROWS: usize = 32;
/// Bytes of activations of a tile that stay in L1 while rows pass over them; wider ones are cut.
const IN_L1: usize = 36 << 10;

/// Sums of code * q of some tokens, for the rows that are passed over together.
type Sums = [[i32; ROWS]; MANY];

/// See [`crate::ternary_matmul`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn matmul(w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>) {
    let range = out.range();
    let most = if x.n_tokens() <= FEW { FEW } else { MANY };
    for start in range.clone().step_by(ROWS) {
        let rows = start..range.end.min(start + ROWS);
        for (t, n) in token_tiles(x.n_tokens(), most) {
            let rows = rows.clone();
            match n {
                8 => token_tile::<2, 8>(w, x, out, rows, t),
                7 => token_tile::<2, 7>(w, x, out, rows, t),
                6 => token_tile::<2, 6>(w, x, out, rows, t),
                5 => token_tile::<2, 5>(w, x, out, rows, t),
                4 => token_tile::<4, 4>(w, x, out, rows, t),
                3 => token_tile::<4, 3>(w, x, out, rows, t),
                2 => token_tile::<4, 2>(w, x, out, rows, t),
                _ => token_tile::<4, 1>(w, x, out, rows, t),
            }
        }
    }
}

/// Rows `rows` for tokens t..t + N.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn token_tile<const R: usize, const N: usize>(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    rows: Range<usize>,
    t: usize,
) {
    let mut tokens: [&[Activations]; N] = [&[]; N];
    for (i, token) in tokens.iter_mut().enumerate() {
        *token = x.token_row(t + i).q;
    }
    let blocks = tokens[0].len();
    let parts = (N * size_of_val(tokens[0])).div_ceil(IN_L1);
    let part = blocks.div_ceil(parts);
    let mut sums: Sums = [[0; ROWS]; MANY];
    for start in (0..blocks).step_by(part) {
        let part = start..blocks.min(start + part);
        for r in rows.clone().step_by(R) {
            let mut tile_rows: [&[Block]; R] = [&[]; R];
            for (i, row) in tile_rows.iter_mut().enumerate() {
                // Past the last row the last one again; its result is not written.
                *row = &w.row((r + i).min(rows.end - 1))[part.clone()];
            }
            let mut x = tokens;
            for token in &mut x {
                *token = &token[part.clone()];
            }
            tile(tile_rows, x, &mut sums, r - rows.start);
        }
    }
    for (i, sums) in sums[..N].iter().enumerate() {
        write_token(w, x, out, rows.start, t + i, &sums[..rows.len()]);
    }
}

/// Adds the sums of code * q of each token by each of the rows to sums[token][at + row].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn tile<const R: usize, const N: usize>(
    mut w: [&[Block]; R],
    mut x: [&[Activations]; N],
    sums: &mut Sums,
    at: usize,
) {
    let n = w[0].len();
    for row in &mut w {
        *row = &row[..n];
    }
    for token in &mut x {
        *token = &token[..n];
    }
    let mask = halves(0x0C, 0x03);
    let mut acc = [[_mm512_setzero_si512(); R]; N];
    for b in 0..n {
        let mut codes = [[_mm512_setzero_si512(); R]; 2];
        for r in 0..R {
            prefetch_far(&w[r][b]);
            let block = _mm512_broadcast_i64x4(load(&w[r][b]));
            codes[0][r] = _mm512_and_si512(_mm512_srli_epi16::<4>(block), mask);
            codes[1][r] = _mm512_and_si512(block, mask);
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
    assert!(at + R <= ROWS);
    // Four registers at a time, of one token or of two; past the last one the last one again.
    let acc = acc.as_flattened();
    for first in (0..acc.len()).step_by(4) {
        let get = |i: usize| acc[(first + i).min(acc.len() - 1)];
        let added = add_lanes_low_times_4([get(0), get(1), get(2), get(3)]);
        let mut four = [0; 4];
        // SAFETY: 16 bytes, any alignment.
        unsafe { _mm_storeu_si128(four.as_mut_ptr().cast(), added) };
        for (i, add) in (first..acc.len()).zip(four) {
            sums[i / R][at + i % R] += add;
        }
    }
}
