//! A Q6_K product's input as its loops read it: one token by bytes, several by pairs of blocks.

use crate::DenseInput;
use crate::aligned::Aligned;
use crate::isa::split::split;
use crate::isa::x86::q6_k_pairs::{PairOfBlocks, arrange_rows, pairs};

/// Either the first four or the last; the others are empty, or what another input left.
#[derive(Default)]
pub(crate) struct Q6kInput {
    /// `[k]`: x = 256 * high + low.
    pub(super) high: Aligned<i8>,
    pub(super) low: Aligned<i8>,
    /// `[k / 4]`: -32 * the sum of each four of `high`: what 32 more in each of four weights adds,
    /// taken off.
    pub(super) high_offsets: Aligned<i32>,
    /// The same of `low`.
    pub(super) low_offsets: Aligned<i32>,
    /// `[n_tokens, pairs(k)]`
    pairs: Vec<PairOfBlocks>,
}

impl Q6kInput {
    pub(super) fn set(&mut self, x: &DenseInput) {
        if x.n_tokens() > 1 {
            return arrange_rows(x, &mut self.pairs);
        }
        split(x.all_wide(), &mut self.high, &mut self.low);
        offsets(&self.high, &mut self.high_offsets);
        offsets(&self.low, &mut self.low_offsets);
    }

    /// Token `t` of several.
    #[inline(always)]
    pub(super) fn pairs(&self, x: &DenseInput, t: usize) -> &[PairOfBlocks] {
        let n = pairs(x.k());
        &self.pairs[t * n..][..n]
    }
}

fn offsets(part: &[i8], out: &mut Aligned<i32>) {
    out.reset(part.len() / 4);
    for (offset, four) in out.iter_mut().zip(part.as_chunks::<4>().0) {
        *offset = -32 * four.iter().map(|v| i32::from(*v)).sum::<i32>();
    }
}
