//! Exact dot products of a unit of a group-scaled tile in layout trits8 in wasm SIMD128, for any
//! number of tokens: it is unpacked to two bits.

use std::arch::wasm32::*;

use super::grouped_few;
use super::{F32x16, load, store_bytes};
use crate::grouped::trits8::{FIFTH, THIRDS, UNIT_BYTES};
use crate::grouped::{LINE_BYTES, TokenBlocks};

/// See [`crate::isa::kernels::Kernels::trits8_dots`].
#[inline(always)]
pub(super) fn dots<const T: usize>(
    unit: &[u8; UNIT_BYTES],
    x: [TokenBlocks<'_>; 2],
) -> [[F32x16; T]; 2] {
    let lines = unpack(unit);
    let (low, high) = lines.as_flattened().split_at(2 * LINE_BYTES);
    [
        grouped_few::dots::<2, T>(low, x[0]),
        grouped_few::dots::<2, T>(high, x[1]),
    ]
}

/// See [`crate::grouped::trits8::unpack`].
#[inline(always)]
fn unpack(unit: &[u8; UNIT_BYTES]) -> [[u8; LINE_BYTES]; 4] {
    let mut out = [[0; LINE_BYTES]; 4];
    let (lines, rest) = unit.as_chunks::<LINE_BYTES>();
    for quarter in 0..4 {
        let mut place = |line: usize, v: v128| {
            store_bytes(v, &mut out[line].as_chunks_mut().0[quarter]);
        };
        let [a, b, c] = [0, 1, 2].map(
            #[inline(always)]
            |l: usize| split(load(&lines[l][16 * quarter..])),
        );
        place(0, a.0);
        place(1, b.0);
        place(2, c.0);
        // 0, 84 or 168 have 0, 1 or 2 in bits 2 and 3.
        let a = v128_and(u16x8_shr(a.1, 2), u8x16_splat(0x03));
        let b = v128_and(b.1, u8x16_splat(0x0c));
        let c = v128_and(u16x8_shl(c.1, 2), u8x16_splat(0x30));
        let rest = u16x8_shl(load(rest), 6 - 2 * quarter as u32);
        let last = v128_and(rest, u8x16_splat(0xc0));
        place(3, v128_or(v128_or(a, b), v128_or(c, last)));
    }
    out
}

/// The first four codes of each byte in two bits each, and what its fifth adds.
#[inline(always)]
fn split(bytes: v128) -> (v128, v128) {
    let fifth = u8x16_splat(FIFTH);
    let less = u8x16_min(bytes, u8x16_sub(bytes, fifth));
    let four = u8x16_min(less, u8x16_sub(less, fifth));
    // Nine times a number below 10, and a number below 9; 57 / 512 is a ninth.
    let ninth = u16x8_splat(57);
    let even = u16x8_shr(u16x8_mul(v128_and(four, u16x8_splat(0x00ff)), ninth), 9);
    let odd = u16x8_shr(u16x8_mul(u16x8_shr(four, 8), ninth), 1);
    let nines = v128_or(v128_and(odd, u16x8_splat(0xff00)), even);
    let ones = u8x16_sub(four, u8x16_add(nines, u16x8_shl(nines, 3)));
    let two_codes = load(&TWO_CODES);
    let high = u16x8_shl(u8x16_swizzle(two_codes, nines), 4);
    let codes = v128_or(high, u8x16_swizzle(two_codes, ones));
    (codes, u8x16_sub(bytes, four))
}

/// Two codes in two bits each by their number.
const TWO_CODES: [u8; 16] = {
    let mut table = [0; 16];
    let mut n = 0;
    while n < 16 {
        table[n] = THIRDS[0][n] | (THIRDS[1][n] << 2);
        n += 1;
    }
    table
};
