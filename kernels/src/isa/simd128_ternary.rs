//! The ternary inner loop in wasm SIMD128: `i32x4.dot_i16x8_s` on codes left in place in 16-bit lanes.
//!
//! A 16-bit lane holds two bytes, so eight codes. Masking one leaves it multiplied by a power of four, and the
//! activations are stored once per token as int16 in the order that the masks produce: no code is ever moved to a lane
//! of its own. With one token the powers of four go to separate accumulators and are shifted off at the end; with more,
//! the codes are shifted down once and all tokens use them.

use std::arch::wasm32::*;

use super::simd128::load;
use crate::ternary::{Activations, Block};

/// The activations of a block as the masks want them: half h of 16 bytes, group g, then the even bytes' eight and the
/// odd bytes' eight.
pub(crate) type WideActivations = [[[i16; 8]; 2]; 8];

/// Fills `wide` from the natural order.
pub(crate) fn widen(q: &[Activations], wide: &mut [WideActivations]) {
    for (q, wide) in q.iter().zip(wide) {
        for (i, pair) in wide.iter_mut().enumerate() {
            let (h, g) = (i / 4, i % 4);
            for (parity, lanes) in pair.iter_mut().enumerate() {
                for (lane, value) in lanes.iter_mut().enumerate() {
                    *value = i16::from(q[32 * g + 16 * h + 2 * lane + parity]);
                }
            }
        }
    }
}

/// sums[t] = sum of code * q over one row.
#[inline(always)]
pub(super) fn row<const T: usize>(w: &[Block], x: [&[WideActivations]; T]) -> [i32; T] {
    if T == 1 {
        [one(w, x[0]); T]
    } else {
        several(w, x)
    }
}

/// One token. Group g's accumulator is scaled by 4^(3 - g): at most 64 * 3 * 127 * 8 a block and lane, so rows of up to
/// 2^20 columns stay below 2^31.
#[inline(always)]
fn one(w: &[Block], x: &[WideActivations]) -> i32 {
    let masks = [
        u16x8_splat(0xc0),
        u16x8_splat(0x30),
        u16x8_splat(0x0c),
        u16x8_splat(0x03),
    ];
    let mut acc = [i32x4_splat(0); 4];
    for (block, x) in w.iter().zip(x) {
        for h in 0..2 {
            let even = load(&block[16 * h..16 * h + 16]);
            let odd = u16x8_shr(even, 8);
            for g in 0..4 {
                let [x_even, x_odd] = &x[4 * h + g];
                acc[g] = i32x4_add(
                    acc[g],
                    i32x4_dot_i16x8(v128_and(even, masks[g]), load(x_even)),
                );
                acc[g] = i32x4_add(
                    acc[g],
                    i32x4_dot_i16x8(v128_and(odd, masks[g]), load(x_odd)),
                );
            }
        }
    }
    add_lanes(i32x4_shr(acc[0], 6))
        + add_lanes(i32x4_shr(acc[1], 4))
        + add_lanes(i32x4_shr(acc[2], 2))
        + add_lanes(acc[3])
}

/// Several tokens share the unpacked codes.
#[inline(always)]
fn several<const T: usize>(w: &[Block], x: [&[WideActivations]; T]) -> [i32; T] {
    let x = x.map(|x| &x[..w.len()]);
    let mask = u16x8_splat(3);
    let mut acc = [i32x4_splat(0); T];
    for (b, block) in w.iter().enumerate() {
        for h in 0..2 {
            let v = load(&block[16 * h..16 * h + 16]);
            let codes = [
                (v128_and(u16x8_shr(v, 6), mask), u16x8_shr(v, 14)),
                (
                    v128_and(u16x8_shr(v, 4), mask),
                    v128_and(u16x8_shr(v, 12), mask),
                ),
                (
                    v128_and(u16x8_shr(v, 2), mask),
                    v128_and(u16x8_shr(v, 10), mask),
                ),
                (v128_and(v, mask), v128_and(u16x8_shr(v, 8), mask)),
            ];
            for t in 0..T {
                for (g, (even, odd)) in codes.into_iter().enumerate() {
                    let [x_even, x_odd] = &x[t][b][4 * h + g];
                    acc[t] = i32x4_add(acc[t], i32x4_dot_i16x8(even, load(x_even)));
                    acc[t] = i32x4_add(acc[t], i32x4_dot_i16x8(odd, load(x_odd)));
                }
            }
        }
    }
    acc.map(add_lanes)
}

#[inline(always)]
fn add_lanes(v: v128) -> i32 {
    i32x4_extract_lane::<0>(v)
        + i32x4_extract_lane::<1>(v)
        + i32x4_extract_lane::<2>(v)
        + i32x4_extract_lane::<3>(v)
}
