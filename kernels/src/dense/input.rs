//! The head's input: float rows, and for quantised types an int16 form.

use super::DenseType;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::q6_k::BLOCK;
use crate::Isa;
use crate::aligned::Aligned;
use crate::isa::QuantRow;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::isa::SplitRow;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use crate::isa::simd128::q6_k_one as simd128_q6_k;
#[cfg(target_arch = "x86_64")]
use crate::isa::x86::q6_k_pairs;
use crate::quantize::{absmax_scale, scaled_round};
use crate::simd::Simd;
use crate::simd::lanes;

/// Largest int16 activation for Q8_0: a lane sums 4 products of at most 128 * 32767.
const LIMIT_Q8_0: f32 = 32767.0;
/// Largest int16 activation for Q6_K: a lane sums 32 products of at most 32 * 128 * 16383 = 2^26 - 4096, just under 2^31,
/// and the sum of two neighbours still fits int16.
const LIMIT_Q6_K: f32 = 16383.0;

/// Several tokens' inputs to a [`super::dense_matmul`]. Buffers are allocated once.
pub struct DenseInput {
    ty: DenseType,
    k: usize,
    n_tokens: usize,
    rows: Vec<f32>,     // [n_tokens, k], float types
    wide: Aligned<i16>, // [n_tokens, k], quantised types
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    split: Split, // Q6_K; in x86-64 for one token
    #[cfg(target_arch = "x86_64")]
    pairs: Vec<q6_k_pairs::PairOfBlocks>, // [n_tokens, k/512 rounded up], Q6_K and several tokens
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    groups: Vec<simd128_q6_k::Arranged>, // [n_tokens, k/256], Q6_K
    #[cfg(all(
        target_arch = "wasm32",
        target_feature = "simd128",
        feature = "relaxed-simd"
    ))]
    arranged: Vec<crate::isa::simd128::q6_k_one_relaxed::Arranged>, // [n_tokens, k/256], Q6_K
    scales: Vec<f32>,   // [n_tokens], quantised types
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
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            split: Split::default(),
            #[cfg(target_arch = "x86_64")]
            pairs: Vec::new(),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            groups: Vec::new(),
            #[cfg(all(
                target_arch = "wasm32",
                target_feature = "simd128",
                feature = "relaxed-simd"
            ))]
            arranged: Vec::new(),
            scales: Vec::with_capacity(max_tokens),
        }
    }

    /// Replaces the contents by the rows of `x`, `[n_tokens, k]`, for a matrix stored as `ty`.
    ///
    /// For Q8_0 and Q6_K: q = round_half_even(x * s), s = limit / max(max |x|, 1e-5), limit 32767 or 16383. A row with a
    /// NaN or an infinity gets scale NaN, and so NaN results.
    pub fn set(&mut self, isa: Isa, x: &[f32], k: usize, ty: DenseType) {
        self.ty = ty;
        self.k = k;
        self.n_tokens = x.len().checked_div(k).unwrap_or(0);
        let x = &x[..self.n_tokens * k];
        self.rows.clear();
        self.scales.clear();
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
            self.scales.push(isa.quantize_row_wide(x, limit, q));
        }
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if self.has_split() {
            self.split.set(&self.wide);
        }
        #[cfg(target_arch = "x86_64")]
        if self.has_pairs() {
            let n = q6_k_pairs::pairs(k);
            self.pairs.resize(self.n_tokens * n, Default::default());
            for (x, pairs) in self
                .wide
                .chunks_exact(k.max(1))
                .zip(self.pairs.chunks_exact_mut(n.max(1)))
            {
                q6_k_pairs::arrange(x, pairs);
            }
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        if ty == DenseType::Q6K {
            self.groups
                .resize(self.wide.len() / BLOCK, simd128_q6_k::Arranged::default());
            simd128_q6_k::arrange(&self.wide, &mut self.groups);
            #[cfg(feature = "relaxed-simd")]
            {
                self.arranged
                    .resize(self.wide.len() / BLOCK, Default::default());
                crate::isa::simd128::q6_k_one_relaxed::arrange(&self.wide, &mut self.arranged);
            }
        }
    }

    /// Whether a kernel may take the int16 values by their bytes: in x86-64 those for one token.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[inline(always)]
    fn has_split(&self) -> bool {
        let one = cfg!(target_arch = "aarch64") || self.n_tokens == 1;
        self.ty == DenseType::Q6K && one
    }

    /// Whether a kernel may take them by pairs of blocks: those for several tokens.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn has_pairs(&self) -> bool {
        self.ty == DenseType::Q6K && self.n_tokens > 1
    }

    pub(super) fn ty(&self) -> DenseType {
        self.ty
    }

    pub(super) fn k(&self) -> usize {
        self.k
    }

    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    #[inline]
    pub(super) fn row(&self, t: usize) -> &[f32] {
        &self.rows[t * self.k..][..self.k]
    }

    #[inline(always)]
    pub(crate) fn quant_row(&self, t: usize) -> QuantRow<'_> {
        let range = t * self.k..(t + 1) * self.k;
        QuantRow {
            wide: &self.wide[range.clone()],
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            split: if self.has_split() {
                self.split.row(range)
            } else {
                SplitRow::default()
            },
            #[cfg(target_arch = "x86_64")]
            pairs: if self.has_pairs() {
                let n = q6_k_pairs::pairs(self.k);
                &self.pairs[t * n..][..n]
            } else {
                &[]
            },
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            groups: if self.ty == DenseType::Q6K {
                &self.groups[range.start / BLOCK..range.end / BLOCK]
            } else {
                &[]
            },
            #[cfg(all(
                target_arch = "wasm32",
                target_feature = "simd128",
                feature = "relaxed-simd"
            ))]
            arranged: if self.ty == DenseType::Q6K {
                &self.arranged[range.start / BLOCK..range.end / BLOCK]
            } else {
                &[]
            },
        }
    }

    #[inline]
    pub(crate) fn scale(&self, t: usize) -> f32 {
        self.scales[t]
    }
}

