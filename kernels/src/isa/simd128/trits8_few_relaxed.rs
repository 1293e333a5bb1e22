//! Exact dot products of a unit of a group-scaled tile in layout trits8 in wasm relaxed SIMD, for
//! any number of tokens; see `grouped_few_relaxed.rs`.
//!
//! Relaxed instructions give the same everywhere: what `i8x16.relaxed_swizzle` selects by is below
//! 16, and `i16x8.relaxed_q15mulr_s` never multiplies -2^15 by itself.

use std::arch::wasm32::*;

use super::grouped_few::{of_quarters, products};
use super::{F32x16, load};
use crate::grouped::trits8::{FIFTH, THIRDS, UNIT_BYTES};
use crate::grouped::{LINE_BYTES, TokenBlocks};

/// See [`crate::isa::kernels::Kernels::trits8_dots`].
#[inline]
#[target_feature(enable = "relaxed-simd")]
pub(super) fn dots<const T: usize>(
    unit: &[u8; UNIT_BYTES],
    x: [TokenBlocks<'_>; 2],
) -> [[F32x16; T]; 2] {
    // Written out, as in `grouped_few_relaxed.rs`.
    let [(a, e), (b, f), (c, g), (d, h)] = [
        quarter::<T, 0>(unit, x),
        quarter::<T, 1>(unit, x),
        quarter::<T, 2>(unit, x),
        quarter::<T, 3>(unit, x),
    ];
    [of_quarters([a, b, c, d]), of_quarters([e, f, g, h])]
}

/// Each token's products with the codes of either block in rows 4 Q to 4 Q + 4.
#[inline]
#[target_feature(enable = "relaxed-simd")]
fn quarter<const T: usize, const Q: usize>(
    unit: &[u8; UNIT_BYTES],
    x: [TokenBlocks<'_>; 2],
) -> ([v128; T], [v128; T]) {
    let [low, high] = four_rows::<Q>(unit);
    (products(&low, x[0]), products(&high, x[1]))
}

/// The codes of four columns each, of either block, in rows 4 Q to 4 Q + 4.
#[inline]
#[target_feature(enable = "relaxed-simd")]
fn four_rows<const Q: usize>(unit: &[u8; UNIT_BYTES]) -> [[v128; 8]; 2] {
    let (lines, rest) = unit.as_chunks::<LINE_BYTES>();
    let [a, b, c] = [0, 1, 2].map(
        #[inline(always)]
        |l: usize| load(&lines[l][16 * Q..]),
    );
    let ([a0, a1, a2, a3], a4) = split(a);
    let ([b0, b1, b2, b3], b4) = split(b);
    let ([c0, c1, c2, c3], c4) = split(c);
    let rest = u16x8_shr(load(rest), 2 * Q as u32);
    let last = v128_and(rest, u8x16_splat(3));
    [
        [a0, a1, a2, a3, b0, b1, b2, b3],
        [c0, c1, c2, c3, a4, b4, c4, last],
    ]
}

/// The first four codes of each byte, and the fifths.
#[inline]
#[target_feature(enable = "relaxed-simd")]
fn split(bytes: v128) -> ([v128; 4], v128) {
    let fifth = u8x16_splat(FIFTH);
    let less = u8x16_min(bytes, u8x16_sub(bytes, fifth));
    let four = u8x16_min(less, u8x16_sub(less, fifth));
    // Nine times a number below 10, and a number below 9. 57 / 512 is a ninth, and so is
    // 3641 / 2^15, rounded: the word's, whose upper byte is the upper byte's.
    let even = u16x8_shr(i16x8_relaxed_dot_i8x16_i7x16(i16x8_splat(57), four), 9);
    let odd = i16x8_relaxed_q15mulr(four, i16x8_splat(3641));
    let nines = v128_or(v128_and(odd, u16x8_splat(0xff00)), even);
    let taken = u8x16(0, 9, 18, 27, 36, 45, 54, 63, 72, 81, 0, 0, 0, 0, 0, 0);
    let ones = u8x16_sub(four, i8x16_relaxed_swizzle(taken, nines));
    let [rests, thirds] = [load(&THIRDS[0]), load(&THIRDS[1])];
    let codes = [
        i8x16_relaxed_swizzle(rests, ones),
        i8x16_relaxed_swizzle(thirds, ones),
        i8x16_relaxed_swizzle(rests, nines),
        i8x16_relaxed_swizzle(thirds, nines),
    ];
    // 0, 84 or 168: 0, 21 or 42.
    let quarter = u16x8_shr(u8x16_sub(bytes, four), 2);
    (codes, v128_and(quarter, u8x16_splat(3)))
}
