//! Products of int8 keys and values, widened to int16: 16 a step, pairs added by `vpmaddwd`.

use std::arch::x86_64::*;

use crate::simd::{LANES, SUM_COLUMNS, SUM_POSITIONS};

/// Bytes that become a vector.
const STEP: usize = 16;

/// Keys whose sums are in registers at a time.
const KEYS: usize = 4;

/// See [`crate::simd::Simd::int8_dots`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn dots<const Q: usize>(
    queries: [&[i8]; Q],
    keys: &[i8],
    mut ask: impl FnMut(usize),
) -> [[i32; LANES]; Q] {
    let d = queries[0].len();
    let n = keys.len() / d;
    let mut out = [[0; LANES]; Q];
    for first in (0..n).step_by(KEYS) {
        // A last key once more where there are no four: its products are not read.
        let mut rows = [&[][..]; KEYS];
        for (k, row) in rows.iter_mut().enumerate() {
            *row = &keys[(first + k).min(n - 1) * d..][..d];
        }
        let mut sums = [[_mm256_setzero_si256(); KEYS]; Q];
        for at in (0..d).step_by(STEP) {
            let mut wide = [_mm256_setzero_si256(); Q];
            for (wide, query) in wide.iter_mut().zip(queries) {
                *wide = load(&query[at..]);
            }
            for (k, key) in rows.iter().enumerate() {
                if at % 64 == 0 {
                    ask((first + k) * d + at);
                }
                let key = load(&key[at..]);
                for (sums, query) in sums.iter_mut().zip(wide) {
                    sums[k] = _mm256_add_epi32(sums[k], _mm256_madd_epi16(key, query));
                }
            }
        }
        for (out, [a, b, c, d]) in out.iter_mut().zip(sums) {
            let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
            let four = _mm_add_epi32(
                _mm256_castsi256_si128(pairs),
                _mm256_extracti128_si256::<1>(pairs),
            );
            let out = &mut out[first..first + KEYS];
            // SAFETY: a slice of 16 bytes; any alignment.
            unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), four) };
        }
    }
    out
}

/// See [`crate::simd::Simd::int8_sums`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sums<const Q: usize>(
    weights: [&[i32; SUM_POSITIONS]; Q],
    values: &[i8],
    d: usize,
    column: usize,
    mut ask: impl FnMut(usize),
) -> [[i32; SUM_COLUMNS]; Q] {
    let n = values.len() / d;
    let width = SUM_COLUMNS.min(d - column);
    let mut pairs = [[0; SUM_POSITIONS / 2]; Q];
    for (pairs, weights) in pairs.iter_mut().zip(weights) {
        for (pair, [a, b]) in pairs.iter_mut().zip(weights.as_chunks().0) {
            *pair = a | b << 16;
        }
    }
    let mut out = [[0; SUM_COLUMNS]; Q];
    for from in (0..width).step_by(STEP) {
        let to = (from + STEP).min(width);
        let row = |i: usize| load(&values[i * d + column..][from..to]);
        // Columns 0 to 3 and 8 to 11, and the others.
        let mut sums = [[_mm256_setzero_si256(); 2]; Q];
        for pair in 0..n.div_ceil(2) {
            if from == 0 {
                ask(2 * pair * d + column);
                ask((2 * pair + 1) * d + column);
            }
            // A last row once more where there are no two: it has no weight.
            let (a, b) = (row(2 * pair), row((2 * pair + 1).min(n - 1)));
            let columns = [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)];
            for (sums, pairs) in sums.iter_mut().zip(&pairs) {
                let pair = _mm256_set1_epi32(pairs[pair]);
                for (sum, columns) in sums.iter_mut().zip(columns) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pair, columns));
                }
            }
        }
        for (out, [low, high]) in out.iter_mut().zip(sums) {
            let in_order = [
                _mm256_permute2x128_si256::<0x20>(low, high),
                _mm256_permute2x128_si256::<0x31>(low, high),
            ];
            for (out, sums) in out[from..].as_chunks_mut::<8>().0.iter_mut().zip(in_order) {
                // SAFETY: an array of 32 bytes; any alignment.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sums) };
            }
        }
    }
    out
}

/// The first 16 of `bytes`, widened; of fewer the rest is zero.
#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[i8]) -> __m256i {
    let mut padded = [0; STEP];
    let bytes = match bytes.first_chunk() {
        Some(whole) => whole,
        None => {
            padded[..bytes.len()].copy_from_slice(bytes);
            &padded
        }
    };
    // SAFETY: an array of 16 bytes; any alignment.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}
