//! The two halves of attention over a run of cached positions, for the query heads that share a kv
//! head. Softmax stands between them.

use crate::simd::Simd;
use crate::simd::lanes::{LANES, padded};

/// Numbers that are asked for ahead of their use (8 KB): no hardware prefetcher follows from the
/// end of a block to the next.
const AHEAD: usize = 2048;

/// The numbers [`AHEAD`] of `rows[at..at + len]`, where `next` follows `rows`: all of it or
/// nothing.
#[inline(always)]
fn ahead<'a>(rows: &'a [f32], next: Option<&'a [f32]>, at: usize, len: usize) -> &'a [f32] {
    let at = at + AHEAD;
    let ahead = match (at.checked_sub(rows.len()), next) {
        (_, None) => None,
        (None, _) => rows.get(at..at + len),
        (Some(at), Some(next)) => next.get(at..at + len),
    };
    ahead.unwrap_or_default()
}

#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "sizes, what is read and what is written"
)]
pub(crate) fn attention_scores_lanes<S: Simd>(
    s: S,
    d: usize,
    queries: &[f32],
    keys: &[f32],
    next: Option<&[f32]>,
    scale: f32,
    stride: usize,
    out: &mut [f32],
) {
    if d == 0 {
        return out.fill(0.0);
    }
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
                    scores::<S, 4, 4>(s, d, queries, keys, ahead, scale, stride, out)
                }
                (4, 2..) if S::MANY_REGISTERS => {
                    scores::<S, 2, 4>(s, d, queries, keys, ahead, scale, stride, out)
                }
                (4, _) => scores::<S, 1, 4>(s, d, queries, keys, ahead, scale, stride, out),
                (_, 4..) if S::MANY_REGISTERS => {
                    scores::<S, 4, 1>(s, d, queries, keys, ahead, scale, stride, out)
                }
                _ => scores::<S, 1, 1>(s, d, queries, keys, ahead, scale, stride, out),
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
fn scores<S: Simd, const Q: usize, const K: usize>(
    s: S,
    d: usize,
    queries: &[f32],
    keys: &[f32],
    ahead: &[f32],
    scale: f32,
    stride: usize,
    out: &mut [f32],
) -> usize {
    let queries: [&[f32]; Q] = std::array::from_fn(|q| &queries[q * d..][..d]);
    for (q, sums) in dots::<S, Q, K>(s, queries, keys, ahead)
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
fn dots<S: Simd, const Q: usize, const K: usize>(
    s: S,
    queries: [&[f32]; Q],
    keys: &[f32],
    ahead: &[f32],
) -> [[S::F; K]; Q] {
    let d = queries[0].len();
    let ahead: [&[f32]; K] = std::array::from_fn(|k| ahead.get(k * d..).unwrap_or_default());
    let queries: [_; Q] = std::array::from_fn(|q| queries[q].as_chunks::<LANES>());
    let keys: [_; K] = std::array::from_fn(|k| keys[k * d..][..d].as_chunks::<LANES>());
    let mut acc = [[s.splat(0.0); K]; Q];
    for i in 0..d / LANES {
        let k: [S::F; K] = std::array::from_fn(
            #[inline(always)]
            |k| s.load(&keys[k].0[i]),
        );
        // Spread among the multiplications: a core waits for some dozens of lines only, and then
        // for the next request.
        for ahead in ahead {
            if let Some(line) = ahead.get(i * LANES) {
                s.ask(line);
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
                acc[q][n] = s.add(acc[q][n], s.mul(query, s.load(&padded(keys[n].1))));
            }
        }
    }
    acc
}

#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "sizes, what is read and what is written"
)]
pub(crate) fn attention_mix_lanes<S: Simd>(
    s: S,
    d: usize,
    p: &[f32],
    stride: usize,
    values: &[f32],
    next: Option<&[f32]>,
    acc: &mut [f32],
) {
    if d == 0 {
        return;
    }
    let n_queries = acc.len() / d;
    let n = values.len() / d;
    // Few positions at a time, so that the values stay in the nearest cache until all queries have
    // met them.
    for at in (0..n).step_by(MIX_POSITIONS) {
        let len = MIX_POSITIONS.min(n - at) * d;
        let mut ahead = ahead(values, next, at * d, len);
        let values = &values[at * d..][..len];
        let mut q = 0;
        while q < n_queries {
            let (p, acc) = (&p[q * stride + at..], &mut acc[q * d..]);
            let ahead = std::mem::take(&mut ahead);
            q += match n_queries - q {
                4.. if S::MANY_REGISTERS => mix::<S, 4>(s, d, p, stride, values, ahead, acc),
                2.. if S::MANY_REGISTERS => mix::<S, 2>(s, d, p, stride, values, ahead, acc),
                _ => mix::<S, 1>(s, d, p, stride, values, ahead, acc),
            };
        }
    }
}

