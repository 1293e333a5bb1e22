//! Quantisation of a product's input.

use crate::Isa;
use crate::quantize::{QuantizedActivations, RowToFill};

impl QuantizedActivations {
    /// Replaces the contents by the rows of `x`, `[n_tokens, k]` (a partial last row is left out).
    ///
    /// A row with a NaN or an infinity gets scale NaN, so that everything computed from it is NaN
    /// rather than plausible.
    pub fn quantize(&mut self, isa: Isa, x: &[f32], k: usize) {
        let n_tokens = x.len().checked_div(k).unwrap_or(0);
        let rows = self.rows_to_fill(n_tokens, k);
        for (row, x) in rows.zip(x.chunks_exact(k.max(1))) {
            row.quantize(isa, x);
        }
    }
}

impl RowToFill<'_> {
    /// Fills it with `x`, `[k]`.
    pub fn quantize(self, isa: Isa, x: &[f32]) {
        self.fill(|q| isa.quantize_row(&x[..q.len()], q));
    }
}
