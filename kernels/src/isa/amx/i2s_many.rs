//! The ternary product in tiles: tokens are the rows of A and C, matrix rows their columns.
//!
//! ```text
//!            matrix rows 0..16   16..32
//! tokens  0..16   C00              C01
//!        16..32   C10              C11
//!
//! A: int8 activations as they lie, 16 tokens x 64 columns
//! B: codes, 64 columns x 16 matrix rows (x86/panel.rs)
//! C: i32, four tiles that stay in registers over a chunk
//! ```
//!
//! Codes of 32 matrix rows are unpacked for a chunk of columns into L1 and meet all tokens of a
//! panel there; the sums, 32 for a token, are put aside between chunks, and at the end lie as the
//! output does.

use super::tiles::{Plain, ROW_BYTES, ROWS, TileShape, Tiles, bytes, bytes_mut};
use crate::isa::x86::panel::{
    CHUNK, PanelBlock, Sums, Vectors, WIDTH, new_panel, prefetch_next, unpack,
};
use crate::pack::BLOCK;
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Most tokens for which codes are unpacked once; their sums are 64 KB.
pub(crate) const TOKENS: usize = 512;
/// Most bytes of their activations. These are read again for each 32 matrix rows and must stay in
/// L2 (2 MB).
pub(crate) const PANEL_BYTES: usize = 1400 << 10;

/// Tiles by number.
const C00: u8 = 0;
const C01: u8 = 1;
const C10: u8 = 2;
const C11: u8 = 3;
const A0: u8 = 4;
const A1: u8 = 5;
const B0: u8 = 6;
const B1: u8 = 7;

/// From one token's sums to the next, in bytes.
const LINE: usize = size_of::<Sums>();

impl Plain for Sums {}

/// See [`crate::ternary_matmul`].
#[inline(always)]
pub(crate) fn matmul<T: Tiles, V: Vectors>(
    tiles: &mut T,
    vectors: V,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    let n_blocks = w.row(range.start).len();
    let width = panel_width(x);
    let mut configured = 0;
    let mut panel = new_panel();
    let mut sums = [Sums::ZERO; TOKENS];
    for r0 in range.clone().step_by(WIDTH) {
        let r1 = range.end.min(r0 + WIDTH);
        for t0 in (0..x.n_tokens()).step_by(width) {
            let t1 = x.n_tokens().min(t0 + width);
            for b0 in (0..n_blocks).step_by(CHUNK) {
                let b1 = n_blocks.min(b0 + CHUNK);
                unpack(vectors, w, r0..r1, b0..b1, &mut panel);
                prefetch_next(vectors, w, r0..range.end, b1);
                let codes = [&panel[0][..b1 - b0], &panel[1][..b1 - b0]];
                for (t, sums) in (t0..t1).step_by(WIDTH).zip(sums.chunks_mut(WIDTH)) {
                    let n = WIDTH.min(t1 - t);
                    if n != configured {
                        configure(tiles, n);
                        configured = n;
                    }
                    let a = &x.rows()[t * x.stride()..(t + n) * x.stride()][b0 * BLOCK..];
                    if n > ROWS {
                        pass::<T, true>(tiles, a, x.stride(), codes, b0 == 0, sums);
                    } else {
                        pass::<T, false>(tiles, a, x.stride(), codes, b0 == 0, sums);
                    }
                }
            }
            let last = (t1 - t0) % WIDTH;
            if (1..=ROWS).contains(&last) {
                add_halves(&mut sums[t1 - t0 - last..], last);
            }
            for (t, sums) in (t0..t1).zip(&sums) {
                let out = &mut out.token(t)[r0 - range.start..r1 - range.start];
                vectors.outputs(&sums.0, x.sum(t), x.scale(t), w.scale(), out);
            }
        }
    }
}

