//! AVX-512 with VNNI: sixteen lanes are one `__m512`. Q8_0's loop is AVX2's.

mod few_tiles;
mod gfni;
mod group_panel;
mod grouped_few;
mod grouped_many;
mod i2s_few;
mod i2s_many;
mod i2s_one;
mod int8;
mod panel;
mod probe;
mod q6_k_few;
mod q6_k_input;
mod q6_k_one;
mod quotients;
mod sparse;
mod sums;
mod token_tiles;
mod trits5_codes;
mod trits5_few;
mod trits5_one;
mod trits5_pack;
mod trits5_unpack;
mod trits8_few;
mod unrolled;
mod vbmi;

use std::arch::x86_64::*;

use super::avx2::{Avx2, prefetch, prefetch_far};
use super::kernels::{Kernels, kernel_list, over_lanes};
use super::preferences::ListingLimits;
use super::probe::PeakRun;
use super::unpacked;
use super::x86::vendor::intel;
use crate::grouped::TokenBlocks;
use crate::grouped::trits8::UNIT_BYTES;
use crate::simd::{LANES, SUM_COLUMNS, SUM_POSITIONS, Simd};
use crate::sparse::columns::{Line, TILE};
use crate::ternary::Block;
use crate::trits5::GROUP_BYTES;
use crate::{
    BlockActivations, Dense, DenseInput, Grouped, OutputRows, QuantizedActivations, Ternary,
};
use gfni::Gfni;
use q6_k_input::Q6kInput;
use vbmi::Vbmi;

/// Proof of AVX-512 F, BW, VL and VNNI, and of what `Avx2` proves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512 {
    avx2: Avx2,
    /// The loops over layout trits5, where the CPU has them.
    vbmi: Option<Vbmi>,
    /// For binary weights, where the CPU has it.
    gfni: Option<Gfni>,
}

/// All sixteen lanes.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

impl F32x16 {
    #[inline(always)]
    fn all<const T: usize>(of: [__m512; T]) -> [Self; T] {
        let mut lanes = [Self(of[0]); T];
        for (lanes, of) in lanes.iter_mut().zip(of) {
            *lanes = Self(of);
        }
        lanes
    }
}

impl Avx512 {
    pub(crate) fn new() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        let avx2 = Avx2::new().filter(|_| found)?;
        Some(Self {
            avx2,
            vbmi: Vbmi::new(),
            gfni: Gfni::new(),
        })
    }
}

