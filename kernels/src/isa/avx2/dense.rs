//! Shared by the quantised dense loops.

use std::arch::x86_64::*;

use super::load;
use crate::dense::q6_k;
use crate::simd::LANES;

/// The f16 at the start of `bytes`, in all lanes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn scale(bytes: [u8; 2]) -> __m256 {
    _mm256_cvtph_ps(_mm_set1_epi16(i16::from_le_bytes(bytes)))
}

/// acc + float(sums) * d
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn accumulate(acc: __m256, sums: __m256i, d: __m256) -> __m256 {
    _mm256_add_ps(acc, _mm256_mul_ps(_mm256_cvtepi32_ps(sums), d))
}

/// The accumulators of even and of odd blocks as 16 lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn lanes<const T: usize>(acc: [[__m256; 2]; T]) -> [[f32; LANES]; T] {
    acc.map(|pair| {
        let mut out = [0.0f32; LANES];
        for (v, out) in pair.into_iter().zip(out.as_chunks_mut::<8>().0) {
            // SAFETY: a reference to 8 f32.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), v) };
        }
        out
    })
}

/// `N` values from `at` on. The bounds are constants once inlined, so the check disappears.
#[inline(always)]
pub(super) fn part<T, const N: usize, const M: usize>(of: &[T; M], at: usize) -> &[T; N] {
    assert!(at + N <= M);
    // SAFETY: in bounds, checked above; the same element type.
    unsafe { &*of.as_ptr().add(at).cast() }
}

/// The four quarters of 32 values q of one half of a block.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn quarters(block: &[u8; q6_k::BYTES], half: usize) -> [__m256i; 4] {
    let low0 = load(part(block, 64 * half));
    let low1 = load(part(block, 64 * half + 32));
    let high = load(part(block, q6_k::QH + 32 * half));
    let nibble = _mm256_set1_epi8(15);
    let two = _mm256_set1_epi8(0x30);
    let join =
        |low, high| _mm256_or_si256(_mm256_and_si256(low, nibble), _mm256_and_si256(high, two));
    [
        join(low0, _mm256_slli_epi16::<4>(high)),
        join(low1, _mm256_slli_epi16::<2>(high)),
        join(_mm256_srli_epi16::<4>(low0), high),
        join(_mm256_srli_epi16::<4>(low1), _mm256_srli_epi16::<2>(high)),
    ]
}

/// Byte indexes that spread int16 number 2k over the low half and 2k + 1 over the high half.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn scale_pair(k: usize) -> __m256i {
    let first = (4 * k) as i16;
    let (low, high) = (first | (first + 1) << 8, (first + 2) | (first + 3) << 8);
    _mm256_set_m128i(_mm_set1_epi16(high), _mm_set1_epi16(low))
}
