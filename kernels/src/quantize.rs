//! absmax activation quantisation to int8, as BitNet b1.58 trains with (transformers' `ActQuant`).
//!
//! ```text
//! s   = 127 / max(max_j |x_j|, 1e-5)
//! q_j = round_half_even(x_j * s)
//! y_i = sum_j q_j w_ij / s * w_scale
//! ```

use crate::aligned::Aligned;
use crate::pack::BLOCK;
use crate::packed::Packed;
use crate::ternary::Activations;

/// Bytes between two rows: an odd number of cache lines from row to row spreads a tile's rows over
/// all sets of a cache, where rows 4 KiB apart would share one.
const ROW_GAP: usize = 64;

/// Several tokens' activations in int8, with each token's scale and sum. Buffers are allocated
/// once.
pub struct QuantizedActivations {
    k: usize,
    n_tokens: usize,
    padded_k: usize,
    q: Aligned<i8>, // [n_tokens, padded_k + ROW_GAP]
    scales: Vec<f32>,
    sums: Vec<i32>,
    packed: Packed,
}

impl QuantizedActivations {
    /// Room for `max_tokens` tokens of up to `max_k` values.
    pub fn with_capacity(max_tokens: usize, max_k: usize) -> Self {
        let padded_k = max_k.next_multiple_of(BLOCK);
        Self {
            k: 0,
            n_tokens: 0,
            padded_k: 0,
            q: Aligned::with_capacity(max_tokens * (padded_k + ROW_GAP)),
            scales: Vec::with_capacity(max_tokens),
            sums: Vec::with_capacity(max_tokens),
            packed: Packed::default(),
        }
    }

    /// Replaces the contents by `n_tokens` rows of `k` values that are yet to be filled, on any
    /// threads. One that is not filled has scale NaN.
    pub fn rows_to_fill(
        &mut self,
        n_tokens: usize,
        k: usize,
    ) -> impl ExactSizeIterator<Item = RowToFill<'_>> {
        self.k = k;
        self.n_tokens = n_tokens;
        self.padded_k = k.next_multiple_of(BLOCK);
        let stride = self.stride();
        self.q.reset(n_tokens * stride);
        self.scales.clear();
        self.scales.resize(n_tokens, f32::NAN);
        self.sums.clear();
        self.sums.resize(n_tokens, 0);
        self.packed.reset();
        let q = self.q.chunks_exact_mut(stride.max(1));
        let rows = q.zip(&mut self.scales).zip(&mut self.sums);
        rows.map(move |((q, scale), sum)| RowToFill { k, q, scale, sum })
    }

    /// Tokens held.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Values of a token.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Token `t`'s values -127..=127, padded with zeros to a multiple of 128.
    #[inline]
    pub fn row(&self, t: usize) -> &[i8] {
        &self.rows()[t * self.stride()..][..self.padded_k]
    }

    /// From the start of one token's row to the next.
    #[inline]
    pub(crate) fn stride(&self) -> usize {
        self.padded_k + ROW_GAP
    }

    /// All rows, one behind the other, `stride` apart.
    #[inline]
    pub(crate) fn rows(&self) -> &[i8] {
        &self.q
    }

    /// Values that are not zero, of all tokens together.
    pub fn count_nonzero(&self) -> usize {
        // So few at a time that a byte can count them, which a compiler's vectors do well.
        let some = |q: &[i8; BLOCK]| q.iter().map(|q| u8::from(*q != 0)).sum::<u8>();
        let blocks = (0..self.n_tokens).flat_map(|t| self.row(t).as_chunks::<BLOCK>().0);
        blocks.map(|block| usize::from(some(block))).sum()
    }

    /// Token `t`'s row, by blocks.
    #[inline]
    pub(crate) fn blocks(&self, t: usize) -> &[Activations] {
        self.row(t).as_chunks().0
    }

    /// All rows as a kernel packed them.
    #[inline]
    pub(crate) fn packed(&self) -> &Packed {
        &self.packed
    }

    /// Token `t`'s s: a value is `q / s`.
    pub fn scale(&self, t: usize) -> f32 {
        self.scales[t]
    }

    /// Token `t`'s sum of q.
    pub fn sum(&self, t: usize) -> i32 {
        self.sums[t]
    }
}

/// One token's place in [`QuantizedActivations`].
pub struct RowToFill<'a> {
    k: usize,
    q: &'a mut [i8], // [padded_k + ROW_GAP], zeros
    scale: &'a mut f32,
    sum: &'a mut i32,
}

impl RowToFill<'_> {
    /// Fills it by `quantize`, which takes the row's `k` places and returns (scale, sum of q).
    pub(crate) fn fill(self, quantize: impl FnOnce(&mut [i8]) -> (f32, i32)) {
        (*self.scale, *self.sum) = quantize(&mut self.q[..self.k]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn values_round_half_to_even_and_rows_are_padded() {
        let mut q = QuantizedActivations::with_capacity(2, 5);
        q.quantize(
            Isa::SCALAR,
            &[127.0, 0.5, 1.5, -2.5, -127.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            5,
        );
        assert_eq!(q.n_tokens(), 2);
        assert_eq!(q.row(0)[..6], [127, 0, 2, -2, -127, 0]);
        assert_eq!((q.row(0).len(), q.scale(0), q.sum(0)), (128, 1.0, 0));
        assert_eq!((q.scale(1), q.sum(1)), (127.0 / 1e-5, 0));
        assert_eq!(q.count_nonzero(), 4);
    }

    #[test]
    fn rows_can_be_filled_in_any_order() {
        let x: Vec<f32> = (0..3 * 130).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
        let (mut whole, mut by_rows) = (
            QuantizedActivations::with_capacity(3, 130),
            QuantizedActivations::with_capacity(3, 130),
        );
        whole.quantize(Isa::SCALAR, &x, 130);
        let rows: Vec<_> = by_rows.rows_to_fill(3, 130).collect();
        for (t, row) in rows.into_iter().enumerate().rev() {
            row.quantize(Isa::SCALAR, &x[t * 130..][..130]);
        }
        for t in 0..3 {
            assert_eq!(by_rows.row(t), whole.row(t));
            assert_eq!(by_rows.scale(t), whole.scale(t));
            assert_eq!(by_rows.sum(t), whole.sum(t));
        }
        let nonzero = (0..3).flat_map(|t| whole.row(t)).filter(|q| **q != 0);
        assert_eq!(by_rows.count_nonzero(), nonzero.count());
        assert!(by_rows.rows_to_fill(2, 130).len() == 2 && by_rows.scale(1).is_nan());
        assert_eq!(by_rows.rows_to_fill(0, 0).len(), 0);
    }

    #[test]
    fn a_row_that_is_not_finite_gets_scale_nan() {
        let mut q = QuantizedActivations::with_capacity(1, 3);
        for bad in [f32::NAN, f32::INFINITY] {
            q.quantize(Isa::SCALAR, &[1.0, bad, 2.0], 3);
            assert!(q.scale(0).is_nan());
        }
    }
}
