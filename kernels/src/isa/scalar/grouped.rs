//! Exact dot products of a block of a group-scaled tile.

use crate::grouped::{ActivationBlock, TILE_ROWS, TokenBlocks};
use crate::simd::Simd;

/// See [`crate::isa::kernels::Kernels::group_dots`]: plain Rust, for any ISA's lanes.
#[inline(always)]
pub(crate) fn dots<S: Simd, const BITS: usize, const T: usize>(
    s: S,
    codes: &[u8],
    x: TokenBlocks<'_>,
) -> [S::F; T] {
    let mut dots = [s.splat(0.0); T];
    for (t, dots) in dots.iter_mut().enumerate() {
        let mut rows = [0.0; TILE_ROWS];
        for (row, out) in rows.iter_mut().enumerate() {
            *out = dot::<BITS>(codes, row, x.token(t)) as f32;
        }
        *dots = s.load(&rows);
    }
    dots
}

/// sum of weight * q over the block's columns of row `row`.
fn dot<const BITS: usize>(codes: &[u8], row: usize, x: &ActivationBlock) -> i32 {
    let per_byte = 8 / BITS;
    let mut sum = 0;
    for (col, q) in x.q.iter().enumerate() {
        // A line of 64 bytes has four bytes a row, and a byte every fourth column of the line's.
        let (line, col) = (col / (4 * per_byte), col % (4 * per_byte));
        let byte = codes[64 * line + 4 * row + col % 4];
        let code = i32::from(byte >> (col / 4 * BITS)) & ((1 << BITS) - 1);
        let weight = if BITS == 1 { 2 * code - 1 } else { code - 1 };
        sum += weight * i32::from(*q);
    }
    sum
}
