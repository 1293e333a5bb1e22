//! exp and ln with bits of our own: the platform's libm differs from machine to machine.

use crate::simd::Simd;

/// e^x for 16 lanes, within 2 ulp; overflow gives infinity, underflow goes through the subnormals
/// to 0, NaN stays NaN.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2, e^x = 2^n p(r). Coefficients and the split of ln 2: Cephes
/// `expf` (S. Moshier).
#[inline(always)]
#[allow(clippy::excessive_precision)] // as Cephes prints them
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    const COEFFICIENTS: [f32; 5] = [
        1.398_199_950_7e-3,
        8.333_451_907_3e-3,
        4.166_579_589_4e-2,
        1.666_666_545_9e-1,
        5.000_000_120_1e-1,
    ];

    // In this argument order min and max let NaN through.
    let x = s.min(s.splat(89.0), s.max(s.splat(-104.0), x));
    let n = round(s, s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.sub(x, s.mul(n, s.splat(0.693_359_375)));
    let r = s.sub(r, s.mul(n, s.splat(-2.121_944_4e-4)));

    let mut p = s.splat(1.987_569_150_0e-4);
    for c in COEFFICIENTS {
        p = s.add(s.mul(p, r), s.splat(c));
    }
    let p = s.add(s.add(s.mul(p, s.mul(r, r)), r), s.splat(1.0));

    // 2^n in two factors: n reaches 128 and -150, outside the exponents of a normal f32. Only the
    // last product rounds.
    let half = round(s, s.mul(n, s.splat(0.5)));
    s.mul(s.mul(p, s.pow2(half)), s.pow2(s.sub(n, half)))
}

/// Half to even, for |v| <= 2^22: adding 1.5 * 2^23 leaves no fraction bits.
#[inline(always)]
fn round<S: Simd>(s: S, v: S::F) -> S::F {
    let magic = s.splat(12_582_912.0);
    s.sub(s.add(v, magic), magic)
}

/// Natural logarithm, computed in f64 by the `libm` crate (no platform paths) and rounded once.
pub fn ln_f32(x: f32) -> f32 {
    libm::log(f64::from(x)) as f32
}

#[cfg(test)]
mod tests {
    use crate::exp_f32;

    #[test]
    fn exp_is_within_two_ulp_of_f64() {
        for i in -104_000..=88_700 {
            let x = i as f32 * 1e-3;
            let expected = libm::exp(f64::from(x));
            let ulp = f64::from((expected as f32).next_up() - expected as f32);
            let error = (f64::from(exp_f32(x)) - expected).abs() / ulp;
            assert!(error <= 2.0, "exp({x}): {error} ulp");
        }
    }

    #[test]
    fn exp_has_the_right_edges() {
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_f32(-1e30), 0.0);
        assert_eq!(exp_f32(89.0), f32::INFINITY);
        assert_eq!(exp_f32(f32::INFINITY), f32::INFINITY);
        assert!(exp_f32(f32::NAN).is_nan());
        assert!(exp_f32(-100.0).is_subnormal());
    }
}
