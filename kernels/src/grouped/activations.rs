//! int8 activations in blocks of 32 with an f32 scale each, for group-scaled matrices.
//!
//! ```text
//! s_b = max_j |x_j| / 127         j in block b
//! q_j = round_half_even(x_j * (127 / max_j |x_j|))
//! x_j ~ q_j * s_b
//! ```
//!
//! A block whose largest magnitude is below 1e-30 is all zeros with scale 0: 127 divided by a
//! subnormal may be no finite number.

use super::BLOCK;
use crate::packed::Packed;

/// 32 activations of one token, and what comes off their product with codes that are weights plus
/// 1: where loops start.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(crate) struct ActivationBlock {
    pub(crate) q: [i8; BLOCK],
    pub(crate) scale: f32,
    pub(crate) minus_sum: i32,
}

// Relaxed SIMD loads them where it multiplies.
#[cfg(not(all(target_arch = "wasm32", feature = "relaxed-simd")))]
impl ActivationBlock {
    /// Four neighbouring activations each, as they lie in memory.
    #[inline(always)]
    pub(crate) fn quads(&self) -> [i32; BLOCK / 4] {
        let mut quads = [0; BLOCK / 4];
        for (quad, q) in quads.iter_mut().zip(self.q.as_chunks::<4>().0) {
            *quad = i32::from_ne_bytes(q.map(|q| q as u8));
        }
        quads
    }
}

/// A block that was not filled gives NaN.
impl Default for ActivationBlock {
    fn default() -> Self {
        Self {
            q: [0; BLOCK],
            scale: f32::NAN,
            minus_sum: 0,
        }
    }
}

/// Several tokens' activations in int8, with a scale for each 32. Buffers are allocated once.
#[derive(Default)]
pub struct BlockActivations {
    cols: usize,
    n_tokens: usize,
    blocks: Vec<ActivationBlock>, // [n_tokens, cols / BLOCK]
    packed: Packed,
}

impl BlockActivations {
    /// Room for `max_tokens` tokens of up to `max_cols` values.
    pub fn with_capacity(max_tokens: usize, max_cols: usize) -> Self {
        Self {
            cols: 0,
            n_tokens: 0,
            blocks: Vec::with_capacity(max_tokens * (max_cols / BLOCK)),
            packed: Packed::default(),
        }
    }

    /// Replaces the contents by `n_tokens` rows of `cols` values that are yet to be filled, on any
    /// threads. What is not filled has scale NaN.
    ///
    /// # Panics
    /// If `cols` is 0 or no multiple of 32: a caller's mistake.
    pub fn rows_to_fill(
        &mut self,
        n_tokens: usize,
        cols: usize,
    ) -> impl ExactSizeIterator<Item = BlockRowToFill<'_>> {
        assert!(
            cols > 0 && cols.is_multiple_of(BLOCK),
            "activations are made of whole blocks of {BLOCK}"
        );
        self.cols = cols;
        self.n_tokens = n_tokens;
        self.packed.reset();
        self.blocks.clear();
        self.blocks
            .resize(n_tokens * (cols / BLOCK), ActivationBlock::default());
        let rows = self.blocks.chunks_exact_mut(cols / BLOCK);
        rows.map(|blocks| BlockRowToFill { blocks })
    }

    /// Tokens held.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Values of a token.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Block `b` of the tokens from `t` on.
    #[inline(always)]
    pub(crate) fn tokens_from(&self, t: usize, b: usize) -> TokenBlocks<'_> {
        let stride = self.cols / BLOCK;
        TokenBlocks {
            from: &self.blocks[t * stride + b..],
            stride,
        }
    }

    /// All tokens as a kernel packed them.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn packed(&self) -> &Packed {
        &self.packed
    }

    /// Token `t`'s blocks.
    #[inline]
    pub(crate) fn row(&self, t: usize) -> &[ActivationBlock] {
        let n = self.cols / BLOCK;
        &self.blocks[t * n..][..n]
    }
}

/// A block of each of several tokens.
#[derive(Clone, Copy)]
pub(crate) struct TokenBlocks<'a> {
    from: &'a [ActivationBlock],
    /// From a token's block to the next token's.
    stride: usize,
}

impl<'a> TokenBlocks<'a> {
    /// That of token number `t` of these.
    #[inline(always)]
    pub(crate) fn token(self, t: usize) -> &'a ActivationBlock {
        &self.from[t * self.stride]
    }
}

/// One token's place in [`BlockActivations`].
pub struct BlockRowToFill<'a> {
    pub(crate) blocks: &'a mut [ActivationBlock],
}
