//! The two halves of attention over a run of cached positions, for the query heads that share a kv
//! head. Softmax stands between them.

mod code_mix;
mod codes;
mod element;
mod mix;
mod scores;

use crate::simd::Simd;
use crate::simd::lanes::{LANES, padded};
use crate::{KvRows, Queries};

#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "sizes, what is read and what is written"
)]
pub(crate) fn attention_scores_lanes<S: Simd>(
    s: S,
    d: usize,
    queries: Queries<'_>,
    keys: KvRows<'_>,
    next: Option<KvRows<'_>>,
    scale: f32,
    stride: usize,
    out: &mut [f32],
) {
    if d == 0 {
        return out.fill(0.0);
    }
    match (queries, keys) {
        (Queries::Floats(queries), KvRows::F32(keys)) => {
            let next = next.map(KvRows::f32);
            scores::scores(s, d, queries, keys, next, scale, stride, out);
        }
        (Queries::Floats(queries), KvRows::F16(keys)) => {
            let next = next.map(KvRows::f16);
            scores::scores(s, d, queries, keys, next, scale, stride, out);
        }
        (
            Queries::Int8 { codes, scales },
            KvRows::Int8 {
                codes: keys,
                scales: key_scales,
            },
        ) => {
            let next = next.map(KvRows::codes);
            let queries = (codes, scales);
            codes::scores(s, d, queries, (keys, key_scales), next, scale, stride, out);
        }
        _ => panic!("queries are not of the type of the keys"),
    }
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
    values: KvRows<'_>,
    next: Option<KvRows<'_>>,
    acc: &mut [f32],
) {
    if d == 0 {
        return;
    }
    match values {
        KvRows::F32(values) => {
            mix::mix(s, d, p, stride, values, next.map(KvRows::f32), acc);
        }
        KvRows::F16(values) => {
            mix::mix(s, d, p, stride, values, next.map(KvRows::f16), acc);
        }
        KvRows::Int8 { codes, scales } => {
            let next = next.map(KvRows::codes);
            code_mix::mix(s, d, p, stride, (codes, scales), next, acc);
        }
    }
}

