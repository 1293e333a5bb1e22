//! The quantised dense inner loops in AVX2, also used where AVX-512 is present: they run at the speed of memory.
//!
//! Each result lane is a sum of exact i32 products times the block's scale, as the scalar oracle adds them up.

use std::arch::x86_64::*;

use super::{load, load_half, load_i16, prefetch};
use crate::dense::{q6_k, q8_0};
use crate::isa::QuantRow;
use crate::simd::LANES;

/// The f16 at the start of `bytes`, in all lanes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn scale(bytes: [u8; 2]) -> __m256 {
    _mm256_cvtph_ps(_mm_set1_epi16(i16::from_le_bytes(bytes)))
}

/// acc + float(sums) * d
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn accumulate(acc: __m256, sums: __m256i, d: __m256) -> __m256 {
    _mm256_add_ps(acc, _mm256_mul_ps(_mm256_cvtepi32_ps(sums), d))
}

/// The accumulators of even and of odd blocks as 16 lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn lanes<const T: usize>(acc: [[__m256; 2]; T]) -> [[f32; LANES]; T] {
    acc.map(|pair| {
        let mut out = [0.0f32; LANES];
        for (v, out) in pair.into_iter().zip(out.as_chunks_mut::<8>().0) {
            // SAFETY: a reference to 8 f32.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), v) };
        }
        out
    })
}

/// See [`crate::isa::Kernels::q8_0_row`]: `vpmovsxbw` and `vpmaddwd`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn q8_0_row<const T: usize>(w: &[u8], x: [QuantRow<'_>; T]) -> [[f32; LANES]; T] {
    let blocks = w.as_chunks::<{ q8_0::BYTES }>().0;
    let n = blocks.len();
    let x = x.map(|x| &x.wide.as_chunks::<{ q8_0::BLOCK }>().0[..n]);
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    let mut b = 0;
    while b < n {
        prefetch(&blocks[b]);
        for half in 0..2 {
            let Some(block) = blocks.get(b + half) else {
                break;
            };
            let d = scale([block[0], block[1]]);
            let (values, _) = block[2..].as_chunks::<16>();
            let low = _mm256_cvtepi8_epi16(load_half(&values[0]));
            let high = _mm256_cvtepi8_epi16(load_half(&values[1]));
            for t in 0..T {
                let (x, _) = x[t][b + half].as_chunks::<16>();
                let sums = _mm256_add_epi32(
                    _mm256_madd_epi16(low, load_i16(&x[0])),
                    _mm256_madd_epi16(high, load_i16(&x[1])),
                );
                acc[t][half] = accumulate(acc[t][half], sums, d);
            }
        }
        b += 2;
    }
    lanes(acc)
}

/// See [`crate::isa::Kernels::q6_k_row`].
///
/// q stays unsigned (0..64) so that `vpmaddubsw` can take it against the two bytes of x = 256 high + low; `vpmaddwd`
/// by the group scales adds pairs of pairs. The offset of 32 comes off through the sums of neighbouring x. Partial sums
/// may wrap; the total is below 2^31, so it is exact.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn q6_k_row<const T: usize>(w: &[u8], x: [QuantRow<'_>; T]) -> [[f32; LANES]; T] {
    let blocks = w.as_chunks::<{ q6_k::BYTES }>().0;
    let n = blocks.len();
    let high = x.map(|x| &x.split.high.as_chunks::<{ q6_k::BLOCK }>().0[..n]);
    let low = x.map(|x| &x.split.low.as_chunks::<{ q6_k::BLOCK }>().0[..n]);
    let pairs = x.map(|x| &x.split.pairs.as_chunks::<{ q6_k::BLOCK / 2 }>().0[..n]);
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    for (b, block) in blocks.iter().enumerate() {
        for line in [0, 64, 128, 192] {
            prefetch(&block[line]);
        }
        let all_scales = _mm256_cvtepi8_epi16(load_half(part(block, q6_k::SCALES)));
        let mut sums = [[_mm256_setzero_si256(); 3]; T]; // of high, of low, of neighbours
        for half in 0..2 {
            // The scales of these 128 weights in both 128-bit lanes.
            let scales = if half == 0 {
                _mm256_permute4x64_epi64::<0b_01_00_01_00>(all_scales)
            } else {
                _mm256_permute4x64_epi64::<0b_11_10_11_10>(all_scales)
            };
            for (k, q) in quarters(block, half).into_iter().enumerate() {
                let scales = _mm256_shuffle_epi8(scales, scale_pair(k));
                let at = 128 * half + 32 * k;
                for t in 0..T {
                    let high = _mm256_maddubs_epi16(q, load(part(&high[t][b], at)));
                    let low = _mm256_maddubs_epi16(q, load(part(&low[t][b], at)));
                    let pairs = load_i16(part(&pairs[t][b], at / 2));
                    for (sum, v) in sums[t].iter_mut().zip([high, low, pairs]) {
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(v, scales));
                    }
                }
            }
        }
        let d = scale(*part(block, q6_k::D));
        for t in 0..T {
            let [high, low, pairs] = sums[t];
            let offset = _mm256_slli_epi32::<5>(pairs);
            let total =
                _mm256_sub_epi32(_mm256_add_epi32(_mm256_slli_epi32::<8>(high), low), offset);
            acc[t][b % 2] = accumulate(acc[t][b % 2], total, d);
        }
    }
    lanes(acc)
}

/// `N` values from `at` on. The bounds are constants once inlined, so the check disappears.
#[inline(always)]
pub(crate) fn part<T, const N: usize, const M: usize>(of: &[T; M], at: usize) -> &[T; N] {
    assert!(at + N <= M);
    // SAFETY: in bounds, checked above; the same element type.
    unsafe { &*of.as_ptr().add(at).cast() }
}

/// The four quarters of 32 values q of one half of a block.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn quarters(block: &[u8; q6_k::BYTES], half: usize) -> [__m256i; 4] {
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
pub(crate) fn scale_pair(k: usize) -> __m256i {
    let first = (4 * k) as i16;
    let (low, high) = (first | (first + 1) << 8, (first + 2) | (first + 3) << 8);
    _mm256_set_m128i(_mm_set1_epi16(high), _mm_set1_epi16(low))
}
