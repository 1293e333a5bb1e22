//! Exact dot products of a unit of a group-scaled tile in layout trits8 in AVX-512 VNNI, for any
//! number of tokens; see `grouped_few.rs`.
//!
//! ```text
//! a unit (64 columns of 16 rows):
//!   3 x (load, and with VBMI
//!          vpsrlw · 2 x vpermb · vpsubb · vpermi2b · 3 x vpsrlw · 4 x vpandd
//!        else
//!          2 x (vpsubb · vpminub) · vpsubb · vpsrlw · vpandd       the fifth codes, and taken off
//!          2 x (vpandd · vpmulhuw) · vpord · vpaddb · vpsllw · vpsubb · 4 x vpshufb     by nines)
//!   vbroadcasti32x4 · vpsrlvd · vpandd                             the last four columns
//! ```

use std::arch::x86_64::*;

use super::Avx512;
use super::grouped_few::{load, products, unpack};
use crate::grouped::trits8::{FIFTH, THIRDS, UNIT_BYTES};
use crate::grouped::{LINE_BYTES, TokenBlocks};
use crate::isa::avx2::NINTH;

/// See [`crate::isa::kernels::Kernels::trits8_dots`].
#[inline(always)]
pub(super) fn dots<const T: usize>(
    isa: Avx512,
    unit: &[u8; UNIT_BYTES],
    x: [TokenBlocks<'_>; 2],
) -> [[__m512; T]; 2] {
    let columns = columns(isa, unit);
    let (first, second) = columns.split_at(8);
    [
        products::<T>(isa, first, x[0]),
        products::<T>(isa, second, x[1]),
    ]
}

/// The codes of a unit's 64 columns, four in each.
#[inline(always)]
pub(super) fn columns(isa: Avx512, unit: &[u8; UNIT_BYTES]) -> [__m512i; 16] {
    let (lines, rest) = unit.as_chunks::<LINE_BYTES>();
    let mut columns = [load(isa, &[0; 64]); 16];
    for (l, line) in lines.iter().enumerate() {
        let bytes = load(isa, line);
        let fours = &mut columns[4 * l..][..4];
        columns[12 + l] = match isa.vbmi {
            Some(vbmi) => {
                let (two_bits, fifths) = vbmi.split_fives(bytes);
                unpack::<2>(isa, two_bits, fours);
                fifths
            }
            None => split(isa, bytes, fours),
        };
    }
    columns[15] = last(isa, rest);
    columns
}

/// The first four codes of each byte, and the fifths.
#[inline(always)]
fn split(_proof: Avx512, bytes: __m512i, fours: &mut [__m512i]) -> __m512i {
    // SAFETY: the token proves the features.
    unsafe {
        let fifth = _mm512_set1_epi8(FIFTH as i8);
        let less = _mm512_min_epu8(bytes, _mm512_sub_epi8(bytes, fifth));
        let four = _mm512_min_epu8(less, _mm512_sub_epi8(less, fifth));
        // Nine times a number below 10, and a number below 9. A ninth of a word has its upper
        // byte's in its upper byte.
        let (even, ninth) = (_mm512_set1_epi16(0x00ff), _mm512_set1_epi16(NINTH));
        let odd_nines = _mm512_andnot_si512(even, _mm512_mulhi_epu16(four, ninth));
        let even_nines = _mm512_mulhi_epu16(_mm512_and_si512(four, even), ninth);
        let nines = _mm512_or_si512(odd_nines, even_nines);
        let ones = _mm512_sub_epi8(four, _mm512_add_epi8(nines, _mm512_slli_epi16::<3>(nines)));
        let [rests, thirds] = THIRDS.map(
            #[inline(always)]
            |table| _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())),
        );
        fours[0] = _mm512_shuffle_epi8(rests, ones);
        fours[1] = _mm512_shuffle_epi8(thirds, ones);
        fours[2] = _mm512_shuffle_epi8(rests, nines);
        fours[3] = _mm512_shuffle_epi8(thirds, nines);
        // 0, 84 or 168: 0, 21 or 42.
        let quarter = _mm512_srli_epi16::<2>(_mm512_sub_epi8(bytes, four));
        _mm512_and_si512(quarter, _mm512_set1_epi8(3))
    }
}

/// The last four columns of a unit.
#[inline(always)]
fn last(_proof: Avx512, rest: &[u8]) -> __m512i {
    let rest = rest.first_chunk::<16>().expect("a unit's last 16 bytes");
    // SAFETY: the token proves the features; a reference to 16 bytes.
    unsafe {
        let rest = _mm512_broadcast_i32x4(_mm_loadu_si128(rest.as_ptr().cast()));
        let shifts = _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
        _mm512_and_si512(_mm512_srlv_epi32(rest, shifts), _mm512_set1_epi8(3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn products_are_the_same_with_and_without_vbmi() {
        let Some(isa) = Avx512::new().filter(|isa| isa.vbmi.is_some()) else {
            return println!("not on this machine, not tested here");
        };
        let without = Avx512 { vbmi: None, ..isa };
        let mut rng = Rng::new(85);
        let mut q = crate::BlockActivations::with_capacity(1, 64);
        let x: Vec<f32> = (0..64).map(|_| rng.unit()).collect();
        q.quantize(crate::Isa::SCALAR, &x, 64);
        let x = [q.tokens_from(0, 0), q.tokens_from(0, 1)];
        let floats = |v: __m512| {
            let mut floats = [0f32; 16];
            // SAFETY: the token proves the features; a reference to 64 bytes.
            unsafe { _mm512_storeu_ps(floats.as_mut_ptr(), v) };
            floats
        };
        for _ in 0..50 {
            let unit = std::array::from_fn(|_| rng.next() as u8);
            let [expected, actual] = [isa, without].map(|isa| dots::<1>(isa, &unit, x));
            for (expected, actual) in expected.into_iter().zip(actual) {
                assert_eq!(floats(expected[0]), floats(actual[0]));
            }
        }
    }
}
