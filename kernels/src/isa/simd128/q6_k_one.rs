//! The Q6_K product for one token in plain wasm SIMD128: four rows at once, unpacked to L1 block by
//! block.
//!
//! Of a group's 16 values, as bytes q in 0..64, the even ones are the low halves of 16-bit lanes
//! and the odd ones the high halves: two `i32x4.dot_i16x8_s` against activations in that order
//! leave the sums of four neighbours in each lane, which is what a result lane is. The offset of 32
//! comes off there, then the group's scale multiplies it.

use std::arch::wasm32::*;

use super::q6_k::{GROUPS, Lanes, Q6kInput, ROWS, Unpacked, add, blocks, clear, scales, tiles};
pub(super) use super::q6_k::{Grouped as Arranged, arrange as arrange_one};
use super::{Simd128, load};
use crate::simd::{LANES, Simd};
use crate::{Dense, DenseInput, OutputRows};

/// Scratch memory of the loops, in L1. Made once for all rows: clearing it costs as much as several
/// blocks, and an engine copies and clears memory by a call.
struct Scratch {
    unpacked: Unpacked,
    lanes: Lanes,
}

impl Scratch {
    fn new() -> Self {
        Scratch {
            unpacked: Unpacked::new(),
            lanes: [[0.0; LANES]; ROWS],
        }
    }
}

/// See [`crate::dense_matmul`], for the first token alone.
pub(super) fn matvec(w: Dense<'_>, x: &DenseInput, packed: &Q6kInput, out: &mut OutputRows<'_>) {
    let range = out.range();
    let (input, scale) = (&packed.one[..], x.scale(0));
    let out = out.token(0);
    let mut scratch = Scratch::new();
    for at in tiles(&range) {
        rows(at.map(|r| w.row(r)), input, &mut scratch);
        for (r, lanes) in at.into_iter().zip(&scratch.lanes) {
            out[r - range.start] = Simd128.sum(Simd128.load(lanes)) / scale;
        }
    }
}

/// The lanes of [`crate::isa::kernels::Kernels::q6_k_matmul`] for rows of one length, into
/// `scratch.lanes`.
#[inline(never)] // with nothing else that needs registers
fn rows(w: [&[u8]; ROWS], x: &[Arranged], scratch: &mut Scratch) {
    let Scratch { unpacked, lanes } = scratch;
    let w = blocks(w);
    let x = &x[..w[0].len()];
    clear(lanes);
    for (b, x) in x.iter().enumerate() {
        let blocks = w.map(|row| &row[b]);
        unpacked.fill(blocks);
        let d = scales(blocks);
        for s in 0..2 {
            add(lanes, b, s, sums(unpacked, x, s), d);
        }
    }
}

/// Result lanes of the groups of parity `s`: four for each row. A turn's 8 loads, 4 sums and the
/// mask fit the registers.
#[inline(always)]
fn sums(w: &Unpacked, x: &Arranged, s: usize) -> [v128; ROWS] {
    let low = u16x8_splat(0x00ff);
    let mut acc = [i32x4_splat(0); ROWS];
    for i in 0..GROUPS / 2 {
        let g = 2 * i + s;
        let (even, odd) = (load(&x.halves[s][2 * i]), load(&x.halves[s][2 * i + 1]));
        let offset = load(&x.offset[s][i]);
        let v = load(&w.scales[g]);
        let scales = [
            i32x4_shuffle::<0, 0, 0, 0>(v, v),
            i32x4_shuffle::<1, 1, 1, 1>(v, v),
            i32x4_shuffle::<2, 2, 2, 2>(v, v),
            i32x4_shuffle::<3, 3, 3, 3>(v, v),
        ];
        for r in 0..ROWS {
            let q = load(&w.codes[g][r]);
            let dot = i32x4_add(
                i32x4_dot_i16x8(v128_and(q, low), even),
                i32x4_dot_i16x8(u16x8_shr(q, 8), odd),
            );
            acc[r] = i32x4_add(acc[r], i32x4_mul(i32x4_sub(dot, offset), scales[r]));
        }
    }
    acc
}
