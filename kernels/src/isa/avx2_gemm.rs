//! The ternary product for many tokens in AVX2.
//!
//! Codes are unpacked once into a few KB of bytes and meet all tokens of a panel; tiles of 3 rows by 4 tokens keep 12
//! sums in registers. Columns go in chunks, so that codes and four tokens' activations stay in L1 whatever the width.

use std::arch::x86_64::*;

use super::avx2::load;
use super::avx2_ternary::{BLOCKS_PER_WIDENING, unpack};
use crate::ternary::{Activations, Block, write_row};
use crate::{OutputRows, QuantizedActivations, Ternary};

/// With fewer tokens the codes are better kept in registers (README.md has the figures).
pub(super) const MIN_TOKENS: usize = 32;

/// Rows and tokens of a tile.
const R: usize = 3;
const T: usize = 4;
/// Blocks of a chunk: 2560 columns.
const CHUNK: usize = 2 * BLOCKS_PER_WIDENING;
/// Rows whose sums are held while a panel's chunk of activations stays in L2.
const ROWS: usize = 8 * R;
/// Tokens of a panel.
const TOKENS: usize = 64;

/// The codes of a block, one in each byte.
type Codes = [[u8; 32]; 4];

/// See [`crate::ternary_matmul`].
#[target_feature(enable = "avx2")]
pub(super) fn matmul(w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>) {
    let range = out.range();
    let n_blocks = w.row(range.start).len();
    let mut codes = [[[[0; 32]; 4]; CHUNK]; R];
    for r0 in range.clone().step_by(ROWS) {
        let r1 = range.end.min(r0 + ROWS);
        for t0 in (0..x.n_tokens()).step_by(TOKENS) {
            let t1 = x.n_tokens().min(t0 + TOKENS);
            let mut sums = [[0i32; TOKENS]; ROWS];
            for b0 in (0..n_blocks).step_by(CHUNK) {
                let b1 = n_blocks.min(b0 + CHUNK);
                let token = |t: usize| &x.token_row(t).q[b0..b1];
                for r in (r0..r1).step_by(R) {
                    // Past the last row the tile repeats it, and the results are not used; likewise past the last token.
                    let rows = std::array::from_fn(|i| &w.row((r + i).min(r1 - 1))[b0..b1]);
                    unpack_rows(rows, &mut codes);
                    for t in (t0..t1).step_by(T) {
                        let tokens = std::array::from_fn(|i| token((t + i).min(t1 - 1)));
                        let tile = tile(&codes, tokens);
                        for (i, tile) in tile.iter().enumerate() {
                            for (sum, v) in sums[r - r0 + i][t - t0..].iter_mut().zip(tile) {
                                *sum += v;
                            }
                        }
                    }
                }
            }
            for (r, sums) in (r0..r1).zip(&sums) {
                write_row(w, x, out, r, t0, &sums[..t1 - t0]);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn unpack_rows(rows: [&[Block]; R], codes: &mut [[Codes; CHUNK]; R]) {
    for (row, codes) in rows.into_iter().zip(codes) {
        for (block, codes) in row.iter().zip(codes) {
            for (v, out) in unpack(load(block)).into_iter().zip(codes) {
                // SAFETY: a reference to 32 bytes, any alignment.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), v) };
            }
        }
    }
}

/// sums[r][t] of code * q over one chunk.
#[inline]
#[target_feature(enable = "avx2")]
fn tile(codes: &[[Codes; CHUNK]; R], x: [&[Activations]; T]) -> [[i32; T]; R] {
    let n = x[0].len().min(CHUNK);
    let x = x.map(|token| &token[..n]);
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); T]; R];
    let mut start = 0;
    while start < n {
        let end = n.min(start + BLOCKS_PER_WIDENING);
        let mut acc = [[_mm256_setzero_si256(); T]; R];
        for b in start..end {
            for g in 0..4 {
                let codes: [__m256i; R] = std::array::from_fn(|r| load(&codes[r][b][g]));
                for t in 0..T {
                    let q = load(&x[t][b].as_chunks::<32>().0[g]);
                    for r in 0..R {
                        acc[r][t] = _mm256_add_epi16(acc[r][t], _mm256_maddubs_epi16(codes[r], q));
                    }
                }
            }
        }
        for r in 0..R {
            for t in 0..T {
                sums[r][t] = _mm256_add_epi32(sums[r][t], _mm256_madd_epi16(acc[r][t], ones));
            }
        }
        start = end;
    }
    sums.map(|sums| add_lanes_of_four(sums))
}

/// The lane sums of four vectors at once.
#[inline]
#[target_feature(enable = "avx2")]
fn add_lanes_of_four(v: [__m256i; 4]) -> [i32; 4] {
    let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    let sums = _mm_add_epi32(
        _mm256_castsi256_si128(pairs),
        _mm256_extracti128_si256::<1>(pairs),
    );
    let mut out = [0; 4];
    // SAFETY: a reference to 16 bytes, any alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), sums) };
    out
}
