//! The ternary product for many tokens in AVX2.
//!
//! Codes of a few rows are unpacked once into L1 and meet all tokens of a panel in tiles of 4 rows
//! by 2 tokens, whose eight sums stay in registers over ten blocks. Plain loops throughout:
//! closures in a `target_feature` function do not inherit the feature, and `array::from_fn` and
//! `map` around them stay out of line.

use std::arch::x86_64::*;

use super::i2s_few::{BLOCKS_PER_WIDENING, unpack};
use super::{load, prefetch};
use crate::isa::outputs::write_token;
use crate::{OutputRows, QuantizedActivations, Ternary};

/// With fewer tokens the codes are better kept in registers (docs/experiments.md has the figures).
pub(super) const MIN_TOKENS: usize = 16;

/// Rows and tokens of a tile.
const R: usize = 4;
const T: usize = 2;
/// Blocks of a chunk: 2560 columns.
const CHUNK: usize = 2 * BLOCKS_PER_WIDENING;
/// Rows whose codes are in L1 (20 KB) while a panel's tokens pass, 5 KB at a time.
const UNPACKED: usize = 8;
/// Rows that a panel's chunk of activations, 160 KB, meets while it stays in L2.
const ROWS: usize = 6 * UNPACKED;
/// Tokens of a panel.
const TOKENS: usize = 64;

/// 32 codes, one in each byte.
type Group = [u8; 32];
/// A row's codes in one chunk.
type RowCodes = [Group; 4 * CHUNK];

/// Unpacked rows; aligned, since a load that crosses cache lines costs two.
#[repr(align(64))]
struct UnpackedRows([RowCodes; UNPACKED]);

/// See [`crate::ternary_matmul`].
#[target_feature(enable = "avx2")]
pub(super) fn matmul(w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>) {
    let range = out.range();
    let n_blocks = w.row(range.start).len();
    let mut codes = UnpackedRows([[[0; 32]; 4 * CHUNK]; UNPACKED]);
    for r0 in range.clone().step_by(ROWS) {
        let r1 = range.end.min(r0 + ROWS);
        for t0 in (0..x.n_tokens()).step_by(TOKENS) {
            let t1 = x.n_tokens().min(t0 + TOKENS);
            let mut sums = [[[[0; R]; ROWS / R]; T]; TOKENS / T];
            for b0 in (0..n_blocks).step_by(CHUNK) {
                let b1 = n_blocks.min(b0 + CHUNK);
                for u0 in (r0..r1).step_by(UNPACKED) {
                    let u1 = r1.min(u0 + UNPACKED);
                    for (r, codes) in (u0..u1).zip(&mut codes.0) {
                        unpack_row(&w.row(r)[b0..b1], codes);
                    }
                    for t in (t0..t1).step_by(T) {
                        // Past the last token the tile repeats it, and the results are not used;
                        // past the last row it takes what an earlier row left.
                        let (q0, q1) = (x.blocks(t), x.blocks((t + 1).min(t1 - 1)));
                        let tokens = [
                            q0[b0..b1].as_flattened().as_chunks().0,
                            q1[b0..b1].as_flattened().as_chunks().0,
                        ];
                        let rows = codes.0.as_chunks::<R>().0.iter();
                        let sums = &mut sums[(t - t0) / T];
                        for (rows, r) in rows.zip((u0..u1).step_by(R)) {
                            let tile = tile(rows, tokens);
                            for i in 0..T {
                                let sum = &mut sums[i][(r - r0) / R];
                                for j in 0..R {
                                    sum[j] += tile[i][j];
                                }
                            }
                        }
                    }
                }
            }
            for (t, sums) in (t0..t1).zip(sums.as_flattened()) {
                write_token(w, x, out, r0, t, &sums.as_flattened()[..r1 - r0]);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn unpack_row(row: &[[u8; 32]], codes: &mut RowCodes) {
    for (block, codes) in row.iter().zip(codes.as_chunks_mut::<4>().0) {
        prefetch(block);
        let groups = unpack(load(block));
        for (v, out) in groups.iter().zip(codes) {
            // SAFETY: a reference to 32 bytes, any alignment.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), *v) };
        }
    }
}

/// sums[t][r] of code * q over one chunk.
#[inline]
#[target_feature(enable = "avx2")]
fn tile(codes: &[RowCodes; R], x: [&[[i8; 32]]; T]) -> [[i32; R]; T] {
    let n = x[0].len().min(4 * CHUNK);
    let [x0, x1] = [&x[0][..n], &x[1][..n]];
    let [w0, w1, w2, w3] = [
        &codes[0][..n],
        &codes[1][..n],
        &codes[2][..n],
        &codes[3][..n],
    ];
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); R]; T];
    let mut start = 0;
    while start < n {
        let end = n.min(start + 4 * BLOCKS_PER_WIDENING);
        let mut acc = [[_mm256_setzero_si256(); R]; T];
        for g in start..end {
            let q = [load(&x0[g]), load(&x1[g])];
            let w = [load(&w0[g]), load(&w1[g]), load(&w2[g]), load(&w3[g])];
            for r in 0..R {
                acc[0][r] = _mm256_add_epi16(acc[0][r], _mm256_maddubs_epi16(w[r], q[0]));
                acc[1][r] = _mm256_add_epi16(acc[1][r], _mm256_maddubs_epi16(w[r], q[1]));
            }
        }
        for t in 0..T {
            for r in 0..R {
                sums[t][r] = _mm256_add_epi32(sums[t][r], _mm256_madd_epi16(acc[t][r], ones));
            }
        }
        start = end;
    }
    [add_lanes(sums[0]), add_lanes(sums[1])]
}

/// The sums of four vectors.
#[inline]
#[target_feature(enable = "avx2")]
fn add_lanes(v: [__m256i; R]) -> [i32; R] {
    let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    let sums = _mm_add_epi32(
        _mm256_castsi256_si128(pairs),
        _mm256_extracti128_si256::<1>(pairs),
    );
    let mut out = [0; R];
    // SAFETY: a reference to 16 bytes, any alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), sums) };
    out
}
