//! Rotary position embedding (Su et al. 2021) in the rotate-half form of Hugging Face and GPT-NeoX:
//! pair (i, i + d/2).

use crate::simd::Simd;
use crate::simd::lanes::{LANES, padded};

/// `theta^(-2i/head_dim)` for i in 0..head_dim/2: by how much each pair turns from one position to
/// the next. Computed in f64 by the `libm` crate (pow, cos and sin have no platform paths there).
#[must_use]
pub fn rope_frequencies(theta: f64, head_dim: usize) -> Vec<f64> {
    let exponent = |i: usize| -((2 * i) as f64) / head_dim as f64;
    let pairs = 0..head_dim / 2;
    pairs.map(|i| libm::pow(theta, exponent(i))).collect()
}

/// `magnitude` times the cos and sin of `position * frequency`, for each pair. Computed in f64 and
/// rounded once to f32.
pub fn rope_angles(
    frequencies: &[f64],
    magnitude: f64,
    position: usize,
    cos: &mut [f32],
    sin: &mut [f32],
) {
    for ((frequency, cos), sin) in frequencies.iter().zip(cos).zip(sin) {
        let angle = position as f64 * frequency;
        *cos = (magnitude * libm::cos(angle)) as f32;
        *sin = (magnitude * libm::sin(angle)) as f32;
    }
}

#[inline(always)]
pub(crate) fn rope_lanes<S: Simd>(s: S, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = head.len() / 2;
    let (left, right) = head.split_at_mut(half);
    let (lefts, left_tail) = left.as_chunks_mut();
    let (rights, right_tail) = right[..half].as_chunks_mut();
    let (coss, cos_tail) = cos[..half].as_chunks();
    let (sins, sin_tail) = sin[..half].as_chunks();
    for (((l, r), c), n) in lefts.iter_mut().zip(rights).zip(coss).zip(sins) {
        rotate(s, l, r, c, n);
    }
    let tail = left_tail.len();
    if tail > 0 {
        let (mut l, mut r) = (padded(left_tail), padded(right_tail));
        rotate(s, &mut l, &mut r, &padded(cos_tail), &padded(sin_tail));
        left_tail.copy_from_slice(&l[..tail]);
        right_tail.copy_from_slice(&r[..tail]);
    }
}

/// (l, r) -> (l cos - r sin, r cos + l sin) for 16 pairs.
#[inline(always)]
fn rotate<S: Simd>(
    s: S,
    l: &mut [f32; LANES],
    r: &mut [f32; LANES],
    cos: &[f32; LANES],
    sin: &[f32; LANES],
) {
    let (a, b, cos, sin) = (s.load(l), s.load(r), s.load(cos), s.load(sin));
    *l = s.to_array(s.sub(s.mul(a, cos), s.mul(b, sin)));
    *r = s.to_array(s.add(s.mul(b, cos), s.mul(a, sin)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, rope_rotate_half};

    #[test]
    fn a_quarter_turn_swaps_the_halves() {
        let mut head = [1.0, 2.0, 3.0, 4.0];
        rope_rotate_half(Isa::SCALAR, &mut head, &[0.0, 1.0], &[1.0, 0.0]);
        assert_eq!(head, [-3.0, 2.0, 1.0, 4.0]);
    }

    #[test]
    fn angles_follow_the_formula() {
        let (mut cos, mut sin) = ([0.0; 2], [0.0; 2]);
        rope_angles(&rope_frequencies(10_000.0, 4), 1.0, 3, &mut cos, &mut sin);
        assert_eq!(cos, [(3.0f64).cos() as f32, (0.03f64).cos() as f32]);
        assert_eq!(sin, [(3.0f64).sin() as f32, (0.03f64).sin() as f32]);
        rope_angles(&[0.0, 0.0], 1.5, 3, &mut cos, &mut sin);
        assert_eq!((cos, sin), ([1.5; 2], [0.0; 2]));
    }
}
