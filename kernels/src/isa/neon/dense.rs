//! The quantised dense inner loops in NEON. Each result lane is a sum of exact i32 products times the block's scale, as the
//! scalar oracle adds them up.

use super::intrinsics::*;

use super::level::Level;
use super::{load_i8, load_u8, prefetch};
use crate::dense::{q6_k, q8_0};
use crate::isa::QuantRow;
use crate::simd::LANES;

/// Result lanes 0..4 and 4..8 of even and of odd blocks.
type Acc = [[float32x4_t; 2]; 2];

/// The f16 in `bytes`, in all lanes.
#[inline(always)]
fn scale(bytes: [u8; 2]) -> float32x4_t {
    vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(u16::from_le_bytes(bytes))))
}

/// Adds float(sums) * d to the lanes of a block.
#[inline(always)]
fn accumulate(acc: &mut [float32x4_t; 2], sums: [int32x4_t; 2], d: float32x4_t) {
    for (acc, sums) in acc.iter_mut().zip(sums) {
        *acc = vaddq_f32(*acc, vmulq_f32(vcvtq_f32_s32(sums), d));
    }
}

#[inline(always)]
fn lanes<const T: usize>(acc: [Acc; T]) -> [[f32; LANES]; T] {
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

/// See [`crate::isa::Kernels::q8_0_row`]: `sshll` to int16, `smull` and `smlal`, then sums of neighbours.
#[inline(always)]
pub(super) fn q8_0_row<const T: usize>(w: &[u8], x: [QuantRow<'_>; T]) -> [[f32; LANES]; T] {
    let blocks = w.as_chunks::<{ q8_0::BYTES }>().0;
    let x = x.map(|x| &x.wide.as_chunks::<{ q8_0::BLOCK }>().0[..blocks.len()]);
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

/// See [`crate::isa::Kernels::q6_k_row`].
///
/// x = 256 high + low, two int8, so that the level's `dot` takes q - 32 against both; its lanes are sums of four neighbours,
/// which the group's scale multiplies. Partial sums may wrap; the total is below 2^31, so it is exact.
#[inline(always)]
pub(super) fn q6_k_row<L: Level, const T: usize>(
    level: L,
    w: &[u8],
    x: [QuantRow<'_>; T],
) -> [[f32; LANES]; T] {
    let blocks = w.as_chunks::<{ q6_k::BYTES }>().0;
    let n = blocks.len();
    let high = x.map(|x| &x.split.high.as_chunks::<{ q6_k::BLOCK }>().0[..n]);
    let low = x.map(|x| &x.split.low.as_chunks::<{ q6_k::BLOCK }>().0[..n]);
    let mut acc: [Acc; T] = [[[vdupq_n_f32(0.0); 2]; 2]; T];
    for (b, block) in blocks.iter().enumerate() {
        for line in [0, 64, 128, 192] {
            prefetch(&block[line]);
        }
        let scales = scales(block);
        let mut sums = [Split([[vdupq_n_s32(0); 2]; 2]); T];
        for half in 0..2 {
            let q = quarters(block, half);
            for (k, q) in q.into_iter().enumerate() {
                let at = (128 * half + 32 * k) / 16;
                for t in 0..T {
                    let high = high[t][b].as_chunks::<16>().0;
                    let low = low[t][b].as_chunks::<16>().0;
                    for s in 0..2 {
                        let scale = scales[at + s];
                        sums[t].add(level, s, q[s], &high[at + s], &low[at + s], scale);
                    }
                }
            }
        }
        let d = scale([block[q6_k::D], block[q6_k::D + 1]]);
        for t in 0..T {
            accumulate(&mut acc[t][b % 2], sums[t].total(), d);
        }
    }
    lanes(acc)
}

/// Scaled sums of `[high, low]` products, lanes 0..4 and 4..8 each.
#[derive(Clone, Copy)]
struct Split([[int32x4_t; 2]; 2]);

impl Split {
    #[inline(always)]
    fn add<L: Level>(
        &mut self,
        level: L,
        s: usize,
        q: int8x16_t,
        high: &[i8; 16],
        low: &[i8; 16],
        scale: i32,
    ) {
        for (sums, x) in self.0.iter_mut().zip([high, low]) {
            let dot = level.dot(vdupq_n_s32(0), q, load_i8(x));
            sums[s] = vmlaq_n_s32(sums[s], dot, scale);
        }
    }

    #[inline(always)]
    fn total(self) -> [int32x4_t; 2] {
        let [high, low] = self.0;
        [0, 1].map(
            #[inline(always)]
            |s: usize| vaddq_s32(vshlq_n_s32::<8>(high[s]), low[s]),
        )
    }
}

/// The group scales, widened.
#[inline(always)]
fn scales(block: &[u8; q6_k::BYTES]) -> [i32; 16] {
    std::array::from_fn(
        #[inline(always)]
        |g| i32::from(block[q6_k::SCALES + g] as i8),
    )
}

/// q - 32 of the four quarters of 32 values of one half of a block, sixteen and sixteen.
#[inline(always)]
fn quarters(block: &[u8; q6_k::BYTES], half: usize) -> [[int8x16_t; 2]; 4] {
    let low = block[64 * half..].as_chunks::<16>().0;
    let high = block[q6_k::QH + 32 * half..].as_chunks::<16>().0;
    let mut out = [[vdupq_n_s8(0); 2]; 4];
    let (nibble, two) = (vdupq_n_u8(0x0f), vdupq_n_u8(0x30));
    for s in 0..2 {
        let (low0, low1, high) = (load_u8(&low[s]), load_u8(&low[2 + s]), load_u8(&high[s]));
        let join = |low, high| {
            let q = vorrq_u8(low, vandq_u8(high, two));
            vsubq_s8(vreinterpretq_s8_u8(q), vdupq_n_s8(32))
        };
        out[0][s] = join(vandq_u8(low0, nibble), vshlq_n_u8::<4>(high));
        out[1][s] = join(vandq_u8(low1, nibble), vshlq_n_u8::<2>(high));
        out[2][s] = join(vshrq_n_u8::<4>(low0), high);
        out[3][s] = join(vshrq_n_u8::<4>(low1), vshrq_n_u8::<2>(high));
    }
    out
}

/// Eight int16.
#[inline(always)]
fn load_i16(at: &[i16; 8]) -> int16x8_t {
    // SAFETY: a reference to 16 bytes.
    unsafe { std::arch::aarch64::vld1q_s16(at.as_ptr()) }
}
