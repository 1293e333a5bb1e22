//! Exact dot products of a block of a group-scaled tile in NEON, for any number of tokens: a row is
//! a lane, so that sums need no adding up.

use super::F32x16;
use super::intrinsics::*;
use super::level::Level;
use super::load_u8;
use crate::grouped::TokenBlocks;

/// See [`crate::isa::kernels::Kernels::group_dots`].
#[inline(always)]
pub(super) fn dots<L: Level, const BITS: usize, const T: usize>(
    level: L,
    codes: &[u8],
    x: TokenBlocks<'_>,
) -> [F32x16; T] {
    let mut dots = [F32x16([vdupq_n_f32(0.0); 4]); T];
    for quarter in 0..4 {
        let columns = four_rows::<BITS>(codes, quarter);
        products(level, columns, x, quarter, &mut dots);
    }
    dots
}

/// Each token's products with a block's codes in rows 4 * quarter to 4 * quarter + 4.
#[inline(always)]
pub(super) fn products<L: Level, const T: usize>(
    level: L,
    columns: [int8x16_t; 8],
    x: TokenBlocks<'_>,
    quarter: usize,
    dots: &mut [F32x16; T],
) {
    for (t, dot) in dots.iter_mut().enumerate() {
        let x = x.token(t);
        // Codes are weights plus 1.
        let mut sums = vdupq_n_s32(x.minus_sum);
        for (columns, q) in columns.into_iter().zip(x.quads()) {
            sums = level.dot(sums, columns, vreinterpretq_s8_s32(vdupq_n_s32(q)));
        }
        dot.0[quarter] = vcvtq_f32_s32(sums);
    }
}

/// The codes, 0 to 2, of four columns each, in rows 4 * quarter to 4 * quarter + 4.
#[inline(always)]
fn four_rows<const BITS: usize>(codes: &[u8], quarter: usize) -> [int8x16_t; 8] {
    let mut columns = [vdupq_n_s8(0); 8];
    let lines = codes.as_chunks::<16>().0.iter().skip(quarter).step_by(4);
    for (bytes, columns) in lines.zip(columns.chunks_exact_mut(8 / BITS)) {
        let v = load_u8(bytes);
        // Binary codes become 0 and 2, as ternary ones less 1 are weights.
        let mut shifted = if BITS == 1 { vshlq_n_u8::<1>(v) } else { v };
        let mask = vdupq_n_u8(if BITS == 1 { 2 } else { 3 });
        for (k, columns) in columns.iter_mut().enumerate() {
            *columns = vreinterpretq_s8_u8(vandq_u8(shifted, mask));
            shifted = match (BITS, k) {
                (1, 0) => v,
                (1, _) => vshrq_n_u8::<1>(shifted),
                _ => vshrq_n_u8::<2>(shifted),
            };
        }
    }
    columns
}
