//! The ternary inner loop for a few tokens in NEON.

use super::intrinsics::*;

use super::level::Level;
use super::{load_i8, load_u8, prefetch};
use crate::ternary::{Activations, Block};

/// sums[r][t] = sum of code * q. All slices have as many blocks as `w[0]`.
#[inline(always)]
pub(super) fn tile<L: Level, const R: usize, const T: usize>(
    level: L,
    w: [&[Block]; R],
    x: [&[Activations]; T],
) -> [[i32; T]; R] {
    let n = w[0].len();
    let w = w.map(|row| &row[..n]);
    let x = x.map(|token| &token[..n]);
    if T == 1 {
        let sums = one_token(level, w, x[0]);
        sums.map(|sum| [sum; T])
    } else {
        several_tokens(level, w, x)
    }
}

/// One token: three of the four codes of a byte are masked in place, 1, 4 and 16 times too large,
/// and summed apart, which takes 4 instructions for 64 codes instead of 6. A lane's sum is at most
/// 2^16 * 48 * 127 < 2^29 (2^20 columns).
#[inline(always)]
fn one_token<L: Level, const R: usize>(level: L, w: [&[Block]; R], x: &[Activations]) -> [i32; R] {
    let masks = [0, 0x30, 0x0c, 0x03].map(vdupq_n_u8);
    let mut acc = [[vdupq_n_s32(0); 4]; R];
    for b in 0..x.len() {
        let q = x[b].as_chunks::<16>().0;
        for row in w {
            prefetch(&row[b]);
        }
        for half in 0..2 {
            let q: [int8x16_t; 4] = std::array::from_fn(
                #[inline(always)]
                |g| load_i8(&q[2 * g + half]),
            );
            for r in 0..R {
                let bytes = load_u8(&w[r][b].as_chunks::<16>().0[half]);
                let codes = [
                    vshrq_n_u8::<6>(bytes),
                    vandq_u8(bytes, masks[1]),
                    vandq_u8(bytes, masks[2]),
                    vandq_u8(bytes, masks[3]),
                ];
                for g in 0..4 {
                    acc[r][g] = level.dot(acc[r][g], vreinterpretq_s8_u8(codes[g]), q[g]);
                }
            }
        }
    }
    acc.map(
        #[inline(always)]
        |[first, second, third, fourth]| {
            let scaled = vaddq_s32(vshrq_n_s32::<4>(second), vshrq_n_s32::<2>(third));
            vaddvq_s32(vaddq_s32(vaddq_s32(first, fourth), scaled))
        },
    )
}

/// The rows' codes of one half of a group serve all tokens.
#[inline(always)]
fn several_tokens<L: Level, const R: usize, const T: usize>(
    level: L,
    w: [&[Block]; R],
    x: [&[Activations]; T],
) -> [[i32; T]; R] {
    let mut acc = [[vdupq_n_s32(0); T]; R];
    #[allow(clippy::needless_range_loop)] // b, r and t index registers side by side
    for b in 0..w[0].len() {
        for half in 0..2 {
            for r in 0..R {
                let codes = unpack(&w[r][b].as_chunks::<16>().0[half]);
                for (g, codes) in codes.into_iter().enumerate() {
                    for t in 0..T {
                        let q = load_i8(&x[t][b].as_chunks::<16>().0[2 * g + half]);
                        acc[r][t] = level.dot(acc[r][t], codes, q);
                    }
                }
            }
        }
    }
    acc.map(
        #[inline(always)]
        |row| row.map(vaddvq_s32),
    )
}

/// Sixteen codes of each group.
#[inline(always)]
pub(super) fn unpack(bytes: &[u8; 16]) -> [int8x16_t; 4] {
    let bytes = load_u8(bytes);
    let mask = vdupq_n_u8(3);
    [
        vreinterpretq_s8_u8(vshrq_n_u8::<6>(bytes)),
        vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8::<4>(bytes), mask)),
        vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8::<2>(bytes), mask)),
        vreinterpretq_s8_u8(vandq_u8(bytes, mask)),
    ]
}
