//! The work around the products of a panel (`x86/panel.rs`) in AVX-512: codes are unpacked and
//! transposed, sums become outputs.

use std::arch::x86_64::*;

use super::{Avx512, quotients};
use crate::isa::x86::panel::{PanelBlock, ROWS, Vectors};
use crate::ternary::Block;

impl Vectors for Avx512 {
    #[inline(always)]
    fn interleave(self, rows: &[&[Block]; ROWS], b: usize, codes: &mut PanelBlock) {
        // SAFETY: the token exists only where its features were found.
        unsafe { interleave(rows, b, codes) }
    }

    #[inline(always)]
    fn outputs(self, sums: &[i32], q_sum: i32, scale: f32, w_scale: f32, out: &mut [f32]) {
        // SAFETY: the token exists only where its features were found.
        unsafe { quotients::outputs(sums, q_sum, scale, w_scale, out) }
    }

    #[inline(always)]
    fn prefetch(self, block: &Block) {
        // SAFETY: a prefetch never faults; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(block.as_ptr().cast()) };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(rows: &[&[Block]; ROWS], b: usize, codes: &mut PanelBlock) {
    // Rows 0..8, then 8..16; lanes: dwords 0..4 of row i, dwords 4..8 of it, the same of row i + 4.
    let (mut low, mut high) = ([_mm512_setzero_si512(); 4], [_mm512_setzero_si512(); 4]);
    for i in 0..4 {
        low[i] = two(&rows[i][b], &rows[i + 4][b]);
        high[i] = two(&rows[8 + i][b], &rows[12 + i][b]);
    }
    let (low, high) = (transpose(low), transpose(high));
    let mask = _mm512_set1_epi8(3);
    for d in 0..4 {
        let lines = [
            _mm512_shuffle_i64x2::<0b_10_00_10_00>(low[d], high[d]),
            _mm512_shuffle_i64x2::<0b_11_01_11_01>(low[d], high[d]),
        ];
        for (half, line) in lines.into_iter().enumerate() {
            let groups = [
                _mm512_srli_epi16::<6>(line),
                _mm512_srli_epi16::<4>(line),
                _mm512_srli_epi16::<2>(line),
                line,
            ];
            for (g, group) in groups.into_iter().enumerate() {
                let to: &mut [u8; 64] = &mut codes.0[8 * g + 4 * half + d];
                // SAFETY: a reference to 64 bytes.
                unsafe {
                    _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_and_si512(group, mask))
                };
            }
        }
    }
}

/// 32 bytes of two rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn two(a: &Block, b: &Block) -> __m512i {
    let (a, b) = (crate::isa::avx2::load(a), crate::isa::avx2::load(b));
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b)
}

/// Within each 128-bit lane: dword i of vector j becomes dword j of vector i.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn shuffles_give_the_layout() {
        let Some(isa) = Avx512::new() else {
            println!("avx512vnni: not on this machine, not tested here");
            return;
        };
        let mut rng = Rng::new(5);
        let blocks: [Block; ROWS] =
            std::array::from_fn(|_| std::array::from_fn(|_| rng.next() as u8));
        let (mut expected, mut actual) = (PanelBlock::ZERO, PanelBlock([[9; 64]; 32]));
        let rows = blocks.each_ref().map(std::slice::from_ref);
        crate::isa::Scalar.interleave(&rows, 0, &mut expected);
        isa.interleave(&rows, 0, &mut actual);
        assert_eq!(actual.0, expected.0);
    }
}
