//! A Q6_K product's input as its loops read it: one token by bytes, several by pairs of blocks.

use crate::DenseInput;
use crate::aligned::Aligned;
use crate::isa::split::split;
use crate::isa::x86::q6_k_pairs::{PairOfBlocks, arrange_rows, pairs};

/// Either the first three or the last; the others are empty, or what another input left.
#[derive(Default)]
pub(crate) struct Q6kInput {
    /// `[k]`: x = 256 * high + low.
    pub(super) high: Aligned<i8>,
    pub(super) low: Aligned<i8>,
    /// `[k / 2]`: x[2i] + x[2i + 1].
    pub(super) neighbours: Aligned<i16>,
    /// `[n_tokens, pairs(k)]`
    pairs: Vec<PairOfBlocks>,
}

impl Q6kInput {
    pub(super) fn set(&mut self, x: &DenseInput) {
        if x.n_tokens() > 1 {
            return arrange_rows(x, &mut self.pairs);
        }
        let wide = x.all_wide();
        split(wide, &mut self.high, &mut self.low);
        self.neighbours.reset(wide.len() / 2);
        for (sum, [a, b]) in self.neighbours.iter_mut().zip(wide.as_chunks().0) {
            *sum = a + b;
        }
    }

    /// Token `t` of several.
    #[inline(always)]
    pub(super) fn pairs(&self, x: &DenseInput, t: usize) -> &[PairOfBlocks] {
        let n = pairs(x.k());
        &self.pairs[t * n..][..n]
    }
}
