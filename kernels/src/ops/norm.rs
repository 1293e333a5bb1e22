//! Root-mean-square normalisation (Zhang and Sennrich 2019).

use crate::simd::Simd;
use crate::simd::lanes;

#[inline(always)]
pub(crate) fn rms_norm_lanes<S: Simd>(s: S, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mut squares = s.splat(0.0);
    lanes::for_each(
        s,
        x,
        #[inline(always)]
        |v| squares = s.add(squares, s.mul(v, v)),
    );
    let mean = s.sum(squares) / x.len() as f32;
    let by = s.splat(1.0 / (mean + eps).sqrt());
    lanes::zip_map(
        s,
        x,
        weight,
        out,
        #[inline(always)]
        |x, w| s.mul(s.mul(x, by), w),
    );
}
