//! Activations for the Q6_K products of x86-64, in the order in which their steps take them.
//!
//! A group's scale is multiplied into its weights, (q - 32) * scale, which is within +-4096; so one
//! multiply-add of 16-bit pairs does the rest. A step takes half of 32 neighbouring weights of two
//! blocks at a time, so that the 32-bit sums are the oracle's sixteen lanes: no sum is moved to
//! another lane, and no block waits for the next.
//!
//! ```text
//! step 2c + h of two blocks:
//!   word 2j, 2j + 1: x[32c + 4j + h], x[32c + 4j + h + 2] of the first block     lane j
//!   the next 16 words: the same of the second block                               lane 8 + j
//! ```
//!
//! With h as the odd or even bytes, weights need no shuffle: they are the bytes of 16-bit words as
//! they lie.

use crate::DenseInput;
use crate::dense::q6_k::BLOCK;

/// Steps of two blocks.
pub(crate) const STEPS: usize = 16;

/// Two blocks' activations. Past the last block they are 0.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub(crate) struct PairOfBlocks(pub(crate) [[[i16; 16]; 2]; STEPS]);

/// Pairs of a row of `k` activations.
pub(crate) fn pairs(k: usize) -> usize {
    k.div_ceil(2 * BLOCK)
}

/// Puts all tokens' activations in order, `[n_tokens, pairs(k)]`.
pub(crate) fn arrange_rows(x: &DenseInput, out: &mut Vec<PairOfBlocks>) {
    let n = pairs(x.k());
    out.resize(x.n_tokens() * n, PairOfBlocks::default());
    for (t, pairs) in out.chunks_exact_mut(n.max(1)).enumerate() {
        arrange(x.wide(t), pairs);
    }
}

/// One token; `out` has [`pairs`] elements.
fn arrange(x: &[i16], out: &mut [PairOfBlocks]) {
    for (blocks, pair) in x.as_chunks::<BLOCK>().0.chunks(2).zip(out) {
        *pair = PairOfBlocks::default();
        for (p, block) in blocks.iter().enumerate() {
            for (c, chunk) in block.as_chunks::<32>().0.iter().enumerate() {
                for (j, x) in chunk.as_chunks::<4>().0.iter().enumerate() {
                    for h in 0..2 {
                        let step = &mut pair.0[2 * c + h][p];
                        step[2 * j] = x[h];
                        step[2 * j + 1] = x[h + 2];
                    }
                }
            }
        }
    }
}
