//! Sums of int8 values by their shares: exact in i32 over 64 positions, then scaled.

use super::element::{ahead, load_scales};
use super::padded_or_whole;
use crate::simd::{LANES, SUM_COLUMNS, SUM_POSITIONS, Simd};

/// The largest weight.
const LARGEST: f32 = 32767.0;

/// A run whose weights are all below this counts as nothing: the factor that makes integers of them
/// would be infinite.
const SMALLEST: f32 = 1e-33;

/// `acc[q][d] += sum(weights[i] * values[i][d]) * weight_scale`, for each 64 positions from the
/// first on. Their weights are `p[q * stride + i] * scales[i]` in 32767ths of the largest of them,
/// which 32767 times the weight scale is; half to even, and 0 for what is below 0. What is not
/// finite makes the weight scale NaN.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "sizes, what is read and what is written"
)]
pub(super) fn mix<S: Simd>(
    s: S,
    d: usize,
    p: &[f32],
    stride: usize,
    (values, scales): (&[i8], &[[u8; 2]]),
    next: Option<&[i8]>,
    acc: &mut [f32],
) {
    let n_queries = acc.len() / d;
    let n = values.len() / d;
    for at in (0..n).step_by(SUM_POSITIONS) {
        let len = SUM_POSITIONS.min(n - at);
        let mut ahead = ahead(values, next, at * d, len * d);
        let values = &values[at * d..][..len * d];
        let mut of_vectors = [s.splat(0.0); VECTORS];
        for (vector, scales) in of_vectors.iter_mut().zip(scales[at..][..len].chunks(LANES)) {
            *vector = load_scales(s, scales);
        }
        let mut q = 0;
        while q < n_queries {
            let (p, acc) = (&p[q * stride + at..], &mut acc[q * d..]);
            let ahead = std::mem::take(&mut ahead);
            q += match n_queries - q {
                4.. => few::<S, 4>(s, d, p, stride, values, of_vectors, ahead, acc),
                2.. => few::<S, 2>(s, d, p, stride, values, of_vectors, ahead, acc),
                _ => few::<S, 1>(s, d, p, stride, values, of_vectors, ahead, acc),
            };
        }
    }
}

/// Vectors of the positions of a sum.
const VECTORS: usize = SUM_POSITIONS / LANES;

/// The first Q queries and up to 64 positions; returns Q. Asks for `ahead`, as many codes as
/// `values`, or none.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "sizes, what is read and what is written"
)]
fn few<S: Simd, const Q: usize>(
    s: S,
    d: usize,
    p: &[f32],
    stride: usize,
    values: &[i8],
    scales: [S::F; VECTORS],
    ahead: &[i8],
    acc: &mut [f32],
) -> usize {
    let n = values.len() / d;
    let mut weights = [[0; SUM_POSITIONS]; Q];
    let mut weight_scales = [0.0; Q];
    for q in 0..Q {
        weight_scales[q] = quantize(s, &p[q * stride..][..n], scales, &mut weights[q]);
    }
    for column in (0..d).step_by(SUM_COLUMNS) {
        let sums = s.int8_sums(
            weights.each_ref(),
            values,
            d,
            column,
            #[inline(always)]
            |at| {
                if let Some(line) = ahead.get(at) {
                    s.ask(line);
                }
            },
        );
        let width = SUM_COLUMNS.min(d - column);
        for (q, sums) in sums.iter().enumerate() {
            let scale = s.splat(weight_scales[q]);
            let acc = &mut acc[q * d + column..][..width];
            for (acc, sums) in acc.chunks_mut(LANES).zip(sums.as_chunks().0) {
                let more = s.mul(s.load_i32(sums), scale);
                let sum = s.to_array(s.add(s.load(&padded_or_whole(acc)), more));
                match acc.as_chunks_mut().0 {
                    [whole] => *whole = sum,
                    _ => acc.copy_from_slice(&sum[..acc.len()]),
                }
            }
        }
    }
    Q
}

/// In halves, so that comparisons overlap.
#[inline(always)]
fn largest_lane(mut lanes: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
        for j in 0..half {
            let (a, b) = (lanes[j], lanes[j + half]);
            lanes[j] = if a > b { a } else { b };
        }
    }
    lanes[0]
}

/// The weights of up to 64 shares, zeros behind them, and their scale.
#[inline(always)]
fn quantize<S: Simd>(
    s: S,
    p: &[f32],
    scales: [S::F; VECTORS],
    out: &mut [i32; SUM_POSITIONS],
) -> f32 {
    let zero = s.splat(0.0);
    let mut weights = [zero; VECTORS];
    for ((weight, p), scale) in weights.iter_mut().zip(p.chunks(LANES)).zip(scales) {
        *weight = s.mul(s.load(&padded_or_whole(p)), scale);
    }
    // Zero, or NaN if one of them is no finite number.
    let mut broken = zero;
    let mut largest = zero;
    for weight in &mut weights {
        broken = s.add(broken, s.sub(*weight, *weight));
        *weight = s.max(*weight, zero);
        largest = s.max(*weight, largest);
    }
    let broken = s.sum(broken);
    let largest = largest_lane(s.to_array(largest));
    let factor = match largest >= SMALLEST {
        true => LARGEST / largest,
        false => 0.0,
    };
    // In 2^23..2^24 a float's last bit is 1: an addition rounds half to even.
    let magic = s.splat(8_388_608.0);
    for (weight, out) in weights.into_iter().zip(out.as_chunks_mut::<LANES>().0) {
        let rounded = s.to_array(s.add(s.mul(weight, s.splat(factor)), magic));
        for (rounded, out) in rounded.iter().zip(out) {
            *out = (rounded.to_bits() & 0x7fff).cast_signed();
        }
    }
    largest / LARGEST + broken
}
