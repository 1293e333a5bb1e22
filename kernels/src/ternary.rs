//! The packed ternary matrix and its product with int8 activations.

use crate::isa::TernaryTiles;
use crate::pack::{BLOCK, BLOCK_BYTES};
use crate::{Isa, OutputRows, QuantizedActivations, ShapeError, trits5};

/// Most columns: sums of 2^20 products of +-127 by a code, even scaled by 64 (SIMD128), fit i32.
pub(crate) const MAX_COLS: usize = 1 << 20;

/// Rows whose packed bytes stay in L2 while all tokens pass over them.
const ROW_BLOCK: usize = 32;

/// Packed bytes of one block.
pub(crate) type Block = [u8; BLOCK_BYTES];
/// Activations that meet one block.
pub(crate) type Activations = [i8; BLOCK];

/// One token's activations, as blocks.
#[derive(Clone, Copy)]
pub(crate) struct TokenRow<'a> {
    pub(crate) q: &'a [Activations],
    /// The same as SIMD128's inner loops take it.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    pub(crate) arranged: &'a [crate::isa::simd128::Arranged],
}

/// How a ternary matrix lies in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TernaryLayout {
    /// Two bits a weight: blocks of 128 weights in 32 bytes as in GGUF type I2_S (see [`crate::pack`]). Where `cols % 128 != 0`
    /// each *row* is padded to a whole block with weight 0, so a GGUF tensor whose columns are a multiple of 128 is used
    /// in place. Code 3, which no converter writes, counts as +2 on every path.
    #[default]
    I2S,
    /// Three weights in five bits (README.md); [`crate::pack_trits5`] makes it.
    T5,
}

impl TernaryLayout {
    /// Every layout.
    pub const ALL: [TernaryLayout; 2] = [TernaryLayout::I2S, TernaryLayout::T5];

    /// The name in options and messages: `i2_s` or `t5`.
    pub const fn name(self) -> &'static str {
        match self {
            TernaryLayout::I2S => "i2_s",
            TernaryLayout::T5 => "t5",
        }
    }

    /// The layout of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.name() == name)
    }

    /// Bytes of a matrix; `usize::MAX` where they cannot be counted.
    pub const fn bytes(self, rows: usize, cols: usize) -> usize {
        match self {
            TernaryLayout::I2S => rows.saturating_mul(Ternary::row_bytes(cols)),
            TernaryLayout::T5 => rows.saturating_mul(trits5::row_bytes(cols)),
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
        cols.div_ceil(BLOCK) * BLOCK_BYTES
    }

    /// I2_S rows: `packed` holds exactly `rows * row_bytes(cols)` bytes; a weight is `trit * scale`.
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

    /// How it lies in memory.
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

    /// T5: row `r`.
    #[inline]
    pub(crate) fn trits5_row(&self, r: usize) -> &'a [u8] {
        &self.trits5_rows_from(r)[..trits5::row_bytes(self.cols)]
    }

    /// T5: the rows from `r` on.
    #[inline]
    pub(crate) fn trits5_rows_from(&self, r: usize) -> &'a [u8] {
        debug_assert_eq!(self.layout, TernaryLayout::T5);
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

    /// What a trit is multiplied by.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The packed bytes, as [`TernaryLayout::bytes`] counts them; of a part of a matrix, those of the part.
    pub fn packed(&self) -> &'a [u8] {
        self.packed
    }

    /// Where the packed bytes lie, as addresses: to know a matrix again, not to read it.
    pub fn packed_range(&self) -> (usize, usize) {
        let start = self.packed.as_ptr() as usize;
        (start, start + self.packed.len())
    }

    /// Row `r` in whatever layout.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn row_bytes_of(&self, r: usize) -> &'a [u8] {
        match self.layout {
            TernaryLayout::I2S => self.row(r).as_flattened(),
            TernaryLayout::T5 => self.trits5_row(r),
        }
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

/// `out[t][r] = (sum_j q[t][j] * w[r][j]) as f32 / s_t * w.scale`, for the rows of `out`.
///
/// One token streams the weights once (decode); several unpack each weight block once for a tile of tokens.
///
/// # Panics
/// If `x` has not `w.cols()` values a token, or `out` other tokens than `x` or rows outside `w`: a caller's mistake.
pub fn ternary_matmul(isa: Isa, w: Ternary<'_>, x: &QuantizedActivations, mut out: OutputRows<'_>) {
    assert_eq!(
        x.k(),
        w.cols,
        "activations of another width than the matrix"
    );
    assert_eq!(
        x.n_tokens(),
        out.n_tokens(),
        "output for another number of tokens"
    );
    assert!(out.range().end <= w.rows, "output rows outside the matrix");
    match w.layout {
        TernaryLayout::I2S => isa.ternary_matmul(w, x, &mut out),
        TernaryLayout::T5 if isa.has_trits5() => {
            isa.trits5_matmul(w, x, &mut out);
        }
        TernaryLayout::T5 => trits5::matmul_unpacked(isa, w, x, &mut out),
    }
}

