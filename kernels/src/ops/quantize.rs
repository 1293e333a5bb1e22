//! Rows to integers by their largest magnitude: int8 for ternary products, int16 for quantised
//! dense ones.

use crate::grouped::ActivationBlock;
use crate::simd::Simd;
use crate::simd::lanes::{self, LANES};

/// `max |x|`, or NaN where a value is not finite.
#[inline(always)]
fn absmax<S: Simd>(s: S, x: &[f32]) -> f32 {
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
    s.to_array(absmax)
        .into_iter()
        .fold(0.0, |a, b| if b > a { b } else { a })
}

/// `limit / max(max |x|, 1e-5)`, or NaN where a value is not finite.
#[inline(always)]
fn absmax_scale<S: Simd>(s: S, x: &[f32], limit: f32) -> f32 {
    let absmax = absmax(s, x);
    limit / if absmax <= 1e-5 { 1e-5 } else { absmax }
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

/// One row to int8 in blocks of 32, a scale each; see `grouped/activations.rs`. `x` has 32 values
/// for each of `out`.
#[inline(always)]
pub(crate) fn quantize_blocks<S: Simd>(s: S, x: &[f32], out: &mut [ActivationBlock]) {
    const LEAST: f32 = 1e-30;
    let (zero, halves) = (s.splat(0.0), x.as_chunks::<LANES>().0.as_chunks::<2>().0);
    for ([low, high], out) in halves.iter().zip(out) {
        let (low, high) = (s.load(low), s.load(high));
        let poison = s.add(s.mul(low, zero), s.mul(high, zero));
        let absmax = s
            .to_array(s.max(s.abs(low), s.abs(high)))
            .into_iter()
            .fold(0.0, |a, b| if b > a { b } else { a });
        *out = if s.sum(poison) != 0.0 {
            ActivationBlock::default()
        } else if absmax < LEAST {
            ActivationBlock {
                scale: 0.0,
                ..Default::default()
            }
        } else {
            let by = s.splat(127.0 / absmax);
            let mut block = ActivationBlock {
                scale: absmax / 127.0,
                ..Default::default()
            };
            for (v, q) in [low, high].into_iter().zip(block.q.as_chunks_mut().0) {
                let rounded = scaled_round(s, v, by, 127.0);
                block.minus_sum -= rounded.iter().sum::<i32>();
                *q = rounded.map(|value| value as i8);
            }
            block
        };
    }
}

/// One row to int8 by the scale that is returned, an f16: a value is its code times that. With a
/// NaN or an infinity the scale is NaN.
#[inline(always)]
pub(crate) fn quantize_row_f16<S: Simd>(s: S, x: &[f32], q: &mut [i8]) -> half::f16 {
    let stored = half::f16::from_f32_const(absmax(s, x) / 127.0);
    let scale = stored.to_f32_const();
    // Of so small a row nothing is left; 1 / 0 would make NaN of its zeros.
    let by = s.splat(if scale == 0.0 { 0.0 } else { 1.0 / scale });
    lanes::for_each_out(
        s,
        x,
        q,
        #[inline(always)]
        |v| scaled_round(s, v, by, 127.0).map(|value| value as i8),
    );
    stored
}
