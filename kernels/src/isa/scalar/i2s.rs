//! The I2_S product.

use super::Scalar;
use crate::isa::tiles::I2sTile;
use crate::ternary::{Activations, Block};

impl I2sTile<&[Activations]> for Scalar {
    fn tile<const R: usize, const T: usize>(
        self,
        w: [&[Block]; R],
        x: [&[Activations]; T],
    ) -> [[i32; T]; R] {
        w.map(|row| {
            x.map(|token| {
                row.iter()
                    .zip(token)
                    .map(|(block, x)| block_sum(block, x))
                    .sum()
            })
        })
    }
}

/// sum of code * q over one block of 128 weights.
fn block_sum(block: &Block, x: &Activations) -> i32 {
    let mut sum = 0;
    for g in 0..4 {
        for p in 0..32 {
            let code = (block[p] >> (6 - 2 * g)) & 3;
            sum += i32::from(code) * i32::from(x[32 * g + p]);
        }
    }
    sum
}
