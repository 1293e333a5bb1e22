//! Rows to integers by their largest magnitude: int8 for ternary products, int16 for quantised
//! dense ones.

use crate::simd::Simd;
use crate::simd::lanes::{self, LANES};

/// `limit / max(max |x|, 1e-5)`, or NaN where a value is not finite.
#[inline(always)]
fn absmax_scale<S: Simd>(s: S, x: &[f32], limit: f32) -> f32 {
    let mut absmax = s.splat(0.0);
    let mut poison = s.splat(0.0);
    let zero = s.splat(0.0);
    lanes::for_each(
        s,
        x,
        #[inline(always)]
        |v| {
            absmax = s.max(s.abs(v), absmax);
            poison = s.add(poison, s.mul(v, zero));
        },
    );
    if s.sum(poison) != 0.0 {
        return f32::NAN;
    }
    let absmax = s
        .to_array(absmax)
        .into_iter()
        .fold(0.0, |a, b| if b > a { b } else { a });
    limit / if absmax > 1e-5 { absmax } else { 1e-5 }
}

/// x * scale rounded half to even and clamped to +-limit; limit <= 2^22.
#[inline(always)]
fn scaled_round<S: Simd>(s: S, v: S::F, scale: S::F, limit: f32) -> [i32; LANES] {
    // Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the mantissa: the same on
    // every target, NaN included, which float-to-integer conversions are not.
    const MAGIC: f32 = 12_582_912.0;
    let clamped = s.max(s.min(s.mul(v, scale), s.splat(limit)), s.splat(-limit));
    s.to_array(s.add(clamped, s.splat(MAGIC)))
        .map(|v| v.to_bits().wrapping_sub(MAGIC.to_bits()) as i32)
}

/// One row: fills `q` (as long as `x`) and returns (scale, sum of q).
#[inline(always)]
pub(crate) fn quantize_row<S: Simd>(s: S, x: &[f32], q: &mut [i8]) -> (f32, i32) {
    let scale = absmax_scale(s, x, 127.0);
    let by = s.splat(scale);
    let mut sums = [0i32; LANES];
    lanes::for_each_out(
        s,
        x,
        q,
        #[inline(always)]
        |v| {
            let rounded = scaled_round(s, v, by, 127.0);
            for (sum, value) in sums.iter_mut().zip(rounded) {
                *sum += value;
            }
            rounded.map(|value| value as i8)
        },
    );
    (scale, sums.iter().sum())
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
