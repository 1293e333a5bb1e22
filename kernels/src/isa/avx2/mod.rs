//! AVX2 with F16C: sixteen lanes are two `__m256`. FMA is never used, present or not.

mod dense;
mod grouped_few;
mod i2s_few;
mod i2s_many;
mod int8;
mod probe;
mod q6_k_few;
mod q6_k_input;
mod q6_k_one;
mod q8_0_few;
mod sparse;
mod trits8_few;

use std::arch::x86_64::*;

use super::kernels::{Kernels, kernel_list, over_lanes};
use super::preferences::ListingLimits;
use super::probe::PeakRun;
use super::tiles::{I2sTile, matmul_tiles};
use crate::grouped::TokenBlocks;
use crate::grouped::trits8::UNIT_BYTES;
use crate::simd::{LANES, SUM_COLUMNS, SUM_POSITIONS, Simd};
use crate::sparse::columns::{Line, TILE};
use crate::ternary::{Activations, Block};
use crate::{Dense, DenseInput, OutputRows, QuantizedActivations, Ternary};
use q6_k_input::Q6kInput;
pub(crate) use trits8_few::NINTH;

/// Prefetch distances of a linear read, in bytes: into L1, and into L2 (docs/experiments.md has the
/// measurements).
const PREFETCH_BYTES: usize = 1024;
pub(crate) const PREFETCH_FAR_BYTES: usize = 8192;

/// Proof of AVX2 and F16C.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

/// Lanes 0..8 and 8..16.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m256, __m256);

impl F32x16 {
    #[inline(always)]
    fn of_halves<const T: usize>(low: [__m256; T], high: [__m256; T]) -> [Self; T] {
        let mut lanes = [Self(low[0], high[0]); T];
        for (lanes, (low, high)) in lanes.iter_mut().zip(low.into_iter().zip(high)) {
            *lanes = Self(low, high);
        }
        lanes
    }
}

impl Avx2 {
    pub(crate) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c")).then_some(Self(()))
    }
}

/// Intrinsics inside a method of the token. `target_feature` functions cannot be inlined by force,
/// and these methods must be, so the features are vouched for here.
macro_rules! with_token {
    ($($body:tt)*) => {
        // SAFETY: `self` exists only where `Avx2::new` found AVX2 and F16C; pointers come from
        // references to at least as many bytes as are read or written.
        unsafe { $($body)* }
    };
}

impl Simd for Avx2 {
    type F = F32x16;

