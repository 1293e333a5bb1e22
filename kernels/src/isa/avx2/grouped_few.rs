//! Exact dot products of a block of a group-scaled tile in AVX2, for any number of tokens: a row is
//! a lane, so that sums need no adding up.
//!
//! ```text
//! a block of 8 rows:
//!   binary 1, ternary 2 loads · 8 x (shift · vpand)                codes 0 to 2, weights plus 1
//!   T x (8 x (vpbroadcastd of 4 activations · vpmaddubsw · vpaddw) · vpmaddwd by 1 · vpsubd)
//! ```
//!
//! A 16-bit sum is at most 8 * 2 * 3 * 127 = 6096, even where every code is the unused 3.
//! `inline(always)`, which functions with features of their own cannot be: a block is too little
//! for a call.

use std::arch::x86_64::*;

use super::{Avx2, F32x16};
use crate::grouped::TokenBlocks;

/// See [`crate::isa::kernels::Kernels::group_dots`].
#[inline(always)]
pub(super) fn dots<const BITS: usize, const T: usize>(
    proof: Avx2,
    codes: &[u8],
    x: TokenBlocks<'_>,
) -> [F32x16; T] {
    let low = eight_rows::<BITS, T>(proof, codes, 0, x);
    let high = eight_rows::<BITS, T>(proof, codes, 32, x);
    F32x16::of_halves(low, high)
}

/// The rows whose codes stand from byte `at` of each line on.
#[inline(always)]
fn eight_rows<const BITS: usize, const T: usize>(
    proof: Avx2,
    codes: &[u8],
    at: usize,
    x: TokenBlocks<'_>,
) -> [__m256; T] {
    // SAFETY: the token proves the features; loads are from slices of 32 bytes.
    unsafe {
        let mut columns = [_mm256_setzero_si256(); 8];
        for (line, columns) in codes
            .as_chunks::<64>()
            .0
            .iter()
            .zip(columns.chunks_exact_mut(8 / BITS))
        {
            let v = _mm256_loadu_si256(line[at..at + 32].as_ptr().cast());
            // Binary codes become 0 and 2, so that either kind's weights are codes less 1.
            let mut shifted = if BITS == 1 { _mm256_add_epi8(v, v) } else { v };
            for (k, columns) in columns.iter_mut().enumerate() {
                *columns =
                    _mm256_and_si256(shifted, _mm256_set1_epi8(if BITS == 1 { 2 } else { 3 }));
                shifted = match (BITS, k) {
                    (1, 0) => v,
                    (1, _) => _mm256_srli_epi16::<1>(shifted),
                    _ => _mm256_srli_epi16::<2>(shifted),
                };
            }
        }
        products::<T>(proof, &columns, x)
    }
}

/// Each token's products with a block's codes of 8 rows.
#[inline(always)]
pub(super) fn products<const T: usize>(
    _proof: Avx2,
    columns: &[__m256i; 8],
    x: TokenBlocks<'_>,
) -> [__m256; T] {
    // SAFETY: the token proves the features.
    unsafe {
        let mut dots = [_mm256_setzero_ps(); T];
        for (t, dot) in dots.iter_mut().enumerate() {
            let x = x.token(t);
            let mut pairs = _mm256_setzero_si256();
            for (columns, q) in columns.iter().zip(x.quads()) {
                let q = _mm256_set1_epi32(q);
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(*columns, q));
            }
            let sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
            *dot = _mm256_cvtepi32_ps(_mm256_add_epi32(sums, _mm256_set1_epi32(x.minus_sum)));
        }
        dots
    }
}
