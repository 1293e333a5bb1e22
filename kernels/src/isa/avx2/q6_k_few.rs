//! The Q6_K product for several tokens in AVX2.
//!
//! As in AVX-512 (`avx512/q6_k_few.rs`) each weight's group scale is multiplied into it as it is
//! unpacked, here to L1, since sixteen registers hold the sums of a tile and no more. See
//! `x86/q6_k_pairs.rs` for the order of the activations.
//!
//! ```text
//! 16 weights of a row by a token:  vpmaddwd · vpaddd, each load for two rows or four tokens
//! ```

use std::arch::x86_64::*;

use super::dense::{accumulate, part, quarters, scale, scale_pair};
use super::q6_k_input::Q6kInput;
use super::{load_half, load_i16};
use crate::dense::q6_k;
use crate::isa::x86::q6_k_pairs::{PairOfBlocks, STEPS};
use crate::simd::LANES;
use crate::simd::tree_sum;
use crate::{Dense, DenseInput, OutputRows};

/// Tokens of a tile at most.
const T: usize = 4;
/// Rows of a tile.
const R: usize = 2;
/// Rows that are unpacked together, 8 KB for two blocks.
const ROWS: usize = 8;
/// Tokens whose lanes are kept while a group of rows passes, 4 KB.
const TOKENS: usize = 8;

/// Two blocks of a row, (q - 32) * scale, in the order of [`PairOfBlocks`], and their scales.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Weights {
    steps: [[[i16; 16]; 2]; STEPS],
    d: [[u8; 2]; 2],
}

/// See [`crate::dense_matmul`]; for two tokens or more.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn matmul(w: Dense<'_>, x: &DenseInput, packed: &Q6kInput, out: &mut OutputRows<'_>) {
    let range = out.range();
    let n_blocks = w.cols() / q6_k::BLOCK;
    let mut weights = [Weights {
        steps: [[[0; 16]; 2]; STEPS],
        d: [[0; 2]; 2],
    }; ROWS];
    for r0 in range.clone().step_by(ROWS) {
        let r1 = range.end.min(r0 + ROWS);
        for t0 in (0..x.n_tokens()).step_by(TOKENS) {
            let t1 = x.n_tokens().min(t0 + TOKENS);
            let mut lanes = [[[[0.0; 8]; 2]; ROWS]; TOKENS];
            for b in (0..n_blocks).step_by(2) {
                for (r, weights) in (r0..r1).zip(&mut weights) {
                    let (blocks, _) = w.row(r).as_chunks::<{ q6_k::BYTES }>();
                    for p in 0..2.min(n_blocks - b) {
                        // The same block of the next group's row.
                        for line in [0, 64, 128, 192] {
                            let at = blocks[b + p][line..].as_ptr().cast::<i8>();
                            let at = at.wrapping_add(ROWS * n_blocks * q6_k::BYTES);
                            _mm_prefetch::<_MM_HINT_T0>(at);
                        }
                        unpack(&blocks[b + p], weights, p);
                    }
                }
                let there = 2.min(n_blocks - b);
                // Past the last row a tile has what an earlier one left, and its lanes are not
                // used.
                for r in (0..r1 - r0).step_by(R) {
                    let rows = [&weights[r], &weights[r + 1]];
                    let mut t = t0;
                    while t < t1 {
                        let lanes = &mut lanes[t - t0..];
                        t += match t1 - t {
                            1 => tile::<1>(rows, (x, packed), (t, b / 2), there, lanes, r),
                            2 => tile::<2>(rows, (x, packed), (t, b / 2), there, lanes, r),
                            3 => tile::<3>(rows, (x, packed), (t, b / 2), there, lanes, r),
                            _ => tile::<T>(rows, (x, packed), (t, b / 2), there, lanes, r),
                        };
                    }
                }
            }
            for (t, lanes) in (t0..t1).zip(&lanes) {
                let (at, scale) = (r0 - range.start, x.scale(t));
                for (out, lanes) in out.token(t)[at..].iter_mut().zip(&lanes[..r1 - r0]) {
                    let mut sixteen = [0.0; LANES];
                    sixteen.copy_from_slice(lanes.as_flattened());
                    *out = tree_sum(sixteen) / scale;
                }
            }
        }
    }
}

/// Block `p` of two into its place.
#[inline]
#[target_feature(enable = "avx2")]
fn unpack(block: &[u8; q6_k::BYTES], weights: &mut Weights, p: usize) {
    weights.d[p] = *part(block, q6_k::D);
    let all = _mm256_cvtepi8_epi16(load_half(part(block, q6_k::SCALES)));
    for half in 0..2 {
        let scales = if half == 0 {
            _mm256_permute4x64_epi64::<0b_01_00_01_00>(all)
        } else {
            _mm256_permute4x64_epi64::<0b_11_10_11_10>(all)
        };
        for (k, q) in quarters(block, half).into_iter().enumerate() {
            let scale = _mm256_shuffle_epi8(scales, scale_pair(k));
            let q = _mm256_sub_epi8(q, _mm256_set1_epi8(32));
            let (even, odd) = (_mm256_slli_epi16::<8>(q), q);
            let even = _mm256_mullo_epi16(_mm256_srai_epi16::<8>(even), scale);
            let odd = _mm256_mullo_epi16(_mm256_srai_epi16::<8>(odd), scale);
            for (h, v) in [even, odd].into_iter().enumerate() {
                let to = &mut weights.steps[2 * (4 * half + k) + h][p];
                // SAFETY: a reference to 32 bytes, any alignment.
                unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), v) };
            }
        }
    }
}

/// Adds `there` blocks, pair `pair` of two rows, for tokens t..t + N to the lanes of rows r and r +
/// 1; returns N.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn tile<const N: usize>(
    rows: [&Weights; R],
    (x, packed): (&DenseInput, &Q6kInput),
    (t, pair): (usize, usize),
    there: usize,
    lanes: &mut [[[[f32; 8]; 2]; ROWS]],
    r: usize,
) -> usize {
    let mut tokens: [&PairOfBlocks; N] = [&packed.pairs(x, t)[pair]; N];
    for (i, token) in tokens.iter_mut().enumerate() {
        *token = &packed.pairs(x, t + i)[pair];
    }
    for p in 0..there {
        let mut acc = [[_mm256_setzero_si256(); N]; R];
        for step in 0..STEPS {
            let w = [
                load_i16(&rows[0].steps[step][p]),
                load_i16(&rows[1].steps[step][p]),
            ];
            for t in 0..N {
                let x = load_i16(&tokens[t].0[step][p]);
                for r in 0..R {
                    acc[r][t] = _mm256_add_epi32(acc[r][t], _mm256_madd_epi16(w[r], x));
                }
            }
        }
        for i in 0..R {
            let d = scale(rows[i].d[p]);
            for t in 0..N {
                let lanes = &mut lanes[t][r + i][p];
                // SAFETY: references to 8 f32.
                unsafe {
                    let sums = accumulate(_mm256_loadu_ps(lanes.as_ptr()), acc[i][t], d);
                    _mm256_storeu_ps(lanes.as_mut_ptr(), sums);
                }
            }
        }
    }
    N
}
