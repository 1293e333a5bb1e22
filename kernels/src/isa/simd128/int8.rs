//! Products of int8 keys and values, widened to int16: 8 a step, pairs added by
//! `i32x4.dot_i16x8_s`.

use std::arch::wasm32::*;

use super::{add_lanes_of_four, store_ints};
use crate::simd::{LANES, SUM_COLUMNS, SUM_POSITIONS};

/// Bytes that become a vector.
const STEP: usize = 8;

/// Keys whose sums are in registers at a time.
const KEYS: usize = 4;

/// See [`crate::simd::Simd::int8_dots`].
#[inline(always)]
pub(super) fn dots<const Q: usize>(queries: [&[i8]; Q], keys: &[i8]) -> [[i32; LANES]; Q] {
    let d = queries[0].len();
    let n = keys.len() / d;
    let mut out = [[0; LANES]; Q];
    for first in (0..n).step_by(KEYS) {
        // A last key once more where there are no four: its products are not read.
        let mut rows = [&[][..]; KEYS];
        for (k, row) in rows.iter_mut().enumerate() {
            *row = &keys[(first + k).min(n - 1) * d..][..d];
        }
        let mut sums = [[i32x4_splat(0); KEYS]; Q];
        for at in (0..d).step_by(STEP) {
            let mut wide = [i32x4_splat(0); Q];
            for (wide, query) in wide.iter_mut().zip(queries) {
                *wide = load(&query[at..]);
            }
            for (k, key) in rows.iter().enumerate() {
                let key = load(&key[at..]);
                for (sums, query) in sums.iter_mut().zip(wide) {
                    sums[k] = i32x4_add(sums[k], i32x4_dot_i16x8(key, query));
                }
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            out[first..first + KEYS].copy_from_slice(&add_lanes_of_four(sums));
        }
    }
    out
}

/// See [`crate::simd::Simd::int8_sums`].
#[inline(always)]
pub(super) fn sums<const Q: usize>(
    weights: [&[i32; SUM_POSITIONS]; Q],
    values: &[i8],
    d: usize,
    column: usize,
) -> [[i32; SUM_COLUMNS]; Q] {
    let n = values.len() / d;
    let width = SUM_COLUMNS.min(d - column);
    let mut out = [[0; SUM_COLUMNS]; Q];
    for from in (0..width).step_by(STEP) {
        let to = (from + STEP).min(width);
        let row = |i: usize| load(&values[i * d + column..][from..to]);
        let mut sums = [[i32x4_splat(0); 2]; Q];
        for pair in 0..n.div_ceil(2) {
            // A last row once more where there are no two: it has no weight.
            let (a, b) = (row(2 * pair), row((2 * pair + 1).min(n - 1)));
            let columns = [
                i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(a, b),
                i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(a, b),
            ];
            for (sums, weights) in sums.iter_mut().zip(weights) {
                let [a, b] = weights.as_chunks().0[pair];
                let pair = i32x4_splat(a | b << 16);
                for (sum, columns) in sums.iter_mut().zip(columns) {
                    *sum = i32x4_add(*sum, i32x4_dot_i16x8(pair, columns));
                }
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            let (out, _) = out[from..].as_chunks_mut();
            for (out, sums) in out.iter_mut().zip(sums) {
                store_ints(sums, out);
            }
        }
    }
    out
}

/// The first 8 of `bytes`, widened; of fewer the rest is zero.
#[inline(always)]
fn load(bytes: &[i8]) -> v128 {
    let mut padded = [0; STEP];
    let bytes = match bytes.first_chunk() {
        Some(whole) => whole,
        None => {
            padded[..bytes.len()].copy_from_slice(bytes);
            &padded
        }
    };
    // SAFETY: a reference to 8 bytes; the load has no alignment requirement.
    unsafe { i16x8_load_extend_i8x8(bytes.as_ptr()) }
}
