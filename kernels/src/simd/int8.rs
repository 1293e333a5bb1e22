//! Products of int8 keys and values: plain Rust, of which compilers make vectors.

use super::LANES;
use super::vector::{SUM_COLUMNS, SUM_POSITIONS};

/// See [`crate::simd::Simd::int8_dots`].
#[inline(always)]
pub(crate) fn dots<const Q: usize>(
    queries: [&[i8]; Q],
    keys: &[i8],
    mut ask: impl FnMut(usize),
) -> [[i32; LANES]; Q] {
    let d = queries[0].len();
    let mut dots = [[0; LANES]; Q];
    for (k, key) in keys.chunks_exact(d).enumerate() {
        ask(k * d);
        for (query, dots) in queries.iter().zip(&mut dots) {
            dots[k] = dot(query, key);
        }
    }
    dots
}

/// The sum of a\[i\] * b\[i\], modulo 2^32: it is exact for up to 131071 numbers.
#[inline(always)]
fn dot(a: &[i8], b: &[i8]) -> i32 {
    let mut sum = 0i32;
    for (a, b) in a.iter().zip(b) {
        sum = sum.wrapping_add(i32::from(*a) * i32::from(*b));
    }
    sum
}

/// See [`crate::simd::Simd::int8_sums`].
#[inline(always)]
pub(crate) fn sums<const Q: usize>(
    weights: [&[i32; SUM_POSITIONS]; Q],
    values: &[i8],
    d: usize,
    column: usize,
    mut ask: impl FnMut(usize),
) -> [[i32; SUM_COLUMNS]; Q] {
    let mut sums = [[0; SUM_COLUMNS]; Q];
    let width = SUM_COLUMNS.min(d - column);
    for (i, row) in values.chunks_exact(d).enumerate() {
        ask(i * d + column);
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let weight = weights[i];
            for (sum, value) in sums.iter_mut().zip(&row[column..column + width]) {
                *sum += weight * i32::from(*value);
            }
        }
    }
    sums
}
