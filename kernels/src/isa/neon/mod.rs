//! NEON on aarch64: sixteen lanes are four `float32x4_t`. `fmla` is never used. Little-endian, as
//! all aarch64 servers are.

mod dense;
mod grouped_few;
mod i2s_few;
mod i2s_many;
mod intrinsics;
pub(crate) mod level;
mod probe;
mod q6_k_few;
mod q8_0_few;
mod trits8_few;

use intrinsics::*;
use std::arch::aarch64::{vld1_u8, vld1q_f32, vld1q_s8, vld1q_u8, vst1q_f32, vst1q_s8};
use std::arch::asm;

use super::dense_tiles::quant_rows;
use super::kernels::{Kernels, kernel_list, over_lanes};
use super::probe::PeakRun;
use super::tiles::{I2sTile, matmul_tiles};
use crate::grouped::TokenBlocks;
use crate::grouped::trits8::UNIT_BYTES;
use crate::simd::{LANES, Simd};
use crate::ternary::{Activations, Block};
use crate::{Dense, DenseInput, OutputRows, QuantizedActivations, Ternary};
use level::Level;
use q6_k_few::{BySplit, Q6kInput};

/// Prefetch distance of a linear read, in bytes: as on x86, where it was measured.
const PREFETCH_BYTES: usize = 1024;

/// NEON with the int8 multipliers that `L` proves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon<L>(pub(crate) L);

/// Lanes 0..4, 4..8, 8..12 and 12..16.
#[derive(Clone, Copy)]
pub(crate) struct F32x16([float32x4_t; 4]);

impl<L: Level> Neon<L> {
    pub(crate) fn new() -> Option<Self> {
        L::new().map(Self)
    }
}

impl F32x16 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (self.0, other.0);
        Self([f(a0, b0), f(a1, b1), f(a2, b2), f(a3, b3)])
    }

    #[inline(always)]
    fn map(self, f: impl Fn(float32x4_t) -> float32x4_t) -> Self {
        let [a, b, c, d] = self.0;
        Self([f(a), f(b), f(c), f(d)])
    }
}

impl<L: Level> Simd for Neon<L> {
    type F = F32x16;

    #[inline(always)]
    fn splat(self, v: f32) -> F32x16 {
        F32x16([vdupq_n_f32(v); 4])
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> F32x16 {
        let p = x.as_ptr();
        // SAFETY: a reference to 16 f32.
        let four = |i: usize| unsafe { vld1q_f32(p.add(4 * i)) };
        F32x16([four(0), four(1), four(2), four(3)])
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 2 * LANES]) -> F32x16 {
        let p = x.as_ptr();
        let four = |i: usize| {
            // SAFETY: a reference to 32 bytes; byte loads take any alignment.
            let bits = unsafe { vld1_u8(p.add(8 * i)) };
            vcvt_f32_f16(vreinterpret_f16_u8(bits))
        };
        F32x16([four(0), four(1), four(2), four(3)])
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u8; 2 * LANES]) -> F32x16 {
        let p = x.as_ptr();
        let four = |i: usize| {
            // SAFETY: a reference to 32 bytes; byte loads take any alignment.
            let bits = unsafe { vld1_u8(p.add(8 * i)) };
            vreinterpretq_f32_u32(vshll_n_u16::<16>(vreinterpret_u16_u8(bits)))
        };
        F32x16([four(0), four(1), four(2), four(3)])
    }
    #[inline(always)]
    fn load_f32(self, x: &[u8; 4 * LANES]) -> F32x16 {
        let p = x.as_ptr();
        // SAFETY: a reference to 64 bytes; byte loads take any alignment.
        let four = |i: usize| vreinterpretq_f32_u8(unsafe { vld1q_u8(p.add(16 * i)) });
        F32x16([four(0), four(1), four(2), four(3)])
    }
    #[inline(always)]
    fn to_array(self, v: F32x16) -> [f32; LANES] {
        let mut out = [0.0f32; LANES];
        for (v, out) in v.0.into_iter().zip(out.as_chunks_mut::<4>().0) {
            // SAFETY: a reference to 4 f32.
            unsafe { vst1q_f32(out.as_mut_ptr(), v) };
        }
        out
    }
    #[inline(always)]
    fn add(self, a: F32x16, b: F32x16) -> F32x16 {
        a.zip(b, vaddq_f32)
    }
    #[inline(always)]
    fn sub(self, a: F32x16, b: F32x16) -> F32x16 {
        a.zip(b, vsubq_f32)
    }
    #[inline(always)]
    fn mul(self, a: F32x16, b: F32x16) -> F32x16 {
        a.zip(b, vmulq_f32)
    }
    #[inline(always)]
    fn div(self, a: F32x16, b: F32x16) -> F32x16 {
        a.zip(b, vdivq_f32)
    }
    // `fmax` and `fmin` treat NaN and -0 in their own way.
    #[inline(always)]
    fn max(self, a: F32x16, b: F32x16) -> F32x16 {
        a.zip(b, |a, b| vbslq_f32(vcgtq_f32(a, b), a, b))
    }
    #[inline(always)]
    fn min(self, a: F32x16, b: F32x16) -> F32x16 {
        a.zip(b, |a, b| vbslq_f32(vcltq_f32(a, b), a, b))
    }
    #[inline(always)]
    fn abs(self, v: F32x16) -> F32x16 {
        v.map(vabsq_f32)
    }
    #[inline(always)]
    fn pow2(self, n: F32x16) -> F32x16 {
        n.map(|n| {
            let biased = vaddq_f32(n, vdupq_n_f32(8_388_735.0)); // 2^23 + 127
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(vreinterpretq_s32_f32(biased)))
        })
    }
    #[inline(always)]
    fn prefetch<T>(self, at: &T) {
        prefetch(at);
    }
    #[inline(always)]
    fn sum(self, v: F32x16) -> f32 {
        let [a, b, c, d] = v.0;
        let four = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
        vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)))
    }
}

