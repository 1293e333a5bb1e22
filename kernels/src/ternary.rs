//! The packed ternary matrix.

use crate::pack::{self, BLOCK, BLOCK_BYTES};
use crate::{ShapeError, trits5};

/// Most columns: sums of 2^20 products of +-127 by a code, even scaled by 64 (SIMD128), fit i32.
pub(crate) const MAX_COLS: usize = 1 << 20;

/// Packed bytes of one block.
pub(crate) type Block = [u8; BLOCK_BYTES];
/// Activations that meet one block.
pub(crate) type Activations = [i8; BLOCK];

/// The memory layout of a ternary matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TernaryLayout {
    /// Two bits a weight: blocks of 128 weights in 32 bytes as in GGUF type I2_S (see
    /// [`crate::pack`]). Where `cols % 128 != 0` each *row* is padded to a whole block with weight
    /// 0, so a GGUF tensor whose columns are a multiple of 128 is used in place. Code 3, which no
    /// converter writes, counts as +2 on every path.
    #[default]
    I2S,
    /// Three weights in five bits (docs/layouts.md); [`crate::pack_trits5`] makes it.
    Trits5,
}

impl TernaryLayout {
    /// Every layout.
    pub const ALL: [TernaryLayout; 2] = [TernaryLayout::I2S, TernaryLayout::Trits5];

    /// The name in options and messages: `i2_s` or `trits5`.
    pub const fn name(self) -> &'static str {
        match self {
            TernaryLayout::I2S => "i2_s",
            TernaryLayout::Trits5 => "trits5",
        }
    }

    /// The layout of that name; `t5` is another for `trits5`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == "t5" { "trits5" } else { name };
        Self::ALL.into_iter().find(|layout| layout.name() == name)
    }

    /// Bytes of a matrix; `usize::MAX` where they cannot be counted.
    pub const fn bytes(self, rows: usize, cols: usize) -> usize {
        match self {
            TernaryLayout::I2S => rows.saturating_mul(Ternary::row_bytes(cols)),
            TernaryLayout::Trits5 => rows.saturating_mul(trits5::row_bytes(cols)),
        }
    }
}

/// A ternary matrix `[rows, cols]`, borrowed.
#[derive(Clone, Copy)]
pub struct Ternary<'a> {
    rows: usize,
    cols: usize,
    packed: &'a [u8],
    scale: f32,
    layout: TernaryLayout,
    /// The row that `packed` begins with, where it is a part of the matrix.
    first: usize,
}

impl<'a> Ternary<'a> {
    /// Bytes of one row in I2_S: 32 for each started 128 columns.
    pub const fn row_bytes(cols: usize) -> usize {
        pack::row_bytes(cols)
    }

    /// I2_S rows: `packed` holds exactly `rows * row_bytes(cols)` bytes; a weight is `trit *
    /// scale`.
    pub fn new(rows: usize, cols: usize, packed: &'a [u8], scale: f32) -> Result<Self, ShapeError> {
        Self::with_layout(TernaryLayout::I2S, rows, cols, packed, scale)
    }

    /// `packed` holds exactly `layout.bytes(rows, cols)` bytes; a weight is `trit * scale`.
    pub fn with_layout(
        layout: TernaryLayout,
        rows: usize,
        cols: usize,
        packed: &'a [u8],
        scale: f32,
    ) -> Result<Self, ShapeError> {
        let what = "ternary matrix";
        if rows == 0 || cols == 0 || cols > MAX_COLS {
            return Err(ShapeError::Range {
                what,
                rows,
                cols,
                max_cols: MAX_COLS,
            });
        }
        let expected = layout.bytes(rows, cols);
        if packed.len() != expected {
            return Err(ShapeError::Length {
                what,
                rows,
                cols,
                expected,
                actual: packed.len(),
                unit: "bytes",
            });
        }
        Ok(Self {
            rows,
            cols,
            packed,
            scale,
            layout,
            first: 0,
        })
    }

    /// Its memory layout.
    pub fn layout(&self) -> TernaryLayout {
        self.layout
    }

    /// The same matrix, of which only the I2_S rows `packed` are at hand, from row `first` on.
    pub(crate) fn window<'b>(&self, first: usize, packed: &'b [u8]) -> Ternary<'b> {
        Ternary {
            rows: self.rows,
            cols: self.cols,
            packed,
            scale: self.scale,
            layout: TernaryLayout::I2S,
            first,
        }
    }

    /// trits5: row `r`.
    #[inline]
    pub(crate) fn trits5_row(&self, r: usize) -> &'a [u8] {
        &self.trits5_rows_from(r)[..trits5::row_bytes(self.cols)]
    }

    /// trits5: the rows from `r` on.
    #[inline]
    pub(crate) fn trits5_rows_from(&self, r: usize) -> &'a [u8] {
        debug_assert_eq!(self.layout, TernaryLayout::Trits5);
        &self.packed[r * trits5::row_bytes(self.cols)..]
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

    /// The packed bytes, as [`TernaryLayout::bytes`] counts them; of a part of a matrix, those of
    /// the part.
    pub fn packed(&self) -> &'a [u8] {
        self.packed
    }

    /// The addresses of the packed bytes: to know a matrix again, not to read it.
    pub fn packed_range(&self) -> (usize, usize) {
        let start = self.packed.as_ptr() as usize;
        (start, start + self.packed.len())
    }

    /// I2_S: the blocks of row `r`.
    #[inline]
    pub(crate) fn row(&self, r: usize) -> &'a [Block] {
        debug_assert_eq!(self.layout, TernaryLayout::I2S);
        let row_bytes = Self::row_bytes(self.cols);
        self.packed[(r - self.first) * row_bytes..][..row_bytes]
            .as_chunks()
            .0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_have_names() {
        for layout in TernaryLayout::ALL {
            assert_eq!(TernaryLayout::from_name(layout.name()), Some(layout));
        }
        assert_eq!(TernaryLayout::from_name("t5"), Some(TernaryLayout::Trits5));
        assert_eq!(TernaryLayout::from_name("t6"), None);
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        assert!(Ternary::new(2, 129, &[0; 128], 1.0).is_ok());
        assert!(Ternary::new(2, 129, &[0; 127], 1.0).is_err());
        assert!(Ternary::new(0, 128, &[], 1.0).is_err());
        assert!(Ternary::new(1, MAX_COLS + 1, &[], 1.0).is_err());
    }
}
