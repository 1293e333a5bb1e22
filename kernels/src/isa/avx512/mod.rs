//! AVX-512 with VNNI: sixteen lanes are one `__m512`. Q8_0's loop is AVX2's.

mod few_tiles;
mod i2s_few;
mod i2s_many;
mod i2s_one;
mod panel;
mod q6_k_few;
mod q6_k_one;
mod quotients;
mod sparse;
mod sums;
mod token_tiles;
mod trits5_codes;
mod trits5_few;
mod trits5_one;
pub(crate) mod trits5_pack;
mod trits5_unpack;
mod unrolled;

use std::arch::x86_64::*;

use crate::dispatch::{Isa, Kind};
use crate::isa::avx2::{Avx2, prefetch_far};
use crate::isa::x86::vendor::intel;
use crate::simd::LANES;
use crate::simd::Simd;

/// Proof of AVX-512 F, BW, VL and VNNI, and of what `Avx2` proves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(Avx2);

/// All sixteen lanes.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

impl Avx512 {
    pub(crate) fn new() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        Avx2::new().filter(|_| found).map(Self)
    }
}

/// Intrinsics inside a method of the token; see `avx2/mod.rs`.
macro_rules! with_token {
    ($($body:tt)*) => {
        // SAFETY: `self` exists only where `Avx512::new` found the features; pointers come from references to at least
        // as many bytes as are read or written.
        unsafe { $($body)* }
    };
}

impl Simd for Avx512 {
    type F = F32x16;
    const MANY_REGISTERS: bool = true;

    #[inline(always)]
    fn splat(self, v: f32) -> F32x16 {
        with_token!(F32x16(_mm512_set1_ps(v)))
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> F32x16 {
        with_token!(F32x16(_mm512_loadu_ps(x.as_ptr())))
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 2 * LANES]) -> F32x16 {
        with_token!(F32x16(_mm512_cvtph_ps(_mm256_loadu_si256(
            x.as_ptr().cast()
        ))))
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u8; 2 * LANES]) -> F32x16 {
        with_token!({
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
            F32x16(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        })
    }
    #[inline(always)]
    fn load_f32(self, x: &[u8; 4 * LANES]) -> F32x16 {
        with_token!(F32x16(_mm512_loadu_ps(x.as_ptr().cast())))
    }
    #[inline(always)]
    fn to_array(self, v: F32x16) -> [f32; LANES] {
        let mut out = [0.0f32; LANES];
        with_token!(_mm512_storeu_ps(out.as_mut_ptr(), v.0));
        out
    }
    #[inline(always)]
    fn add(self, a: F32x16, b: F32x16) -> F32x16 {
        with_token!(F32x16(_mm512_add_ps(a.0, b.0)))
    }
    #[inline(always)]
    fn sub(self, a: F32x16, b: F32x16) -> F32x16 {
        with_token!(F32x16(_mm512_sub_ps(a.0, b.0)))
    }
    #[inline(always)]
    fn mul(self, a: F32x16, b: F32x16) -> F32x16 {
        with_token!(F32x16(_mm512_mul_ps(a.0, b.0)))
    }
    #[inline(always)]
    fn div(self, a: F32x16, b: F32x16) -> F32x16 {
        with_token!(F32x16(_mm512_div_ps(a.0, b.0)))
    }
    #[inline(always)]
    fn max(self, a: F32x16, b: F32x16) -> F32x16 {
        with_token!(F32x16(_mm512_max_ps(a.0, b.0)))
    }
    #[inline(always)]
    fn min(self, a: F32x16, b: F32x16) -> F32x16 {
        with_token!(F32x16(_mm512_min_ps(a.0, b.0)))
    }
    #[inline(always)]
    fn abs(self, v: F32x16) -> F32x16 {
        with_token!(F32x16(_mm512_abs_ps(v.0)))
    }
    #[inline(always)]
    fn pow2(self, n: F32x16) -> F32x16 {
        with_token!({
            let biased = _mm512_add_ps(n.0, _mm512_set1_ps(8_388_735.0)); // 2^23 + 127
            F32x16(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(
                _mm512_castps_si512(biased),
            )))
        })
    }
    #[inline(always)]
    fn prefetch<T>(self, at: &T) {
        prefetch_far(at);
    }
    #[inline(always)]
    fn ask<T>(self, at: &T) {
        crate::isa::x86::prefetch::prefetch(at);
    }
    #[inline(always)]
    fn sum(self, v: F32x16) -> f32 {
        with_token!(sums::tree_sum(v.0))
    }
    #[inline(always)]
    fn sum4(self, [a, b, c, d]: [F32x16; 4]) -> [f32; 4] {
        with_token!(sums::tree_sum4([a.0, b.0, c.0, d.0]))
    }
}

