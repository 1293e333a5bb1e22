//! Weights as the kernels take them: ternary matrices, tables of numbers, and the layers they make
//! up.
//!
//! They are checked when they are made and never change. Where a file's layout is the kernels' own
//! (I2_S rows, dense tables) the bytes are ranges of the mapped file.

use std::sync::{Arc, OnceLock};

use sterna_kernels::{
    Dense, DenseType, GroupCodes, Isa, Ternary, TernaryLayout, pack_trits5, unpack_trits5,
};

use crate::group_scaled::GroupedWeights;
use crate::matrix::{Matrix, Table};
use crate::placement::Bytes;

/// A ternary matrix `[rows, cols]` in one of the kernels' layouts.
#[derive(Clone, Debug)]
pub struct Linear {
    rows: usize,
    cols: usize,
    scale: f32,
    stored: Packed,
    /// The same weights in another layout, in which every view shows them from then on. Clones
    /// share it.
    repacked: Arc<OnceLock<Packed>>,
}

/// A matrix's rows, and how they lie.
#[derive(Clone, Debug)]
struct Packed {
    layout: TernaryLayout,
    bytes: Bytes,
}

impl Linear {
    /// In I2_S rows: `packed` holds `rows * Ternary::row_bytes(cols)` bytes; each weight is its
    /// trit times `scale`.
    ///
    /// # Errors
    /// A sentence for `LoadError::Tensor` where the sizes differ or the scale is not finite.
    pub fn new(rows: usize, cols: usize, packed: Bytes, scale: f32) -> Result<Self, String> {
        Self::with_layout(TernaryLayout::I2S, rows, cols, packed, scale)
    }

    /// `packed` holds `layout.bytes(rows, cols)` bytes; each weight is its trit times `scale`.
    ///
    /// # Errors
    /// As [`Linear::new`].
    pub fn with_layout(
        layout: TernaryLayout,
        rows: usize,
        cols: usize,
        packed: Bytes,
        scale: f32,
    ) -> Result<Self, String> {
        if !scale.is_finite() {
            return Err(format!("its scale is {scale}"));
        }
        Ternary::with_layout(layout, rows, cols, &packed, scale)
            .map_err(|error| error.to_string())?;
        Ok(Linear {
            rows,
            cols,
            scale,
            stored: Packed {
                layout,
                bytes: packed,
            },
            repacked: Arc::default(),
        })
    }

    /// From now on show the same weights in layout trits5, as [`pack_trits5`] made them. A view
    /// that was taken before stays good, and only the first call counts. False where `bytes` are
    /// too many or too few.
    #[cfg(feature = "native")]
    pub(crate) fn show_trits5(&self, bytes: Bytes) -> bool {
        let layout = TernaryLayout::Trits5;
        bytes.len() == layout.bytes(self.rows, self.cols)
            && self.repacked.set(Packed { layout, bytes }).is_ok()
    }

    fn packed_now(&self) -> &Packed {
        self.repacked.get().unwrap_or(&self.stored)
    }

    /// The same matrix in another layout; a copy, unless it has that one already.
    ///
    /// # Errors
    /// A sentence where a weight has no place in it.
    pub fn to_layout(&self, layout: TernaryLayout) -> Result<Self, String> {
        if layout == self.layout() {
            return Ok(self.clone());
        }
        let isa = Isa::from_env().unwrap_or_else(|_| Isa::detect());
        let packed = match layout {
            TernaryLayout::I2S => unpack_trits5(isa, self.view()),
            TernaryLayout::Trits5 => pack_trits5(isa, self.view())
                .ok_or("a weight has the code 3, which layout trits5 cannot hold: keep i2_s")?,
        };
        Self::with_layout(layout, self.rows, self.cols, packed.into(), self.scale)
    }

