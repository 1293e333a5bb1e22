//! An I2_S product's input as its loops read it.

use super::i2s_inner::{Arranged, arrange};
use crate::QuantizedActivations;

/// All tokens, in the order of the inner loops' codes.
#[derive(Default)]
pub(crate) struct I2sInput {
    rows: Vec<Arranged>, // [n_tokens, blocks]
    blocks: usize,
}

impl I2sInput {
    pub(super) fn set(&mut self, x: &QuantizedActivations) {
        self.blocks = x.blocks(0).len();
        self.rows
            .resize(x.n_tokens() * self.blocks, Arranged::default());
        for (t, row) in self.rows.chunks_exact_mut(self.blocks).enumerate() {
            arrange(x.blocks(t), row);
        }
    }

    /// Token `t`.
    #[inline]
    pub(super) fn token(&self, t: usize) -> &[Arranged] {
        &self.rows[t * self.blocks..][..self.blocks]
    }
}
