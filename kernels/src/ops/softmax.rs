//! Softmax of one row.

use crate::ops::exp::exp;
use crate::simd::Simd;
use crate::simd::lanes;

#[inline(always)]
pub(crate) fn softmax_lanes<S: Simd>(s: S, x: &mut [f32]) {
    let (chunks, tail) = x.as_chunks();
    let mut top = s.splat(f32::NEG_INFINITY);
    for chunk in chunks {
        top = s.max(s.load(chunk), top);
    }
    let max = s
        .to_array(top)
        .into_iter()
        .chain(tail.iter().copied())
        .fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });

    let by = s.splat(max);
    lanes::map(
        s,
        x,
        #[inline(always)]
        |v| exp(s, s.sub(v, by)),
    );
    let mut total = s.splat(0.0);
    lanes::for_each(
        s,
        x,
        #[inline(always)]
        |v| total = s.add(total, v),
    );
    let total = s.splat(s.sum(total));
    lanes::map(
        s,
        x,
        #[inline(always)]
        |v| s.div(v, total),
    );
}

#[cfg(test)]
mod tests {
    use crate::{Isa, softmax};

    #[test]
    fn probabilities_sum_to_one_and_masks_are_zero() {
        let mut x: Vec<f32> = (0..37).map(|i| (i % 7) as f32).collect();
        x[5] = f32::NEG_INFINITY;
        softmax(Isa::SCALAR, &mut x);
        assert!((x.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(x[5], 0.0);
        assert!((x[1] / x[0] - std::f32::consts::E).abs() < 1e-5);
    }
}
