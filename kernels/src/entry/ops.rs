//! The float steps.

use crate::isa::Scalar;
use crate::ops::exp::exp;
use crate::simd::Simd;
use crate::{Isa, KvRows, Queries};

/// `out[i] = max(gate[i], 0)^2 * up[i]` (squared ReLU, BitNet b1.58 2B-4T). Exact zeros stay exact.
pub fn relu2_mul(isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) {
    isa.relu2_mul(gate, up, out);
}

/// `out[i] = gate[i] / (1 + exp(-gate[i])) * up[i]` (SwiGLU, Llama).
pub fn silu_mul(isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) {
    isa.silu_mul(gate, up, out);
}

/// `out[i] = gelu(gate[i]) * up[i]` with
/// `gelu(x) = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` (Gemma; PyTorch's
/// `gelu(approximate="tanh")`).
pub fn gelu_mul(isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) {
    isa.gelu_mul(gate, up, out);
}

/// `x[i] += y[i]`.
pub fn add_assign(isa: Isa, x: &mut [f32], y: &[f32]) {
    isa.add_assign(x, y);
}

/// `out[q * stride + p] = scale * (queries[q] . keys[p])` for queries `[n_queries, head_dim]` and
/// keys `[n, head_dim]`.
///
/// All queries that read the same keys are best given together: each key is then loaded once for
/// several of them. `next` is for keys that come from memory: what will be read after them, asked
/// for meanwhile. It changes no result.
///
/// # Panics
/// If `out` is shorter than `(n_queries - 1) * stride + n`, or queries are not of the type of the
/// keys: a caller's mistake.
#[allow(
    clippy::too_many_arguments,
    reason = "sizes, what is read and what is written"
)]
pub fn attention_scores(
    isa: Isa,
    head_dim: usize,
    queries: Queries<'_>,
    keys: KvRows<'_>,
    next: Option<KvRows<'_>>,
    scale: f32,
    stride: usize,
    out: &mut [f32],
) {
    isa.attention_scores(head_dim, queries, keys, next, scale, stride, out);
}

/// `acc[q][d] += p[q * stride] * values[0][d]`, then `p[q * stride + 1] * values[1][d]` and so on,
/// for values `[n, head_dim]` and acc `[n_queries, head_dim]`.
///
/// Positions are added in order, so cutting them into several calls changes no bit. `next` is as in
/// [`attention_scores`].
///
/// Of int8 values each 64 positions, from the first on, are one exact sum of integers: shares times
/// the values' scales, in 32767ths of the largest of them, times codes. So cuts at multiples of 64
/// change no bit, and a share must not be below 0: it counts as 0.
///
/// # Panics
/// If `p` is shorter than `(n_queries - 1) * stride + n`: a caller's mistake.
pub fn attention_mix(
    isa: Isa,
    head_dim: usize,
    p: &[f32],
    stride: usize,
    values: KvRows<'_>,
    next: Option<KvRows<'_>>,
    acc: &mut [f32],
) {
    isa.attention_mix(head_dim, p, stride, values, next, acc);
}

/// `out[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]`, for one row of `k` values in each slice.
pub fn rms_norm(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    isa.rms_norm(x, weight, eps, out);
}

/// Rotates one head `[head_dim]` in place by the angles of its position, `[head_dim/2]` each.
pub fn rope_rotate_half(isa: Isa, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    isa.rope_rotate_half(head, cos, sin);
}

/// `x[i] = exp(x[i] - max x) / sum`, in place. -infinity masks an entry; a NaN makes the whole row
/// NaN.
pub fn softmax(isa: Isa, x: &mut [f32]) {
    isa.softmax(x);
}

/// e^x with the bits of every vector exp in this crate.
pub fn exp_f32(x: f32) -> f32 {
    Scalar.to_array(exp(Scalar, Scalar.splat(x)))[0]
}
