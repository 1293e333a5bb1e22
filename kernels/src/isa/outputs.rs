//! From sums of code * q to outputs.

use crate::{OutputRows, QuantizedActivations, Ternary};

/// Turns sums of code * q, one for each token from `t` on, into outputs.
#[inline(always)]
pub(crate) fn write_row(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    row: usize,
    t: usize,
    sums: &[i32],
) {
    let at = row - out.range().start;
    for (t, sum) in (t..).zip(sums) {
        out.token(t)[at] = output(*sum, x.sum(t), x.scale(t), w.scale());
    }
}

/// The same for one token and the rows from `row` on.
#[inline(always)]
pub(crate) fn write_token(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    row: usize,
    t: usize,
    sums: &[i32],
) {
    write_sums(w.scale(), x, out, row, t, sums);
}

/// The same for a matrix in any layout.
#[inline(always)]
pub(crate) fn write_sums(
    w_scale: f32,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    row: usize,
    t: usize,
    sums: &[i32],
) {
    let at = row - out.range().start;
    let (q_sum, scale) = (x.sum(t), x.scale(t));
    for (out, sum) in out.token(t)[at..].iter_mut().zip(sums) {
        *out = output(*sum, q_sum, scale, w_scale);
    }
}

/// A weight is code - 1, so sum(q) comes off.
#[inline(always)]
pub(crate) fn output(sum: i32, q_sum: i32, scale: f32, w_scale: f32) -> f32 {
    (sum - q_sum) as f32 / scale * w_scale
}