    /// As [`Matrix::with_rows`], in the same layout.
    pub(crate) fn with_rows(&self, place: &dyn Fn(usize) -> usize) -> Result<Self, String> {
        let rows = self.to_layout(TernaryLayout::I2S)?;
        let bytes = rows.packed();
        let row_bytes = Ternary::row_bytes(self.cols);
        let row = |row| &bytes[place(row) * row_bytes..][..row_bytes];
        let packed: Vec<u8> = (0..self.rows).flat_map(row).copied().collect();
        let moved = Self::new(self.rows, self.cols, packed.into(), self.scale)?;
        moved.to_layout(self.layout())
    }

    /// The matrix as the kernels take it.
    pub fn view(&self) -> Ternary<'_> {
        let Packed { layout, bytes } = self.packed_now();
        Ternary::with_layout(*layout, self.rows, self.cols, bytes, self.scale)
            .expect("checked by Linear::with_layout")
    }

    /// Its memory layout.
    pub fn layout(&self) -> TernaryLayout {
        self.packed_now().layout
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

    /// The packed rows, in their layout: of a model in use that may be another one a moment later,
    /// so that a [`Linear::view`] is what to compute with.
    pub fn packed(&self) -> &Bytes {
        &self.packed_now().bytes
    }
}

/// A table `[rows, cols]` of numbers in one of the head's storage types.
#[derive(Clone, Debug)]
pub struct DenseWeights {
    ty: DenseType,
    rows: usize,
    cols: usize,
    bytes: Bytes,
}

impl DenseWeights {
    /// `bytes` holds `rows` rows of `ty`.
    ///
    /// # Errors
    /// A sentence for `LoadError::Tensor` where the sizes differ or `cols` is no multiple of the
    /// block.
    pub fn new(ty: DenseType, rows: usize, cols: usize, bytes: Bytes) -> Result<Self, String> {
        Dense::new(ty, rows, cols, &bytes).map_err(|error| error.to_string())?;
        Ok(DenseWeights {
            ty,
            rows,
            cols,
            bytes,
        })
    }

    /// The table as the kernels take it.
    pub fn view(&self) -> Dense<'_> {
        Dense::new(self.ty, self.rows, self.cols, &self.bytes)
            .expect("checked by DenseWeights::new")
    }

    /// Its storage type.
    pub fn ty(&self) -> DenseType {
        self.ty
    }

    /// Rows: tokens.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: the width of the residual stream.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Its rows, as stored.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// One transformer block. Shapes are `[out, in]`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// `[hidden_size]`, before the attention.
    pub attn_norm: Vec<f32>,
    /// `[n_heads * head_dim, hidden_size]`
    pub q: Matrix,
    /// `[n_kv_heads * head_dim, hidden_size]`
    pub k: Matrix,
    /// `[n_kv_heads * head_dim, hidden_size]`
    pub v: Matrix,
    /// `[head_dim]`, of each query head, before its rotation.
    pub q_norm: Option<Vec<f32>>,
    /// `[head_dim]`, of each key head, before its rotation.
    pub k_norm: Option<Vec<f32>>,
    /// `[n_heads * head_dim]`, over all heads together, before `o`.
    pub attn_sub_norm: Option<Vec<f32>>,
    /// `[hidden_size, n_heads * head_dim]`
    pub o: Matrix,
    /// `[hidden_size]`, before the feed-forward network.
    pub ffn_norm: Vec<f32>,
    /// `[ffn_size, hidden_size]`
    pub gate: Matrix,
    /// `[ffn_size, hidden_size]`
    pub up: Matrix,
    /// `[ffn_size]`, before `down`.
    pub ffn_sub_norm: Option<Vec<f32>>,
    /// `[hidden_size, ffn_size]`
    pub down: Matrix,
    /// The norms of the matrices' own inputs, after every other, where they have such.
    pub input_norms: Option<Box<InputNorms>>,
    /// `[hidden_size]`, of what the attention adds to the stream.
    pub attn_post_norm: Option<Vec<f32>>,
    /// `[hidden_size]`, of what the feed-forward network adds to the stream.
    pub ffn_post_norm: Option<Vec<f32>>,
    /// The positions that its tokens see, where they are not all.
    pub window: Option<usize>,
}