/// Intrinsics inside a method of the token; see `avx2/mod.rs`.
macro_rules! with_token {
    ($($body:tt)*) => {
        // SAFETY: `self` exists only where `Avx512::new` found the features; pointers come from
        // references to at least as many bytes as are read or written.
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
    fn load_i32(self, x: &[i32; LANES]) -> F32x16 {
        with_token!(F32x16(_mm512_cvtepi32_ps(_mm512_loadu_si512(
            x.as_ptr().cast()
        ))))
    }
    #[inline(always)]
    fn int8_dots<const Q: usize>(
        self,
        queries: [&[i8]; Q],
        keys: &[i8],
        ask: impl FnMut(usize),
    ) -> [[i32; LANES]; Q] {
        with_token!(int8::dots(queries, keys, ask))
    }
    #[inline(always)]
    fn int8_sums<const Q: usize>(
        self,
        weights: [&[i32; SUM_POSITIONS]; Q],
        values: &[i8],
        d: usize,
        column: usize,
        ask: impl FnMut(usize),
    ) -> [[i32; SUM_COLUMNS]; Q] {
        with_token!(int8::sums(weights, values, d, column, ask))
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
    fn prefetch_near<T>(self, at: &T) {
        prefetch(at);
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

/// From how many tokens on codes are better unpacked to L1 than in registers (docs/experiments.md
/// has the figures).
fn many_tokens() -> usize {
    if intel() { 20 } else { 65 }
}

/// The same of group-scaled products.
const MANY_GROUP_TOKENS: usize = 9;

impl Kernels for Avx512 {
    kernel_list!(over_lanes "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c");

    type I2sInput = ();
    type Q6kInput = Q6kInput;

    fn i2s_matmul(
        self,
        w: Ternary<'_>,
        x: &QuantizedActivations,
        _: &(),
        out: &mut OutputRows<'_>,
    ) {
        match x.n_tokens() {
            1 if intel() => with_token!(i2s_one::matvec::<true>(w, x, out)),
            1 => with_token!(i2s_one::matvec::<false>(w, x, out)),
            n if n >= many_tokens() => with_token!(i2s_many::matmul(self, w, x, out)),
            _ if intel() => with_token!(i2s_few::matmul::<true>(w, x, out)),
            _ => with_token!(i2s_few::matmul::<false>(w, x, out)),
        }
    }

    fn i2s_rows(
        self,
        w: Ternary<'_>,
        x: &QuantizedActivations,
        _: &(),
        rows: &[u32],
        out: &mut OutputRows<'_>,
    ) {
        with_token!(sparse::rows(w, x, rows, out));
    }

    #[inline]
    fn has_trits5(self) -> bool {
        self.vbmi.is_some()
    }

    #[inline]
    fn prefers_trits5(self, threads: usize) -> bool {
        self.has_trits5() && (threads > 1 || intel())
    }

    #[inline]
    fn prefers_trits8(self, _threads: usize) -> bool {
        // Measured on a Zen 5 alone; other CPUs with these instructions are taken to be like it.
        self.vbmi.is_some()
    }

    fn trits5_matmul(self, w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>) {
        match self.vbmi {
            Some(vbmi) if x.n_tokens() < many_tokens() => vbmi.matmul(w, x, out),
            _ => unpacked::matmul(
                w,
                out,
                unpacked::PANEL,
                |w, rows, to| self.trits5_unpack(w, rows, to),
                |w, out| self.i2s_matmul(w, x, &(), out),
            ),
        }
    }

    fn trits5_rows(
        self,
        w: Ternary<'_>,
        x: &QuantizedActivations,
        rows: &[u32],
        out: &mut OutputRows<'_>,
    ) {
        match self.vbmi {
            Some(vbmi) => vbmi.rows(w, x, rows, out),
            None => unpacked::rows(
                w,
                rows,
                out,
                |w, rows, to| self.trits5_unpack(w, rows, to),
                |w, run, out| self.i2s_rows(w, x, &(), run, out),
            ),
        }
    }

    fn trits5_unpack(self, w: Ternary<'_>, rows: std::ops::Range<usize>, out: &mut [u8]) {
        match self.vbmi {
            Some(vbmi) => vbmi.unpack(w, rows, out),
            None => self.avx2.trits5_unpack(w, rows, out),
        }
    }

    fn trits5_pack(self, blocks: &[Block], out: &mut [[u8; GROUP_BYTES]]) -> (usize, bool) {
        match self.vbmi {
            Some(vbmi) => vbmi.pack(blocks, out),
            None => self.avx2.trits5_pack(blocks, out),
        }
    }

    fn columns_tile(
        self,
        lines: &[Line],
        columns: &[[u32; 4]],
        values: &[[i8; 4]],
        sums: &mut [i32; TILE],
    ) {
        with_token!(sparse::columns_tile(lines, columns, values, sums));
    }

    #[inline(always)]
    fn grouped_many(self, w: Grouped<'_>, x: &BlockActivations, out: &mut OutputRows<'_>) -> bool {
        let many = x.n_tokens() >= MANY_GROUP_TOKENS;
        if many {
            with_token!(grouped_many::matmul(self, w, x, out));
        }
        many
    }

    #[inline(always)]
    fn group_dots<const BITS: usize, const T: usize>(
        self,
        codes: &[u8],
        x: TokenBlocks<'_>,
    ) -> [F32x16; T] {
        F32x16::all(grouped_few::dots::<BITS, T>(self, codes, x))
    }

    #[inline(always)]
    fn trits8_dots<const T: usize>(
        self,
        unit: &[u8; UNIT_BYTES],
        x: [TokenBlocks<'_>; 2],
    ) -> [[F32x16; T]; 2] {
        let [low, high] = trits8_few::dots::<T>(self, unit, x);
        [F32x16::all(low), F32x16::all(high)]
    }

    #[inline]
    fn q8_0_row<const T: usize>(self, w: &[u8], x: [&[i16]; T]) -> [[f32; LANES]; T] {
        self.avx2.q8_0_row(w, x)
    }

    fn pack_q6_k(self, x: &DenseInput, packed: &mut Q6kInput) {
        packed.set(x);
    }

    fn q6_k_matmul(
        self,
        w: Dense<'_>,
        x: &DenseInput,
        packed: &Q6kInput,
        out: &mut OutputRows<'_>,
    ) {
        match x.n_tokens() {
            1 if intel() => with_token!(q6_k_one::matvec::<true>(w, x, packed, out)),
            1 => with_token!(q6_k_one::matvec::<false>(w, x, packed, out)),
            _ => with_token!(q6_k_few::matmul(w, x, packed, out)),
        }
    }

    /// A list is read at a third of a stream's speed: every line comes by itself, and pages are
    /// small.
    fn listing_limits(self) -> ListingLimits {
        ListingLimits {
            rows: 0.25,
            columns: 0.25,
        }
    }

    fn read_through(self, bytes: &[u8]) -> u64 {
        with_token!(probe::read_through(bytes))
    }

    fn multiply_add_peak(self, turns: u32) -> PeakRun {
        with_token!(probe::multiply_add_peak(turns))
    }
}
