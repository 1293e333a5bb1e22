//! Group-scaled matrices: codes of 1 bit (-1, +1), of 2 bits or of 13 bits for eight (-1, 0, +1)
//! with one f16 scale for each group of a row, in tiles of 16 rows.
//!
//! A row to a lane: a vector instruction meets the same columns of 16 rows, so that scales are one
//! vector step a group and nothing is added across lanes at a row's end. docs/layouts.md has the
//! bytes.

mod activations;
mod pack;
pub(crate) mod trits8;

pub use activations::{BlockActivations, BlockRowToFill};
pub use pack::{pack_group_tile, pack_trits8_tile};

pub(crate) use activations::{ActivationBlock, TokenBlocks};

use crate::ShapeError;
use crate::simd::LANES;

/// Columns whose products with one activation scale are summed exactly.
pub(crate) const BLOCK: usize = 32;
/// Rows of a tile, each a lane.
pub(crate) const TILE_ROWS: usize = LANES;
/// Bytes of a line of a tile: four of each row.
pub(crate) const LINE_BYTES: usize = 4 * TILE_ROWS;
/// Columns of the smallest group.
pub(crate) const UNIT: usize = 64;
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
    /// -1, 0 or +1 in layout trits8: five in 8 bits, but for a sixteenth of them in 2; 1.625 bits a
    /// weight.
    Trits8,
}

impl GroupCodes {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Binary, Self::Ternary, Self::Trits8];

    /// Makes of random bytes a group's codes, all values of a weight as often as each other, but
    /// for the granularity of a byte. For measurements and tests.
    pub fn spread(self, bytes: &mut [u8]) {
        let four = |byte: &mut u8| {
            let trits = usize::from(*byte) * 81 / 256;
            let code = |power| (trits / power % 3) as u8;
            *byte = code(1) << 6 | code(3) << 4 | code(9) << 2 | code(27);
        };
        match self {
            Self::Binary => {}
            Self::Ternary => bytes.iter_mut().for_each(four),
            Self::Trits8 => {
                for unit in bytes.chunks_mut(trits8::UNIT_BYTES) {
                    let (fives, rest) = unit.split_at_mut(unit.len().min(3 * LINE_BYTES));
                    for byte in fives {
                        let trits = (usize::from(*byte) * 243 / 256) as u8;
                        *byte = trits8::FIFTH * (trits / 81) + trits % 81;
                    }
                    rest.iter_mut().for_each(four);
                }
            }
        }
    }

    /// Bytes of the codes of 64 columns of a tile's 16 rows.
    pub(crate) fn unit_bytes(self) -> usize {
        match self {
            Self::Binary => 2 * LINE_BYTES,
            Self::Ternary => 4 * LINE_BYTES,
            Self::Trits8 => trits8::UNIT_BYTES,
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

    /// The same with other codes.
    #[must_use]
    pub fn with_codes(self, codes: GroupCodes) -> Self {
        Self { codes, ..self }
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
        self.code_bytes() + SCALE_BYTES
    }

    /// Bytes of a group's codes in a tile; 32 bytes of scales follow them.
    pub fn code_bytes(&self) -> usize {
        self.group / UNIT * self.codes.unit_bytes()
    }

    /// The code of a group's column `col` in row `row` (below 16) of a tile.
    fn code(&self, codes: &[u8], row: usize, col: usize) -> u8 {
        match self.codes {
            GroupCodes::Binary => bits_at::<1>(codes, row, col),
            GroupCodes::Ternary => bits_at::<2>(codes, row, col),
            GroupCodes::Trits8 => {
                let units = codes.as_chunks().0;
                trits8::code(&units[col / UNIT], row, col % UNIT)
            }
        }
    }

    /// The weight that it stands for, before its scale.
    pub(crate) fn weight(&self, codes: &[u8], row: usize, col: usize) -> i8 {
        let code = self.code(codes, row, col).cast_signed();
        match self.codes {
            GroupCodes::Binary => code * 2 - 1,
            GroupCodes::Ternary | GroupCodes::Trits8 => code - 1,
        }
    }
}

/// The code of column `col` in row `row`, where codes have so many bits.
fn bits_at<const BITS: usize>(codes: &[u8], row: usize, col: usize) -> u8 {
    // A line has four bytes a row, and a byte every fourth column of the line's.
    let line_cols = BLOCK / BITS;
    let (line, col) = (col / line_cols, col % line_cols);
    let byte = codes[LINE_BYTES * line + 4 * row + col % 4];
    byte >> (col / 4 * BITS) & ((1 << BITS) - 1)
}

/// A group-scaled matrix, borrowed.
#[derive(Clone, Copy)]
pub struct Grouped<'a> {
    shape: GroupShape,
    bytes: &'a [u8],
}

