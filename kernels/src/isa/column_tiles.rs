//! The product with a matrix by columns: the walk over its tiles, and the oracle of a tile.

use super::kernels::Kernels;
use super::outputs::write_sums;
use crate::sparse::columns::{Line, TILE, transposed};
use crate::{NonZero, OutputRows, QuantizedActivations, TernaryColumns};

/// Walks the tiles around an ISA's `columns_tile`.
#[inline(always)]
pub(crate) fn matmul<S: Kernels>(
    s: S,
    w: TernaryColumns<'_>,
    x: &QuantizedActivations,
    nonzero: &NonZero,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    let mut sums = [0; TILE];
    for tile in range.start / TILE..range.end.div_ceil(TILE) {
        let (lines, first) = (w.tile(tile), tile * TILE);
        let rows = range.start.max(first)..range.end.min(first + TILE);
        for t in 0..x.n_tokens() {
            let (columns, values) = nonzero.token(t);
            s.columns_tile(lines, columns, values, &mut sums);
            let sums = &sums[rows.start - first..rows.end - first];
            write_sums(w.scale(), x, out, rows.start, t, sums);
        }
    }
}

/// sums[r] = sum of code * value over the columns listed: the oracle.
pub(crate) fn tile_sums(
    lines: &[Line],
    columns: &[[u32; 4]],
    values: &[[i8; 4]],
    sums: &mut [i32; TILE],
) {
    sums.fill(0);
    for (column, value) in columns.as_flattened().iter().zip(values.as_flattened()) {
        let line = &lines[*column as usize];
        for (at, byte) in line.0.iter().enumerate() {
            let row = 4 * transposed(at / 4) + at % 4;
            for g in 0..4 {
                sums[row + 64 * g] += i32::from((byte >> (2 * g)) & 3) * i32::from(*value);
            }
        }
    }
}
