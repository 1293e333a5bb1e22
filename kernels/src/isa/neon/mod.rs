//! NEON on aarch64: sixteen lanes are four `float32x4_t`. `fmla` is never used. Little-endian, as all aarch64 servers are.

mod dense;
mod i2s_few;
mod i2s_many;
pub(crate) mod intrinsics;
pub(crate) mod level;

use intrinsics::*;
use std::arch::aarch64::{vld1_u8, vld1q_f32, vld1q_s8, vld1q_u8, vst1q_f32, vst1q_s8};
use std::arch::asm;

use crate::simd::LANES;
use crate::simd::Simd;
use level::Level;

/// How far ahead of a linear read to prefetch, in bytes: as on x86, where it was measured.
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

    pub(crate) fn name(self) -> &'static str {
        L::NAME
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

impl<L: Level> crate::isa::Kernels for Neon<L> {
    crate::isa::kernels::float_kernels!(plain);

    fn ternary_matmul(
        self,
        w: crate::Ternary<'_>,
        x: &crate::QuantizedActivations,
        out: &mut crate::OutputRows<'_>,
    ) {
        if x.n_tokens() < i2s_many::MIN_TOKENS {
            crate::ternary::matmul_tiles::<_, 2, 2, 4>(self, w, x, out);
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
    fn q8_0_row<const T: usize>(
        self,
        w: &[u8],
        x: [crate::isa::QuantRow<'_>; T],
    ) -> [[f32; LANES]; T] {
        dense::q8_0_row(w, x)
    }

    #[inline(always)]
    fn q6_k_row<const T: usize>(
        self,
        w: &[u8],
        x: [crate::isa::QuantRow<'_>; T],
    ) -> [[f32; LANES]; T] {
        dense::q6_k_row(self.0, w, x)
    }
}

impl<L: Level> crate::isa::TernaryTiles for Neon<L> {
    #[inline(always)]
    fn ternary_tile<const R: usize, const T: usize>(
        self,
        w: [&[crate::ternary::Block]; R],
        x: [crate::ternary::TokenRow<'_>; T],
    ) -> [[i32; T]; R] {
        i2s_few::tile(self.0, w, x)
    }
}
