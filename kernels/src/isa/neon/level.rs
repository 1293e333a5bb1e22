//! The int8 multipliers of an aarch64 CPU: three tokens, from every ARMv8 up to i8mm.
//!
//! NEON itself is part of the target, so its intrinsics need no proof. Those for `sdot` and `smmla`
//! are not stable in Rust, so both are written as assembly; `.arch_extension` lets the assembler
//! take them wherever they are inlined.
//!
//! Weights come first in all products: -64..=63, so that the sum of two products fits i16.
//! Activations are any int8.

use super::intrinsics::*;
use std::arch::asm;
use std::arch::is_aarch64_feature_detected;

/// Sums of two rows by two tokens: `[token][row]`, each in parts that `Level::totals` adds up.
pub(crate) type Sums = [[int32x4_t; 2]; 2];

/// A set of int8 multipliers.
pub(crate) trait Level: Copy {
    /// True if the compiler knows the multiplier's arithmetic: of assembly it does not.
    const TRANSPARENT: bool = false;
    /// True if one vector holds all sums of a pair of rows by a pair of tokens.
    const MATRIX: bool = false;

    /// The token, where the CPU has them.
    fn new() -> Option<Self>;

    /// acc[j] + the products of the four neighbours 4j..4j + 4.
    fn dot(self, acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t;

    /// Sixteen values of two rows or of two tokens in the order that `multiply` takes.
    #[inline(always)]
    fn pair(self, two: [int8x16_t; 2]) -> [int8x16_t; 2] {
        two
    }

    /// Adds the products of sixteen columns of two rows and two tokens.
    #[inline(always)]
    fn multiply(self, sums: &mut Sums, w: [int8x16_t; 2], x: [int8x16_t; 2]) {
        for (sums, x) in sums.iter_mut().zip(x) {
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = self.dot(*sum, w, x);
            }
        }
    }

    /// `[token][row]`.
    #[inline(always)]
    fn totals(self, sums: Sums) -> [[i32; 2]; 2] {
        sums.map(
            #[inline(always)]
            |sums| sums.map(vaddvq_s32),
        )
    }
}

/// Any ARMv8 (Cortex-A72, Graviton 1): `smull`, then sums of neighbours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Baseline(());

/// Proof of `sdot` (Graviton 2, Apple M1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dotprod(());

/// Proof of `smmla` and `sdot` (Graviton 3, Apple M2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct I8mm(Dotprod);

impl Level for Baseline {
    const TRANSPARENT: bool = true;

    fn new() -> Option<Self> {
        Some(Self(()))
    }

    #[inline(always)]
    fn dot(self, acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
        let low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
        vpadalq_s16(acc, vpaddq_s16(low, vmull_high_s8(w, x)))
    }
}

impl Level for Dotprod {
    fn new() -> Option<Self> {
        is_aarch64_feature_detected!("dotprod").then_some(Self(()))
    }

    #[inline(always)]
    fn dot(self, acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
        let mut sums = acc;
        // SAFETY: `self` exists only where `new` found dotprod; registers only.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sums:v}.4s, {w:v}.16b, {x:v}.16b",
                sums = inout(vreg) sums,
                w = in(vreg) w,
                x = in(vreg) x,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sums
    }
}

impl Level for I8mm {
    const MATRIX: bool = true;

    fn new() -> Option<Self> {
        Dotprod::new()
            .filter(|_| is_aarch64_feature_detected!("i8mm"))
            .map(Self)
    }

    #[inline(always)]
    fn dot(self, acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
        self.0.dot(acc, w, x)
    }

    /// Columns 0..8 of both, then columns 8..16 of both.
    #[inline(always)]
    fn pair(self, [a, b]: [int8x16_t; 2]) -> [int8x16_t; 2] {
        let (a, b) = (vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b));
        [
            vreinterpretq_s8_s64(vzip1q_s64(a, b)),
            vreinterpretq_s8_s64(vzip2q_s64(a, b)),
        ]
    }

    /// All four sums in one vector, the first; the others stay zero and cost nothing.
    #[inline(always)]
    fn multiply(self, sums: &mut Sums, w: [int8x16_t; 2], x: [int8x16_t; 2]) {
        sums[0][0] = matrix_multiply(self, sums[0][0], w[0], x[0]);
        sums[0][0] = matrix_multiply(self, sums[0][0], w[1], x[1]);
    }

    #[inline(always)]
    fn totals(self, sums: Sums) -> [[i32; 2]; 2] {
        let all = sums[0][0];
        [
            [vgetq_lane_s32::<0>(all), vgetq_lane_s32::<1>(all)],
            [vgetq_lane_s32::<2>(all), vgetq_lane_s32::<3>(all)],
        ]
    }
}

/// acc[2t + r] + the products of row r's and token t's eight columns. The instruction's first
/// factor gives the result's rows, so that is the tokens.
#[inline(always)]
fn matrix_multiply(_proof: I8mm, acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    let mut sums = acc;
    // SAFETY: the proof exists only where `new` found i8mm; registers only.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "smmla {sums:v}.4s, {x:v}.16b, {w:v}.16b",
            sums = inout(vreg) sums,
            x = in(vreg) x,
            w = in(vreg) w,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}
