//! Linears that a file holds as floats: on a grid, or as the master weights of quantised training.

use super::floats::Floats;
use super::group_grid::{self, NARROW_GROUP};
use super::ternary;
use crate::group_scaled::Packers;
use crate::matrix::Matrix;
use crate::weights::Linear;

/// What such floats can be in a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct FloatRule {
    /// Weights on a grid with a scale for each group, and activations that were floats in training;
    /// else one scale for the matrix, as BitNet's.
    pub(super) grouped: bool,
    /// Weights on no grid are master weights, and become ternary as in BitNet's training; else they
    /// are refused.
    pub(super) masters: bool,
}

impl FloatRule {
    /// The matrix `[rows, cols]`.
    ///
    /// # Errors
    /// A sentence where it lies on no grid and is no matrix of master weights.
    pub(super) fn linear(
        self,
        weights: &Floats,
        [rows, cols]: [usize; 2],
        packers: &Packers,
    ) -> Result<Matrix, String> {
        let one_scale = |(packed, scale): (Vec<u8>, f32)| {
            Linear::new(rows, cols, packed.into(), scale).map(Matrix::Ternary)
        };
        let mut off_grid = "its weights have several magnitudes".to_owned();
        if self.grouped {
            match group_grid::of_floats(weights, [rows, cols], packers) {
                Ok(grouped) => return Ok(Matrix::Grouped(grouped)),
                Err(reason) => off_grid = reason,
            }
        }
        // Rows that are no whole groups can still have one scale.
        if (!self.grouped || !cols.is_multiple_of(NARROW_GROUP))
            && let Some(recovered) = ternary::recover(weights, rows, cols)?
        {
            return one_scale(recovered);
        }
        if self.masters {
            return one_scale(ternary::quantize(weights, rows, cols)?);
        }
        Err(format!("{off_grid}: {OFF_GRID}"))
    }
}

const OFF_GRID: &str = "these are float weights, not the unpacked weights of a 1-bit or ternary model. \
                        Use this model's file of type Q1_0, Q2_0, TQ1_0 or TQ2_0. If they are the \
                        master weights of a model that was trained as BitNet is, --quantize rounds \
                        them as its training did";
