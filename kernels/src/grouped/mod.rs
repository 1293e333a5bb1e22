//! Group-scaled matrices: codes of 1 bit (-1, +1) or 2 bits (-1, 0, +1) with one f16 scale for each
//! group of a row, in tiles of 16 rows.
//!
//! A row to a lane: a vector instruction meets the same columns of 16 rows, so that scales are one
//! vector step a group and nothing is added across lanes at a row's end. docs/layouts.md has the
//! bytes.

mod activations;
mod pack;

pub use activations::{BlockActivations, BlockRowToFill};
pub use pack::pack_group_tile;

pub(crate) use activations::{ActivationBlock, TokenBlocks};

use crate::ShapeError;
use crate::simd::LANES;

/// Columns whose products with one activation scale are summed exactly.
pub(crate) const BLOCK: usize = 32;
/// Rows of a tile, each a lane.
pub(crate) const TILE_ROWS: usize = LANES;
/// Bytes of a tile's scales for one group.
pub(crate) const SCALE_BYTES: usize = 2 * TILE_ROWS;
/// Most columns; f32 sums of more would mean little.
const MAX_COLS: usize = 1 << 20;

/// The values of a weight before its group's scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupCodes {
    /// -1 or +1, in 1 bit.
    Binary,
    /// -1, 0 or +1, in 2 bits.
    Ternary,
}

impl GroupCodes {
    /// Bits of a weight, its share of the scale left out.
    pub fn bits(self) -> usize {
        match self {
            Self::Binary => 1,
            Self::Ternary => 2,
        }
    }
}

/// The dimensions of a group-scaled matrix, whose rows are made of whole groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupShape {
    rows: usize,
    cols: usize,
    group: usize,
    codes: GroupCodes,
}

