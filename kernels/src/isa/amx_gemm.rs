//! The ternary product in tiles: tokens are the rows of A and C, matrix rows their columns.
//!
//! ```text
//!            matrix rows 0..16   16..32              A: int8 activations as they lie, 16 tokens x 64 columns
//! tokens  0..16   C00              C01               B: codes, 64 columns x 16 matrix rows (amx_codes.rs)
//!        16..32   C10              C11               C: i32, four tiles that stay in registers over a chunk
//! ```
//!
//! Codes of 32 matrix rows are unpacked for a chunk of columns into L1 and meet all tokens of a panel there; the sums, 32
//! for a token, are put aside between chunks, and at the end lie as the output does.

use std::ops::Range;

use super::amx_codes::{Codes, Interleave};
use super::amx_tiles::{ROW_BYTES, ROWS, Tiles, bytes, bytes_mut};
use crate::pack::BLOCK;
use crate::ternary::write_token;
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Blocks of a chunk. 640 columns of codes are 20 KB, and those of the 32 tokens that pass as much again: together they
/// fit L1 (48 KB), where the codes must stay.
const CHUNK: usize = 5;
/// Matrix rows, and tokens, that meet at once.
const WIDTH: usize = 2 * ROWS;
/// Tokens for which codes are unpacked once. Their activations of a chunk (320 KB) and their sums (64 KB) stay in L2.
pub(super) const TOKENS: usize = 512;

/// Tiles by number.
const C00: u8 = 0;
const C01: u8 = 1;
const C10: u8 = 2;
const C11: u8 = 3;
const A0: u8 = 4;
const A1: u8 = 5;
const B0: u8 = 6;
const B1: u8 = 7;

/// A token's sums of code * q, one for each of the matrix rows.
type Sums = [i32; WIDTH];
/// Codes of 32 matrix rows in one chunk: two halves of 16 rows.
type Panel = [[Codes; CHUNK]; 2];

/// See [`crate::ternary_matmul`].
#[inline(always)]
pub(super) fn matmul<T: Tiles, I: Interleave>(
    tiles: &mut T,
    isa: I,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    let n_blocks = w.row(range.start).len();
    let stride = x.row(0).len();
    let mut configured = 0;
    let mut panel = [[Codes::ZERO; CHUNK]; 2];
    let mut sums: [Sums; TOKENS] = [[0; WIDTH]; TOKENS];
    for r0 in range.clone().step_by(WIDTH) {
        let r1 = range.end.min(r0 + WIDTH);
        for t0 in (0..x.n_tokens()).step_by(TOKENS) {
            let t1 = x.n_tokens().min(t0 + TOKENS);
            for b0 in (0..n_blocks).step_by(CHUNK) {
                let b1 = n_blocks.min(b0 + CHUNK);
                unpack(isa, w, r0..r1, b0..b1, &mut panel);
                let codes = [&panel[0][..b1 - b0], &panel[1][..b1 - b0]];
                for (t, sums) in (t0..t1).step_by(WIDTH).zip(sums.chunks_mut(WIDTH)) {
                    let n = WIDTH.min(t1 - t);
                    if n != configured {
                        configure(tiles, n);
                        configured = n;
                    }
                    let a = &x.rows(t..t + n)[b0 * BLOCK..];
                    pass(tiles, a, stride, codes, b0 == 0, &mut sums[..n]);
                }
            }
            for (t, sums) in (t0..t1).zip(&sums) {
                write_token(w, x, out, r0, t, &sums[..r1 - r0]);
            }
        }
    }
}

/// Fills `panel` with the blocks `blocks` of the rows `rows`, and asks for the bytes of the next chunk: tiles leave the
/// memory idle for thousands of cycles.
#[inline(always)]
fn unpack<I: Interleave>(
    isa: I,
    w: Ternary<'_>,
    rows: Range<usize>,
    blocks: Range<usize>,
    panel: &mut Panel,
) {
    for (half, panel) in panel.iter_mut().enumerate() {
        // Past the last row it is repeated, and the results are not used.
        let row = |i: usize| w.row((rows.start + half * ROWS + i).min(rows.end - 1));
        let rows: [_; ROWS] = std::array::from_fn(row);
        for (b, codes) in blocks.clone().zip(panel) {
            isa.interleave(rows.map(|row| &row[b]), codes);
        }
        for row in rows {
            for block in row[blocks.end..].iter().take(CHUNK) {
                isa.prefetch(block);
            }
        }
    }
}

/// Gives the tiles of tokens as many rows as there are tokens, 1..=32: those behind the last are not ours to read.
fn configure<T: Tiles>(tiles: &mut T, n_tokens: usize) {
    let low = n_tokens.min(ROWS);
    let high = if n_tokens > ROWS {
        n_tokens - ROWS
    } else {
        ROWS
    };
    let mut rows = [ROWS as u8; 8];
    for (tile, n) in [
        (C00, low),
        (C01, low),
        (A0, low),
        (C10, high),
        (C11, high),
        (A1, high),
    ] {
        rows[usize::from(tile)] = n as u8;
    }
    tiles.configure(rows);
}

/// Up to 32 tokens meet the panel's blocks. `a` holds their rows of `stride` values from the chunk's first column on.
#[inline(always)]
fn pass<T: Tiles>(
    tiles: &mut T,
    a: &[i8],
    stride: usize,
    panel: [&[Codes]; 2],
    first: bool,
    sums: &mut [Sums],
) {
    let two = sums.len() > ROWS;
    let a = bytes(a);
    let sums = bytes_mut(sums.as_flattened_mut());
    let line = size_of::<Sums>();
    if first {
        tiles.zero::<C00>();
        tiles.zero::<C01>();
        tiles.zero::<C10>();
        tiles.zero::<C11>();
    } else {
        tiles.load::<C00>(sums, line);
        tiles.load::<C01>(&sums[ROW_BYTES..], line);
        if two {
            tiles.load::<C10>(&sums[ROWS * line..], line);
            tiles.load::<C11>(&sums[ROWS * line + ROW_BYTES..], line);
        }
    }
    for (b, (left, right)) in panel[0].iter().zip(panel[1]).enumerate() {
        for half in 0..2 {
            let at = (2 * b + half) * ROW_BYTES;
            tiles.load::<A0>(&a[at..], stride);
            tiles.load::<B0>(left.tile(half), ROW_BYTES);
            tiles.multiply::<C00, A0, B0>();
            tiles.load::<B1>(right.tile(half), ROW_BYTES);
            tiles.multiply::<C01, A0, B1>();
            if two {
                tiles.load::<A1>(&a[ROWS * stride + at..], stride);
                tiles.multiply::<C10, A1, B0>();
                tiles.multiply::<C11, A1, B1>();
            }
        }
    }
    tiles.store::<C00>(sums, line);
    tiles.store::<C01>(&mut sums[ROW_BYTES..], line);
    if two {
        tiles.store::<C10>(&mut sums[ROWS * line..], line);
        tiles.store::<C11>(&mut sums[ROWS * line + ROW_BYTES..], line);
    }
}
