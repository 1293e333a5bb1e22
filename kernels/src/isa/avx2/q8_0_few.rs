//! The Q8_0 inner loop in AVX2, also where AVX-512 is present: it runs at the speed of memory.
//!
//! Each result lane is a sum of exact i32 products times the block's scale, as the scalar oracle
//! adds them up.

use std::arch::x86_64::*;

use super::dense::{accumulate, lanes, scale};
use super::{load_half, load_i16, prefetch};
use crate::dense::q8_0;
use crate::simd::LANES;

/// See [`crate::isa::kernels::Kernels::q8_0_row`]: `vpmovsxbw` and `vpmaddwd`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn row<const T: usize>(w: &[u8], x: [&[i16]; T]) -> [[f32; LANES]; T] {
    let blocks = w.as_chunks::<{ q8_0::BYTES }>().0;
    let n = blocks.len();
    let x = x.map(|x| &x.as_chunks::<{ q8_0::BLOCK }>().0[..n]);
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    let mut b = 0;
    while b < n {
        prefetch(&blocks[b]);
        for half in 0..2 {
            let Some(block) = blocks.get(b + half) else {
                break;
            };
            let d = scale([block[0], block[1]]);
            let (values, _) = block[2..].as_chunks::<16>();
            let low = _mm256_cvtepi8_epi16(load_half(&values[0]));
            let high = _mm256_cvtepi8_epi16(load_half(&values[1]));
            for t in 0..T {
                let (x, _) = x[t][b + half].as_chunks::<16>();
                let sums = _mm256_add_epi32(
                    _mm256_madd_epi16(low, load_i16(&x[0])),
                    _mm256_madd_epi16(high, load_i16(&x[1])),
                );
                acc[t][half] = accumulate(acc[t][half], sums, d);
            }
        }
        b += 2;
    }
    lanes(acc)
}