/// Walks rows and tokens in tiles of R x T around an ISA's `ternary_tile`; single tokens take R1 rows at once.
#[inline(always)]
pub(crate) fn matmul_tiles<S: TernaryTiles, const R1: usize, const R: usize, const T: usize>(
    s: S,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    for start in range.clone().step_by(ROW_BLOCK) {
        let end = range.end.min(start + ROW_BLOCK);
        let mut t = 0;
        while t < x.n_tokens() {
            // What is left over after the tiles of T goes by fours, twos and ones.
            t += match x.n_tokens() - t {
                left if left >= T => row_tiles::<S, R, T>(s, w, x, out, start..end, t),
                left if T > 4 && left >= 4 => row_tiles::<S, R, 4>(s, w, x, out, start..end, t),
                left if left >= 2 => row_tiles::<S, R, 2>(s, w, x, out, start..end, t),
                _ => row_tiles::<S, R1, 1>(s, w, x, out, start..end, t),
            };
        }
    }
}

/// Rows `range` for tokens t..t + T; returns T.
#[inline(always)]
fn row_tiles<S: TernaryTiles, const R: usize, const T: usize>(
    s: S,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    range: std::ops::Range<usize>,
    t: usize,
) -> usize {
    let tokens: [TokenRow<'_>; T] = std::array::from_fn(|i| x.token_row(t + i));
    let mut r = range.start;
    while r + R <= range.end {
        let sums = s.ternary_tile::<R, T>(std::array::from_fn(|i| w.row(r + i)), tokens);
        write(w, x, out, r, t, &sums);
        r += R;
    }
    for r in r..range.end {
        let sums = s.ternary_tile::<1, T>([w.row(r)], tokens);
        write(w, x, out, r, t, &sums);
    }
    T
}

/// Writes a tile's results.
#[inline(always)]
fn write<const T: usize>(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    row: usize,
    t: usize,
    sums: &[[i32; T]],
) {
    for (r, sums) in sums.iter().enumerate() {
        write_row(w, x, out, row + r, t, sums);
    }
}

/// Turns sums of code * q, one for each token from `t` on, into outputs.
#[inline(always)]
pub(crate) fn write_row(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    row: usize,
    t: usize,
    sums: &[i32],
) {
    let at = row - out.range().start;
    for (t, sum) in (t..).zip(sums) {
        out.token(t)[at] = output(*sum, x.sum(t), x.scale(t), w.scale);
    }
}

/// The same for one token and the rows from `row` on.
#[inline(always)]
pub(crate) fn write_token(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    row: usize,
    t: usize,
    sums: &[i32],
) {
    write_sums(w.scale, x, out, row, t, sums);
}

/// The same for a matrix in any layout.
#[inline(always)]
pub(crate) fn write_sums(
    w_scale: f32,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    row: usize,
    t: usize,
    sums: &[i32],
) {
    let at = row - out.range().start;
    let (q_sum, scale) = (x.sum(t), x.scale(t));
    for (out, sum) in out.token(t)[at..].iter_mut().zip(sums) {
        *out = output(*sum, q_sum, scale, w_scale);
    }
}

/// A weight is code - 1, so sum(q) comes off.
#[inline(always)]
pub(crate) fn output(sum: i32, q_sum: i32, scale: f32, w_scale: f32) -> f32 {
    (sum - q_sum) as f32 / scale * w_scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::pack_ternary;

    #[test]
    fn the_product_follows_its_definition() {
        let (rows, cols, n_tokens) = (3, 130, 2);
        let trits: Vec<i8> = (0..rows * cols).map(|i| (i * 7 % 3) as i8 - 1).collect();
        let packed = pack_ternary(rows, cols, &trits);
        let w = Ternary::new(rows, cols, &packed, 0.5).unwrap();
        let x: Vec<f32> = (0..n_tokens * cols)
            .map(|i| (i % 11) as f32 - 5.0)
            .collect();
        let mut q = QuantizedActivations::with_capacity(n_tokens, cols);
        q.quantize(Isa::SCALAR, &x, cols);
        let mut out = vec![0.0; n_tokens * rows];
        ternary_matmul(
            Isa::SCALAR,
            w,
            &q,
            OutputRows::new(&mut out, n_tokens, rows).unwrap(),
        );
        for t in 0..n_tokens {
            for r in 0..rows {
                let sum: i32 = (0..cols)
                    .map(|j| i32::from(q.row(t)[j]) * i32::from(trits[r * cols + j]))
                    .sum();
                assert_eq!(out[t * rows + r], sum as f32 / q.scale(t) * 0.5);
            }
        }
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        assert!(Ternary::new(2, 129, &[0; 128], 1.0).is_ok());
        assert!(Ternary::new(2, 129, &[0; 127], 1.0).is_err());
        assert!(Ternary::new(0, 128, &[], 1.0).is_err());
        assert!(Ternary::new(1, MAX_COLS + 1, &[], 1.0).is_err());
    }
}
