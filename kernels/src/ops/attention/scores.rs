//! Products of float queries and float keys.

use super::element::{Element, ahead};
use crate::simd::Simd;
use crate::simd::lanes::{LANES, padded};

/// `out[q * stride + p] = scale * (queries[q] . keys[p])`.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "sizes, what is read and what is written"
)]
pub(super) fn scores<S: Simd, E: Element>(
    s: S,
    d: usize,
    queries: &[f32],
    keys: &[E],
    next: Option<&[E]>,
    scale: f32,
    stride: usize,
    out: &mut [f32],
) {
    let n = keys.len() / d;
    let mut p = 0;
    // Few positions at a time, so that the keys stay in the nearest cache until all queries have
    // met them.
    while p < n {
        let len = if n - p >= 4 { 4 } else { 1 };
        let mut ahead = ahead(keys, next, p * d, len * d);
        let keys = &keys[p * d..][..len * d];
        let mut q = 0;
        while q < queries.len() / d {
            let (queries, out) = (&queries[q * d..], &mut out[q * stride + p..]);
            let left = queries.len() / d;
            let ahead = std::mem::take(&mut ahead);
            q += match (len, left) {
                (4, 4..) if S::MANY_REGISTERS => {
                    few::<S, E, 4, 4>(s, d, queries, keys, ahead, scale, stride, out)
                }
                (4, 2..) if S::MANY_REGISTERS => {
                    few::<S, E, 2, 4>(s, d, queries, keys, ahead, scale, stride, out)
                }
                (4, _) => few::<S, E, 1, 4>(s, d, queries, keys, ahead, scale, stride, out),
                (_, 4..) if S::MANY_REGISTERS => {
                    few::<S, E, 4, 1>(s, d, queries, keys, ahead, scale, stride, out)
                }
                _ => few::<S, E, 1, 1>(s, d, queries, keys, ahead, scale, stride, out),
            };
        }
        p += len;
    }
}

/// The first Q queries and K keys; returns Q. Each pair has its own sum, so their additions
/// overlap. Asks for `ahead`, as many numbers as K keys, or none.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "sizes, what is read and what is written"
)]
fn few<S: Simd, E: Element, const Q: usize, const K: usize>(
    s: S,
    d: usize,
    queries: &[f32],
    keys: &[E],
    ahead: &[E],
    scale: f32,
    stride: usize,
    out: &mut [f32],
) -> usize {
    let queries: [&[f32]; Q] = std::array::from_fn(|q| &queries[q * d..][..d]);
    for (q, sums) in dots::<S, E, Q, K>(s, queries, keys, ahead)
        .into_iter()
        .enumerate()
    {
        let out = &mut out[q * stride..][..K];
        match *sums.as_slice() {
            [a, b, c, d] => out.copy_from_slice(&s.sum4([a, b, c, d]).map(|dot| dot * scale)),
            _ => {
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = s.sum(sum) * scale;
                }
            }
        }
    }
    Q
}

/// Lanes of q . k for each query and each of the first K keys, lane i % 16 summing element i.
#[inline(always)]
fn dots<S: Simd, E: Element, const Q: usize, const K: usize>(
    s: S,
    queries: [&[f32]; Q],
    keys: &[E],
    ahead: &[E],
) -> [[S::F; K]; Q] {
    let d = queries[0].len();
    let ahead: [&[E]; K] = std::array::from_fn(|k| ahead.get(k * d..).unwrap_or_default());
    let queries: [_; Q] = std::array::from_fn(|q| queries[q].as_chunks::<LANES>());
    let keys: [_; K] = std::array::from_fn(|k| keys[k * d..][..d].as_chunks::<LANES>());
    let mut acc = [[s.splat(0.0); K]; Q];
    for i in 0..d / LANES {
        let k: [S::F; K] = std::array::from_fn(
            #[inline(always)]
            |k| E::load(s, &keys[k].0[i]),
        );
        // Spread among the multiplications: a core waits for some dozens of lines only, and then
        // for the next request.
        if i.is_multiple_of(E::VECTORS_A_LINE) {
            for ahead in ahead {
                if let Some(line) = ahead.get(i * LANES) {
                    s.ask(line);
                }
            }
        }
        for q in 0..Q {
            let query = s.load(&queries[q].0[i]);
            for n in 0..K {
                acc[q][n] = s.add(acc[q][n], s.mul(query, k[n]));
            }
        }
    }
    if !d.is_multiple_of(LANES) {
        for q in 0..Q {
            let query = s.load(&padded(queries[q].1));
            for n in 0..K {
                acc[q][n] = s.add(acc[q][n], s.mul(query, E::load(s, &padded(keys[n].1))));
            }
        }
    }
    acc
}