/// From how many tokens on codes are better unpacked to L1 than in registers (README.md has the figures).
fn many_tokens() -> usize {
    if intel() { 20 } else { 65 }
}

impl crate::isa::Kernels for Avx512 {
    crate::isa::kernels::float_kernels!("avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c");

    fn ternary_matmul(
        self,
        w: crate::Ternary<'_>,
        x: &crate::QuantizedActivations,
        out: &mut crate::OutputRows<'_>,
    ) {
        match x.n_tokens() {
            1 if intel() => with_token!(i2s_one::matvec::<true>(w, x, out)),
            1 => with_token!(i2s_one::matvec::<false>(w, x, out)),
            n if n >= many_tokens() => {
                with_token!(i2s_many::matmul(self, w, x, out))
            }
            _ if intel() => with_token!(i2s_few::matmul::<true>(w, x, out)),
            _ => with_token!(i2s_few::matmul::<false>(w, x, out)),
        }
    }

    #[inline]
    fn has_trits5(self) -> bool {
        trits5_one::supported()
    }

    fn trits5_matmul(
        self,
        w: crate::Ternary<'_>,
        x: &crate::QuantizedActivations,
        out: &mut crate::OutputRows<'_>,
    ) {
        assert!(self.has_trits5(), "asked for before");
        if x.n_tokens() >= many_tokens() {
            return crate::trits5::matmul_unpacked(Isa(Kind::Avx512(self)), w, x, out);
        }
        // SAFETY: `self` proves all features but VBMI, and that is asserted above.
        unsafe {
            match x.n_tokens() {
                1 if intel() => trits5_one::matvec::<true>(w, x, out),
                1 => trits5_one::matvec::<false>(w, x, out),
                _ if intel() => trits5_few::matmul::<true>(w, x, out),
                _ => trits5_few::matmul::<false>(w, x, out),
            }
        }
    }

    fn trits5_rows(
        self,
        w: crate::Ternary<'_>,
        x: &crate::QuantizedActivations,
        rows: &[u32],
        out: &mut crate::OutputRows<'_>,
    ) {
        assert!(self.has_trits5(), "asked for before");
        // SAFETY: `self` proves all features but VBMI, and that is asserted above.
        unsafe { trits5_one::rows(w, x, rows, out) };
    }

    fn trits5_unpack(self, w: crate::Ternary<'_>, rows: std::ops::Range<usize>, out: &mut [u8]) {
        if self.has_trits5() {
            // SAFETY: `self` proves all features but VBMI, and that is asked for above.
            unsafe { trits5_unpack::unpack(w, rows, out) };
        } else {
            self.0.trits5_unpack(w, rows, out);
        }
    }

    fn ternary_rows(
        self,
        w: crate::Ternary<'_>,
        x: &crate::QuantizedActivations,
        rows: &[u32],
        out: &mut crate::OutputRows<'_>,
    ) {
        with_token!(sparse::rows(w, x, rows, out));
    }

    fn columns_tile(
        self,
        lines: &[crate::sparse::columns::Line],
        columns: &[[u32; 4]],
        values: &[[i8; 4]],
        sums: &mut [i32; crate::sparse::columns::TILE],
    ) {
        with_token!(sparse::columns_tile(lines, columns, values, sums));
    }

    #[inline]
    fn q8_0_row<const T: usize>(
        self,
        w: &[u8],
        x: [crate::isa::QuantRow<'_>; T],
    ) -> [[f32; LANES]; T] {
        self.0.q8_0_row(w, x)
    }

    #[inline]
    fn q6_k_row<const T: usize>(
        self,
        w: &[u8],
        x: [crate::isa::QuantRow<'_>; T],
    ) -> [[f32; LANES]; T] {
        self.0.q6_k_row(w, x)
    }

    fn q6_k_matmul(
        self,
        w: crate::Dense<'_>,
        x: &crate::DenseInput,
        out: &mut crate::OutputRows<'_>,
    ) {
        match x.n_tokens() {
            1 if intel() => with_token!(q6_k_one::matvec::<true>(w, x, out)),
            1 => with_token!(q6_k_one::matvec::<false>(w, x, out)),
            _ => with_token!(q6_k_few::matmul(w, x, out)),
        }
    }
}
