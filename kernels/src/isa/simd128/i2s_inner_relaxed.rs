//! The ternary inner loops in wasm relaxed SIMD: `i16x8.relaxed_dot_i8x16_i7x16_s`, on x86-64 one
//! `vpmaddubsw`.
//!
//! Its result is the same everywhere as long as the second operand's top bit is clear and two
//! neighbours' products fit 16 bits; codes, even times four, see to both.

use std::arch::wasm32::*;

use super::i2s_many::{R, T};
use super::turns::turns;
use super::{add_lanes, add_lanes_of_four, load, store_bytes};
use crate::ternary::{Activations, Block};

/// Half blocks summed in i16 before widening: a lane gets 4 pairs of each, at most 3 * 127 * 2 a
/// pair, so 30480 in ten.
const STEPS_PER_WIDENING: usize = 10;

/// Blocks of a chunk that [`panel_tile`] takes: one widening, so that no second set of sums needs
/// registers.
pub(super) const CHUNK: usize = STEPS_PER_WIDENING / 2;

/// A block's activations in the order in which its bytes give codes: half, group, byte.
pub(crate) type Arranged = [[[i8; 16]; 4]; 2];

/// A chunk's codes, one in each byte: 16 columns of each row, then the next 16.
pub(super) type ChunkCodes = [[[u8; 16]; R]; 8 * CHUNK];
pub(super) const NO_CODES: ChunkCodes = [[[0; 16]; R]; 8 * CHUNK];

/// Fills `arranged` from the natural order.
pub(crate) fn arrange(q: &[Activations], arranged: &mut [Arranged]) {
    for (q, arranged) in q.iter().zip(arranged) {
        let (q, _) = q.as_chunks::<16>();
        for (i, lanes) in arranged.as_flattened_mut().iter_mut().enumerate() {
            *lanes = q[i % 4 * 2 + i / 4];
        }
    }
}

#[inline]
#[target_feature(enable = "relaxed-simd")]
pub(super) fn dot(q: v128, codes: v128) -> v128 {
    i16x8_relaxed_dot_i8x16_i7x16(q, codes)
}

/// Sums of code * q for N rows of one length and one token, each in four parts.
///
/// Loads come first and arithmetic after them, whatever is written here: Cranelift leaves loads in
/// order and puts arithmetic where the loop needs its results. So a step is short enough for all of
/// its loads to stay in registers: with four rows 8 loads, 4 sums, 2 masks.
#[inline]
#[target_feature(enable = "relaxed-simd")]
pub(super) fn rows<const N: usize>(w: [&[Block]; N], x: &[Arranged]) -> [v128; N] {
    let x = x.as_flattened();
    let w = w.map(|row| &row.as_flattened().as_chunks::<16>().0[..x.len()]);
    let (low, high) = (u8x16_splat(0x03), u8x16_splat(0x0c));
    let mut sums = [i32x4_splat(0); N];
    for (i, x) in x.chunks(STEPS_PER_WIDENING).enumerate() {
        let w = w.map(|row| &row[i * STEPS_PER_WIDENING..][..x.len()]);
        let mut acc = [i16x8_splat(0); N];
        turns!((s, x) in x.iter().enumerate() => {
            let q = [load(&x[0]), load(&x[1]), load(&x[2]), load(&x[3])];
            for r in 0..N {
                // Two of the four codes stay times four, and their sum is shifted once for both.
                let v = load(&w[r][s]);
                let shifted = u16x8_shr(v, 4);
                let fours = i16x8_add(
                    dot(q[0], v128_and(shifted, high)),
                    dot(q[2], v128_and(v, high)),
                );
                acc[r] = i16x8_add(acc[r], dot(q[1], v128_and(shifted, low)));
                acc[r] = i16x8_add(acc[r], dot(q[3], v128_and(v, low)));
                acc[r] = i16x8_add(acc[r], i16x8_shr(fours, 2));
            }
        });
        for r in 0..N {
            sums[r] = i32x4_add(sums[r], i32x4_extadd_pairwise_i16x8(acc[r]));
        }
    }
    sums
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

/// Sums of code * q for one row and several tokens, which share the unpacked codes.
#[inline]
#[target_feature(enable = "relaxed-simd")]
pub(super) fn tokens<const N: usize>(w: &[Block], x: [&[Arranged]; N]) -> [i32; N] {
    let w = w.as_flattened().as_chunks::<16>().0;
    let x = x.map(|x| &x.as_flattened()[..w.len()]);
    let mut sums = [i32x4_splat(0); N];
    for (i, w) in w.chunks(STEPS_PER_WIDENING).enumerate() {
        let x = x.map(|x| &x[i * STEPS_PER_WIDENING..][..w.len()]);
        let mut acc = [i16x8_splat(0); N];
        turns!((s, w) in w.iter().enumerate() => {
            let codes = groups(load(w));
            for t in 0..N {
                for (q, codes) in x[t][s].iter().zip(codes) {
                    acc[t] = i16x8_add(acc[t], dot(load(q), codes));
                }
            }
        });
        for t in 0..N {
            sums[t] = i32x4_add(sums[t], i32x4_extadd_pairwise_i16x8(acc[t]));
        }
    }
    sums.map(add_lanes)
}

/// Writes the codes of a chunk as row `r` of a tile.
#[inline(always)]
pub(super) fn unpack(w: &[Block], r: usize, codes: &mut ChunkCodes) {
    let halves = w.as_flattened().as_chunks::<16>().0;
    for (bytes, codes) in halves.iter().zip(codes.as_chunks_mut::<4>().0) {
        for (v, codes) in groups(load(bytes)).into_iter().zip(codes) {
            store_bytes(v, &mut codes[r]);
        }
    }
}

/// sums[t][r] of code * q over one chunk, whose length is that of `x0` and `x1`. Short steps, as in
/// [`rows`].
#[inline]
#[target_feature(enable = "relaxed-simd")]
pub(super) fn panel_tile(w: &ChunkCodes, x0: &[Arranged], x1: &[Arranged]) -> [[i32; R]; T] {
    let x0 = x0.as_flattened().as_flattened();
    let x1 = x1.as_flattened().as_flattened();
    let mut acc = [[i16x8_splat(0); R]; T];
    turns!((w, (x0, x1)) in w.iter().zip(x0.iter().zip(x1)) => {
        let (q0, q1) = (load(x0), load(x1));
        for r in 0..R {
            let codes = load(&w[r]);
            acc[0][r] = i16x8_add(acc[0][r], dot(q0, codes));
            acc[1][r] = i16x8_add(acc[1][r], dot(q1, codes));
        }
    });
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
