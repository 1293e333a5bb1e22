//! Sums to outputs in AVX-512: the same bits as `sum / scale * w_scale`, without its division.
//!
//! Tiles multiply so fast that 16 divisions (10 cycles) for each 16 outputs would be a fifth of the
//! time. All outputs of a token are divided by the same scale, so r = 1 / scale is computed once,
//! and x / scale is x * r corrected twice by its exact remainder: the result is the correctly
//! rounded quotient (P. Markstein, IBM Journal of R&D 34, 1990), given that r is correctly rounded
//! and nothing under- or overflows. Scales outside the range where that holds are divided by.

use std::arch::x86_64::*;
use std::ops::RangeInclusive;

use crate::isa::outputs::output;

/// Of the scales that the quotient is computed for without dividing: |sum| is 0 or in 1..=2^31, so
/// that the quotient and all remainders stay far from the ends of f32.
const SCALES: RangeInclusive<f32> = 1.0 / (1u64 << 40) as f32..=(1u64 << 40) as f32;

/// `out[i] = (sums[i] - q_sum) as f32 / scale * w_scale`, as far as both are long.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn outputs(sums: &[i32], q_sum: i32, scale: f32, w_scale: f32, out: &mut [f32]) {
    let n = sums.len().min(out.len());
    let (sums, out) = (&sums[..n], &mut out[..n]);
    let (sum_chunks, sum_tail) = sums.as_chunks::<16>();
    let (out_chunks, out_tail) = out.as_chunks_mut::<16>();
    if !SCALES.contains(&scale) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = output(*sum, q_sum, scale, w_scale);
        }
        return;
    }
    for (out, sums) in out_chunks.iter_mut().zip(sum_chunks) {
        // SAFETY: a reference to 64 bytes.
        let x = unsafe { _mm512_loadu_si512(sums.as_ptr().cast()) };
        let x = _mm512_cvtepi32_ps(_mm512_sub_epi32(x, _mm512_set1_epi32(q_sum)));
        let v = _mm512_mul_ps(quotient(x, scale), _mm512_set1_ps(w_scale));
        // SAFETY: a reference to 64 bytes.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), v) };
    }
    for (out, sum) in out_tail.iter_mut().zip(sum_tail) {
        *out = output(*sum, q_sum, scale, w_scale);
    }
}

/// x / scale, correctly rounded; the reciprocal is taken out of the caller's loop by the compiler.
#[inline]
#[target_feature(enable = "avx512f")]
fn quotient(x: __m512, scale: f32) -> __m512 {
    let (r, s) = (_mm512_set1_ps(1.0 / scale), _mm512_set1_ps(scale));
    let mut q = _mm512_mul_ps(x, r);
    for _ in 0..2 {
        let remainder = _mm512_fnmadd_ps(q, s, x);
        q = _mm512_fmadd_ps(remainder, r, q);
    }
    q
}

#[cfg(test)]
mod tests {
    use super::super::Avx512;
    use super::*;
    use crate::rng::Rng;

    /// Scales of every mantissa's kind (random, nearly a power of two, nearly the next) and in and
    /// out of the range.
    #[test]
    fn the_quotient_is_the_division_s() {
        if Avx512::new().is_none() {
            println!("avx512vnni: not on this machine, not tested here");
            return;
        }
        let mut rng = Rng::new(8);
        for case in 0..200_000 {
            let mantissa = match case % 4 {
                0 => (rng.next() as u32) & 0x7f_ffff,
                1 => (rng.next() as u32) & 0xff,
                2 => 0x7f_ffff - ((rng.next() as u32) & 0xff),
                _ => ((rng.next() as u32) & 0xff) << 15,
            };
            let exponent = 80 + rng.below(95) as u32;
            let scale = f32::from_bits(exponent << 23 | mantissa);
            let bits = 1 + rng.below(31);
            let sums: Vec<i32> = (0..33)
                .map(|_| (rng.next() as u32 >> (32 - bits)) as i32 - (1 << (bits - 1)))
                .collect();
            let q_sum = rng.below(2000) as i32 - 1000;
            let mut out = vec![0.0; sums.len()];
            // SAFETY: AVX-512 F was found above.
            unsafe { outputs(&sums, q_sum, scale, 0.37, &mut out) };
            for (sum, out) in sums.iter().zip(out) {
                let expected = output(*sum, q_sum, scale, 0.37);
                assert_eq!(
                    out.to_bits(),
                    expected.to_bits(),
                    "{sum} - {q_sum} by {scale:e}"
                );
            }
        }
    }
}
