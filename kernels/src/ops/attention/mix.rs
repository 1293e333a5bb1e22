//! Sums of values by their shares.

use super::element::{Element, ahead};
use super::padded_or_whole;
use crate::simd::{LANES, Simd};

/// `acc[q][d] += p[q * stride + i] * values[i][d]` for i in order.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "sizes, what is read and what is written"
)]
pub(super) fn mix<S: Simd, E: Element>(
    s: S,
    d: usize,
    p: &[f32],
    stride: usize,
    values: &[E],
    next: Option<&[E]>,
    acc: &mut [f32],
) {
    let n_queries = acc.len() / d;
    let n = values.len() / d;
    // Few positions at a time, so that the values stay in the nearest cache until all queries have
    // met them.
    for at in (0..n).step_by(MIX_POSITIONS) {
        let len = MIX_POSITIONS.min(n - at);
        let mut ahead = ahead(values, next, at * d, len * d);
        let values = &values[at * d..][..len * d];
        let mut q = 0;
        while q < n_queries {
            let (p, acc) = (&p[q * stride + at..], &mut acc[q * d..]);
            let ahead = std::mem::take(&mut ahead);
            q += match n_queries - q {
                4.. if S::MANY_REGISTERS => few::<S, E, 4>(s, d, p, stride, values, ahead, acc),
                2.. if S::MANY_REGISTERS => few::<S, E, 2>(s, d, p, stride, values, ahead, acc),
                _ => few::<S, E, 1>(s, d, p, stride, values, ahead, acc),
            };
        }
    }
}

/// Positions that pass while an accumulator is in registers.
const MIX_POSITIONS: usize = LANES;

/// Vectors of an accumulator that stay in registers.
const COLUMNS: usize = 4;

/// The first Q queries; returns Q. 64 columns of each accumulator stay in registers while the
/// positions pass. Asks for `ahead`, as many numbers as `values`, or none.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "sizes, what is read and what is written"
)]
fn few<S: Simd, E: Element, const Q: usize>(
    s: S,
    d: usize,
    p: &[f32],
    stride: usize,
    values: &[E],
    ahead: &[E],
    acc: &mut [f32],
) -> usize {
    let n = values.len() / d;
    let mut weights = [[0.0; MIX_POSITIONS]; Q];
    for (q, weights) in weights.iter_mut().enumerate() {
        *weights = padded_or_whole(&p[q * stride..][..n]);
    }
    let mut column = 0;
    while column + COLUMNS * LANES <= d {
        let mut sums = [[s.splat(0.0); COLUMNS]; Q];
        for (q, sums) in sums.iter_mut().enumerate() {
            for (sum, acc) in sums.iter_mut().zip(columns(&mut acc[q * d + column..])) {
                *sum = s.load(acc);
            }
        }
        for (i, row) in values.chunks_exact(d).enumerate() {
            let (row, _) = row[column..][..COLUMNS * LANES].as_chunks::<LANES>();
            let row: [S::F; COLUMNS] = std::array::from_fn(
                #[inline(always)]
                |c| E::load(s, &row[c]),
            );
            for c in (0..COLUMNS).step_by(E::VECTORS_A_LINE) {
                if let Some(line) = ahead.get(i * d + column + c * LANES) {
                    s.ask(line);
                }
            }
            for q in 0..Q {
                let p = s.splat(weights[q][i]);
                for c in 0..COLUMNS {
                    sums[q][c] = s.add(sums[q][c], s.mul(p, row[c]));
                }
            }
        }
        for (q, sums) in sums.into_iter().enumerate() {
            for (sum, acc) in sums.into_iter().zip(columns(&mut acc[q * d + column..])) {
                *acc = s.to_array(sum);
            }
        }
        column += COLUMNS * LANES;
    }
    while column < d {
        let width = LANES.min(d - column);
        for q in 0..Q {
            let acc = &mut acc[q * d + column..][..width];
            let mut sum = s.load(&padded_or_whole(acc));
            for (p, row) in weights[q].iter().zip(values.chunks_exact(d)) {
                let v = E::load(s, &padded_or_whole(&row[column..][..width]));
                sum = s.add(sum, s.mul(s.splat(*p), v));
            }
            acc.copy_from_slice(&s.to_array(sum)[..width]);
        }
        column += width;
    }
    Q
}

/// The first [`COLUMNS`] vectors of `acc`.
#[inline(always)]
fn columns(acc: &mut [f32]) -> &mut [[f32; LANES]] {
    acc[..COLUMNS * LANES].as_chunks_mut().0
}
