//! I2_S rows as trits5 rows in AVX-512 VBMI; see `crate::trits5`.
//!
//! ```text
//! 3 blocks to 2 groups:
//!   3 x (vbroadcasti64x4 · 2 x (vpsrlvw · vpandd))                                  6 x 64 codes
//! a group:
//!   a + 3 b + 9 c · vpmaddubsw · vpmaddwd · vpsrlq, 2 x vpandq, vporq · vpermb · store
//!                                                                                    64 x 5 bits
//! ```

use std::arch::x86_64::*;

use super::i2s_one::halves;
use crate::isa::avx2::load;
use crate::ternary::Block;
use crate::trits5::GROUP_BYTES;

/// Packs the first groups of a row, as many as there are whole pairs of in `blocks` and `out`.
/// Gives their number, and whether every code had a place.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx2")]
pub(super) fn pack(blocks: &[Block], out: &mut [[u8; GROUP_BYTES]]) -> (usize, bool) {
    let three = _mm512_set1_epi8(3);
    let shifts = [shift(6, 4), shift(2, 0)];
    let mut threes = _mm512_setzero_si512();
    let mut groups = 0;
    for (blocks, pair) in blocks
        .as_chunks::<3>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<2>().0)
    {
        let mut codes = [_mm512_setzero_si512(); 6];
        for i in 0..6 {
            let block = _mm512_broadcast_i64x4(load(&blocks[i / 2]));
            codes[i] = _mm512_and_si512(_mm512_srlv_epi16(block, shifts[i % 2]), three);
            // Bit 0 of a byte is set where its code is 3.
            let is_three = _mm512_and_si512(codes[i], _mm512_srli_epi16::<1>(codes[i]));
            threes = _mm512_or_si512(threes, is_three);
        }
        for i in 0..2 {
            store_group(
                codes[3 * i],
                codes[3 * i + 1],
                codes[3 * i + 2],
                &mut pair[i],
            );
        }
        groups += 2;
    }
    let places = _mm512_test_epi8_mask(threes, _mm512_set1_epi8(1)) == 0;
    (groups, places)
}

/// 64 triples of codes, five bits each, without gaps.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn store_group(a: __m512i, b: __m512i, c: __m512i, out: &mut [u8; GROUP_BYTES]) {
    let b = _mm512_add_epi8(b, _mm512_add_epi8(b, b));
    // A code times 8 stays in its byte.
    let c = _mm512_add_epi8(c, _mm512_slli_epi16::<3>(c));
    let triples = _mm512_add_epi8(a, _mm512_add_epi8(b, c));
    // Eight times 5 bits to four times 10, two times 20, 40.
    let ten = _mm512_maddubs_epi16(triples, _mm512_set1_epi16(32 << 8 | 1));
    let twenty = _mm512_madd_epi16(ten, _mm512_set1_epi32(1024 << 16 | 1));
    let low = _mm512_and_si512(twenty, _mm512_set1_epi64(0xf_ffff));
    let high = _mm512_and_si512(
        _mm512_srli_epi64::<12>(twenty),
        _mm512_set1_epi64(0xff_fff0_0000),
    );
    let forty = _mm512_or_si512(low, high);
    let gathered = _mm512_permutexvar_epi8(load_table(&GATHER), forty);
    // SAFETY: the mask selects the 40 bytes of `out`.
    unsafe { _mm512_mask_storeu_epi8(out.as_mut_ptr().cast(), (1 << GROUP_BYTES) - 1, gathered) };
}

/// Byte i is byte i % 5 of quadword i / 5; past the last quadword any.
const GATHER: [u8; 64] = {
    let mut from = [0; 64];
    let mut i = 0;
    while i < GROUP_BYTES {
        from[i] = (i / 5 * 8 + i % 5) as u8;
        i += 1;
    }
    from
};

#[inline]
#[target_feature(enable = "avx512f")]
fn load_table(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: a reference to 64 bytes, any alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Shifts of 16-bit lanes: one in the low half, another in the high half.
#[inline]
#[target_feature(enable = "avx512f")]
fn shift(low: u8, high: u8) -> __m512i {
    _mm512_and_si512(halves(low, high), _mm512_set1_epi16(0xFF))
}
