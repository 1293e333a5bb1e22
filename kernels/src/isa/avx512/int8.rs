//! Products of int8 keys and values with VNNI: 64 a step.

use std::arch::x86_64::*;

use super::sums::add_quarters;
use crate::simd::{LANES, SUM_COLUMNS, SUM_POSITIONS};

/// Bytes of a vector.
const STEP: usize = 64;

/// Keys whose sums are in registers at a time.
const KEYS: usize = 4;

/// See [`crate::simd::Simd::int8_dots`].
///
/// `vpdpbusd` multiplies unsigned with signed bytes, so that keys are 128 larger than they are, and
/// 128 times the query's sum is taken off.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn dots<const Q: usize>(
    queries: [&[i8]; Q],
    keys: &[i8],
    mut ask: impl FnMut(usize),
) -> [[i32; LANES]; Q] {
    let bias = _mm512_set1_epi8(-128);
    let d = queries[0].len();
    let n = keys.len() / d;
    // Of a part of a vector the rest is zero, in the queries too.
    let mask_at = |at: usize| u64::MAX >> (STEP - (d - at).min(STEP));
    let mut too_much = [_mm512_setzero_si512(); Q];
    for (too_much, query) in too_much.iter_mut().zip(queries) {
        for at in (0..d).step_by(STEP) {
            *too_much = _mm512_dpbusd_epi32(*too_much, bias, load(query, at, mask_at(at)));
        }
    }
    let mut quarters = [[_mm512_setzero_si512(); LANES / KEYS]; Q];
    for first in (0..n).step_by(KEYS) {
        // A last key once more where there are no four: its products are not read.
        let mut rows = [&[][..]; KEYS];
        for (k, row) in rows.iter_mut().enumerate() {
            *row = &keys[(first + k).min(n - 1) * d..][..d];
        }
        let mut sums = [[_mm512_setzero_si512(); KEYS]; Q];
        for (q, sums) in sums.iter_mut().enumerate() {
            *sums = [_mm512_sub_epi32(_mm512_setzero_si512(), too_much[q]); KEYS];
        }
        for at in (0..d).step_by(STEP) {
            let mask = mask_at(at);
            let biased = rows.map(|row| _mm512_xor_si512(load(row, at, mask), bias));
            for k in 0..KEYS {
                ask((first + k) * d + at);
            }
            for (q, query) in queries.iter().enumerate() {
                let query = load(query, at, mask);
                for (sum, key) in sums[q].iter_mut().zip(biased) {
                    *sum = _mm512_dpbusd_epi32(*sum, key, query);
                }
            }
        }
        for (quarters, sums) in quarters.iter_mut().zip(sums) {
            quarters[first / KEYS] = add_quarters(sums);
        }
    }
    let mut out = [[0; LANES]; Q];
    for (out, quarters) in out.iter_mut().zip(quarters) {
        store(add_across(quarters), out);
    }
    out
}

/// The sums over the quarters of each vector: quarter i of the result is v[i]'s.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_across(v: [__m512i; 4]) -> __m512i {
    // Quarters 0 and 2 beside 1 and 3, of two vectors; then of all four.
    let halves = |a, b| {
        _mm512_add_epi32(
            _mm512_shuffle_i32x4::<0b01_00_01_00>(a, b),
            _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b),
        )
    };
    let (ab, cd) = (halves(v[0], v[1]), halves(v[2], v[3]));
    _mm512_add_epi32(
        _mm512_shuffle_i32x4::<0b10_00_10_00>(ab, cd),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(ab, cd),
    )
}

/// Rows of values whose bytes lie side by side for `vpdpbusd`.
const ROWS: usize = 4;