    #[inline(always)]
    fn splat(self, v: f32) -> F32x16 {
        let v = with_token!(_mm256_set1_ps(v));
        F32x16(v, v)
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> F32x16 {
        with_token!(F32x16(
            _mm256_loadu_ps(x.as_ptr()),
            _mm256_loadu_ps(x.as_ptr().add(8))
        ))
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 2 * LANES]) -> F32x16 {
        let p = x.as_ptr().cast::<__m128i>();
        with_token!(F32x16(
            _mm256_cvtph_ps(_mm_loadu_si128(p)),
            _mm256_cvtph_ps(_mm_loadu_si128(p.add(1)))
        ))
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u8; 2 * LANES]) -> F32x16 {
        let p = x.as_ptr().cast::<__m128i>();
        with_token!({
            let low = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)));
            let high = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(1))));
            F32x16(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
        })
    }
    #[inline(always)]
    fn load_f32(self, x: &[u8; 4 * LANES]) -> F32x16 {
        let p = x.as_ptr().cast::<f32>();
        with_token!(F32x16(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))))
    }
    #[inline(always)]
    fn load_i32(self, x: &[i32; LANES]) -> F32x16 {
        let p = x.as_ptr().cast::<__m256i>();
        with_token!(F32x16(
            _mm256_cvtepi32_ps(_mm256_loadu_si256(p)),
            _mm256_cvtepi32_ps(_mm256_loadu_si256(p.add(1)))
        ))
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
        with_token!({
            _mm256_storeu_ps(out.as_mut_ptr(), v.0);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), v.1);
        });
        out
    }
    #[inline(always)]
    fn add(self, a: F32x16, b: F32x16) -> F32x16 {
        with_token!(F32x16(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)))
    }
    #[inline(always)]
    fn sub(self, a: F32x16, b: F32x16) -> F32x16 {
        with_token!(F32x16(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)))
    }
    #[inline(always)]
    fn mul(self, a: F32x16, b: F32x16) -> F32x16 {
        with_token!(F32x16(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)))
    }
    #[inline(always)]
    fn div(self, a: F32x16, b: F32x16) -> F32x16 {
        with_token!(F32x16(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)))
    }
    #[inline(always)]
    fn max(self, a: F32x16, b: F32x16) -> F32x16 {
        with_token!(F32x16(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)))
    }
    #[inline(always)]
    fn min(self, a: F32x16, b: F32x16) -> F32x16 {
        with_token!(F32x16(_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)))
    }
    #[inline(always)]
    fn abs(self, v: F32x16) -> F32x16 {
        with_token!({
            let sign = _mm256_set1_ps(-0.0);
            F32x16(_mm256_andnot_ps(sign, v.0), _mm256_andnot_ps(sign, v.1))
        })
    }
    #[inline(always)]
    fn pow2(self, n: F32x16) -> F32x16 {
        with_token!({
            let bias = _mm256_set1_ps(8_388_735.0); // 2^23 + 127
            let low = _mm256_slli_epi32::<23>(_mm256_castps_si256(_mm256_add_ps(n.0, bias)));
            let high = _mm256_slli_epi32::<23>(_mm256_castps_si256(_mm256_add_ps(n.1, bias)));
            F32x16(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
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
        with_token!({
            let eight = _mm256_add_ps(v.0, v.1);
            let four = _mm_add_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }
}

/// Prefetches the line `PREFETCH_BYTES` behind `at` into L1.
#[inline(always)]
pub(crate) fn prefetch<T>(at: &T) {
    let p = std::ptr::from_ref(at)
        .cast::<i8>()
        .wrapping_add(PREFETCH_BYTES);
    // SAFETY: a prefetch never faults, whatever the address; SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(p) };
}

/// Prefetches the line `PREFETCH_FAR_BYTES` behind `at` into L2: into L1, so far ahead, it would
/// push out what is in use.
#[inline(always)]
pub(crate) fn prefetch_far<T>(at: &T) {
    let p = std::ptr::from_ref(at)
        .cast::<i8>()
        .wrapping_add(PREFETCH_FAR_BYTES);
    // SAFETY: a prefetch never faults, whatever the address; SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(p) };
}

/// 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load<T>(at: &[T; 32]) -> __m256i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: a reference to 32 one-byte values, any alignment.
    unsafe { _mm256_loadu_si256(at.as_ptr().cast()) }
}

/// 16 int16.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_i16(at: &[i16; 16]) -> __m256i {
    // SAFETY: a reference to 32 bytes, any alignment.
    unsafe { _mm256_loadu_si256(at.as_ptr().cast()) }
}

/// 16 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_half(at: &[u8; 16]) -> __m128i {
    // SAFETY: a reference to 16 bytes, any alignment.
    unsafe { _mm_loadu_si128(at.as_ptr().cast()) }
}

impl Kernels for Avx2 {
    kernel_list!(over_lanes "avx2,f16c");

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
            matmul_tiles::<_, _, 1, 1, 4>(self, w, x, |t| x.blocks(t), out);
        } else {
            with_token!(i2s_many::matmul(w, x, out));
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

    fn trits5_unpack(self, w: Ternary<'_>, rows: std::ops::Range<usize>, out: &mut [u8]) {
        /// The same code, of which the compiler makes 256-bit vectors.
        #[target_feature(enable = "avx2")]
        fn unpack(w: Ternary<'_>, rows: std::ops::Range<usize>, out: &mut [u8]) {
            crate::trits5::unpack::unpack_rows(w, rows, out);
        }
        with_token!(unpack(w, rows, out));
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
    fn group_dots<const BITS: usize, const T: usize>(
        self,
        codes: &[u8],
        x: TokenBlocks<'_>,
    ) -> [F32x16; T] {
        grouped_few::dots::<BITS, T>(self, codes, x)
    }

    #[inline(always)]
    fn trits8_dots<const T: usize>(
        self,
        unit: &[u8; UNIT_BYTES],
        x: [TokenBlocks<'_>; 2],
    ) -> [[F32x16; T]; 2] {
        trits8_few::dots::<T>(self, unit, x)
    }

    #[inline]
    fn q8_0_row<const T: usize>(self, w: &[u8], x: [&[i16]; T]) -> [[f32; LANES]; T] {
        with_token!(q8_0_few::row(w, x))
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
        if x.n_tokens() == 1 {
            with_token!(q6_k_one::matvec(w, x, packed, out));
        } else {
            with_token!(q6_k_few::matmul(w, x, packed, out));
        }
    }

    /// A list is read at a third of a stream's speed: every line comes by itself, and pages are
    /// small.
    fn listing_limits(self) -> ListingLimits {
        ListingLimits {
            rows: 0.3,
            columns: 0.3,
        }
    }

    fn read_through(self, bytes: &[u8]) -> u64 {
        with_token!(probe::read_through(bytes))
    }

    fn multiply_add_peak(self, turns: u32) -> PeakRun {
        with_token!(probe::multiply_add_peak(turns))
    }
}

impl I2sTile<&[Activations]> for Avx2 {
    #[inline]
    fn tile<const R: usize, const T: usize>(
        self,
        w: [&[Block]; R],
        x: [&[Activations]; T],
    ) -> [[i32; T]; R] {
        with_token!(i2s_few::tile(w, x))
    }
}