/// Prefetches the line `PREFETCH_BYTES` behind `at`.
#[inline(always)]
pub(crate) fn prefetch<T>(at: &T) {
    let p = std::ptr::from_ref(at).wrapping_byte_add(PREFETCH_BYTES);
    // SAFETY: a prefetch never faults, whatever the address, and writes nothing.
    unsafe {
        asm!("prfm pldl1keep, [{p}]", p = in(reg) p, options(readonly, nostack, preserves_flags));
    }
}

/// 16 bytes, any alignment.
#[inline(always)]
pub(crate) fn load_u8(at: &[u8; 16]) -> uint8x16_t {
    // SAFETY: a reference to 16 bytes.
    unsafe { vld1q_u8(at.as_ptr()) }
}

/// 16 int8.
#[inline(always)]
pub(crate) fn load_i8(at: &[i8; 16]) -> int8x16_t {
    // SAFETY: a reference to 16 bytes.
    unsafe { vld1q_s8(at.as_ptr()) }
}

/// As 16 int8.
#[inline(always)]
pub(crate) fn store_i8(v: int8x16_t) -> [i8; 16] {
    let mut out = [0; 16];
    // SAFETY: a reference to 16 bytes.
    unsafe { vst1q_s8(out.as_mut_ptr(), v) };
    out
}

impl<L: Level> Kernels for Neon<L> {
    kernel_list!(over_lanes plain);

    type I2sInput = ();
    type Q6kInput = Q6kInput;

    fn i2s_matmul(
        self,
        w: Ternary<'_>,
        x: &QuantizedActivations,
        _: &(),
        out: &mut OutputRows<'_>,
    ) {
        if x.n_tokens() < i2s_many::MIN_TOKENS {
            matmul_tiles::<_, _, 2, 2, 4>(self, w, x, |t| x.blocks(t), out);
        } else {
            // Sixteen registers of sums either way: `smmla` keeps a pair by a pair in one.
            if L::MATRIX {
                i2s_many::matmul::<L, 4, 4>(self.0, w, x, out);
            } else {
                i2s_many::matmul::<L, 2, 2>(self.0, w, x, out);
            }
        }
    }

    #[inline(always)]
    fn group_dots<const BITS: usize, const T: usize>(
        self,
        codes: &[u8],
        x: TokenBlocks<'_>,
    ) -> [F32x16; T] {
        grouped_few::dots::<L, BITS, T>(self.0, codes, x)
    }

    #[inline(always)]
    fn trits8_dots<const T: usize>(
        self,
        unit: &[u8; UNIT_BYTES],
        x: [TokenBlocks<'_>; 2],
    ) -> [[F32x16; T]; 2] {
        trits8_few::dots::<L, T>(self.0, unit, x)
    }

    #[inline(always)]
    fn q8_0_row<const T: usize>(self, w: &[u8], x: [&[i16]; T]) -> [[f32; LANES]; T] {
        q8_0_few::row(w, x)
    }

    fn pack_q6_k(self, x: &DenseInput, packed: &mut Q6kInput) {
        packed.set(x);
    }

    #[inline(always)]
    fn q6_k_matmul(
        self,
        w: Dense<'_>,
        x: &DenseInput,
        packed: &Q6kInput,
        out: &mut OutputRows<'_>,
    ) {
        quant_rows(BySplit(self.0), w, x, |t| packed.token(x, t), out);
    }

    fn multiply_add_peak(self, turns: u32) -> PeakRun {
        probe::multiply_add_peak(self.0, turns)
    }
}

impl<L: Level> I2sTile<&[Activations]> for Neon<L> {
    #[inline(always)]
    fn tile<const R: usize, const T: usize>(
        self,
        w: [&[Block]; R],
        x: [&[Activations]; T],
    ) -> [[i32; T]; R] {
        i2s_few::tile(self.0, w, x)
    }
}
