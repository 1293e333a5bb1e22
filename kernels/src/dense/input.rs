//! The head's input: float rows, and for quantised types an int16 form.

use super::DenseType;
use crate::aligned::Aligned;
use crate::packed::Packed;

/// Largest int16 activation for Q8_0: a lane sums 4 products of at most 128 * 32767.
const LIMIT_Q8_0: f32 = 32767.0;
/// Largest int16 activation for Q6_K: a lane sums 32 products of at most 32 * 128 * 16383 = 2^26 -
/// 4096, just under 2^31, and the sum of two neighbours still fits int16.
const LIMIT_Q6_K: f32 = 16383.0;

/// Several tokens' inputs to a [`super::dense_matmul`]. Buffers are allocated once.
pub struct DenseInput {
    ty: DenseType,
    k: usize,
    n_tokens: usize,
    rows: Vec<f32>,     // [n_tokens, k], float types
    wide: Aligned<i16>, // [n_tokens, k], quantised types
    packed: Packed,
    scales: Vec<f32>, // [n_tokens], quantised types
}

impl DenseInput {
    /// Room for `max_tokens` tokens of up to `max_k` values.
    pub fn with_capacity(max_tokens: usize, max_k: usize) -> Self {
        let n = max_tokens * max_k;
        Self {
            ty: DenseType::F32,
            k: 0,
            n_tokens: 0,
            rows: Vec::with_capacity(n),
            wide: Aligned::with_capacity(n),
            packed: Packed::default(),
            scales: Vec::with_capacity(max_tokens),
        }
    }

    /// Replaces the contents by the rows of `x`, `[n_tokens, k]`, for a matrix stored as `ty`.
    /// `quantize` turns a row into int16 within a limit and returns its scale.
    pub(crate) fn fill(
        &mut self,
        x: &[f32],
        k: usize,
        ty: DenseType,
        quantize: impl Fn(&[f32], f32, &mut [i16]) -> f32,
    ) {
        self.ty = ty;
        self.k = k;
        self.n_tokens = x.len().checked_div(k).unwrap_or(0);
        let x = &x[..self.n_tokens * k];
        self.rows.clear();
        self.scales.clear();
        self.packed.reset();
        let limit = match ty {
            DenseType::F32 | DenseType::F16 | DenseType::Bf16 => {
                return self.rows.extend_from_slice(x);
            }
            DenseType::Q8_0 => LIMIT_Q8_0,
            DenseType::Q6K => LIMIT_Q6_K,
        };
        self.wide.reset(x.len());
        for (x, q) in x
            .chunks_exact(k.max(1))
            .zip(self.wide.chunks_exact_mut(k.max(1)))
        {
            self.scales.push(quantize(x, limit, q));
        }
    }

    pub(crate) fn ty(&self) -> DenseType {
        self.ty
    }

    pub(crate) fn k(&self) -> usize {
        self.k
    }

    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    #[inline]
    pub(crate) fn row(&self, t: usize) -> &[f32] {
        &self.rows[t * self.k..][..self.k]
    }

    /// Token `t` in int16, of quantised types.
    #[inline(always)]
    pub(crate) fn wide(&self, t: usize) -> &[i16] {
        &self.wide[t * self.k..][..self.k]
    }

    /// All tokens in int16, of quantised types.
    #[inline]
    pub(crate) fn all_wide(&self) -> &[i16] {
        &self.wide
    }

    /// The int16 rows as a kernel packed them.
    #[inline(always)]
    pub(crate) fn packed(&self) -> &Packed {
        &self.packed
    }

    #[inline]
    pub(crate) fn scale(&self, t: usize) -> f32 {
        self.scales[t]
    }
}