/// Positions that pass while an accumulator is in registers.
const MIX_POSITIONS: usize = 16;

/// Vectors of an accumulator that stay in registers.
const COLUMNS: usize = 4;

/// The first Q queries; returns Q. 64 columns of each accumulator stay in registers while the
/// positions pass. Asks for `ahead`, as many numbers as `values`, or none.
#[inline(always)]
fn mix<S: Simd, const Q: usize>(
    s: S,
    d: usize,
    p: &[f32],
    stride: usize,
    values: &[f32],
    ahead: &[f32],
    acc: &mut [f32],
) -> usize {
    let n = values.len() / d;
    let p: [&[f32]; Q] = std::array::from_fn(|q| &p[q * stride..][..n]);
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
                |c| s.load(&row[c]),
            );
            for c in 0..COLUMNS {
                if let Some(line) = ahead.get(i * d + column + c * LANES) {
                    s.ask(line);
                }
            }
            for q in 0..Q {
                let p = s.splat(p[q][i]);
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
            for (p, row) in p[q].iter().zip(values.chunks_exact(d)) {
                let v = s.load(&padded_or_whole(&row[column..][..width]));
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

/// Up to sixteen values, and zeros.
#[inline(always)]
fn padded_or_whole(x: &[f32]) -> [f32; LANES] {
    match x.as_chunks::<LANES>().0 {
        [whole] => *whole,
        _ => padded(x),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Isa, attention_mix, attention_scores};

    #[test]
    fn scores_and_mix_follow_their_formulas() {
        let (d, n, n_queries, stride) = (5, 6, 3, 9);
        let q: Vec<f32> = (0..n_queries * d).map(|i| i as f32).collect();
        let keys: Vec<f32> = (0..n * d).map(|i| (i % 4) as f32).collect();
        let mut out = vec![-1.0; (n_queries - 1) * stride + n];
        attention_scores(Isa::SCALAR, d, &q, &keys, None, 0.5, stride, &mut out);
        for (at, out) in out.iter().enumerate() {
            let (query, p) = (at / stride, at % stride);
            if p < n {
                let expected: f32 = (0..d).map(|i| q[query * d + i] * keys[p * d + i]).sum();
                assert_eq!(*out, expected * 0.5);
            } else {
                assert_eq!(*out, -1.0, "what lies between the rows stays");
            }
        }
        let mut acc = vec![1.0; 2 * d];
        let p = [2.0, 3.0, 9.0, 4.0, 5.0];
        attention_mix(Isa::SCALAR, d, &p, 3, &keys[..2 * d], None, &mut acc);
        for (at, acc) in acc.iter().enumerate() {
            let (p, i) = (&p[at / d * 3..], at % d);
            assert_eq!(*acc, 1.0 + p[0] * keys[i] + p[1] * keys[d + i]);
        }
    }

    #[test]
    fn cutting_the_positions_changes_no_bit() {
        let mut rng = crate::rng::Rng::new(7);
        let values: Vec<f32> = (0..9 * 70).map(|_| rng.unit()).collect();
        let p: Vec<f32> = (0..9).map(|_| rng.unit()).collect();
        let (mut whole, mut cut) = (vec![0.0; 70], vec![0.0; 70]);
        attention_mix(Isa::SCALAR, 70, &p, 9, &values, None, &mut whole);
        attention_mix(
            Isa::SCALAR,
            70,
            &p[..4],
            4,
            &values[..4 * 70],
            None,
            &mut cut,
        );
        attention_mix(
            Isa::SCALAR,
            70,
            &p[4..],
            5,
            &values[4 * 70..],
            None,
            &mut cut,
        );
        assert_eq!(whole, cut);
    }
}