/// A norm for each matrix of a block, as wide as the matrix's input.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Layer's")]
pub struct InputNorms {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    pub o: Vec<f32>,
    pub gate: Vec<f32>,
    pub up: Vec<f32>,
    pub down: Vec<f32>,
}

impl Layer {
    /// Its matrices, in the order they are used.
    pub fn matrices(&self) -> [&Matrix; 7] {
        [
            &self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down,
        ]
    }

    /// The same, to be replaced.
    pub fn matrices_mut(&mut self) -> [&mut Matrix; 7] {
        [
            &mut self.q,
            &mut self.k,
            &mut self.v,
            &mut self.o,
            &mut self.gate,
            &mut self.up,
            &mut self.down,
        ]
    }

    /// Those of them that are ternary with one scale.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.matrices().into_iter().filter_map(Matrix::ternary)
    }

    /// The same, to be replaced.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.matrices_mut()
            .into_iter()
            .filter_map(Matrix::ternary_mut)
    }
}

/// Everything that was trained.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[vocab_size, hidden_size]`
    pub embedding: Table,
    /// `[vocab_size, hidden_size]`; `None` where the embedding is the head (tied).
    pub head: Option<Table>,
    /// `[hidden_size]`, before the head.
    pub output_norm: Vec<f32>,
    /// The blocks, first to last.
    pub layers: Vec<Layer>,
}

impl Weights {
    /// The output head: its own table, or the embedding.
    pub fn head(&self) -> &Table {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// True if any matrix has this layout.
    pub fn has_layout(&self, layout: TernaryLayout) -> bool {
        let mut linears = self.layers.iter().flat_map(Layer::linears);
        linears.any(|linear| linear.layout() == layout)
    }

    /// True if any matrix has a scale for each group.
    pub fn is_grouped(&self) -> bool {
        let mut matrices = self.layers.iter().flat_map(Layer::matrices);
        matrices.any(|matrix| matches!(matrix, Matrix::Grouped(_)))
    }

    /// True if any matrix has such codes with a scale for each group.
    pub fn has_codes(&self, codes: GroupCodes) -> bool {
        let mut matrices = self.layers.iter().flat_map(Layer::matrices);
        matrices.any(|matrix| match matrix {
            Matrix::Grouped(grouped) => grouped.shape().codes() == codes,
            Matrix::Ternary(_) => false,
        })
    }

    /// The matrices and tables with a scale for each group, to be replaced.
    pub(crate) fn grouped_mut(&mut self) -> impl Iterator<Item = &mut GroupedWeights> {
        let matrices = self.layers.iter_mut().flat_map(Layer::matrices_mut);
        let tables = [Some(&mut self.embedding), self.head.as_mut()].into_iter();
        let matrices = matrices.filter_map(|matrix| match matrix {
            Matrix::Grouped(grouped) => Some(grouped),
            Matrix::Ternary(_) => None,
        });
        let tables = tables.flatten().filter_map(|table| match table {
            Table::Grouped(grouped) => Some(grouped),
            Table::Dense(_) => None,
        });
        matrices.chain(tables)
    }

    /// All matrices and tables, each once.
    #[cfg(feature = "native")]
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Bytes> {
        let untied = self.head.is_some().then(|| self.embedding.bytes());
        self.streamed().chain(untied)
    }

    /// The bytes that every step reads: the layers' matrices and the head, as they are stored. Of
    /// an embedding that is not the head a step reads a row, and norms are a thousandth.
    pub fn streamed(&self) -> impl Iterator<Item = &Bytes> {
        let matrices = self.layers.iter().flat_map(Layer::matrices);
        matrices.map(Matrix::bytes).chain([self.head().bytes()])
    }
}
