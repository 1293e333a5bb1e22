//! The ternary inner loop in wasm relaxed SIMD: `i16x8.relaxed_dot_i8x16_i7x16_s`, on x86-64 one `vpmaddubsw`.
//!
//! Its result is the same everywhere as long as the second operand's top bit is clear and two neighbours' products fit
//! 16 bits; codes, even times four, see to both.

use std::arch::wasm32::*;

use super::simd128::{add_lanes, add_lanes_of_four, load};
use super::simd128_gemm::{R, T};
use crate::ternary::{Activations, Block, TokenRow};

/// Blocks summed in i16 before widening: a lane gets 8 pairs of a block, at most 3 * 127 * 2 each, so 30480 in five.
const BLOCKS_PER_WIDENING: usize = 5;

/// Blocks of a chunk that [`panel_tile`] takes: one widening, so that no second set of sums needs registers.
pub(super) const CHUNK: usize = BLOCKS_PER_WIDENING;

/// A chunk's codes, one in each byte: 16 columns of each row, then the next 16.
pub(super) type Codes = [[[u8; 16]; R]; 8 * CHUNK];
pub(super) const NO_CODES: Codes = [[[0; 16]; R]; 8 * CHUNK];

/// A token as [`row`] and [`panel_tile`] take it.
#[inline(always)]
pub(super) fn values(token: TokenRow<'_>) -> &[Activations] {
    token.q
}

#[inline(always)]
fn add_dot(acc: &mut v128, q: v128, codes: v128) {
    *acc = i16x8_add(*acc, i16x8_relaxed_dot_i8x16_i7x16(q, codes));
}

#[inline(always)]
fn add_widened(sum: &mut v128, acc: v128) {
    *sum = i32x4_add(*sum, i32x4_extadd_pairwise_i16x8(acc));
}

/// sums[t] = sum of code * q over one row.
#[inline(always)]
pub(super) fn row<const N: usize>(w: &[Block], x: [&[Activations]; N]) -> [i32; N] {
    if N == 1 {
        [one(w, x[0]); N]
    } else {
        several(w, x)
    }
}

/// One token. Of each four codes two are left where they are, times four, in accumulators of their own: such a lane gets
/// two pairs of a block, at most 12 * 127 * 2 each.
#[inline(always)]
fn one(w: &[Block], x: &[Activations]) -> i32 {
    let (low, high) = (u8x16_splat(0x03), u8x16_splat(0x0c));
    let (mut ones, mut fours) = (i32x4_splat(0), i32x4_splat(0));
    for (w, x) in w
        .chunks(BLOCKS_PER_WIDENING)
        .zip(x.chunks(BLOCKS_PER_WIDENING))
    {
        let (mut acc, mut acc0, mut acc2) = (i16x8_splat(0), i16x8_splat(0), i16x8_splat(0));
        for (block, x) in w.iter().zip(x) {
            for h in 0..2 {
                let q = |g: usize| load(&x[32 * g + 16 * h..32 * g + 16 * h + 16]);
                let v = load(&block[16 * h..16 * h + 16]);
                let shifted = u16x8_shr(v, 4);
                add_dot(&mut acc0, q(0), v128_and(shifted, high));
                add_dot(&mut acc, q(1), v128_and(shifted, low));
                add_dot(&mut acc2, q(2), v128_and(v, high));
                add_dot(&mut acc, q(3), v128_and(v, low));
            }
        }
        add_widened(&mut ones, acc);
        add_widened(&mut fours, acc0);
        add_widened(&mut fours, acc2);
    }
    add_lanes(i32x4_add(ones, i32x4_shr(fours, 2)))
}

/// The four groups of codes in 16 bytes.
#[inline(always)]
fn groups(v: v128) -> [v128; 4] {
    let mask = u8x16_splat(3);
    [
        v128_and(u16x8_shr(v, 6), mask),
        v128_and(u16x8_shr(v, 4), mask),
        v128_and(u16x8_shr(v, 2), mask),
        v128_and(v, mask),
    ]
}

/// Several tokens share the unpacked codes.
#[inline(always)]
fn several<const N: usize>(w: &[Block], x: [&[Activations]; N]) -> [i32; N] {
    let x = x.map(|x| &x[..w.len()]);
    let mut sums = [i32x4_splat(0); N];
    for (i, w) in w.chunks(BLOCKS_PER_WIDENING).enumerate() {
        let mut acc = [i16x8_splat(0); N];
        for (b, block) in (i * BLOCKS_PER_WIDENING..).zip(w) {
            for h in 0..2 {
                let codes = groups(load(&block[16 * h..16 * h + 16]));
                for t in 0..N {
                    for (g, codes) in codes.into_iter().enumerate() {
                        let at = 32 * g + 16 * h;
                        add_dot(&mut acc[t], load(&x[t][b][at..at + 16]), codes);
                    }
                }
            }
        }
        for t in 0..N {
            add_widened(&mut sums[t], acc[t]);
        }
    }
    sums.map(add_lanes)
}

/// Writes the codes of a chunk as row `r` of a tile.
#[inline(always)]
pub(super) fn unpack(w: &[Block], r: usize, codes: &mut Codes) {
    for (block, codes) in w.iter().zip(codes.as_chunks_mut::<8>().0) {
        for h in 0..2 {
            let groups = groups(load(&block[16 * h..16 * h + 16]));
            for (g, v) in groups.into_iter().enumerate() {
                // SAFETY: a reference to 16 bytes; v128.store has no alignment requirement.
                unsafe { v128_store(codes[2 * g + h][r].as_mut_ptr().cast(), v) };
            }
        }
    }
}

/// sums[t][r] of code * q over one chunk, whose length is that of `x0` and `x1`.
///
/// One step a turn: an engine may leave loads where they stand and put arithmetic where its result is used, at a long
/// loop body's end (Cranelift does), and then everything loaded is spilled.
#[inline(always)]
pub(super) fn panel_tile(w: &Codes, x0: &[Activations], x1: &[Activations]) -> [[i32; R]; T] {
    let x0 = x0.as_flattened().as_chunks::<16>().0;
    let x1 = x1.as_flattened().as_chunks::<16>().0;
    let mut acc = [[i16x8_splat(0); R]; T];
    for (w, (x0, x1)) in w.iter().zip(x0.iter().zip(x1)) {
        let (q0, q1) = (load(x0), load(x1));
        for r in 0..R {
            let codes = load(&w[r]);
            add_dot(&mut acc[0][r], q0, codes);
            add_dot(&mut acc[1][r], q1, codes);
        }
    }
    let [a, b] = acc;
    [add_lanes_of_four(widened(a)), add_lanes_of_four(widened(b))]
}

#[inline(always)]
fn widened([a, b, c, d]: [v128; R]) -> [v128; R] {
    [
        i32x4_extadd_pairwise_i16x8(a),
        i32x4_extadd_pairwise_i16x8(b),
        i32x4_extadd_pairwise_i16x8(c),
        i32x4_extadd_pairwise_i16x8(d),
    ]
}
