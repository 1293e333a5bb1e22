//! The Q8_0 inner loop in NEON.

use super::dense::{Acc, accumulate, lanes, scale};
use super::intrinsics::*;
use super::{load_u8, prefetch};
use crate::dense::q8_0;
use crate::simd::LANES;

/// See [`crate::isa::kernels::Kernels::q8_0_row`]: `sshll` to int16, `smull` and `smlal`, then sums
/// of neighbours.
#[inline(always)]
pub(super) fn row<const T: usize>(w: &[u8], x: [&[i16]; T]) -> [[f32; LANES]; T] {
    let blocks = w.as_chunks::<{ q8_0::BYTES }>().0;
    let x = x.map(|x| &x.as_chunks::<{ q8_0::BLOCK }>().0[..blocks.len()]);
    let mut acc: [Acc; T] = [[[vdupq_n_f32(0.0); 2]; 2]; T];
    for (b, block) in blocks.iter().enumerate() {
        prefetch(block);
        let d = scale([block[0], block[1]]);
        let values = block[2..].as_chunks::<16>().0;
        let [first, second] = [0, 1].map(
            #[inline(always)]
            |half: usize| vreinterpretq_s8_u8(load_u8(&values[half])),
        );
        let w = [
            vmovl_s8(vget_low_s8(first)),
            vmovl_high_s8(first),
            vmovl_s8(vget_low_s8(second)),
            vmovl_high_s8(second),
        ];
        for t in 0..T {
            let x = x[t][b].as_chunks::<8>().0;
            // Values 8p..8p + 8 and those 16 behind.
            let sums = [0, 1].map(
                #[inline(always)]
                |p: usize| {
                    let (a, b) = (load_i16(&x[p]), load_i16(&x[p + 2]));
                    let low = vmull_s16(vget_low_s16(w[p]), vget_low_s16(a));
                    let low = vmlal_s16(low, vget_low_s16(w[p + 2]), vget_low_s16(b));
                    let high = vmull_high_s16(w[p], a);
                    vpaddq_s32(low, vmlal_high_s16(high, w[p + 2], b))
                },
            );
            accumulate(&mut acc[t][b % 2], sums, d);
        }
    }
    lanes(acc)
}

/// Eight int16.
#[inline(always)]
fn load_i16(at: &[i16; 8]) -> int16x8_t {
    // SAFETY: a reference to 16 bytes.
    unsafe { std::arch::aarch64::vld1q_s16(at.as_ptr()) }
}
