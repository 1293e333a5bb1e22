//! The Q6_K inner loop in NEON.

use super::dense::{Acc, accumulate, lanes, scale};
use super::intrinsics::*;
use super::level::Level;
use super::{load_i8, load_u8, prefetch};
use crate::DenseInput;
use crate::aligned::Aligned;
use crate::dense::q6_k;
use crate::isa::dense_tiles::RowLoop;
use crate::isa::split::split;
use crate::simd::LANES;

/// A Q6_K product's input, `[n_tokens, k]`: x = 256 * high + low.
#[derive(Default)]
pub(crate) struct Q6kInput {
    high: Aligned<i8>,
    low: Aligned<i8>,
}

/// One token of it.
#[derive(Clone, Copy)]
pub(super) struct SplitToken<'a> {
    high: &'a [i8],
    low: &'a [i8],
}

impl Q6kInput {
    pub(super) fn set(&mut self, x: &DenseInput) {
        split(x.all_wide(), &mut self.high, &mut self.low);
    }

    #[inline(always)]
    pub(super) fn token(&self, x: &DenseInput, t: usize) -> SplitToken<'_> {
        let range = t * x.k()..(t + 1) * x.k();
        SplitToken {
            high: &self.high[range.clone()],
            low: &self.low[range],
        }
    }
}

/// Rows of Q6_K by the level's multiplier.
#[derive(Clone, Copy)]
pub(super) struct BySplit<L>(pub(super) L);

impl<L: Level> RowLoop<SplitToken<'_>> for BySplit<L> {
    #[inline(always)]
    fn lanes<const T: usize>(self, w: &[u8], x: [SplitToken<'_>; T]) -> [[f32; LANES]; T] {
        row(self.0, w, x)
    }
}

/// The lanes of a row; see [`crate::isa::kernels::Kernels::q6_k_matmul`].
///
/// x = 256 high + low, two int8, so that the level's `dot` takes q - 32 against both; its lanes are
/// sums of four neighbours, which the group's scale multiplies. Partial sums may wrap; the total is
/// below 2^31, so it is exact.
#[inline(always)]
fn row<L: Level, const T: usize>(level: L, w: &[u8], x: [SplitToken<'_>; T]) -> [[f32; LANES]; T] {
    let blocks = w.as_chunks::<{ q6_k::BYTES }>().0;
    let n = blocks.len();
    let high = x.map(|x| &x.high.as_chunks::<{ q6_k::BLOCK }>().0[..n]);
    let low = x.map(|x| &x.low.as_chunks::<{ q6_k::BLOCK }>().0[..n]);
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
