//! A ternary matrix by columns, so that columns that meet a zero are not read.
//!
//! Tiles of 256 rows; in a tile each column is one cache line, so that any set of columns can be
//! left out and every byte of what is read counts. docs/layouts.md has the picture.

use crate::pack::BLOCK;
use crate::{ShapeError, Ternary};

/// Rows of a tile.
pub(crate) const TILE: usize = 256;

/// One column's codes in one tile: byte 4d + p, bits 2g and 2g + 1, hold row 64g + 4 *
/// transposed(d) + p.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Line(pub(crate) [u8; 64]);

impl Default for Line {
    fn default() -> Self {
        Line([0; 64])
    }
}

/// The place of dword d of a line among the rows, in the transposed 4 x 4 matrix. Two
/// rounds of `vpunpck` put it there, so that sums leave in the order of rows.
pub(crate) const fn transposed(d: usize) -> usize {
    d % 4 * 4 + d / 4
}

/// A ternary matrix `[rows, cols]` by columns, borrowed. Code 3 counts as +2, as in [`Ternary`].
#[derive(Clone, Copy)]
pub struct TernaryColumns<'a> {
    rows: usize,
    cols: usize,
    lines: &'a [Line],
    scale: f32,
}

impl<'a> TernaryColumns<'a> {
    /// Lines of a matrix: one for each column and started 256 rows.
    pub const fn n_lines(rows: usize, cols: usize) -> usize {
        rows.div_ceil(TILE) * cols
    }

    /// `lines` are what [`pack_columns`] made of a matrix of this shape and scale.
    pub fn new(
        rows: usize,
        cols: usize,
        lines: &'a [Line],
        scale: f32,
    ) -> Result<Self, ShapeError> {
        let what = "ternary matrix by columns";
        if rows == 0 || cols == 0 || cols > crate::ternary::MAX_COLS {
            return Err(ShapeError::Range {
                what,
                rows,
                cols,
                max_cols: crate::ternary::MAX_COLS,
            });
        }
        let expected = rows.div_ceil(TILE).saturating_mul(cols);
        if lines.len() != expected {
            return Err(ShapeError::Length {
                what,
                rows,
                cols,
                expected,
                actual: lines.len(),
                unit: "lines of 64 bytes",
            });
        }
        Ok(Self {
            rows,
            cols,
            lines,
            scale,
        })
    }

    /// Output size.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input size.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The factor of every trit.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The columns of tile `tile`.
    #[inline]
    pub(crate) fn tile(&self, tile: usize) -> &'a [Line] {
        &self.lines[tile * self.cols..][..self.cols]
    }
}

/// The lines of the 256 rows from `first` on of an I2_S matrix, into `out`.
pub(crate) fn pack(w: Ternary<'_>, first: usize, out: &mut [Line]) {
    // Codes of one row's block in natural order; then four rows' codes in the bits of a byte; then
    // a line for each column.
    let mut quads = [[0u8; BLOCK]; 64];
    for (b, out) in out.chunks_mut(BLOCK).enumerate() {
        for (at, quad) in quads.iter_mut().enumerate() {
            let row = first + 4 * transposed(at / 4) + at % 4;
            *quad = [0; BLOCK];
            for g in 0..4 {
                let row = row + 64 * g;
                if row < w.rows() {
                    add_codes(&w.row(row)[b], 2 * g, quad);
                }
            }
        }
        for (c, line) in out.iter_mut().enumerate() {
            line.0 = std::array::from_fn(|at| quads[at][c]);
        }
    }
}

/// Puts a block's 128 codes, shifted left by `shift`, into the bytes of `out`.
fn add_codes(block: &crate::ternary::Block, shift: usize, out: &mut [u8; BLOCK]) {
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (byte, out) in block.iter().zip(out) {
            *out |= ((byte >> (6 - 2 * group)) & 3) << shift;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::column_tiles::tile_sums;
    use crate::pack::pack_ternary;
    use crate::rng::Rng;
    use crate::{Isa, pack_columns};

    #[test]
    fn every_weight_has_its_place() {
        let mut rng = Rng::new(3);
        for (rows, cols) in [(1, 1), (255, 129), (256, 128), (300, 40), (600, 300)] {
            let trits: Vec<i8> = (0..rows * cols).map(|_| rng.below(3) as i8 - 1).collect();
            let packed = pack_ternary(rows, cols, &trits);
            let w = Ternary::new(rows, cols, &packed, 1.0).unwrap();
            for tile in 0..rows.div_ceil(TILE) {
                let mut lines = vec![Line([0; 64]); cols];
                pack_columns(Isa::SCALAR, w, tile, &mut lines);
                for c in 0..cols {
                    let mut sums = [0; TILE];
                    tile_sums(&lines, &[[c as u32, 0, 0, 0]], &[[1, 0, 0, 0]], &mut sums);
                    for (r, sum) in sums.iter().enumerate() {
                        let expected = match trits.get((tile * TILE + r) * cols + c) {
                            Some(trit) if tile * TILE + r < rows => i32::from(*trit) + 1,
                            _ => 0,
                        };
                        assert_eq!(*sum, expected, "[{rows}, {cols}], row {r}, column {c}");
                    }
                }
            }
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_refused() {
        let lines = vec![Line([0; 64]); 6];
        assert!(TernaryColumns::new(257, 3, &lines, 1.0).is_ok());
        assert!(TernaryColumns::new(256, 3, &lines, 1.0).is_err());
        assert!(TernaryColumns::new(0, 3, &[], 1.0).is_err());
    }
}
