//! Linears that a file holds as floats: on a grid, or as the master weights of quantised training.

use super::floats::Floats;
use super::group_grid;
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
        // Rows that are no whole groups, or a magnitude that is no f16, can still be one scale.
        if let Some(recovered) = ternary::recover(weights, rows, cols)? {
            return one_scale(recovered);
        }
        if self.masters {
            return one_scale(ternary::quantize(weights, rows, cols)?);
        }
        match group_grid::shards(weights, [rows, cols]) {
            Some(shards) => Err(shards),
            None => Err(format!("{off_grid}: {OFF_GRID}")),
        }
    }
}

const OFF_GRID: &str = "these are float weights, not the unpacked weights of a 1-bit or ternary model. \
                        Use this model's file of type Q1_0, Q2_0, TQ1_0 or TQ2_0. If they are the \
                        master weights of a model that was trained as BitNet is, --quantize rounds \
                        them as its training did";

#[cfg(test)]
mod tests {
    use super::super::floats::FloatType;
    use super::*;

    fn linear(grouped: bool, masters: bool, values: &[f32]) -> Result<Matrix, String> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let weights = Floats {
            ty: FloatType::F32,
            bytes: bytes.into(),
        };
        let rule = FloatRule { grouped, masters };
        rule.linear(&weights, [1, values.len()], &Packers::default())
    }

    fn scale(matrix: Result<Matrix, String>) -> Option<f32> {
        matrix.unwrap().ternary().map(Linear::scale)
    }

    #[test]
    fn a_grid_comes_before_what_the_rule_makes_of_other_floats() {
        let on_grid = |a: f32, b: f32| {
            let mut values = vec![0.0; 128];
            (values[0], values[64]) = (a, -b);
            values
        };
        for masters in [false, true] {
            // f16 holds 0.5, and not 0.1.
            assert_eq!(scale(linear(true, masters, &on_grid(0.5, 0.25))), None);
            assert_eq!(scale(linear(true, masters, &on_grid(0.1, 0.1))), Some(0.1));
            assert_eq!(scale(linear(false, masters, &on_grid(0.5, 0.5))), Some(0.5));
            // Rows that are no whole groups.
            assert_eq!(scale(linear(true, masters, &[0.5, 0.0, -0.5])), Some(0.5));
            assert_eq!(scale(linear(true, masters, &[0.0; 100])), Some(1e-5));
        }
        for grouped in [false, true] {
            let error = linear(grouped, false, &on_grid(0.1, 0.2)).unwrap_err();
            assert!(error.contains("--quantize"), "{error}");
            assert_eq!(scale(linear(grouped, true, &[1.0, 2.0, 0.0])), Some(1.0));
        }
    }
}
