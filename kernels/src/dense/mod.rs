//! Dense matrices: the embedding table and the output head, in ggml's storage types.
//!
//! Float types (F32, F16, BF16) meet float activations: 16 lanes, the fixed tree. Quantised types
//! (Q8_0, Q6_K) meet int16 activations, scaled by absmax per token, so that the products of a block
//! are exact in i32 on every ISA; only the sum over blocks is float, in 16 lanes (see `q8_0_row` in
//! `isa/kernels.rs` for which lane takes what).

mod encode;
mod input;
pub(crate) mod q6_k;
pub(crate) mod q8_0;

pub use encode::encode_dense_row;
pub use input::DenseInput;

use crate::ShapeError;

/// Most columns; f32 sums of more would mean little.
const MAX_COLS: usize = 1 << 20;

/// Storage of a dense matrix; names and layouts are ggml's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenseType {
    /// IEEE single, little-endian.
    F32,
    /// IEEE half, little-endian.
    F16,
    /// bfloat16, little-endian.
    Bf16,
    /// 32 weights in 34 bytes: f16 scale, then int8 values.
    Q8_0,
    /// 256 weights in 210 bytes: 6-bit values in two planes, 16 int8 scales, f16 scale.
    Q6K,
}

impl DenseType {
    /// (weights, bytes) of one block.
    const fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (q8_0::BLOCK, q8_0::BYTES),
            Self::Q6K => (q6_k::BLOCK, q6_k::BYTES),
        }
    }

    /// Bytes of a row, or None where `cols` is no multiple of the block.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let (weights, bytes) = self.block();
        cols.is_multiple_of(weights)
            .then(|| (cols / weights).checked_mul(bytes))
            .flatten()
    }

    /// ggml's name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q6K => "q6_k",
        }
    }
}

/// A dense matrix `[rows, cols]`, borrowed.
#[derive(Clone, Copy)]
pub struct Dense<'a> {
    ty: DenseType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Dense<'a> {
    /// `bytes` holds exactly `rows * ty.row_bytes(cols)` bytes, at any alignment.
    pub fn new(
        ty: DenseType,
        rows: usize,
        cols: usize,
        bytes: &'a [u8],
    ) -> Result<Self, ShapeError> {
        let what = "dense matrix";
        if rows == 0 || cols == 0 || cols > MAX_COLS {
            return Err(ShapeError::Range {
                what,
                rows,
                cols,
                max_cols: MAX_COLS,
            });
        }
        let row_bytes = ty.row_bytes(cols).ok_or(ShapeError::Block {
            ty: ty.name(),
            cols,
            block: ty.block().0,
        })?;
        let expected = rows.saturating_mul(row_bytes);
        if bytes.len() != expected {
            return Err(ShapeError::Length {
                what,
                rows,
                cols,
                expected,
                actual: bytes.len(),
                unit: "bytes",
            });
        }
        Ok(Self {
            ty,
            rows,
            cols,
            row_bytes,
            bytes,
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

    /// Storage type.
    pub fn ty(&self) -> DenseType {
        self.ty
    }

    /// All rows' bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of row `r`.
    #[inline]
    pub(crate) fn row(&self, r: usize) -> &'a [u8] {
        &self.bytes[r * self.row_bytes..][..self.row_bytes]
    }

    /// Row `row` as floats into `out` `[cols]`.
    ///
    /// # Panics
    /// If `row >= rows()`: check token ids first.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        let bytes = self.row(row);
        match self.ty {
            DenseType::F32 => {
                for (out, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f32::from_le_bytes(*b);
                }
            }
            DenseType::F16 => {
                for (out, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = half::f16::from_le_bytes(*b).to_f32();
                }
            }
            DenseType::Bf16 => {
                for (out, [low, high]) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f32::from_le_bytes([0, 0, *low, *high]);
                }
            }
            DenseType::Q8_0 => q8_0::decode(bytes, out),
            DenseType::Q6K => q6_k::decode(bytes, out),
        }
    }
}
