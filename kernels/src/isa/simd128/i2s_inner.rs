//! The ternary inner loops in wasm SIMD128: `i32x4.dot_i16x8_s` on codes left where they are in
//! 16-bit lanes.
//!
//! A lane holds one byte, so four codes. Masking one leaves it times 64, 16, 4 or 1; the
//! activations are stored once a token as int16 in the order that the masks produce and times 1, 4,
//! 16 or 64. So no code is ever shifted, every product is 64 * code * q, and all groups share one
//! sum.

use std::arch::wasm32::*;

use super::i2s_many::{R, T};
use super::turns::turns;
use super::{add_lanes, add_lanes_of_four, load, store_bytes};
use crate::ternary::{Activations, Block};

/// A block's activations as the masks want them: for each 8 bytes the groups from the top bits on,
/// times 4^group.
pub(crate) type Arranged = [[[i16; 8]; 4]; 4];

/// The factor of every product, as a shift.
const SHIFT: u32 = 6;

/// Blocks whose products a lane takes before the shift: each gives 16 pairs of at most 64 * 3 * 127
/// * 2, so 2^31 is not reached before 2753 blocks.
const BLOCKS_PER_SHIFT: usize = 2048;

/// Blocks of a chunk that [`panel_tile`] takes.
pub(super) const CHUNK: usize = 10;

/// A chunk's masked codes as int16: eight columns of each row, then the next eight.
pub(super) type ChunkCodes = [[[u8; 16]; R]; 16 * CHUNK];
pub(super) const NO_CODES: ChunkCodes = [[[0; 16]; R]; 16 * CHUNK];

/// Fills `arranged` from the natural order.
pub(crate) fn arrange(q: &[Activations], arranged: &mut [Arranged]) {
    for (q, arranged) in q.iter().zip(arranged) {
        for (i, lanes) in arranged.as_flattened_mut().iter_mut().enumerate() {
            let (eight, g) = (i / 4, i % 4);
            for (lane, q) in lanes.iter_mut().zip(&q[32 * g + 8 * eight..]) {
                *lane = i16::from(*q) << (2 * g);
            }
        }
    }
}

/// Eight bytes at any address, widened to 16 bits.
#[inline(always)]
fn load_u8x8(at: &[u8; 8]) -> v128 {
    // SAFETY: a reference to 8 bytes; the load has no alignment requirement.
    unsafe { u16x8_load_extend_u8x8(at.as_ptr()) }
}

/// The four groups of codes in eight bytes, times 64, 16, 4 and 1.
#[inline(always)]
fn groups(bytes: &[u8; 8]) -> [v128; 4] {
    let v = load_u8x8(bytes);
    [
        v128_and(v, u16x8_splat(0xc0)),
        v128_and(v, u16x8_splat(0x30)),
        v128_and(v, u16x8_splat(0x0c)),
        v128_and(v, u16x8_splat(0x03)),
    ]
}

/// Sums of code * q for N rows of one length and one token, each in four parts.
///
/// Loads come first and arithmetic after them, whatever is written here: Cranelift leaves loads in
/// order and puts arithmetic where the loop needs its results. So a step is short enough for all of
/// its loads to stay in registers: with two rows 6 loads, 2 sums, 4 masks.
#[inline(always)]
pub(super) fn rows<const N: usize>(w: [&[Block]; N], x: &[Arranged]) -> [v128; N] {
    let mut total = [i32x4_splat(0); N];
    for (i, x) in x.chunks(BLOCKS_PER_SHIFT).enumerate() {
        let x = x.as_flattened();
        let w = w.map(|row| {
            let (w, _) = row[i * BLOCKS_PER_SHIFT..].as_flattened().as_chunks::<8>();
            &w[..x.len()]
        });
        let mut acc = [i32x4_splat(0); N];
        for (s, x) in x.iter().enumerate() {
            let q = [load(&x[0]), load(&x[1]), load(&x[2]), load(&x[3])];
            for r in 0..N {
                for (codes, q) in groups(&w[r][s]).into_iter().zip(q) {
                    acc[r] = i32x4_add(acc[r], i32x4_dot_i16x8(codes, q));
                }
            }
        }
        for r in 0..N {
            total[r] = i32x4_add(total[r], i32x4_shr(acc[r], SHIFT));
        }
    }
    total
}

/// Sums of code * q for one row and several tokens, which share the masked codes.
#[inline(always)]
pub(super) fn tokens<const N: usize>(w: &[Block], x: [&[Arranged]; N]) -> [i32; N] {
    let mut total = [0; N];
    for (i, w) in w.chunks(BLOCKS_PER_SHIFT).enumerate() {
        let w = w.as_flattened().as_chunks::<8>().0;
        let x = x.map(|x| &x[i * BLOCKS_PER_SHIFT..].as_flattened()[..w.len()]);
        let mut acc = [i32x4_splat(0); N];
        for (s, w) in w.iter().enumerate() {
            let codes = groups(w);
            for t in 0..N {
                for (q, codes) in x[t][s].iter().zip(codes) {
                    acc[t] = i32x4_add(acc[t], i32x4_dot_i16x8(codes, load(q)));
                }
            }
        }
        for t in 0..N {
            total[t] += add_lanes(i32x4_shr(acc[t], SHIFT));
        }
    }
    total
}

/// Writes the codes of a chunk as row `r` of a tile.
#[inline(always)]
pub(super) fn unpack(w: &[Block], r: usize, codes: &mut ChunkCodes) {
    let eights = w.as_flattened().as_chunks::<8>().0;
    for (bytes, codes) in eights.iter().zip(codes.as_chunks_mut::<4>().0) {
        for (v, codes) in groups(bytes).into_iter().zip(codes) {
            store_bytes(v, &mut codes[r]);
        }
    }
}

/// sums[t][r] of code * q over one chunk, whose length is that of `x0` and `x1`. Short steps, as in
/// [`rows`].
#[inline(always)]
pub(super) fn panel_tile(w: &ChunkCodes, x0: &[Arranged], x1: &[Arranged]) -> [[i32; R]; T] {
    let x0 = x0.as_flattened().as_flattened();
    let x1 = x1.as_flattened().as_flattened();
    let mut acc = [[i32x4_splat(0); R]; T];
    turns!((w, (x0, x1)) in w.iter().zip(x0.iter().zip(x1)) => {
        let (q0, q1) = (load(x0), load(x1));
        for r in 0..R {
            let codes = load(&w[r]);
            acc[0][r] = i32x4_add(acc[0][r], i32x4_dot_i16x8(codes, q0));
            acc[1][r] = i32x4_add(acc[1][r], i32x4_dot_i16x8(codes, q1));
        }
    });
    acc.map(|acc| add_lanes_of_four(acc.map(|sum| i32x4_shr(sum, SHIFT))))
}
