//! Products of int8 vectors with VNNI: 64 a step.

use std::arch::x86_64::*;

use super::sums::add_lanes;

/// Bytes of a vector.
const STEP: usize = 64;

/// See [`crate::simd::Simd::int8_dots`].
///
/// `vpdpbusd` multiplies unsigned with signed bytes, so that keys are 128 larger than they are, and
/// 128 times the query's sum is taken off.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn dots<const Q: usize>(queries: [&[i8]; Q], keys: [&[i8]; 4]) -> [[i32; 4]; Q] {
    let bias = _mm512_set1_epi8(-128);
    let mut sums = [[_mm512_setzero_si512(); 4]; Q];
    let mut too_much = [_mm512_setzero_si512(); Q];
    let n = keys[0].len();
    for at in (0..n).step_by(STEP) {
        // Of a part of a vector the rest is zero, in the queries too.
        let mask = u64::MAX >> (STEP - (n - at).min(STEP));
        let biased = keys.map(|key| _mm512_xor_si512(load(key, at, mask), bias));
        for (q, query) in queries.iter().enumerate() {
            let query = load(query, at, mask);
            too_much[q] = _mm512_dpbusd_epi32(too_much[q], bias, query);
            for (sum, key) in sums[q].iter_mut().zip(biased) {
                *sum = _mm512_dpbusd_epi32(*sum, key, query);
            }
        }
    }
    let mut out = [[0; 4]; Q];
    for (q, out) in out.iter_mut().enumerate() {
        let exact = sums[q].map(|sum| _mm512_sub_epi32(sum, too_much[q]));
        let exact = add_lanes(exact);
        // SAFETY: an array of 16 bytes; any alignment.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), exact) };
    }
    out
}

/// The bytes of `row[at..]` that `mask` has, at most 64, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(row: &[i8], at: usize, mask: u64) -> __m512i {
    let rest = &row[at..];
    assert!(64 - mask.leading_zeros() as usize <= rest.len());
    // SAFETY: bytes that the mask does not have are not read, and `rest` has the others.
    unsafe { _mm512_maskz_loadu_epi8(mask, rest.as_ptr()) }
}