impl GroupShape {
    /// `group` is 64, 128 or 256 weights and divides `cols` (at most 2^20); any number of rows from
    /// 1 on.
    pub fn new(
        rows: usize,
        cols: usize,
        group: usize,
        codes: GroupCodes,
    ) -> Result<Self, ShapeError> {
        if !matches!(group, 64 | 128 | 256) {
            return Err(ShapeError::Group { group });
        }
        if rows == 0 || cols == 0 || cols > MAX_COLS {
            return Err(ShapeError::Range {
                what: "group-scaled matrix",
                rows,
                cols,
                max_cols: MAX_COLS,
            });
        }
        if !cols.is_multiple_of(group) {
            return Err(ShapeError::Block {
                ty: "group-scaled",
                cols,
                block: group,
            });
        }
        Ok(Self {
            rows,
            cols,
            group,
            codes,
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

    /// Weights of a row that share a scale.
    pub fn group(&self) -> usize {
        self.group
    }

    /// The values of a weight.
    pub fn codes(&self) -> GroupCodes {
        self.codes
    }

    /// Scales of a row.
    pub fn groups(&self) -> usize {
        self.cols / self.group
    }

    /// Tiles of 16 rows; the last may have fewer.
    pub fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// Bytes of a tile, with its padding where rows are missing.
    pub fn tile_bytes(&self) -> usize {
        self.groups() * self.group_bytes()
    }

    /// Bytes of all tiles.
    pub fn packed_bytes(&self) -> usize {
        self.tiles().saturating_mul(self.tile_bytes())
    }

    /// Bytes of a tile's group: the codes of 16 rows, then their scales.
    pub(crate) fn group_bytes(&self) -> usize {
        self.group * TILE_ROWS * self.codes.bits() / 8 + SCALE_BYTES
    }

    /// Byte and first bit of the code of a group's column `col` in row `row` of a tile (below 16).
    fn code_at(&self, row: usize, col: usize) -> (usize, usize) {
        let bits = self.codes.bits();
        // A line of 64 bytes has four bytes a row, and a byte every fourth column of the line's.
        let line_cols = BLOCK / bits;
        let (line, col) = (col / line_cols, col % line_cols);
        (64 * line + 4 * row + col % 4, col / 4 * bits)
    }
}

/// A group-scaled matrix, borrowed.
#[derive(Clone, Copy)]
pub struct Grouped<'a> {
    shape: GroupShape,
    bytes: &'a [u8],
}

impl<'a> Grouped<'a> {
    /// `bytes` holds exactly `shape.packed_bytes()`, at any alignment; a cache line's serves best.
    /// The ternary code 3, which nothing packs, is +2 everywhere.
    pub fn new(shape: GroupShape, bytes: &'a [u8]) -> Result<Self, ShapeError> {
        if bytes.len() != shape.packed_bytes() {
            return Err(ShapeError::Length {
                what: "group-scaled matrix",
                rows: shape.rows,
                cols: shape.cols,
                expected: shape.packed_bytes(),
                actual: bytes.len(),
                unit: "bytes",
            });
        }
        Ok(Self { shape, bytes })
    }

    /// The dimensions.
    pub fn shape(&self) -> GroupShape {
        self.shape
    }

    /// All tiles' bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of tile `tile`.
    #[inline]
    pub(crate) fn tile(&self, tile: usize) -> &'a [u8] {
        let n = self.shape.tile_bytes();
        &self.bytes[tile * n..][..n]
    }

    /// Row `row` as floats into `out` `[cols]`: each code times its group's scale, exactly.
    ///
    /// # Panics
    /// If `row >= shape().rows()`, or `out` has another length: check token ids first.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let shape = self.shape;
        assert!(row < shape.rows, "row outside the matrix");
        assert_eq!(out.len(), shape.cols, "a row has a place for each column");
        let (tile, row) = (self.tile(row / TILE_ROWS), row % TILE_ROWS);
        let groups = tile.chunks_exact(shape.group_bytes());
        for (group, out) in groups.zip(out.chunks_exact_mut(shape.group)) {
            let (codes, scales) = group.split_at(group.len() - SCALE_BYTES);
            let d = half::f16::from_le_bytes(scales.as_chunks().0[row]).to_f32();
            for (col, out) in out.iter_mut().enumerate() {
                let (byte, bit) = shape.code_at(row, col);
                let code = i32::from(codes[byte] >> bit);
                let weight = match shape.codes {
                    GroupCodes::Binary => (code & 1) * 2 - 1,
                    GroupCodes::Ternary => (code & 3) - 1,
                };
                *out = weight as f32 * d;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let new = |rows, cols, group| GroupShape::new(rows, cols, group, GroupCodes::Binary);
        assert_eq!(new(1, 64, 32), Err(ShapeError::Group { group: 32 }));
        assert!(matches!(new(1, 192, 128), Err(ShapeError::Block { .. })));
        for (rows, cols) in [(0, 64), (1, 0), (1, 1 << 21)] {
            assert!(matches!(new(rows, cols, 64), Err(ShapeError::Range { .. })));
        }
        let shape = new(17, 128, 64).unwrap();
        assert_eq!((shape.tiles(), shape.groups()), (2, 2));
        assert_eq!(shape.packed_bytes(), 2 * 2 * (64 * 16 / 8 + 32));
        assert!(Grouped::new(shape, &[0; 100]).is_err());
    }

    #[test]
    fn every_code_has_bits_of_its_own() {
        for codes in [GroupCodes::Binary, GroupCodes::Ternary] {
            let shape = GroupShape::new(16, 128, 128, codes).unwrap();
            let mut taken = vec![0u8; shape.group_bytes() - SCALE_BYTES];
            for (row, col) in (0..16).flat_map(|row| (0..128).map(move |col| (row, col))) {
                let (byte, bit) = shape.code_at(row, col);
                let mask = ((1u8 << codes.bits()) - 1) << bit;
                assert_eq!(taken[byte] & mask, 0);
                taken[byte] |= mask;
            }
            assert!(taken.iter().all(|byte| *byte == 0xff));
        }
    }
}
