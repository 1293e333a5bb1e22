//! The two halves of one head's attention over a run of cached positions. Softmax stands between them.

use crate::Isa;
use crate::isa::Simd;
use crate::ops::lanes::{LANES, padded};

/// `out[p] = scale * (q . keys[p])` for q `[head_dim]`, keys `[n, head_dim]`, out `[n]`.
pub fn attention_scores(isa: Isa, q: &[f32], keys: &[f32], scale: f32, out: &mut [f32]) {
    isa.attention_scores(q, keys, scale, out);
}

/// `acc[d] += p[0] * values[0][d]`, then `p[1] * values[1][d]` and so on, for values `[n, head_dim]`, acc `[head_dim]`.
///
/// Positions are added in order, so cutting them into several calls changes no bit.
pub fn attention_mix(isa: Isa, p: &[f32], values: &[f32], acc: &mut [f32]) {
    isa.attention_mix(p, values, acc);
}

#[inline(always)]
pub(crate) fn attention_scores_lanes<S: Simd>(
    s: S,
    q: &[f32],
    keys: &[f32],
    scale: f32,
    out: &mut [f32],
) {
    let d = q.len();
    if d == 0 {
        return out.fill(0.0);
    }
    // Four positions at once: each has its own accumulator, so their additions overlap.
    let mut keys = keys.chunks_exact(d);
    let mut outs = out.chunks_exact_mut(4);
    for out in &mut outs {
        let (Some(k0), Some(k1), Some(k2), Some(k3)) =
            (keys.next(), keys.next(), keys.next(), keys.next())
        else {
            return;
        };
        out.copy_from_slice(&dots(s, q, [k0, k1, k2, k3]).map(|dot| dot * scale));
    }
    for (out, key) in outs.into_remainder().iter_mut().zip(keys) {
        *out = dots(s, q, [key])[0] * scale;
    }
}

/// q . k for each k, lane i % 16 summing element i, then the tree.
#[inline(always)]
fn dots<S: Simd, const N: usize>(s: S, q: &[f32], keys: [&[f32]; N]) -> [f32; N] {
    let (chunks, tail) = q.as_chunks::<LANES>();
    let parts = keys.map(|k| k[..q.len()].as_chunks::<LANES>());
    let mut acc = [s.splat(0.0); N];
    for (i, q) in chunks.iter().enumerate() {
        let q = s.load(q);
        for n in 0..N {
            acc[n] = s.add(acc[n], s.mul(q, s.load(&parts[n].0[i])));
        }
    }
    if !tail.is_empty() {
        let q = s.load(&padded(tail));
        for n in 0..N {
            acc[n] = s.add(acc[n], s.mul(q, s.load(&padded(parts[n].1))));
        }
    }
    acc.map(
        #[inline(always)]
        |acc| s.sum(acc),
    )
}

#[inline(always)]
pub(crate) fn attention_mix_lanes<S: Simd>(s: S, p: &[f32], values: &[f32], acc: &mut [f32]) {
    let d = acc.len();
    if d == 0 {
        return;
    }
    // 64 columns of the accumulator stay in registers while the positions pass.
    let (wide, rest) = acc.as_chunks_mut::<{ 4 * LANES }>();
    for (w, acc) in wide.iter_mut().enumerate() {
        let (lanes, _) = acc.as_chunks_mut::<LANES>();
        let mut sums = [s.splat(0.0); 4];
        for (sum, lanes) in sums.iter_mut().zip(lanes.iter()) {
            *sum = s.load(lanes);
        }
        for (p, row) in p.iter().zip(values.chunks_exact(d)) {
            let p = s.splat(*p);
            let (row, _) = row[4 * LANES * w..][..4 * LANES].as_chunks::<LANES>();
            for (sum, v) in sums.iter_mut().zip(row) {
                *sum = s.add(*sum, s.mul(p, s.load(v)));
            }
        }
        for (sum, lanes) in sums.into_iter().zip(lanes) {
            *lanes = s.to_array(sum);
        }
    }
    let done = d - rest.len();
    for (c, acc) in rest.chunks_mut(LANES).enumerate() {
        let start = done + c * LANES;
        let mut sum = s.load(&padded(acc));
        for (p, row) in p.iter().zip(values.chunks_exact(d)) {
            let v = s.load(&padded(&row[start..start + acc.len()]));
            sum = s.add(sum, s.mul(s.splat(*p), v));
        }
        acc.copy_from_slice(&s.to_array(sum)[..acc.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_and_mix_follow_their_formulas() {
        let d = 5;
        let q: Vec<f32> = (0..d).map(|i| i as f32).collect();
        let keys: Vec<f32> = (0..6 * d).map(|i| (i % 4) as f32).collect();
        let mut out = [0.0; 6];
        attention_scores(Isa::SCALAR, &q, &keys, 0.5, &mut out);
        for (p, out) in out.iter().enumerate() {
            let expected: f32 = (0..d).map(|i| q[i] * keys[p * d + i]).sum();
            assert_eq!(*out, expected * 0.5);
        }
        let mut acc = vec![1.0; d];
        attention_mix(Isa::SCALAR, &[2.0, 3.0], &keys[..2 * d], &mut acc);
        for (i, acc) in acc.iter().enumerate() {
            assert_eq!(*acc, 1.0 + 2.0 * keys[i] + 3.0 * keys[d + i]);
        }
    }

    #[test]
    fn cutting_the_positions_changes_no_bit() {
        let mut rng = crate::rng::Rng::new(7);
        let values: Vec<f32> = (0..9 * 70).map(|_| rng.unit()).collect();
        let p: Vec<f32> = (0..9).map(|_| rng.unit()).collect();
        let (mut whole, mut cut) = (vec![0.0; 70], vec![0.0; 70]);
        attention_mix(Isa::SCALAR, &p, &values, &mut whole);
        attention_mix(Isa::SCALAR, &p[..4], &values[..4 * 70], &mut cut);
        attention_mix(Isa::SCALAR, &p[4..], &values[4 * 70..], &mut cut);
        assert_eq!(whole, cut);
    }
}
