//! From sums in vector lanes to outputs, for many rows at a time: one division instruction serves
//! four or sixteen rows.

use std::arch::x86_64::*;

use crate::{OutputRows, QuantizedActivations, Ternary};

/// The sums of the lanes of four vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn add_lanes(v: [__m512i; 4]) -> __m128i {
    let quarters = add_quarters(v);
    add_halves(
        _mm512_castsi512_si256(quarters),
        _mm512_extracti64x4_epi64::<1>(quarters),
    )
}

/// The same where the low eight lanes of each vector are times 4.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn add_lanes_low_times_4(v: [__m512i; 4]) -> __m128i {
    let quarters = add_quarters(v);
    add_halves(
        _mm256_srai_epi32::<2>(_mm512_castsi512_si256(quarters)),
        _mm512_extracti64x4_epi64::<1>(quarters),
    )
}

/// The sums of the four lanes of each quarter: lane j of each quarter is v[j]'s.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn add_quarters(v: [__m512i; 4]) -> __m512i {
    // Pairs of 32-bit lanes, then pairs of 64-bit ones.
    let ab = _mm512_add_epi32(
        _mm512_unpacklo_epi32(v[0], v[1]),
        _mm512_unpackhi_epi32(v[0], v[1]),
    );
    let cd = _mm512_add_epi32(
        _mm512_unpacklo_epi32(v[2], v[3]),
        _mm512_unpackhi_epi32(v[2], v[3]),
    );
    _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_halves(low: __m256i, high: __m256i) -> __m128i {
    let halves = _mm256_add_epi32(low, high);
    _mm_add_epi32(
        _mm256_castsi256_si128(halves),
        _mm256_extracti128_si256::<1>(halves),
    )
}

/// The fixed tree over sixteen lanes: j and j + 8, then j + 4, j + 2, j + 1.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
pub(super) fn tree_sum(v: __m512) -> f32 {
    let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v));
    let eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm256_castpd_ps(high));
    let four = _mm_add_ps(
        _mm256_castps256_ps128(eight),
        _mm256_extractf128_ps::<1>(eight),
    );
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// The tree of four vectors at once: their halves, then quarters, stand side by side.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
pub(super) fn tree_sum4([a, b, c, d]: [__m512; 4]) -> [f32; 4] {
    let ab = _mm512_add_ps(
        _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b),
        _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b),
    );
    let cd = _mm512_add_ps(
        _mm512_shuffle_f32x4::<0b01_00_01_00>(c, d),
        _mm512_shuffle_f32x4::<0b11_10_11_10>(c, d),
    );
    let four = _mm512_add_ps(
        _mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd),
        _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd),
    );
    let two = _mm512_add_ps(four, _mm512_permute_ps::<0b11_10_11_10>(four));
    let one = _mm512_add_ps(two, _mm512_permute_ps::<1>(two));
    let first = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0);
    let sums = _mm512_castps512_ps128(_mm512_permutexvar_ps(first, one));
    let mut out = [0.0; 4];
    // SAFETY: 4 f32.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), sums) };
    out
}

/// Turns token `t`'s sums of code * q for up to four rows from `row` on into outputs, as
/// [`crate::isa::outputs::output`] does.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn write4(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    row: usize,
    t: usize,
    sums: __m128i,
) {
    let at = row - out.range().start;
    let trits = _mm_sub_epi32(sums, _mm_set1_epi32(x.sum(t)));
    let scaled = _mm_div_ps(_mm_cvtepi32_ps(trits), _mm_set1_ps(x.scale(t)));
    let result = _mm_mul_ps(scaled, _mm_set1_ps(w.scale()));
    let line = &mut out.token(t)[at..];
    let n = line.len().min(4);
    // SAFETY: the mask lets only the first n lanes be written, all inside `line`.
    unsafe { _mm_mask_storeu_ps(line.as_mut_ptr(), (1 << n) - 1, result) };
}
