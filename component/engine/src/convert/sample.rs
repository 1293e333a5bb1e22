//! A number that stands for some rows of a tensor, as it is written and as it is read back.

use sterna_kernels::pack::unpack_row;
use sterna_kernels::{Ternary, TernaryLayout};

use crate::group_scaled::GroupedWeights;
use crate::matrix::{Matrix, Table};
use crate::weights::Linear;

/// Rows of a tensor that are compared at most.
const MOST: usize = 32;

/// Rows that stand for `n`: the first, the last, and some between.
fn rows(n: usize) -> impl Iterator<Item = usize> {
    let count = n.min(MOST);
    (0..count).map(move |index| index * (n - 1) / (count - 1).max(1))
}

/// What is to be read back of a tensor.
pub(super) struct Expected {
    stored: u64,
    /// The same in another form, which a reader may find in it.
    other: Option<u64>,
}

impl From<u64> for Expected {
    fn from(stored: u64) -> Self {
        Expected {
            stored,
            other: None,
        }
    }
}

impl Expected {
    pub(super) fn or(self, other: Option<u64>) -> Self {
        Expected { other, ..self }
    }

    /// True if it is what was read.
    pub(super) fn has(&self, read: u64) -> bool {
        read == self.stored || Some(read) == self.other
    }
}

/// Of weights, row by row.
#[derive(Default)]
pub(super) struct Sample(u64);

impl Sample {
    fn add(&mut self, values: &[f32]) {
        for value in values {
            // -0 and 0 are the same weight.
            let bits = u64::from((value + 0.0).to_bits());
            self.0 = (self.0.rotate_left(5) ^ bits).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    /// The sample of a vector.
    pub(super) fn of_vector(values: &[f32]) -> u64 {
        let mut sample = Sample::default();
        sample.add(values);
        sample.0
    }

    /// The sample of `n` rows of `cols` weights that `read` gives.
    pub(super) fn of_rows(n: usize, cols: usize, mut read: impl FnMut(usize, &mut [f32])) -> u64 {
        let (mut sample, mut row) = (Sample::default(), vec![0f32; cols]);
        for index in rows(n) {
            read(index, &mut row);
            sample.add(&row);
        }
        sample.0
    }

    /// The sample of a matrix.
    pub(super) fn of_matrix(matrix: &Matrix) -> u64 {
        match matrix {
            Matrix::Ternary(linear) => Self::of_linear(linear),
            Matrix::Grouped(grouped) => Self::of_grouped(grouped),
        }
    }

    /// The sample of an embedding or head.
    pub(super) fn of_table(table: &Table) -> u64 {
        let ([rows, cols], view) = (table.shape(), table.view());
        Self::of_rows(rows, cols, |index, out| view.row(index, out))
    }

    pub(super) fn of_grouped(grouped: &GroupedWeights) -> u64 {
        let (shape, view) = (grouped.shape(), grouped.view());
        Self::of_rows(shape.rows(), shape.cols(), |index, out| {
            view.row(index, out)
        })
    }

    pub(super) fn of_linear(linear: &Linear) -> u64 {
        let (rows, cols, scale) = (linear.rows(), linear.cols(), linear.scale());
        let bytes = Ternary::row_bytes(cols);
        let mut trits = vec![0i8; cols];
        // Every layout has this one.
        let plain = linear.to_layout(TernaryLayout::I2S);
        let plain = plain.as_ref().unwrap_or(linear);
        Self::of_rows(rows, cols, |index, out| {
            unpack_row(&plain.packed()[index * bytes..][..bytes], cols, &mut trits);
            for (out, trit) in out.iter_mut().zip(&trits) {
                *out = f32::from(*trit) * scale;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_row_stand_for_all() {
        for n in [1, 2, 31, 32, 33, 1000] {
            let chosen: Vec<usize> = rows(n).collect();
            assert_eq!((chosen[0], *chosen.last().unwrap()), (0, n - 1));
            assert_eq!(chosen.len(), n.min(MOST));
        }
        assert_eq!(rows(0).count(), 0);
        let sample = |rows: &[[f32; 2]]| {
            Sample::of_rows(rows.len(), 2, |index, out| {
                out.copy_from_slice(&rows[index])
            })
        };
        let one = sample(&[[1.0, 0.0], [2.0, -3.0]]);
        assert_eq!(one, sample(&[[1.0, -0.0], [2.0, -3.0]]));
        assert_ne!(one, sample(&[[1.0, 0.0], [2.0, 3.0]]));
        assert_ne!(one, sample(&[[2.0, -3.0], [1.0, 0.0]]));
        assert_ne!(one, sample(&[[0.0, 1.0], [2.0, -3.0]]));
    }
}
