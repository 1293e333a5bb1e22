//! The gate of the feed-forward layer, and the residual addition.

use crate::ops::exp::exp;
use crate::simd::Simd;
use crate::simd::lanes;

#[inline(always)]
pub(crate) fn relu2_mul_lanes<S: Simd>(s: S, gate: &[f32], up: &[f32], out: &mut [f32]) {
    lanes::zip_map(
        s,
        gate,
        up,
        out,
        #[inline(always)]
        |g, u| {
            let g = s.max(s.splat(0.0), g); // this order keeps NaN
            s.mul(s.mul(g, g), u)
        },
    );
}

#[inline(always)]
pub(crate) fn silu_mul_lanes<S: Simd>(s: S, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let one = s.splat(1.0);
    lanes::zip_map(
        s,
        gate,
        up,
        out,
        #[inline(always)]
        |g, u| {
            let down = s.add(one, exp(s, s.sub(s.splat(0.0), g)));
            s.mul(s.div(g, down), u)
        },
    );
}

/// With z = sqrt(2 / pi) (g + 0.044715 g^3), (1 + tanh z) / 2 is 1 / (1 + e^(-2z)).
#[inline(always)]
pub(crate) fn gelu_mul_lanes<S: Simd>(s: S, gate: &[f32], up: &[f32], out: &mut [f32]) {
    const CUBE: f32 = 0.044_715;
    // -2 sqrt(2 / pi)
    const FACTOR: f32 = -1.595_769;
    let one = s.splat(1.0);
    lanes::zip_map(
        s,
        gate,
        up,
        out,
        #[inline(always)]
        |g, u| {
            let inner = s.add(one, s.mul(s.splat(CUBE), s.mul(g, g)));
            let down = s.add(one, exp(s, s.mul(s.splat(FACTOR), s.mul(g, inner))));
            s.mul(s.div(g, down), u)
        },
    );
}

#[inline(always)]
pub(crate) fn add_assign_lanes<S: Simd>(s: S, x: &mut [f32], y: &[f32]) {
    let n = x.len().min(y.len());
    let (chunks, tail) = x[..n].as_chunks_mut();
    let (ys, y_tail) = y[..n].as_chunks();
    for (x, y) in chunks.iter_mut().zip(ys) {
        *x = s.to_array(s.add(s.load(x), s.load(y)));
    }
    for (x, y) in tail.iter_mut().zip(y_tail) {
        *x += y;
    }
}

#[cfg(test)]
mod tests {
    use crate::{Isa, add_assign, gelu_mul, relu2_mul, silu_mul};

    #[test]
    fn gates_follow_their_formulas() {
        let (gate, up) = ([-2.0, 0.0, 3.0], [5.0, 7.0, 0.5]);
        let mut out = [9.0; 3];
        relu2_mul(Isa::SCALAR, &gate, &up, &mut out);
        assert_eq!(out, [0.0, 0.0, 4.5]);
        silu_mul(Isa::SCALAR, &gate, &up, &mut out);
        for (i, out) in out.iter().enumerate() {
            let expected = gate[i] / (1.0 + (-gate[i]).exp()) * up[i];
            assert!((out - expected).abs() < 1e-6);
        }
        gelu_mul(Isa::SCALAR, &gate, &up, &mut out);
        for (i, out) in out.iter().enumerate() {
            let g = f64::from(gate[i]);
            let z = (2.0 / std::f64::consts::PI).sqrt() * (g + 0.044_715 * g.powi(3));
            let expected = 0.5 * g * (1.0 + z.tanh()) * f64::from(up[i]);
            assert!((f64::from(*out) - expected).abs() < 1e-6);
        }
        // Far from 0 it is the gate or nothing, whatever overflows on the way.
        gelu_mul(Isa::SCALAR, &[1e30, -1e30, -40.0], &[1.0; 3], &mut out);
        assert_eq!(out.map(f32::abs), [1e30, 0.0, 0.0]);
        let mut x = [1.0, 2.0, 3.0];
        add_assign(Isa::SCALAR, &mut x, &up);
        assert_eq!(x, [6.0, 9.0, 3.5]);
    }
}
