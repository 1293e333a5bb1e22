//! Sixteen float lanes, and the operations from which every float kernel is built.
//!
//! An implementor is a token: a value of it proves that the CPU has the instructions, and a vector
//! can only come from a token's method. All operations are IEEE-754 single precision, one rounding
//! each; none is fused. `max` and `min` are a comparison and a choice, whose NaN and -0 behaviour
//! x86 (`maxps`), wasm (`pmax`) and scalar code share.

use super::int8;
use crate::simd::LANES;

/// Positions whose values are summed as integers: 64 weights of 15 bits times codes of 8 stay below
/// 2^28.
pub(crate) const SUM_POSITIONS: usize = 64;
/// Columns of them at a time.
pub(crate) const SUM_COLUMNS: usize = 64;

/// Sixteen lanes of f32 on some instruction set.
pub(crate) trait Simd: Copy {
    /// Sixteen f32.
    type F: Copy;

    /// True if sixteen sums and their operands fit the registers.
    const MANY_REGISTERS: bool = false;

    fn splat(self, v: f32) -> Self::F;
    fn load(self, x: &[f32; LANES]) -> Self::F;
    /// Sixteen f16 (little-endian), exact.
    fn load_f16(self, x: &[u8; 2 * LANES]) -> Self::F;
    /// Sixteen bfloat16 (little-endian), exact.
    fn load_bf16(self, x: &[u8; 2 * LANES]) -> Self::F;
    /// Sixteen f32 (little-endian) at any address.
    fn load_f32(self, x: &[u8; 4 * LANES]) -> Self::F;
    /// Sixteen i32, rounded half to even.
    #[inline(always)]
    fn load_i32(self, x: &[i32; LANES]) -> Self::F {
        let mut floats = [0.0; LANES];
        for (x, float) in x.iter().zip(&mut floats) {
            *float = *x as f32;
        }
        self.load(&floats)
    }
    fn to_array(self, v: Self::F) -> [f32; LANES];

    /// The products of each query with each of up to sixteen keys, `[n, d]` where queries are
    /// `[d]`, exact in i32; anything for keys that are not there. Calls `ask` with the place of
    /// each cache line or so of the keys, on the way.
    #[inline(always)]
    fn int8_dots<const Q: usize>(
        self,
        queries: [&[i8]; Q],
        keys: &[i8],
        ask: impl FnMut(usize),
    ) -> [[i32; LANES]; Q] {
        int8::dots(queries, keys, ask)
    }
    /// The sums of up to 64 rows of `values`, `[n, d]`, by each query's weights, exact in i32: of
    /// the 64 columns from `column` on, and zeros where the rows have fewer. Weights have
    /// 15 bits, and are 0 for rows that are not there. Calls `ask` as `int8_dots` does.
    #[inline(always)]
    fn int8_sums<const Q: usize>(
        self,
        weights: [&[i32; SUM_POSITIONS]; Q],
        values: &[i8],
        d: usize,
        column: usize,
        ask: impl FnMut(usize),
    ) -> [[i32; SUM_COLUMNS]; Q] {
        int8::sums(weights, values, d, column, ask)
    }

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`: b where either is NaN or both are zero.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`: b where either is NaN or both are zero.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    fn abs(self, v: Self::F) -> Self::F;
    /// 2^n for integers n in -126..=127; some number for anything else.
    fn pow2(self, n: Self::F) -> Self::F;
    /// Hints that the bytes some way behind `at` will be read soon. Never changes a result.
    fn prefetch<T>(self, at: &T);
    /// Hints that the bytes a little way behind `at` will be read next, which [`Simd::prefetch`]
    /// asked for before: another step nearer. Never changes a result.
    #[inline(always)]
    fn prefetch_near<T>(self, _at: &T) {}
    /// Hints that the cache line at `at` will be read soon. Never changes a result.
    #[inline(always)]
    fn ask<T>(self, _at: &T) {}
    /// The fixed tree: lanes j and j + 8, then j + 4, j + 2, j + 1.
    fn sum(self, v: Self::F) -> f32;
    /// The tree of four at once.
    #[inline(always)]
    fn sum4(self, [a, b, c, d]: [Self::F; 4]) -> [f32; 4] {
        [self.sum(a), self.sum(b), self.sum(c), self.sum(d)]
    }
}

/// The tree of [`Simd::sum`] on plain numbers.
#[inline(always)]
pub(crate) fn tree_sum(lanes: [f32; LANES]) -> f32 {
    let mut sums = lanes;
    for half in [8, 4, 2, 1] {
        for j in 0..half {
            sums[j] += sums[j + half];
        }
    }
    sums[0]
}
