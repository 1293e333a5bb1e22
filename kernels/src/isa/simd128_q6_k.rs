//! The Q6_K product in wasm SIMD128: four rows at once, unpacked to L1 block by block.
//!
//! Of a group's 16 values, as bytes q in 0..64, the even ones are the low halves of 16-bit lanes and the odd ones the high
//! halves: two `i32x4.dot_i16x8_s` against activations in that order leave the sums of four neighbours in each lane,
//! which is what a result lane is. The offset of 32 comes off there, then the group's scale multiplies it.

use std::arch::wasm32::*;

use super::simd128::{Simd128, load, store, store_bytes, store_ints, widen_scale};
use super::{QuantRow, Simd};
use crate::dense::q6_k::{BLOCK, BYTES, D, QH, SCALES};
use crate::ops::lanes::LANES;
use crate::{Dense, DenseInput, OutputRows};

/// Rows at once, far apart for the sake of the prefetcher: see `simd128_gemv.rs`.
const ROWS: usize = 4;
/// Tokens that share the unpacked rows.
const TOKENS: usize = 4;

/// Groups of 16 weights in a block.
const GROUPS: usize = BLOCK / 16;

/// Sixteen activations, in the order that the inner loop wants them.
#[derive(Clone, Copy, Default)]
#[repr(align(16))] // a load across cache lines costs two
pub(crate) struct Group {
    /// Numbers 0, 2, 4 and so on.
    even: [i16; 8],
    /// Numbers 1, 3, 5 and so on.
    odd: [i16; 8],
    /// 32 * the sums of each four neighbours.
    offset: [i32; 4],
}

/// A block of each row, unpacked.
#[repr(align(16))]
struct Unpacked {
    /// q in 0..64, a group's rows side by side.
    codes: [[[u8; 16]; ROWS]; GROUPS],
    /// The group scales of the rows.
    scales: [[i32; ROWS]; GROUPS],
}

/// Result lanes of the rows for one token.
type Lanes = [[f32; LANES]; ROWS];

/// What the loops keep in L1. Made once for all rows: clearing it costs as much as several blocks, and an engine copies
/// and clears memory by a call.
struct Scratch {
    unpacked: Unpacked,
    lanes: [Lanes; TOKENS],
}

impl Scratch {
    fn new() -> Self {
        Scratch {
            unpacked: Unpacked {
                codes: [[[0; 16]; ROWS]; GROUPS],
                scales: [[0; ROWS]; GROUPS],
            },
            lanes: [[[0.0; LANES]; ROWS]; TOKENS],
        }
    }
}

/// Fills `groups` from the natural order.
pub(crate) fn arrange(wide: &[i16], groups: &mut [Group]) {
    for (x, group) in wide.as_chunks::<16>().0.iter().zip(groups) {
        for (i, [even, odd]) in x.as_chunks::<2>().0.iter().enumerate() {
            (group.even[i], group.odd[i]) = (*even, *odd);
        }
        for (offset, four) in group.offset.iter_mut().zip(x.as_chunks::<4>().0) {
            *offset = 32 * four.iter().map(|x| i32::from(*x)).sum::<i32>();
        }
    }
}

/// See [`crate::dense_matmul`].
pub(super) fn matmul(w: Dense<'_>, x: &DenseInput, out: &mut OutputRows<'_>) {
    let range = out.range();
    let stream = range.len() / ROWS;
    let mut scratch = Scratch::new();
    let mut t = 0;
    while t < x.n_tokens() {
        let n = if x.n_tokens() - t < TOKENS { 1 } else { TOKENS };
        #[cfg(feature = "relaxed-simd")]
        if n == 1 {
            super::simd128_q6_k_relaxed::matvec(w, x, out, t);
            t += 1;
            continue;
        }
        for r in range.start..range.start + stream {
            let at = std::array::from_fn(|i| r + i * stream);
            tile(w, x, out, &mut scratch, at, t, n);
        }
        for r in range.start + ROWS * stream..range.end {
            tile(w, x, out, &mut scratch, [r; ROWS], t, n);
        }
        t += n;
    }
}

/// The rows `at` for the tokens t..t + n, where n is 1 or `TOKENS`.
#[inline(always)]
fn tile(
    w: Dense<'_>,
    x: &DenseInput,
    out: &mut OutputRows<'_>,
    scratch: &mut Scratch,
    at: [usize; ROWS],
    t: usize,
    n: usize,
) {
    let start = out.range().start;
    let w = at.map(|r| w.row(r));
    if n == 1 {
        rows(w, [x.quant_row(t)], scratch);
    } else {
        let tokens: [_; TOKENS] = std::array::from_fn(|i| x.quant_row(t + i));
        rows(w, tokens, scratch);
    }
    for (t, lanes) in (t..t + n).zip(&scratch.lanes) {
        let (out, scale) = (out.token(t), x.scale(t));
        for (r, lanes) in at.into_iter().zip(lanes) {
            out[r - start] = Simd128.sum(Simd128.load(lanes)) / scale;
        }
    }
}

