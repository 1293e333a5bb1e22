//! The work around the products of unpacked groups (`x86/group_panel.rs`) in AVX-512.

use std::arch::x86_64::*;

use super::{Avx512, F32x16, grouped_few, trits8_few};
use crate::GroupCodes;
use crate::grouped::UNIT;
use crate::isa::x86::group_panel::{GroupVectors, Line};
use crate::simd::LANES;

impl GroupVectors for Avx512 {
    #[inline(always)]
    fn unpack<const LESS: i8>(self, codes: GroupCodes, unit: &[u8], lines: &mut [Line; UNIT / 4]) {
        let blocks = lines.as_chunks_mut::<8>().0.iter_mut();
        match codes {
            GroupCodes::Binary => {
                for (codes, lines) in unit.chunks_exact(unit.len() / 2).zip(blocks) {
                    store::<LESS>(
                        self,
                        &grouped_few::columns::<1>(self, self.gfni, codes),
                        lines,
                    );
                }
            }
            GroupCodes::Ternary => {
                for (codes, lines) in unit.chunks_exact(unit.len() / 2).zip(blocks) {
                    store::<LESS>(self, &grouped_few::columns::<2>(self, None, codes), lines);
                }
            }
            GroupCodes::Trits8 => {
                let unit = unit.first_chunk().expect("a unit of trits8");
                store::<LESS>(self, &trits8_few::columns(self, unit), lines);
            }
        }
    }

    #[inline(always)]
    fn load_ints(self, x: &[i32; LANES]) -> F32x16 {
        // SAFETY: the token proves the features; a reference to 64 bytes.
        unsafe { F32x16(_mm512_cvtepi32_ps(_mm512_loadu_si512(x.as_ptr().cast()))) }
    }
}

/// Writes codes, each less `LESS`.
#[inline(always)]
fn store<const LESS: i8>(_proof: Avx512, codes: &[__m512i], lines: &mut [Line]) {
    for (codes, line) in codes.iter().zip(lines) {
        // SAFETY: the token proves the features; a reference to 64 bytes.
        unsafe {
            let less = _mm512_sub_epi8(*codes, _mm512_set1_epi8(LESS));
            _mm512_storeu_si512(line.as_mut_ptr().cast(), less);
        }
    }
}
