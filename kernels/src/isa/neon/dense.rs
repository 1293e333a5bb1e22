//! Shared by the quantised dense loops. Each result lane is a sum of exact i32 products times the
//! block's scale, as the scalar oracle adds them up.

use super::intrinsics::*;
use crate::simd::LANES;

/// Result lanes 0..4 and 4..8 of even and of odd blocks.
pub(super) type Acc = [[float32x4_t; 2]; 2];

/// The f16 in `bytes`, in all lanes.
#[inline(always)]
pub(super) fn scale(bytes: [u8; 2]) -> float32x4_t {
    vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(u16::from_le_bytes(bytes))))
}

/// Adds float(sums) * d to the lanes of a block.
#[inline(always)]
pub(super) fn accumulate(acc: &mut [float32x4_t; 2], sums: [int32x4_t; 2], d: float32x4_t) {
    for (acc, sums) in acc.iter_mut().zip(sums) {
        *acc = vaddq_f32(*acc, vmulq_f32(vcvtq_f32_s32(sums), d));
    }
}

#[inline(always)]
pub(super) fn lanes<const T: usize>(acc: [Acc; T]) -> [[f32; LANES]; T] {
    acc.map(
        #[inline(always)]
        |acc| {
            let mut out = [0.0f32; LANES];
            for (v, out) in acc.as_flattened().iter().zip(out.as_chunks_mut::<4>().0) {
                // SAFETY: a reference to 4 f32.
                unsafe { std::arch::aarch64::vst1q_f32(out.as_mut_ptr(), *v) };
            }
            out
        },
    )
}
