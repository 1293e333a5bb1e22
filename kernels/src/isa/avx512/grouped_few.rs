//! Exact dot products of a block of a group-scaled tile in AVX-512 VNNI, for any number of tokens:
//! a row is a lane, so that sums need no adding up.
//!
//! ```text
//! a block (32 columns of 16 rows):
//!   binary 1, ternary 2 loads · 8 x (shift · vpandd)              codes 0 to 2, weights plus 1
//!   T x (vpbroadcastd -sum · 8 x vpdpbusd with 4 activations broadcast from memory · vcvtdq2ps)
//! ```
//!
//! `inline(always)`, which functions with features of their own cannot be: a block is too little
//! for a call.

use std::arch::x86_64::*;

use super::Avx512;
use crate::grouped::ActivationBlock;

/// See [`crate::isa::kernels::Kernels::group_dots`].
#[inline(always)]
pub(super) fn dots<const BITS: usize, const T: usize>(
    _proof: Avx512,
    codes: &[u8],
    x: [&ActivationBlock; T],
) -> [__m512; T] {
    // SAFETY: the token proves the features; loads are from references to 64 bytes.
    unsafe {
        let mut columns = [_mm512_setzero_si512(); 8];
        for (line, columns) in codes
            .as_chunks::<64>()
            .0
            .iter()
            .zip(columns.chunks_exact_mut(8 / BITS))
        {
            let v = _mm512_loadu_si512(line.as_ptr().cast());
            // Binary codes become 0 and 2, so that either kind's weights are codes less 1.
            let mut shifted = if BITS == 1 { _mm512_add_epi8(v, v) } else { v };
            for (k, columns) in columns.iter_mut().enumerate() {
                *columns =
                    _mm512_and_si512(shifted, _mm512_set1_epi8(if BITS == 1 { 2 } else { 3 }));
                shifted = match (BITS, k) {
                    (1, 0) => v,
                    (1, _) => _mm512_srli_epi16::<1>(shifted),
                    _ => _mm512_srli_epi16::<2>(shifted),
                };
            }
        }
        let mut dots = [_mm512_setzero_ps(); T];
        for (dot, x) in dots.iter_mut().zip(x) {
            let mut sums = _mm512_set1_epi32(-x.sum);
            for (columns, q) in columns.iter().zip(x.quads()) {
                let q = _mm512_set1_epi32(q);
                sums = _mm512_dpbusd_epi32(sums, *columns, q);
            }
            *dot = _mm512_cvtepi32_ps(sums);
        }
        dots
    }
}