/// Up to sixteen values, and zeros.
#[inline(always)]
fn padded_or_whole<T: Copy + Default>(x: &[T]) -> [T; LANES] {
    match x.as_chunks::<LANES>().0 {
        [whole] => *whole,
        _ => padded(x),
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Isa, KvBuffer, KvRows, KvType, QuantizedQueries, Queries, attention_mix, attention_scores,
        softmax,
    };

    #[test]
    fn scores_and_mix_follow_their_formulas() {
        let (d, n, n_queries, stride) = (5, 6, 3, 9);
        let q: Vec<f32> = (0..n_queries * d).map(|i| i as f32).collect();
        let keys: Vec<f32> = (0..n * d).map(|i| (i % 4) as f32).collect();
        let mut out = vec![-1.0; (n_queries - 1) * stride + n];
        let (queries, rows) = (Queries::Floats(&q), KvRows::F32(&keys));
        attention_scores(Isa::SCALAR, d, queries, rows, None, 0.5, stride, &mut out);
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
        attention_mix(Isa::SCALAR, d, &p, 3, rows.first(2, d), None, &mut acc);
        for (at, acc) in acc.iter().enumerate() {
            let (p, i) = (&p[at / d * 3..], at % d);
            assert_eq!(*acc, 1.0 + p[0] * keys[i] + p[1] * keys[d + i]);
        }
    }

    #[test]
    fn codes_give_what_their_numbers_give() {
        let (d, n, n_queries) = (70, 85, 5);
        let mut rng = crate::rng::Rng::new(5);
        let q: Vec<f32> = (0..n_queries * d).map(|_| rng.unit()).collect();
        let rows: Vec<f32> = (0..n * d).map(|_| rng.unit()).collect();
        let buffer = KvBuffer::store(Isa::SCALAR, KvType::Int8, &rows, d);
        let mut quantized = QuantizedQueries::default();
        quantized.quantize(Isa::SCALAR, &q, d);
        let Queries::Int8 { codes, scales } = quantized.heads(0..n_queries) else {
            unreachable!()
        };
        let stored = buffer.to_f32();
        let mut out = vec![0.0; n_queries * n];
        let queries = quantized.heads(0..n_queries);
        attention_scores(
            Isa::SCALAR,
            d,
            queries,
            buffer.rows(),
            None,
            0.5,
            n,
            &mut out,
        );
        let scores = out.clone();
        out.chunks_mut(n).for_each(|row| softmax(Isa::SCALAR, row));
        let mut acc = vec![1.0; n_queries * d];
        attention_mix(Isa::SCALAR, d, &out, n, buffer.rows(), None, &mut acc);
        for q in 0..n_queries {
            for p in 0..n {
                let product = |i: usize| {
                    f64::from(codes[q * d + i])
                        * f64::from(scales[q])
                        * f64::from(stored[p * d + i])
                };
                let expected = 0.5 * (0..d).map(product).sum::<f64>();
                let is = f64::from(scores[q * n + p]);
                assert!(
                    (is - expected).abs() < 1e-6 * expected.abs() + 1e-6,
                    "{is}: {expected}"
                );
            }
            for i in 0..d {
                let share = |p: usize| f64::from(out[q * n + p]) * f64::from(stored[p * d + i]);
                let expected = 1.0 + (0..n).map(share).sum::<f64>();
                let is = f64::from(acc[q * d + i]);
                assert!((is - expected).abs() < 5e-5, "{is}: {expected}");
            }
        }
    }

    /// One position alone has the largest weight, so that its values come back; what is below
    /// nothing counts as nothing, and what is no number makes all of them none.
    #[test]
    fn weights_of_codes_have_their_bounds() {
        let (d, n) = (20, 70);
        let rows: Vec<f32> = (0..n * d).map(|i| (i % 13) as f32 - 6.0).collect();
        let buffer = KvBuffer::store(Isa::SCALAR, KvType::Int8, &rows, d);
        let stored = buffer.to_f32();
        let mix = |p: &[f32]| {
            let mut acc = vec![0.0; d];
            attention_mix(Isa::SCALAR, d, p, n, buffer.rows(), None, &mut acc);
            acc
        };
        let mut p = vec![0.0; n];
        assert_eq!(mix(&p), vec![0.0; d]);
        p[66] = 0.25;
        for (is, value) in mix(&p).iter().zip(&stored[66 * d..]) {
            assert!((is - 0.25 * value).abs() <= 1e-6 * value.abs(), "{is}");
        }
        let one = mix(&p);
        p[3] = -1.0;
        assert_eq!(mix(&p), one);
        p[4] = 1e-36;
        assert_eq!(mix(&p), one);
        for broken in [f32::NAN, f32::INFINITY] {
            p[3] = broken;
            assert!(mix(&p).iter().all(|number| number.is_nan()), "{broken}");
        }
    }

    #[test]
    fn cutting_the_positions_changes_no_bit() {
        let mut rng = crate::rng::Rng::new(7);
        // The sums of codes are of 64 positions.
        let (d, n, at) = (70, 85, 64);
        let values: Vec<f32> = (0..n * d).map(|_| rng.unit()).collect();
        let p: Vec<f32> = (0..n).map(|_| rng.unit().abs()).collect();
        for ty in KvType::ALL {
            let mix = |from: usize, to: usize, acc: &mut [f32]| {
                let rows = KvBuffer::store(Isa::SCALAR, ty, &values[from * d..to * d], d);
                attention_mix(
                    Isa::SCALAR,
                    d,
                    &p[from..to],
                    to - from,
                    rows.rows(),
                    None,
                    acc,
                );
            };
            let (mut whole, mut cut) = (vec![0.0; d], vec![0.0; d]);
            mix(0, n, &mut whole);
            mix(0, at, &mut cut);
            mix(at, n, &mut cut);
            assert_eq!(whole, cut, "{ty:?}");
        }
    }
}
