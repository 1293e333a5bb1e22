//! Exact dot products of a block of a group-scaled tile in wasm relaxed SIMD, for any number of
//! tokens: a row is a lane, so that sums need no adding up.
//!
//! `i16x8.relaxed_dot_i8x16_i7x16_s` gives the same everywhere, since codes are below 4. A 16-bit
//! sum is at most 8 * 2 * 3 * 127 = 6096, even where every code is the unused 3.

use std::arch::wasm32::*;

use super::{F32x16, load, load_splat};
use crate::grouped::{ActivationBlock, TokenBlocks};

/// See [`crate::isa::kernels::Kernels::group_dots`].
#[inline]
#[target_feature(enable = "relaxed-simd")]
pub(super) fn dots<const BITS: usize, const T: usize>(
    codes: &[u8],
    x: TokenBlocks<'_>,
) -> [F32x16; T] {
    // Written out: a loop over quarters keeps its results in memory.
    of_quarters([
        quarter::<BITS, T>(codes, 0, x),
        quarter::<BITS, T>(codes, 1, x),
        quarter::<BITS, T>(codes, 2, x),
        quarter::<BITS, T>(codes, 3, x),
    ])
}

/// Each token's products with a block's codes in rows 4 * quarter to 4 * quarter + 4.
#[inline]
#[target_feature(enable = "relaxed-simd")]
fn quarter<const BITS: usize, const T: usize>(
    codes: &[u8],
    quarter: usize,
    x: TokenBlocks<'_>,
) -> [v128; T] {
    if BITS == 2 {
        ternary::<T>(codes, quarter, x)
    } else {
        products::<T>(&binary_rows(codes, quarter), x)
    }
}

/// Each token's lanes from those of its quarters.
#[inline(always)]
pub(super) fn of_quarters<const T: usize>([a, b, c, d]: [[v128; T]; 4]) -> [F32x16; T] {
    std::array::from_fn(
        #[inline(always)]
        |t| F32x16([a[t], b[t], c[t], d[t]]),
    )
}

/// Each token's products with a block's codes in four rows.
#[inline]
#[target_feature(enable = "relaxed-simd")]
pub(super) fn products<const T: usize>(columns: &[v128; 8], x: TokenBlocks<'_>) -> [v128; T] {
    let mut dots = [f32x4_splat(0.0); T];
    for (t, dot) in dots.iter_mut().enumerate() {
        let x = x.token(t);
        let mut pairs = i16x8_splat(0);
        for (columns, q) in columns.iter().zip(x.q.as_chunks::<4>().0) {
            let products = i16x8_relaxed_dot_i8x16_i7x16(load_splat(q), *columns);
            pairs = i16x8_add(pairs, products);
        }
        *dot = floats(pairs, x);
    }
    dots
}

/// The same of two bits: every second code stays times four, and the sum of all of those, at most 4
/// * 4 * 2 * 3 * 127, is shifted once.
#[inline]
#[target_feature(enable = "relaxed-simd")]
fn ternary<const T: usize>(codes: &[u8], quarter: usize, x: TokenBlocks<'_>) -> [v128; T] {
    let (ones, fours) = (u8x16_splat(0x03), u8x16_splat(0x0c));
    let lines = codes.as_chunks::<16>().0;
    let (a, b) = (load(&lines[quarter]), load(&lines[4 + quarter]));
    let halves = [a, u16x8_shr(a, 4), b, u16x8_shr(b, 4)];
    let mut dots = [f32x4_splat(0.0); T];
    for (t, dot) in dots.iter_mut().enumerate() {
        let x = x.token(t);
        let (mut sum, mut sum_of_fours) = (i16x8_splat(0), i16x8_splat(0));
        for (v, [q, next]) in halves.iter().zip(x.q.as_chunks::<4>().0.as_chunks::<2>().0) {
            let products = i16x8_relaxed_dot_i8x16_i7x16(load_splat(q), v128_and(*v, ones));
            sum = i16x8_add(sum, products);
            let products = i16x8_relaxed_dot_i8x16_i7x16(load_splat(next), v128_and(*v, fours));
            sum_of_fours = i16x8_add(sum_of_fours, products);
        }
        *dot = floats(i16x8_add(sum, i16x8_shr(sum_of_fours, 2)), x);
    }
    dots
}

/// The sums of pairs of columns, as codes less 1 give them.
#[inline(always)]
fn floats(pairs: v128, x: &ActivationBlock) -> v128 {
    let sums = i32x4_extadd_pairwise_i16x8(pairs);
    f32x4_convert_i32x4(i32x4_add(sums, i32x4_splat(x.minus_sum)))
}

/// Binary codes, 0 and 2, of four columns each, in rows 4 * quarter to 4 * quarter + 4.
#[inline(always)]
fn binary_rows(codes: &[u8], quarter: usize) -> [v128; 8] {
    let v = load(&codes.as_chunks::<16>().0[quarter]);
    let mask = u8x16_splat(2);
    let mut shifted = i8x16_add(v, v);
    let mut columns = [shifted; 8];
    for (k, columns) in columns.iter_mut().enumerate() {
        *columns = v128_and(shifted, mask);
        shifted = if k == 0 { v } else { u16x8_shr(shifted, 1) };
    }
    columns
}
