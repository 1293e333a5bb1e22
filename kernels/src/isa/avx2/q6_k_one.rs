//! The Q6_K product for one token in AVX2.
//!
//! q stays unsigned (0..64) so that `vpmaddubsw` can take it against the two bytes of
//! x = 256 high + low; `vpmaddwd` by the group scales adds pairs of pairs. The offset of 32 comes
//! off through the sums of neighbouring x. Partial sums may wrap; the total is below 2^31, so it is
//! exact.

use std::arch::x86_64::*;

use super::dense::{accumulate, lanes, part, quarters, scale, scale_pair};
use super::q6_k_input::Q6kInput;
use super::{load, load_half, load_i16, prefetch};
use crate::dense::q6_k;
use crate::simd::{LANES, tree_sum};
use crate::{Dense, DenseInput, OutputRows};

/// See [`crate::dense_matmul`], for the first token alone.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn matvec(w: Dense<'_>, x: &DenseInput, packed: &Q6kInput, out: &mut OutputRows<'_>) {
    let scale = x.scale(0);
    for (r, out) in out.range().zip(out.token(0)) {
        *out = tree_sum(row(w.row(r), packed)) / scale;
    }
}

/// The lanes of a row; see [`crate::isa::kernels::Kernels::q6_k_matmul`].
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn row(w: &[u8], x: &Q6kInput) -> [f32; LANES] {
    let blocks = w.as_chunks::<{ q6_k::BYTES }>().0;
    let n = blocks.len();
    let high = &x.high.as_chunks::<{ q6_k::BLOCK }>().0[..n];
    let low = &x.low.as_chunks::<{ q6_k::BLOCK }>().0[..n];
    let neighbours = &x.neighbours.as_chunks::<{ q6_k::BLOCK / 2 }>().0[..n];
    let mut acc = [_mm256_setzero_ps(); 2];
    for (b, block) in blocks.iter().enumerate() {
        for line in [0, 64, 128, 192] {
            prefetch(&block[line]);
        }
        let all_scales = _mm256_cvtepi8_epi16(load_half(part(block, q6_k::SCALES)));
        let mut sums = [_mm256_setzero_si256(); 3]; // of high, of low, of neighbours
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
                let high = _mm256_maddubs_epi16(q, load(part(&high[b], at)));
                let low = _mm256_maddubs_epi16(q, load(part(&low[b], at)));
                let neighbours = load_i16(part(&neighbours[b], at / 2));
                for (sum, v) in sums.iter_mut().zip([high, low, neighbours]) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(v, scales));
                }
            }
        }
        let d = scale(*part(block, q6_k::D));
        let [high, low, neighbours] = sums;
        let offset = _mm256_slli_epi32::<5>(neighbours);
        let total = _mm256_sub_epi32(_mm256_add_epi32(_mm256_slli_epi32::<8>(high), low), offset);
        acc[b % 2] = accumulate(acc[b % 2], total, d);
    }
    let [lanes] = lanes([acc]);
    lanes
}
