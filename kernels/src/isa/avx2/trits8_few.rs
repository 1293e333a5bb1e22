//! Exact dot products of a unit of a group-scaled tile in layout trits8 in AVX2, for any number of
//! tokens; see `grouped_few.rs`.
//!
//! ```text
//! a unit of 8 rows:
//!   3 x:
//!     load · 2 x (vpsubb · vpminub) · vpsubb · vpsrlw · vpand        the fifth codes, taken off
//!     2 x (vpand · vpmulhuw) · vpor · vpaddb · vpsllw · vpsubb · 4 x vpshufb    by nines
//!   vbroadcasti128 · vpsrlvd · vpand                                 the last four columns
//! ```

use std::arch::x86_64::*;

use super::grouped_few::products;
use super::{Avx2, F32x16};
use crate::grouped::trits8::{FIFTH, THIRDS, UNIT_BYTES};
use crate::grouped::{LINE_BYTES, TokenBlocks};

/// 2^16 / 9, rounded up: the upper half of a word's product with it is a ninth of the word, for
/// those made of two bytes that each hold four codes.
pub(crate) const NINTH: i16 = 7282;

/// See [`crate::isa::kernels::Kernels::trits8_dots`].
#[inline(always)]
pub(super) fn dots<const T: usize>(
    proof: Avx2,
    unit: &[u8; UNIT_BYTES],
    x: [TokenBlocks<'_>; 2],
) -> [[F32x16; T]; 2] {
    let [low_first, low_second] = eight_rows::<T>(proof, unit, 0, x);
    let [high_first, high_second] = eight_rows::<T>(proof, unit, 1, x);
    [
        F32x16::of_halves(low_first, high_first),
        F32x16::of_halves(low_second, high_second),
    ]
}

/// The rows whose codes are half number `half` of each line.
#[inline(always)]
fn eight_rows<const T: usize>(
    proof: Avx2,
    unit: &[u8; UNIT_BYTES],
    half: usize,
    x: [TokenBlocks<'_>; 2],
) -> [[__m256; T]; 2] {
    let (lines, rest) = unit.as_chunks::<LINE_BYTES>();
    let half_of = |l: usize| &lines[l].as_chunks::<32>().0[half];
    // SAFETY: the token proves the features.
    let mut columns = [unsafe { _mm256_setzero_si256() }; 8];
    let (low, high) = columns.split_at_mut(4);
    let fifth = split(proof, half_of(0), low);
    let fifth_too = split(proof, half_of(1), high);
    let first = products::<T>(proof, &columns, x[0]);
    let (low, _) = columns.split_at_mut(4);
    columns[6] = split(proof, half_of(2), low);
    (columns[4], columns[5]) = (fifth, fifth_too);
    columns[7] = last(proof, rest, half);
    [first, products::<T>(proof, &columns, x[1])]
}

/// The first four codes of each byte, and the fifths.
#[inline(always)]
fn split(_proof: Avx2, bytes: &[u8; 32], fours: &mut [__m256i]) -> __m256i {
    // SAFETY: the token proves the features; loads are from references to 32 and 16 bytes.
    unsafe {
        let bytes = _mm256_loadu_si256(bytes.as_ptr().cast());
        let fifth = _mm256_set1_epi8(FIFTH as i8);
        let less = _mm256_min_epu8(bytes, _mm256_sub_epi8(bytes, fifth));
        let four = _mm256_min_epu8(less, _mm256_sub_epi8(less, fifth));
        // Nine times a number below 10, and a number below 9. A ninth of a word has its upper
        // byte's in its upper byte.
        let (even, ninth) = (_mm256_set1_epi16(0x00ff), _mm256_set1_epi16(NINTH));
        let odd_nines = _mm256_andnot_si256(even, _mm256_mulhi_epu16(four, ninth));
        let even_nines = _mm256_mulhi_epu16(_mm256_and_si256(four, even), ninth);
        let nines = _mm256_or_si256(odd_nines, even_nines);
        let ones = _mm256_sub_epi8(four, _mm256_add_epi8(nines, _mm256_slli_epi16::<3>(nines)));
        let [rests, thirds] = THIRDS.map(
            #[inline(always)]
            |table| _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())),
        );
        fours[0] = _mm256_shuffle_epi8(rests, ones);
        fours[1] = _mm256_shuffle_epi8(thirds, ones);
        fours[2] = _mm256_shuffle_epi8(rests, nines);
        fours[3] = _mm256_shuffle_epi8(thirds, nines);
        // 0, 84 or 168: 0, 21 or 42.
        let quarter = _mm256_srli_epi16::<2>(_mm256_sub_epi8(bytes, four));
        _mm256_and_si256(quarter, _mm256_set1_epi8(3))
    }
}

/// The last four columns of a unit.
#[inline(always)]
fn last(_proof: Avx2, rest: &[u8], half: usize) -> __m256i {
    let rest = rest.first_chunk::<16>().expect("a unit's last 16 bytes");
    // SAFETY: the token proves the features; a reference to 16 bytes.
    unsafe {
        let rest = _mm256_broadcastsi128_si256(_mm_loadu_si128(rest.as_ptr().cast()));
        let low = _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2);
        let shifts = [low, _mm256_add_epi32(low, _mm256_set1_epi32(4))][half];
        _mm256_and_si256(_mm256_srlv_epi32(rest, shifts), _mm256_set1_epi8(3))
    }
}
