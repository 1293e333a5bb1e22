//! Keys and values from f32 to what is stored.

use super::quantize::quantize_row_f16;
use crate::KvRowMut;
use crate::simd::Simd;

/// See [`crate::store_kv_row`].
#[inline(always)]
pub(crate) fn store_row<S: Simd>(s: S, x: &[f32], out: KvRowMut<'_>) {
    match out {
        KvRowMut::F32(out) => out.copy_from_slice(x),
        KvRowMut::F16(out) => {
            for (x, out) in x.iter().zip(out) {
                *out = to_f16(*x).to_le_bytes();
            }
        }
        KvRowMut::Int8 { codes, scale } => {
            *scale = quantize_row_f16(s, x, codes).to_le_bytes();
        }
    }
}

/// The bits of the nearest f16, the even one of two. Without a branch, so that the compiler makes
/// vectors of it, the same on every target.
#[inline(always)]
fn to_f16(x: f32) -> u16 {
    // 2^-14 is the smallest normal f16, 2^16 the first power of two beyond all; a half unit below
    // it is rounded up to infinity's bits by itself.
    const SMALLEST_NORMAL: u32 = (127 - 14) << 23;
    const BEYOND: u32 = (127 + 16) << 23;
    const INFINITY: u32 = 0x7c00;
    let sign = (x.to_bits() >> 16) & 0x8000;
    let magnitude = x.to_bits() & 0x7fff_ffff;
    // Ten bits of the mantissa stay of 23; the exponent's bias is 15 instead of 127.
    let even = (magnitude >> 13) & 1;
    let normal = magnitude
        .wrapping_add(0xfff + even)
        .wrapping_sub((127 - 15) << 23)
        >> 13;
    // In 0.5..1 a unit of f32's last place is 2^-24, that of subnormal f16.
    let subnormal = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0.5f32.to_bits());
    let special = if magnitude > f32::INFINITY.to_bits() {
        INFINITY | 0x200
    } else {
        INFINITY
    };
    let bits = if magnitude < SMALLEST_NORMAL {
        subnormal
    } else {
        normal
    };
    let bits = if magnitude < BEYOND { bits } else { special };
    (sign | bits) as u16
}

#[cfg(test)]
mod tests {
    use super::to_f16;
    use crate::{Isa, KvRowMut, store_kv_row};

    #[test]
    fn f16_is_the_nearest_of_every_exponent() {
        for high in 0..=u16::MAX {
            // Around the halves of the last place, and anything.
            for low in [0, 1, 0x0fff, 0x1000, 0x1001, 0x2000, 0x3000, 0x5abc, 0xffff] {
                let x = f32::from_bits(u32::from(high) << 16 | low);
                let (is, should_be) = (
                    half::f16::from_bits(to_f16(x)),
                    half::f16::from_f32_const(x),
                );
                assert!(
                    is.to_bits() == should_be.to_bits() || is.is_nan() && should_be.is_nan(),
                    "{x:e}: {is:?}, not {should_be:?}"
                );
            }
        }
    }

    #[test]
    fn codes_are_within_half_a_step_of_their_numbers() {
        let mut rng = crate::rng::Rng::new(3);
        for size in [1e-9, 1e-6, 1.0, 1e4, 8e6] {
            let x: Vec<f32> = (0..70).map(|_| rng.unit() * size).collect();
            let (mut codes, mut scale) = (vec![0; 70], [0; 2]);
            let out = KvRowMut::Int8 {
                codes: &mut codes,
                scale: &mut scale,
            };
            store_kv_row(Isa::SCALAR, &x, out);
            let scale = half::f16::from_le_bytes(scale).to_f32();
            let largest = x.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            // A scale is off by half of f16's last place, of a subnormal one by 2^-25.
            let off = (largest / 2048.0).max(127.0 / 33_554_432.0);
            for (x, code) in x.iter().zip(&codes) {
                let back = f32::from(*code) * scale;
                assert!(
                    (x - back).abs() <= scale * 0.501 + off,
                    "{x:e} became {back:e}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_finite_makes_the_scale_nan() {
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (mut codes, mut scale) = ([0; 3], [0; 2]);
            let out = KvRowMut::Int8 {
                codes: &mut codes,
                scale: &mut scale,
            };
            store_kv_row(Isa::SCALAR, &[1.0, broken, 2.0], out);
            assert!(half::f16::from_le_bytes(scale).is_nan());
        }
    }
}
