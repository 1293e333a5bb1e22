//! trits5 rows as I2_S rows in AVX-512 VBMI: for products of many tokens, which have loops for I2_S
//! alone.

use std::arch::x86_64::*;

use super::trits5_codes::{Tables, load_group, load_tail};
use crate::Ternary;
use crate::isa::avx2::prefetch_far;
use crate::pack::BLOCK_BYTES;
use crate::trits5::{GROUP_BYTES, TAIL_BYTES, parts};

/// See [`crate::trits5::unpack::unpack_rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2")]
pub(super) fn unpack(w: Ternary<'_>, rows: std::ops::Range<usize>, out: &mut [u8]) {
    let tables = Tables::new();
    for (r, out) in rows.zip(out.chunks_exact_mut(Ternary::row_bytes(w.cols()))) {
        unpack_row(&tables, w.trits5_rows_from(r), w.cols(), out);
    }
}

/// The first row of `rows` as I2_S blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2")]
fn unpack_row(tables: &Tables, rows: &[u8], cols: usize, out: &mut [u8]) {
    let (groups, tail) = parts(cols);
    let mut out = Halves {
        blocks: out.as_chunks_mut().0.iter_mut(),
        first: None,
    };
    let three = _mm512_set1_epi8(3);
    for g in 0..groups {
        prefetch_far(&rows[g * GROUP_BYTES]);
        let codes = tables.codes(load_group(rows, g * GROUP_BYTES));
        out.push(half_block(_mm512_and_si512(codes, three)));
        let second = _mm512_srli_epi16::<2>(codes);
        out.push(half_block(_mm512_and_si512(second, three)));
        let third = _mm512_srli_epi16::<4>(codes);
        out.push(half_block(_mm512_and_si512(third, three)));
    }
    for piece in 0..tail {
        let at = groups * GROUP_BYTES + piece * TAIL_BYTES;
        out.push(half_block(load_tail(rows, at)));
    }
    if out.first.is_some() {
        out.push(_mm256_set1_epi8(0b0101)); // codes of weight 0
    }
}

/// Half a block of I2_S: 64 codes in bits 2 and 0 of 32 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
fn half_block(codes: __m512i) -> __m256i {
    let (low, high) = (
        _mm512_castsi512_si256(codes),
        _mm512_extracti64x4_epi64::<1>(codes),
    );
    _mm256_or_si256(_mm256_slli_epi16::<2>(low), high)
}

/// Puts a row together from halves of blocks, in order.
struct Halves<'a> {
    blocks: std::slice::IterMut<'a, [u8; BLOCK_BYTES]>,
    first: Option<__m256i>,
}

impl Halves<'_> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    fn push(&mut self, second: __m256i) {
        let Some(first) = self.first.take() else {
            self.first = Some(second);
            return;
        };
        // Past the row's last block only padding comes.
        if let Some(block) = self.blocks.next() {
            let codes = _mm256_or_si256(_mm256_slli_epi16::<4>(first), second);
            // SAFETY: a block is 32 bytes, any alignment.
            unsafe { _mm256_storeu_si256(block.as_mut_ptr().cast(), codes) };
        }
    }
}
