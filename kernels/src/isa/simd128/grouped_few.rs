//! Exact dot products of a block of a group-scaled tile in wasm SIMD128, for any number of tokens:
//! a row is a lane, so that sums need no adding up.
//!
//! `i32x4.dot_i16x8_s` takes codes where they lie in 16-bit lanes, those of the even columns, then
//! those of the odd ones. Masking leaves a code times a power of two; the activations it meets are
//! multiplied by the power that makes every product 64 * code * q, with binary codes 0 and 2. So no
//! code is shifted, and all share one sum, at most 64 * 32 * 3 * 127.

use std::arch::wasm32::*;

use super::{F32x16, load};
use crate::grouped::TokenBlocks;

/// See [`crate::isa::kernels::Kernels::group_dots`].
#[inline(always)]
pub(super) fn dots<const BITS: usize, const T: usize>(
    codes: &[u8],
    x: TokenBlocks<'_>,
) -> [F32x16; T] {
    let mut dots = [F32x16([f32x4_splat(0.0); 4]); T];
    for (t, dot) in dots.iter_mut().enumerate() {
        let x = x.token(t);
        let mut sums = [i32x4_splat(0); 4];
        let (lines, quads) = (codes.as_chunks::<64>().0, x.quads());
        for (line, quads) in lines.iter().zip(quads.chunks_exact(8 / BITS)) {
            let (mut even, mut odd) = ([i32x4_splat(0); 4], [i32x4_splat(0); 4]);
            for (quarter, bytes) in line.as_chunks::<16>().0.iter().enumerate() {
                even[quarter] = load(bytes);
                odd[quarter] = u16x8_shr(even[quarter], 8);
            }
            // Written out, so that shifts and masks are constants.
            four_columns::<BITS, 0>(&mut sums, even, odd, quads[0]);
            four_columns::<BITS, 1>(&mut sums, even, odd, quads[1]);
            four_columns::<BITS, 2>(&mut sums, even, odd, quads[2]);
            four_columns::<BITS, 3>(&mut sums, even, odd, quads[3]);
            if BITS == 1 {
                four_columns::<BITS, 4>(&mut sums, even, odd, quads[4]);
                four_columns::<BITS, 5>(&mut sums, even, odd, quads[5]);
                four_columns::<BITS, 6>(&mut sums, even, odd, quads[6]);
                four_columns::<BITS, 7>(&mut sums, even, odd, quads[7]);
            }
        }
        for (dot, sum) in dot.0.iter_mut().zip(sums) {
            // Codes are weights plus 1.
            let weights = i32x4_add(i32x4_shr(sum, 6), i32x4_splat(x.minus_sum));
            *dot = f32x4_convert_i32x4(weights);
        }
    }
    dots
}

/// Adds the products with four activations, times 64, of the codes at place K of each byte.
#[inline(always)]
fn four_columns<const BITS: usize, const K: usize>(
    sums: &mut [v128; 4],
    even: [v128; 4],
    odd: [v128; 4],
    quad: i32,
) {
    let down = (BITS * (K + 1)) as u32;
    let mask = u16x8_splat(((1 << BITS) - 1) << (K * BITS));
    let quad = i32x4_splat(quad);
    let q_even = i16x8_shr(i16x8_shl(quad, 8), down);
    let q_odd = i16x8_shr(v128_and(quad, i16x8_splat(-256)), down);
    for (sum, (even, odd)) in sums.iter_mut().zip(even.into_iter().zip(odd)) {
        *sum = i32x4_add(*sum, i32x4_dot_i16x8(v128_and(even, mask), q_even));
        *sum = i32x4_add(*sum, i32x4_dot_i16x8(v128_and(odd, mask), q_odd));
    }
}
