//! A linear or a table of whichever kind: the kinds a product can have.

use sterna_kernels::{Dense, Grouped, Ternary};

use crate::group_scaled::{GroupedWeights, codes_name};
use crate::placement::Bytes;
use crate::weights::{DenseWeights, Linear};

/// The matrix of a linear, `[rows, cols]`.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// Ternary, with one scale.
    Ternary(Linear),
    /// Binary or ternary, with a scale for each group.
    Grouped(GroupedWeights),
}

impl Matrix {
    /// The matrix as the kernels take it.
    #[must_use]
    pub fn view(&self) -> MatrixView<'_> {
        match self {
            Matrix::Ternary(linear) => MatrixView::Ternary(linear.view()),
            Matrix::Grouped(grouped) => MatrixView::Grouped(grouped.view()),
        }
    }

    /// `[rows, cols]`
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.view().shape()
    }

    /// Its bytes, in their layout now.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Matrix::Ternary(linear) => linear.packed(),
            Matrix::Grouped(grouped) => grouped.bytes(),
        }
    }

    /// The same rows in another order: row i is this matrix's row `place(i)`, which there is.
    ///
    /// # Errors
    /// A sentence where the system refuses a thread, or a weight has no place in the layout.
    pub(crate) fn with_rows(
        &self,
        place: &(dyn Fn(usize) -> usize + Sync),
    ) -> Result<Self, String> {
        match self {
            Matrix::Ternary(linear) => linear.with_rows(place).map(Matrix::Ternary),
            Matrix::Grouped(grouped) => grouped.with_rows(place).map(Matrix::Grouped),
        }
    }

    /// It, if it is ternary with one scale.
    #[must_use]
    pub fn ternary(&self) -> Option<&Linear> {
        match self {
            Matrix::Ternary(linear) => Some(linear),
            Matrix::Grouped(_) => None,
        }
    }

    /// The same, to be replaced.
    pub fn ternary_mut(&mut self) -> Option<&mut Linear> {
        match self {
            Matrix::Ternary(linear) => Some(linear),
            Matrix::Grouped(_) => None,
        }
    }
}

impl From<Linear> for Matrix {
    fn from(linear: Linear) -> Self {
        Matrix::Ternary(linear)
    }
}

/// A [`Matrix`], borrowed.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the variants are Matrix's")]
pub enum MatrixView<'a> {
    Ternary(Ternary<'a>),
    Grouped(Grouped<'a>),
}

impl MatrixView<'_> {
    /// `[rows, cols]`
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        match self {
            MatrixView::Ternary(w) => [w.rows(), w.cols()],
            MatrixView::Grouped(w) => [w.shape().rows(), w.shape().cols()],
        }
    }

    /// True if each 32 numbers of its input have a scale of their own, and not each token's.
    #[must_use]
    pub fn takes_blocks(&self) -> bool {
        matches!(self, MatrixView::Grouped(_))
    }
}

impl From<GroupedWeights> for Matrix {
    fn from(grouped: GroupedWeights) -> Self {
        Matrix::Grouped(grouped)
    }
}

impl<'a> From<Ternary<'a>> for MatrixView<'a> {
    fn from(ternary: Ternary<'a>) -> Self {
        MatrixView::Ternary(ternary)
    }
}

/// An embedding or output head, `[vocab_size, hidden_size]`.
#[derive(Clone, Debug)]
pub enum Table {
    /// Numbers of a storage type.
    Dense(DenseWeights),
    /// Binary or ternary, with a scale for each group.
    Grouped(GroupedWeights),
}

impl Table {
    /// The table as the kernels take it.
    #[must_use]
    pub fn view(&self) -> TableView<'_> {
        match self {
            Table::Dense(dense) => TableView::Dense(dense.view()),
            Table::Grouped(grouped) => TableView::Grouped(grouped.view()),
        }
    }

    /// `[rows, cols]`
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.view().shape()
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Table::Dense(dense) => dense.bytes(),
            Table::Grouped(grouped) => grouped.bytes(),
        }
    }

    /// It, if it holds numbers.
    #[must_use]
    pub fn dense(&self) -> Option<&DenseWeights> {
        match self {
            Table::Dense(dense) => Some(dense),
            Table::Grouped(_) => None,
        }
    }

    /// The name of its storage type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Table::Dense(dense) => dense.ty().name(),
            Table::Grouped(grouped) => codes_name(grouped.shape().codes()),
        }
    }
}

impl From<DenseWeights> for Table {
    fn from(dense: DenseWeights) -> Self {
        Table::Dense(dense)
    }
}

/// A [`Table`], borrowed.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the variants are Table's")]
pub enum TableView<'a> {
    Dense(Dense<'a>),
    Grouped(Grouped<'a>),
}

impl TableView<'_> {
    /// `[rows, cols]`
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        match self {
            TableView::Dense(w) => [w.rows(), w.cols()],
            TableView::Grouped(w) => [w.shape().rows(), w.shape().cols()],
        }
    }

    /// Row `row` as floats, `[cols]`.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        match self {
            TableView::Dense(w) => w.dequantize_row(row, out),
            TableView::Grouped(w) => w.row(row, out),
        }
    }
}

impl From<GroupedWeights> for Table {
    fn from(grouped: GroupedWeights) -> Self {
        Table::Grouped(grouped)
    }
}

impl<'a> From<Dense<'a>> for TableView<'a> {
    fn from(dense: Dense<'a>) -> Self {
        TableView::Dense(dense)
    }
}