/// Tokens of a panel: panels of nearly equal size, a multiple of what meets at once.
fn panel_width(x: &QuantizedActivations) -> usize {
    let n = x.n_tokens();
    let panels = (n * x.stride())
        .div_ceil(PANEL_BYTES)
        .max(n.div_ceil(TOKENS));
    n.div_ceil(panels).next_multiple_of(WIDTH).min(TOKENS)
}

/// Gives the tiles of tokens as many rows as there are tokens, 1..=32: those behind the last are
/// not ours to read. With no more than 16 all four tiles of sums belong to the same tokens.
fn configure<T: Tiles>(tiles: &mut T, n_tokens: usize) {
    let low = n_tokens.min(ROWS);
    let high = if n_tokens > ROWS {
        n_tokens - ROWS
    } else {
        low
    };
    let mut shapes = [TileShape::WHOLE; 8];
    for tile in [C00, C01, A0] {
        shapes[usize::from(tile)] = TileShape::rows(low);
    }
    for tile in [C10, C11, A1] {
        shapes[usize::from(tile)] = TileShape::rows(high);
    }
    tiles.configure(shapes);
}

/// Up to 32 tokens meet the panel's blocks. `a` holds their rows, `stride` apart, from the chunk's
/// first column on; the sums start at zero or are added to.
///
/// With no more than 16 (`WIDE` is false) the lower tiles take the same tokens' second half of a
/// block, as a `tdpbssd` waits 52 cycles for the one before it on the same tile, and two tiles
/// would not be enough to fill them; see `add_halves`.
#[inline(always)]
fn pass<T: Tiles, const WIDE: bool>(
    tiles: &mut T,
    a: &[i8],
    stride: usize,
    panel: [&[PanelBlock]; 2],
    first: bool,
    sums: &mut [Sums],
) {
    let a = bytes(a);
    let sums = bytes_mut(sums);
    let low = ROWS * LINE;
    if first {
        tiles.zero::<C00>();
        tiles.zero::<C01>();
        tiles.zero::<C10>();
        tiles.zero::<C11>();
    } else {
        tiles.load::<C00>(sums, LINE);
        tiles.load::<C01>(&sums[ROW_BYTES..], LINE);
        tiles.load::<C10>(&sums[low..], LINE);
        tiles.load::<C11>(&sums[low + ROW_BYTES..], LINE);
    }
    for (b, (left, right)) in panel[0].iter().zip(panel[1]).enumerate() {
        for half in 0..2 {
            let at = (2 * b + half) * ROW_BYTES;
            if WIDE || half == 0 {
                tiles.load::<A0>(&a[at..], stride);
                tiles.load::<B0>(left.tile(half), ROW_BYTES);
                tiles.multiply::<C00, A0, B0>();
                tiles.load::<B1>(right.tile(half), ROW_BYTES);
                tiles.multiply::<C01, A0, B1>();
            }
            if WIDE {
                tiles.load::<A1>(&a[ROWS * stride + at..], stride);
            } else if half == 1 {
                tiles.load::<A1>(&a[at..], stride);
                tiles.load::<B0>(left.tile(half), ROW_BYTES);
                tiles.load::<B1>(right.tile(half), ROW_BYTES);
            }
            if WIDE || half == 1 {
                tiles.multiply::<C10, A1, B0>();
                tiles.multiply::<C11, A1, B1>();
            }
        }
    }
    tiles.store::<C00>(sums, LINE);
    tiles.store::<C01>(&mut sums[ROW_BYTES..], LINE);
    tiles.store::<C10>(&mut sums[low..], LINE);
    tiles.store::<C11>(&mut sums[low + ROW_BYTES..], LINE);
}

/// Adds the sums of the blocks' second halves, which lie 16 lines behind, to those of the first `n`
/// tokens.
#[inline(always)]
fn add_halves(sums: &mut [Sums], n: usize) {
    let (first, second) = sums.split_at_mut(ROWS);
    for (first, second) in first.iter_mut().zip(second).take(n) {
        for (first, second) in first.0.iter_mut().zip(second.0) {
            *first += second;
        }
    }
}
