//! The ternary inner loop in AVX-512 VNNI: `vpdpbusd` adds four products of codes 0..=3 and int8 activations to an i32.
//!
//! One token: 64 bytes of a row, two blocks, at a time, to keep many bytes of memory in flight; activations are loaded as
//! halves in the same order. Several tokens: 32 bytes of two rows, so that one 32-byte load of activations, repeated by
//! the load unit in both halves, serves both rows and costs no shuffle.

use std::arch::x86_64::*;

use super::avx2::{load, prefetch};
use crate::ternary::{Activations, Block, TokenRow};

/// sums[r][t] = sum of code * q. All slices have as many blocks as `w[0]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn tile<const R: usize, const T: usize>(
    w: [&[Block]; R],
    x: [TokenRow<'_>; T],
) -> [[i32; T]; R] {
    let n = w[0].len();
    let w = w.map(|row| &row[..n]);
    let x = x.map(|token| &token.q[..n]);
    let mut sums = [[0; T]; R];
    if T > 1 && R.is_multiple_of(2) {
        row_pairs(w, x, &mut sums);
    } else {
        for t in 0..T {
            for (sums, sum) in sums.iter_mut().zip(one_token(w, x[t])) {
                sums[t] = sum;
            }
        }
    }
    sums
}

/// One token by R rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn one_token<const R: usize>(w: [&[Block]; R], x: &[Activations]) -> [i32; R] {
    let n = x.len();
    let w = w.map(|row| &row[..n]);
    // A chain for each group: dependent additions would wait for each other.
    let mut acc = [[_mm512_setzero_si512(); 4]; R];
    let mut b = 0;
    while b + 2 <= n {
        let mut q = [_mm512_setzero_si512(); 4];
        for (g, q) in q.iter_mut().enumerate() {
            *q = halves(group(&x[b], g), group(&x[b + 1], g));
        }
        for r in 0..R {
            prefetch(&w[r][b]);
            let codes = unpack(load_two(&w[r][b..b + 2]));
            for g in 0..4 {
                acc[r][g] = _mm512_dpbusd_epi32(acc[r][g], codes[g], q[g]);
            }
        }
        b += 2;
    }
    if b < n {
        for r in 0..R {
            let codes = unpack(_mm512_zextsi256_si512(load(&w[r][b])));
            for g in 0..4 {
                acc[r][g] = _mm512_dpbusd_epi32(
                    acc[r][g],
                    codes[g],
                    _mm512_zextsi256_si512(group(&x[b], g)),
                );
            }
        }
    }
    let mut sums = [0; R];
    for r in 0..R {
        let [a, b, c, d] = acc[r];
        let total = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
        sums[r] = _mm512_reduce_add_epi32(total);
    }
    sums
}

/// T tokens by R rows, R even: row 2p in the low half of accumulator p, row 2p + 1 in the high half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn row_pairs<const R: usize, const T: usize>(
    w: [&[Block]; R],
    x: [&[Activations]; T],
    sums: &mut [[i32; T]; R],
) {
    // Entries from R / 2 on stay unused; the compiler drops them.
    let mut acc = [[_mm512_setzero_si512(); T]; R];
    #[allow(clippy::needless_range_loop)] // g and p index registers side by side
    for b in 0..w[0].len() {
        let mut codes = [[_mm512_setzero_si512(); 4]; R];
        for p in 0..R / 2 {
            codes[p] = unpack(halves(load(&w[2 * p][b]), load(&w[2 * p + 1][b])));
        }
        for t in 0..T {
            for g in 0..4 {
                let q = _mm512_broadcast_i64x4(group(&x[t][b], g));
                for p in 0..R / 2 {
                    acc[p][t] = _mm512_dpbusd_epi32(acc[p][t], codes[p][g], q);
                }
            }
        }
    }
    for p in 0..R / 2 {
        for t in 0..T {
            sums[2 * p][t] = add_lanes(_mm512_castsi512_si256(acc[p][t]));
            sums[2 * p + 1][t] = add_lanes(_mm512_extracti64x4_epi64::<1>(acc[p][t]));
        }
    }
}

/// The four groups of 32 codes of two blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack(blocks: __m512i) -> [__m512i; 4] {
    let mask = _mm512_set1_epi8(3);
    [
        _mm512_and_si512(_mm512_srli_epi16::<6>(blocks), mask),
        _mm512_and_si512(_mm512_srli_epi16::<4>(blocks), mask),
        _mm512_and_si512(_mm512_srli_epi16::<2>(blocks), mask),
        _mm512_and_si512(blocks, mask),
    ]
}

/// The 32 activations of group `g` of a block.
#[inline]
#[target_feature(enable = "avx2")]
fn group(block: &Activations, g: usize) -> __m256i {
    load(&block.as_chunks::<32>().0[g])
}

#[inline]
#[target_feature(enable = "avx512f")]
fn halves(low: __m256i, high: __m256i) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// Two neighbouring blocks.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_two(blocks: &[Block]) -> __m512i {
    assert!(blocks.len() >= 2);
    // SAFETY: two blocks are 64 contiguous bytes, checked above; any alignment.
    unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_lanes(v: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b_01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
}