/// One row for [`super::Kernels::q6_k_row`].
#[inline]
pub(super) fn row<const T: usize>(w: &[u8], x: [QuantRow<'_>; T]) -> [[f32; LANES]; T] {
    let mut scratch = Scratch::new();
    x.map(|x| {
        rows([w; ROWS], [x], &mut scratch);
        scratch.lanes[0][0]
    })
}

/// The lanes of [`super::Kernels::q6_k_row`] for rows of one length and T tokens, into `scratch.lanes`.
#[inline(always)]
fn rows<const T: usize>(w: [&[u8]; ROWS], x: [QuantRow<'_>; T], scratch: &mut Scratch) {
    let Scratch { unpacked, lanes } = scratch;
    let w = w.map(|row| row.as_chunks::<BYTES>().0);
    let n_blocks = w[0].len();
    let w = w.map(|row| &row[..n_blocks]);
    let x = x.map(|x| &x.groups.as_chunks::<GROUPS>().0[..n_blocks]);
    let zero = f32x4_splat(0.0);
    for lanes in lanes[..T].as_flattened_mut() {
        lanes
            .as_chunks_mut()
            .0
            .iter_mut()
            .for_each(|lanes| store(zero, lanes));
    }
    for b in 0..n_blocks {
        let blocks = w.map(|row| &row[b]);
        for (r, block) in blocks.into_iter().enumerate() {
            unpack_codes(block, r, &mut unpacked.codes);
        }
        unpack_scales(blocks, &mut unpacked.scales);
        let d = blocks.map(|block| f32x4_splat(widen_scale([block[D], block[D + 1]])));
        for t in 0..T {
            for s in 0..2 {
                for (r, sums) in sums(unpacked, &x[t][b], s).into_iter().enumerate() {
                    let out = &mut lanes[t][r].as_chunks_mut::<4>().0[2 * (b % 2) + s];
                    let scaled = f32x4_mul(f32x4_convert_i32x4(sums), d[r]);
                    store(f32x4_add(load(out), scaled), out);
                }
            }
        }
    }
}

/// Result lanes of the groups of parity `s`: four for each row. A turn's 8 loads, 4 sums and the mask fit the registers.
#[inline(always)]
fn sums(w: &Unpacked, x: &[Group; GROUPS], s: usize) -> [v128; ROWS] {
    let low = u16x8_splat(0x00ff);
    let mut acc = [i32x4_splat(0); ROWS];
    for i in 0..GROUPS / 2 {
        let g = 2 * i + s;
        let (even, odd) = (load(&x[g].even), load(&x[g].odd));
        let offset = load(&x[g].offset);
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

/// Writes a block's values q in 0..64 as row `r`.
#[inline(always)]
fn unpack_codes(block: &[u8; BYTES], r: usize, codes: &mut [[[u8; 16]; ROWS]; GROUPS]) {
    let (nibble, two) = (u8x16_splat(15), u8x16_splat(0x30));
    let join = |low, high| v128_or(v128_and(low, nibble), v128_and(high, two));
    for n in 0..2 {
        for s in 0..2 {
            let high = load(&block[QH + 32 * n + 16 * s..][..16]);
            let low0 = load(&block[64 * n + 16 * s..][..16]);
            let low1 = load(&block[64 * n + 32 + 16 * s..][..16]);
            let quarters = [
                join(low0, u16x8_shl(high, 4)),
                join(low1, u16x8_shl(high, 2)),
                join(u16x8_shr(low0, 4), high),
                join(u16x8_shr(low1, 4), u16x8_shr(high, 2)),
            ];
            for (k, q) in quarters.into_iter().enumerate() {
                store_bytes(q, &mut codes[8 * n + 2 * k + s][r]);
            }
        }
    }
}

/// Writes the scales of the four rows' blocks, transposed.
#[inline(always)]
fn unpack_scales(blocks: [&[u8; BYTES]; ROWS], scales: &mut [[i32; ROWS]; GROUPS]) {
    let [a, b, c, d] = blocks.map(|block| load(&block[SCALES..D]));
    // Bytes of four rows, group by group: 8 groups in two vectors each.
    let ab = [
        i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(a, b),
        i8x16_shuffle::<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(a, b),
    ];
    let cd = [
        i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(c, d),
        i8x16_shuffle::<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(c, d),
    ];
    for (i, (ab, cd)) in ab.into_iter().zip(cd).enumerate() {
        let fours = [
            i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(ab, cd),
            i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(ab, cd),
        ];
        for (j, v) in fours.into_iter().enumerate() {
            let halves = [i16x8_extend_low_i8x16(v), i16x8_extend_high_i8x16(v)];
            for (k, half) in halves.into_iter().enumerate() {
                let g = 8 * i + 4 * j + 2 * k;
                store_ints(i32x4_extend_low_i16x8(half), &mut scales[g]);
                store_ints(i32x4_extend_high_i16x8(half), &mut scales[g + 1]);
            }
        }
    }
}
