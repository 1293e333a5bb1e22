//! The Q6_K product in wasm SIMD128: four rows at once, unpacked to L1 block by block.
//!
//! Of a group's 16 values, as bytes q in 0..64, the even ones are the low halves of 16-bit lanes and the odd ones the high
//! halves: two `i32x4.dot_i16x8_s` against activations in that order leave the sums of four neighbours in each lane,
//! which is what a result lane is. The offset of 32 comes off there, then the group's scale multiplies it.

use std::arch::wasm32::*;

use super::QuantRow;
use super::simd128::{load, store, store_bytes, widen_scale};
use crate::dense::q6_k::{BLOCK, BYTES, D, QH, SCALES};
use crate::isa::tree_sum;
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
pub(crate) struct Group {
    /// Numbers 0, 2, 4 and so on.
    even: [i16; 8],
    /// Numbers 1, 3, 5 and so on.
    odd: [i16; 8],
    /// 32 * the sums of each four neighbours.
    offset: [i32; 4],
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
    let mut t = 0;
    while t < x.n_tokens() {
        let n = if x.n_tokens() - t < TOKENS { 1 } else { TOKENS };
        for r in range.start..range.start + stream {
            let at: [usize; ROWS] = std::array::from_fn(|i| r + i * stream);
            tile(w, x, out, at, t, n);
        }
        for r in range.start + ROWS * stream..range.end {
            tile(w, x, out, [r], t, n);
        }
        t += n;
    }
}

/// N rows for the tokens t..t + n, where n is 1 or `TOKENS`.
#[inline(always)]
fn tile<const N: usize>(
    w: Dense<'_>,
    x: &DenseInput,
    out: &mut OutputRows<'_>,
    at: [usize; N],
    t: usize,
    n: usize,
) {
    let start = out.range().start;
    let w = at.map(|r| w.row(r));
    let mut write = |t: usize, lanes: [[f32; LANES]; N]| {
        for (r, lanes) in at.into_iter().zip(lanes) {
            out.token(t)[r - start] = tree_sum(lanes) / x.scale(t);
        }
    };
    if n == 1 {
        let [lanes] = rows(w, [x.quant_row(t)]);
        write(t, lanes);
    } else {
        let lanes = rows::<N, TOKENS>(w, std::array::from_fn(|i| x.quant_row(t + i)));
        for (i, lanes) in lanes.into_iter().enumerate() {
            write(t + i, lanes);
        }
    }
}

/// The lanes of [`super::Kernels::q6_k_row`] for N rows of one length and T tokens: `[token][row]`.
#[inline(always)]
pub(super) fn rows<const N: usize, const T: usize>(
    w: [&[u8]; N],
    x: [QuantRow<'_>; T],
) -> [[[f32; LANES]; N]; T] {
    let w = w.map(|row| row.as_chunks::<BYTES>().0);
    let n_blocks = w[0].len();
    let w = w.map(|row| &row[..n_blocks]);
    let x = x.map(|x| &x.groups.as_chunks::<GROUPS>().0[..n_blocks]);
    let mut lanes = [[[0.0; LANES]; N]; T];
    let mut codes = [[[0; 16]; N]; GROUPS];
    let mut scales = [[0; N]; GROUPS];
    for b in 0..n_blocks {
        for r in 0..N {
            unpack(&w[r][b], r, &mut codes, &mut scales);
        }
        for t in 0..T {
            for s in 0..2 {
                let sums = sums(&codes, &scales, &x[t][b], s);
                for r in 0..N {
                    let d = widen_scale([w[r][b][D], w[r][b][D + 1]]);
                    let out = &mut lanes[t][r].as_chunks_mut::<4>().0[2 * (b % 2) + s];
                    let scaled = f32x4_mul(f32x4_convert_i32x4(sums[r]), f32x4_splat(d));
                    store(f32x4_add(load(out), scaled), out);
                }
            }
        }
    }
    lanes
}

/// Result lanes of the groups of parity `s`: four for each row.
#[inline(always)]
fn sums<const N: usize>(
    codes: &[[[u8; 16]; N]; GROUPS],
    scales: &[[i32; N]; GROUPS],
    x: &[Group; GROUPS],
    s: usize,
) -> [v128; N] {
    let low = u16x8_splat(0x00ff);
    let mut acc = [i32x4_splat(0); N];
    for i in 0..GROUPS / 2 {
        let g = 2 * i + s;
        let (even, odd) = (load(&x[g].even), load(&x[g].odd));
        let offset = load(&x[g].offset);
        for r in 0..N {
            let q = load(&codes[g][r]);
            let dot = i32x4_add(
                i32x4_dot_i16x8(v128_and(q, low), even),
                i32x4_dot_i16x8(u16x8_shr(q, 8), odd),
            );
            let scaled = i32x4_mul(i32x4_sub(dot, offset), i32x4_splat(scales[g][r]));
            acc[r] = i32x4_add(acc[r], scaled);
        }
    }
    acc
}

/// Writes a block's values q in 0..64 and its group scales as row `r`.
#[inline(always)]
fn unpack<const N: usize>(
    block: &[u8; BYTES],
    r: usize,
    codes: &mut [[[u8; 16]; N]; GROUPS],
    scales: &mut [[i32; N]; GROUPS],
) {
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
    for (scale, byte) in scales.iter_mut().zip(&block[SCALES..D]) {
        scale[r] = i32::from(*byte as i8);
    }
}
