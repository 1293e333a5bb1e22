//! Activations in blocks as tiles take them: a load of a tile whose rows cross cache lines takes
//! six times as long as one whose rows do not.

use crate::BlockActivations;
use crate::aligned::Aligned;
use crate::grouped::BLOCK;

use super::tiles::ROWS;

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// All tokens' activations, and their scales besides.
#[derive(Default)]
pub(crate) struct GroupInput {
    n_tokens: usize,
    blocks: usize,
    stride: usize,
    q: Aligned<i8>, // [n_tokens rounded up to whole tiles, stride], zeros where there is nothing
    scales: Vec<f32>, // [n_tokens, blocks]
}

impl GroupInput {
    /// Replaces the contents.
    pub(crate) fn set(&mut self, x: &BlockActivations) {
        self.n_tokens = x.n_tokens();
        self.blocks = x.cols() / BLOCK;
        // An odd number of lines, so that a tile's rows do not share a set of the cache.
        let lines = x.cols().div_ceil(CACHE_LINE);
        self.stride = (lines + 1 - lines % 2) * CACHE_LINE;
        self.q
            .reset(self.n_tokens.next_multiple_of(ROWS) * self.stride);
        self.scales.clear();
        for (t, row) in (0..self.n_tokens).zip(self.q.chunks_exact_mut(self.stride)) {
            for (block, q) in x.row(t).iter().zip(row.as_chunks_mut::<BLOCK>().0) {
                *q = block.q;
                self.scales.push(block.scale);
            }
        }
    }

    /// Tokens held.
    #[inline(always)]
    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// From a token's activations to the next token's.
    #[inline(always)]
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The activations of 16 tokens from `t`, a multiple of 16, on, from block `b` on.
    #[inline(always)]
    pub(crate) fn tile(&self, t: usize, b: usize) -> &[i8] {
        &self.q[t * self.stride..(t + ROWS) * self.stride][b * BLOCK..]
    }

    /// The scales of token `t` from block `b` on.
    #[inline(always)]
    pub(crate) fn scales(&self, t: usize, b: usize) -> &[f32] {
        &self.scales[t * self.blocks..][..self.blocks][b..]
    }
}