/// What byte-wise multipliers need of [`DenseInput`]'s int16 values.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[derive(Default)]
struct Split {
    high: Aligned<i8>, // [n_tokens, k]
    low: Aligned<i8>,  // [n_tokens, k]
    #[cfg(target_arch = "x86_64")]
    pairs: Aligned<i16>, // [n_tokens, k/2]
    #[cfg(target_arch = "x86_64")]
    high_offsets: Aligned<i32>, // [n_tokens, k/4]
    #[cfg(target_arch = "x86_64")]
    low_offsets: Aligned<i32>, // [n_tokens, k/4]
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Split {
    fn set(&mut self, wide: &[i16]) {
        self.low.reset(wide.len());
        self.high.reset(wide.len());
        for ((low, high), v) in self.low.iter_mut().zip(self.high.iter_mut()).zip(wide) {
            *low = *v as i8;
            *high = ((v - i16::from(*low)) >> 8) as i8;
        }
        #[cfg(target_arch = "x86_64")]
        {
            self.pairs.reset(wide.len() / 2);
            for (pair, [a, b]) in self.pairs.iter_mut().zip(wide.as_chunks().0) {
                *pair = a + b;
            }
            offsets(&self.high, &mut self.high_offsets);
            offsets(&self.low, &mut self.low_offsets);
        }
    }

    #[inline(always)]
    fn row(&self, range: std::ops::Range<usize>) -> SplitRow<'_> {
        SplitRow {
            high: &self.high[range.clone()],
            low: &self.low[range.clone()],
            #[cfg(target_arch = "x86_64")]
            pairs: &self.pairs[range.start / 2..range.end / 2],
            #[cfg(target_arch = "x86_64")]
            high_offsets: &self.high_offsets[range.start / 4..range.end / 4],
            #[cfg(target_arch = "x86_64")]
            low_offsets: &self.low_offsets[range.start / 4..range.end / 4],
        }
    }
}

/// For each four values of `part` what 32 more in each of four weights adds, to be taken off.
#[cfg(target_arch = "x86_64")]
fn offsets(part: &[i8], out: &mut Aligned<i32>) {
    out.reset(part.len() / 4);
    for (offset, four) in out.iter_mut().zip(part.as_chunks::<4>().0) {
        *offset = -32 * four.iter().map(|v| i32::from(*v)).sum::<i32>();
    }
}

/// One row to int16; returns its scale.
#[inline(always)]
pub(crate) fn quantize_row_wide<S: Simd>(s: S, x: &[f32], limit: f32, q: &mut [i16]) -> f32 {
    let scale = absmax_scale(s, x, limit);
    let by = s.splat(scale);
    lanes::for_each_out(
        s,
        x,
        q,
        #[inline(always)]
        |v| scaled_round(s, v, by, limit).map(|value| value as i16),
    );
    scale
}
