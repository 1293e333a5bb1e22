//! The ternary inner loop for one to three tokens in AVX2: `vpmaddubsw` multiplies unsigned codes
//! 0..=3 by int8 activations and adds neighbours.

use std::arch::x86_64::*;

use super::{load, prefetch};
use crate::ternary::{Activations, Block};

/// Blocks summed in i16 before widening: a block adds at most 4 groups * 2 neighbours * 3 * 127 =
/// 3048, and 10 of them 30480 < 32768, even where every code is the unused 3.
pub(super) const BLOCKS_PER_WIDENING: usize = 10;

/// sums[r][t] = sum of code * q. All slices have as many blocks as `w[0]`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn tile<const R: usize, const T: usize>(
    w: [&[Block]; R],
    x: [&[Activations]; T],
) -> [[i32; T]; R] {
    let n = w[0].len();
    let w = w.map(|row| &row[..n]);
    let x = x.map(|token| &token[..n]);
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); T]; R];
    let mut start = 0;
    while start < n {
        let end = n.min(start + BLOCKS_PER_WIDENING);
        let mut acc = [[_mm256_setzero_si256(); T]; R];
        for b in start..end {
            for r in 0..R {
                if T == 1 {
                    prefetch(&w[r][b]);
                }
                let codes = unpack(load(&w[r][b]));
                for t in 0..T {
                    let groups = x[t][b].as_chunks::<32>().0;
                    for (codes, q) in codes.iter().zip(groups) {
                        acc[r][t] =
                            _mm256_add_epi16(acc[r][t], _mm256_maddubs_epi16(*codes, load(q)));
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
    let mut totals = [[0; T]; R];
    for r in 0..R {
        for t in 0..T {
            totals[r][t] = add_lanes(sums[r][t]);
        }
    }
    totals
}

/// The four groups of 32 codes in a block.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn unpack(block: __m256i) -> [__m256i; 4] {
    let mask = _mm256_set1_epi8(3);
    [
        _mm256_and_si256(_mm256_srli_epi16::<6>(block), mask),
        _mm256_and_si256(_mm256_srli_epi16::<4>(block), mask),
        _mm256_and_si256(_mm256_srli_epi16::<2>(block), mask),
        _mm256_and_si256(block, mask),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_lanes(v: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b_01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
}
