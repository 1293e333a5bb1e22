//! Exact dot products of a block of a group-scaled tile in wasm relaxed SIMD, for any number of
//! tokens: a row is a lane, so that sums need no adding up.
//!
//! `i16x8.relaxed_dot_i8x16_i7x16_s` gives the same everywhere, since codes are below 4. A 16-bit
//! sum is at most 8 * 2 * 3 * 127 = 6096, even where every code is the unused 3.

use std::arch::wasm32::*;

use super::{F32x16, load, load_splat};
use crate::grouped::TokenBlocks;

/// See [`crate::isa::kernels::Kernels::group_dots`].
#[inline]
#[target_feature(enable = "relaxed-simd")]
pub(super) fn dots<const BITS: usize, const T: usize>(
    codes: &[u8],
    x: TokenBlocks<'_>,
) -> [F32x16; T] {
    // Written out: a loop over quarters keeps its results in memory.
    of_quarters([
        products::<T>(&four_rows::<BITS>(codes, 0), x),
        products::<T>(&four_rows::<BITS>(codes, 1), x),
        products::<T>(&four_rows::<BITS>(codes, 2), x),
        products::<T>(&four_rows::<BITS>(codes, 3), x),
    ])
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
        // Codes are weights plus 1.
        let sums = i32x4_extadd_pairwise_i16x8(pairs);
        *dot = f32x4_convert_i32x4(i32x4_add(sums, i32x4_splat(x.minus_sum)));
    }
    dots
}

/// The codes, 0 to 2, of four columns each, in rows 4 * quarter to 4 * quarter + 4.
#[inline(always)]
fn four_rows<const BITS: usize>(codes: &[u8], quarter: usize) -> [v128; 8] {
    let mut columns = [u8x16_splat(0); 8];
    let lines = codes.as_chunks::<16>().0.iter().skip(quarter).step_by(4);
    for (bytes, columns) in lines.zip(columns.chunks_exact_mut(8 / BITS)) {
        let v = load(bytes);
        // Binary codes become 0 and 2, as ternary ones less 1 are weights.
        let mut shifted = if BITS == 1 { i8x16_add(v, v) } else { v };
        let mask = u8x16_splat(if BITS == 1 { 2 } else { 3 });
        for (k, columns) in columns.iter_mut().enumerate() {
            *columns = v128_and(shifted, mask);
            shifted = match (BITS, k) {
                (1, 0) => v,
                (1, _) => u16x8_shr(shifted, 1),
                _ => u16x8_shr(shifted, 2),
            };
        }
    }
    columns
}