impl<'a> Grouped<'a> {
    /// `bytes` holds exactly `shape.packed_bytes()`, at any alignment; a cache line's serves best.
    /// The ternary code 3, which nothing packs, is +2 everywhere; trits8 has no bytes without
    /// codes either.
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

    /// Row `row` as [`pack_group_tile`] takes it: its weights (+2 where the codes have it) into
    /// `codes` `[cols]`, and the bits of each group's f16 scale into `scales` `[groups]`.
    ///
    /// # Panics
    /// If `row >= shape().rows()`, or `codes` or `scales` has another length: a caller's mistake.
    pub fn read_row(&self, row: usize, codes: &mut [i8], scales: &mut [u16]) {
        let shape = self.shape;
        assert!(row < shape.rows, "row outside the matrix");
        assert_eq!(codes.len(), shape.cols, "a row has a place for each column");
        assert_eq!(
            scales.len(),
            shape.groups(),
            "a row has a scale for each group"
        );
        let (tile, row) = (self.tile(row / TILE_ROWS), row % TILE_ROWS);
        let groups = tile.chunks_exact(shape.group_bytes());
        let out = codes.chunks_exact_mut(shape.group).zip(scales);
        for (group, (out, scale)) in groups.zip(out) {
            let (codes, scales) = group.split_at(group.len() - SCALE_BYTES);
            *scale = u16::from_le_bytes(scales.as_chunks().0[row]);
            for (col, out) in out.iter_mut().enumerate() {
                *out = shape.weight(codes, row, col);
            }
        }
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
                *out = f32::from(shape.weight(codes, row, col)) * d;
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
            let mut seen = 0;
            for bit in 0..8 * shape.code_bytes() {
                let mut bytes = vec![0; shape.code_bytes()];
                bytes[bit / 8] = 1 << (bit % 8);
                let places = (0..16).flat_map(|row| (0..128).map(move |col| (row, col)));
                let set: Vec<u8> = places
                    .map(|(row, col)| shape.code(&bytes, row, col))
                    .filter(|code| *code != 0)
                    .collect();
                assert_eq!(set.len(), 1, "bit {bit} belongs to one code");
                seen += u32::from(set[0]);
            }
            let all = [1, 3][usize::from(codes == GroupCodes::Ternary)];
            assert_eq!(seen, 16 * 128 * all);
        }
    }

    #[test]
    fn random_bytes_become_codes_of_every_value() {
        for codes in GroupCodes::ALL {
            let shape = GroupShape::new(16, 64, 64, codes).unwrap();
            let mut bytes: Vec<u8> = (0..shape.code_bytes()).map(|i| (i * 59) as u8).collect();
            codes.spread(&mut bytes);
            let mut count = [0; 4];
            for (row, col) in (0..16).flat_map(|row| (0..64).map(move |col| (row, col))) {
                count[usize::from(shape.code(&bytes, row, col))] += 1;
            }
            let values = if codes == GroupCodes::Binary { 2 } else { 3 };
            assert!(
                count[..values].iter().all(|n| *n > 250),
                "{codes:?}: {count:?}"
            );
            assert_eq!(count[values..].iter().sum::<usize>(), 0);
        }
    }

    #[test]
    fn bonsais_shapes_take_less_than_two_bits_in_trits8() {
        for (cols, group) in [(2560, 128), (9728, 128), (2048, 64), (12_288, 256)] {
            let shape = GroupShape::new(16, cols, group, GroupCodes::Trits8).unwrap();
            let (codes, scales) = (16 * cols * 13 / 64, 16 * cols / group * 2);
            assert_eq!(shape.packed_bytes(), codes + scales);
        }
    }
}
