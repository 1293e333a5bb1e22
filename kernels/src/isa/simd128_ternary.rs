//! The ternary inner loop in wasm SIMD128: `i32x4.dot_i16x8_s` on codes left in place in 16-bit lanes.
//!
//! A 16-bit lane holds two bytes, so eight codes. Masking one leaves it multiplied by a power of four, and the
//! activations are stored once per token as int16 in the order that the masks produce: no code is ever moved to a lane
//! of its own. With one token the powers of four go to separate accumulators and are shifted off at the end; with two,
//! the codes are shifted down once for both; from four on `simd128_gemm.rs` has them unpacked to memory.

use std::arch::wasm32::*;

use super::simd128::{add_lanes, add_lanes_of_four, load};
use super::simd128_gemm::{R, T};
use crate::ternary::{Activations, Block, TokenRow};

/// The activations of a block as the masks want them: half h of 16 bytes, group g, then the even bytes' eight and the
/// odd bytes' eight.
pub(crate) type WideActivations = [[[i16; 8]; 2]; 8];

/// Blocks of a chunk that [`panel_tile`] takes.
pub(super) const CHUNK: usize = 10;

/// A chunk's codes as int16, in the same order: eight columns of each row, then the next eight.
pub(super) type Codes = [[[i16; 8]; R]; 16 * CHUNK];
pub(super) const NO_CODES: Codes = [[[0; 8]; R]; 16 * CHUNK];

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
    let halves = w.as_flattened().as_chunks::<16>().0;
    for (bytes, x) in halves.iter().zip(x.as_flattened().as_chunks::<4>().0) {
        let even = load(bytes);
        let odd = u16x8_shr(even, 8);
        for g in 0..4 {
            let [x_even, x_odd] = &x[g];
            let dot = i32x4_dot_i16x8(v128_and(even, masks[g]), load(x_even));
            acc[g] = i32x4_add(acc[g], dot);
            let dot = i32x4_dot_i16x8(v128_and(odd, masks[g]), load(x_odd));
            acc[g] = i32x4_add(acc[g], dot);
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

/// A token as [`panel_tile`] takes it.
#[inline(always)]
pub(super) fn values(token: TokenRow<'_>) -> &[WideActivations] {
    token.wide
}

/// Writes the codes of a chunk as row `r` of a tile.
#[inline(always)]
pub(super) fn unpack(w: &[Block], r: usize, codes: &mut Codes) {
    let mask = u16x8_splat(3);
    let halves = w.as_flattened().as_chunks::<16>().0;
    for (bytes, codes) in halves.iter().zip(codes.as_chunks_mut::<8>().0) {
        let v = load(bytes);
        let unpacked = [
            v128_and(u16x8_shr(v, 6), mask),
            u16x8_shr(v, 14),
            v128_and(u16x8_shr(v, 4), mask),
            v128_and(u16x8_shr(v, 12), mask),
            v128_and(u16x8_shr(v, 2), mask),
            v128_and(u16x8_shr(v, 10), mask),
            v128_and(v, mask),
            v128_and(u16x8_shr(v, 8), mask),
        ];
        for (v, codes) in unpacked.into_iter().zip(codes) {
            // SAFETY: a reference to 16 bytes; v128.store has no alignment requirement.
            unsafe { v128_store(codes[r].as_mut_ptr().cast(), v) };
        }
    }
}

/// sums[t][r] of code * q over one chunk, whose length is that of `x0` and `x1`.
///
/// One step a turn: an engine may leave loads where they stand and put arithmetic where its result is used, at a long
/// loop body's end (Cranelift does), and then everything loaded is spilled.
#[inline(always)]
pub(super) fn panel_tile(
    w: &Codes,
    x0: &[WideActivations],
    x1: &[WideActivations],
) -> [[i32; R]; T] {
    let x0 = x0.as_flattened().as_flattened();
    let x1 = x1.as_flattened().as_flattened();
    let mut acc = [[i32x4_splat(0); R]; T];
    for (w, (x0, x1)) in w.iter().zip(x0.iter().zip(x1)) {
        let (q0, q1) = (load(x0), load(x1));
        for r in 0..R {
            let codes = load(&w[r]);
            acc[0][r] = i32x4_add(acc[0][r], i32x4_dot_i16x8(codes, q0));
            acc[1][r] = i32x4_add(acc[1][r], i32x4_dot_i16x8(codes, q1));
        }
    }
    [add_lanes_of_four(acc[0]), add_lanes_of_four(acc[1])]
}
