//! The Q6_K product in wasm SIMD128: what the loops for one token and for several share, and the
//! choice between them.
//!
//! Four rows at once are unpacked to L1, block by block. Relaxed SIMD's loop for one token takes
//! blocks as they lie (`q6_k_one_relaxed.rs`).

use std::arch::wasm32::*;
use std::ops::Range;

use super::{load, q6_k_few, q6_k_one, store, store_bytes, store_ints, widen_scale};
use crate::dense::q6_k::{BLOCK, BYTES, D, QH, SCALES};
use crate::simd::LANES;
use crate::{Dense, DenseInput, OutputRows};

/// Rows at once, far apart for the sake of the prefetcher: see `i2s_one.rs`.
pub(super) const ROWS: usize = 4;
/// Groups of 16 weights in a block.
pub(super) const GROUPS: usize = BLOCK / 16;

/// A block's activations, in the order that the inner loops over unpacked blocks want them: by
/// parity of the group, then by group.
#[derive(Clone, Copy, Default)]
#[repr(align(16))] // a load across cache lines costs two
pub(super) struct Grouped {
    /// Numbers 0, 2, 4 and so on of a group, then 1, 3, 5 and so on.
    pub(super) halves: [[[i16; 8]; GROUPS]; 2],
    /// 32 * the sums of each four neighbours.
    pub(super) offset: [[[i32; 4]; GROUPS / 2]; 2],
}

/// A product's input as its loops read it: that of one token, or of several; the other is empty, or
/// what another input left.
#[derive(Default)]
pub(crate) struct Q6kInput {
    pub(super) one: Vec<q6_k_one::Arranged>, // [k / 256]
    few: Vec<Grouped>,                       // [n_tokens, k / 256]
}

impl Q6kInput {
    pub(super) fn set(&mut self, x: &DenseInput) {
        let wide = x.all_wide();
        if x.n_tokens() == 1 {
            self.one.resize(wide.len() / BLOCK, Default::default());
            q6_k_one::arrange_one(wide, &mut self.one);
        } else {
            self.few.resize(wide.len() / BLOCK, Default::default());
            arrange(wide, &mut self.few);
        }
    }

    /// Token `t` of several.
    #[inline(always)]
    pub(super) fn token(&self, x: &DenseInput, t: usize) -> &[Grouped] {
        let blocks = x.k() / BLOCK;
        &self.few[t * blocks..][..blocks]
    }
}

/// See [`crate::dense_matmul`].
#[inline]
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
pub(super) fn matmul(w: Dense<'_>, x: &DenseInput, packed: &Q6kInput, out: &mut OutputRows<'_>) {
    if x.n_tokens() == 1 {
        q6_k_one::matvec(w, x, packed, out);
    } else {
        q6_k_few::matmul(w, x, packed, out);
    }
}

/// Fills `arranged`, one for each block, from the natural order.
pub(super) fn arrange(wide: &[i16], arranged: &mut [Grouped]) {
    for (x, arranged) in wide.as_chunks::<BLOCK>().0.iter().zip(arranged) {
        for (g, x) in x.as_chunks::<16>().0.iter().enumerate() {
            let (s, i) = (g % 2, g / 2);
            for (j, [even, odd]) in x.as_chunks::<2>().0.iter().enumerate() {
                arranged.halves[s][2 * i][j] = *even;
                arranged.halves[s][2 * i + 1][j] = *odd;
            }
            for (offset, four) in arranged.offset[s][i].iter_mut().zip(x.as_chunks::<4>().0) {
                *offset = 32 * four.iter().map(|x| i32::from(*x)).sum::<i32>();
            }
        }
    }
}

/// A block of each row, unpacked.
#[repr(align(16))]
pub(super) struct Unpacked {
    /// q in 0..64, a group's rows side by side.
    pub(super) codes: [[[u8; 16]; ROWS]; GROUPS],
    /// The group scales of the rows.
    pub(super) scales: [[i32; ROWS]; GROUPS],
}

/// Result lanes of the rows for one token.
pub(super) type Lanes = [[f32; LANES]; ROWS];

impl Unpacked {
    pub(super) fn new() -> Self {
        Unpacked {
            codes: [[[0; 16]; ROWS]; GROUPS],
            scales: [[0; ROWS]; GROUPS],
        }
    }

    /// Unpacks a block of each row.
    #[inline(always)]
    pub(super) fn fill(&mut self, blocks: [&[u8; BYTES]; ROWS]) {
        for (r, block) in blocks.into_iter().enumerate() {
            unpack_codes(block, r, &mut self.codes);
        }
        unpack_scales(blocks, &mut self.scales);
    }
}

/// `ROWS` rows at a time, a quarter of the matrix apart; rows that are left over are repeated.
#[inline(always)]
pub(super) fn tiles(range: &Range<usize>) -> impl Iterator<Item = [usize; ROWS]> {
    let (start, end, stream) = (range.start, range.end, range.len() / ROWS);
    let far = (start..start + stream).map(move |r| std::array::from_fn(|i| r + i * stream));
    far.chain((start + ROWS * stream..end).map(|r| [r; ROWS]))
}

/// The blocks of rows of one length.
#[inline(always)]
pub(super) fn blocks(w: [&[u8]; ROWS]) -> [&[[u8; BYTES]]; ROWS] {
    let w = w.map(|row| row.as_chunks::<BYTES>().0);
    let n_blocks = w[0].len();
    w.map(|row| &row[..n_blocks])
}

/// The scales of blocks.
#[inline(always)]
pub(super) fn scales(blocks: [&[u8; BYTES]; ROWS]) -> [v128; ROWS] {
    blocks.map(
        #[inline(always)]
        |block| f32x4_splat(widen_scale([block[D], block[D + 1]])),
    )
}

#[inline(always)]
pub(super) fn clear(lanes: &mut Lanes) {
    for lanes in lanes.as_flattened_mut().as_chunks_mut::<4>().0 {
        store(f32x4_splat(0.0), lanes);
    }
}

/// Adds block `b`'s sums of the groups of parity `s`.
#[inline(always)]
pub(super) fn add(lanes: &mut Lanes, b: usize, s: usize, sums: [v128; ROWS], d: [v128; ROWS]) {
    for r in 0..ROWS {
        let out = &mut lanes[r].as_chunks_mut::<4>().0[2 * (b % 2) + s];
        let scaled = f32x4_mul(f32x4_convert_i32x4(sums[r]), d[r]);
        store(f32x4_add(load(out), scaled), out);
    }
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