/// See [`crate::simd::Simd::int8_sums`].
///
/// A weight is 256 times one unsigned byte and another.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn sums<const Q: usize>(
    weights: [&[i32; SUM_POSITIONS]; Q],
    values: &[i8],
    d: usize,
    column: usize,
    mut ask: impl FnMut(usize),
) -> [[i32; SUM_COLUMNS]; Q] {
    let n = values.len() / d;
    let width = (d - column).min(STEP);
    let mask = u64::MAX >> (STEP - width);
    assert!(column + width <= d && n * d <= values.len());
    // [which byte, weights of four rows]
    let mut bytes = [[[0u32; SUM_POSITIONS / ROWS]; 2]; Q];
    for (bytes, weights) in bytes.iter_mut().zip(weights) {
        *bytes = split(weights);
    }
    // Of each sixteen columns: the first four, the next, and so on.
    let mut quarters = [[_mm512_setzero_si512(); 4]; Q];
    for half in 0..2 {
        let mut sums = [[[_mm512_setzero_si512(); 2]; 2]; Q];
        let mut at = column;
        for four in 0..n.div_ceil(ROWS) {
            let left = n - four * ROWS;
            let mut rows = [_mm512_setzero_si512(); ROWS];
            let mut row_at = at;
            for (i, row) in rows.iter_mut().enumerate() {
                // The first one once more where there are no four: it has no weight.
                let of = if i < left { row_at } else { at };
                // SAFETY: `of` is column `column` of one of the n rows, all in `values`, and bytes
                // that the mask does not have are not read: what is read ends at column
                // `column + width`, which is not behind the row's end.
                *row = unsafe { _mm512_maskz_loadu_epi8(mask, values.as_ptr().add(of)) };
                if half == 0 {
                    ask(row_at);
                }
                row_at += d;
            }
            at = row_at;
            let [a, b, c, d] = rows;
            let (ab, cd) = match half {
                0 => (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d)),
                _ => (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d)),
            };
            let columns = [_mm512_unpacklo_epi16(ab, cd), _mm512_unpackhi_epi16(ab, cd)];
            for (sums, bytes) in sums.iter_mut().zip(&bytes) {
                for (sums, bytes) in sums.iter_mut().zip(bytes) {
                    let weights = _mm512_set1_epi32(bytes[four].cast_signed());
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_dpbusd_epi32(*sum, weights, columns);
                    }
                }
            }
        }
        for (quarters, [low, high]) in quarters.iter_mut().zip(sums) {
            for i in 0..2 {
                quarters[2 * half + i] = _mm512_add_epi32(low[i], _mm512_slli_epi32::<8>(high[i]));
            }
        }
    }
    let mut out = [[0; SUM_COLUMNS]; Q];
    for (out, quarters) in out.iter_mut().zip(quarters) {
        let (out, _) = out.as_chunks_mut();
        for (out, sums) in out.iter_mut().zip(in_order(quarters)) {
            store(sums, out);
        }
    }
    out
}

/// The low and the high bytes of weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn split(weights: &[i32; SUM_POSITIONS]) -> [[u32; SUM_POSITIONS / ROWS]; 2] {
    let mut bytes = [[0; SUM_POSITIONS / ROWS]; 2];
    let (sixteens, _) = weights.as_chunks::<LANES>();
    for (i, sixteen) in sixteens.iter().enumerate() {
        // SAFETY: an array of 64 bytes; any alignment.
        let weights = unsafe { _mm512_loadu_si512(sixteen.as_ptr().cast()) };
        let high = _mm512_srli_epi32::<8>(weights);
        for (bytes, part) in bytes.iter_mut().zip([weights, high]) {
            let bytes = &mut bytes[4 * i..][..4];
            // SAFETY: a slice of 16 bytes; any alignment.
            unsafe {
                _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(part));
            }
        }
    }
    bytes
}

/// Quarter j of result i is quarter i of v[j].
#[inline]
#[target_feature(enable = "avx512f")]
fn in_order([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let ab = [
        _mm512_shuffle_i32x4::<0b01_00_01_00>(a, b),
        _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b),
    ];
    let cd = [
        _mm512_shuffle_i32x4::<0b01_00_01_00>(c, d),
        _mm512_shuffle_i32x4::<0b11_10_11_10>(c, d),
    ];
    [
        _mm512_shuffle_i32x4::<0b10_00_10_00>(ab[0], cd[0]),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(ab[0], cd[0]),
        _mm512_shuffle_i32x4::<0b10_00_10_00>(ab[1], cd[1]),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(ab[1], cd[1]),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(v: __m512i, out: &mut [i32; LANES]) {
    // SAFETY: an array of 64 bytes; any alignment.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), v) };
}

/// The bytes of `row[at..]` that `mask` has, at most 64, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(row: &[i8], at: usize, mask: u64) -> __m512i {
    let rest = &row[at..];
    assert!(64 - mask.leading_zeros() as usize <= rest.len());
    // SAFETY: bytes that the mask does not have are not read, and `rest` has the others.
    unsafe { _mm512_maskz_loadu_epi8(mask, rest.as_ptr()) }
}
