//! wasm SIMD128: sixteen lanes are four `v128`. Chosen when the module is built, since an engine
//! validates a module as a whole. With the crate's feature `relaxed-simd` the ternary loop is
//! another (`i2s_inner_relaxed.rs`); everything else is plain.

#[cfg_attr(feature = "relaxed-simd", path = "grouped_few_relaxed.rs")]
mod grouped_few;
#[cfg_attr(feature = "relaxed-simd", path = "i2s_inner_relaxed.rs")]
mod i2s_inner;
mod i2s_input;
mod i2s_many;
mod i2s_one;
mod int8;
mod q6_k;
mod q6_k_few;
#[cfg_attr(feature = "relaxed-simd", path = "q6_k_one_relaxed.rs")]
mod q6_k_one;
mod q8_0_few;
#[cfg_attr(feature = "relaxed-simd", path = "trits8_few_relaxed.rs")]
mod trits8_few;
mod turns;

use std::arch::wasm32::*;

#[cfg(feature = "relaxed-simd")]
use super::grouped_tiles::{Codes, FAR, far_tile_sums, tile_sums};
use super::kernels::{Kernels, kernel_list, over_lanes};
use super::tiles::{I2sTile, matmul_tiles};
use crate::grouped::TokenBlocks;
use crate::grouped::trits8::UNIT_BYTES;
use crate::simd::{LANES, SUM_COLUMNS, SUM_POSITIONS, Simd};
use crate::ternary::Block;
#[cfg(feature = "relaxed-simd")]
use crate::{BlockActivations, Grouped};
use crate::{Dense, DenseInput, OutputRows, QuantizedActivations, Ternary};
use i2s_inner::Arranged;
use i2s_input::I2sInput;
use q6_k::Q6kInput;

/// A module built with `simd128` only runs where it exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Simd128;

impl Simd128 {
    pub(crate) fn new() -> Option<Self> {
        Some(Self)
    }
}

/// Lanes 0..4, 4..8, 8..12 and 12..16.
#[derive(Clone, Copy)]
pub(crate) struct F32x16([v128; 4]);

impl F32x16 {
    /// Lanes 0..8 and 8..16.
    #[cfg(feature = "relaxed-simd")]
    #[inline(always)]
    pub(crate) fn of_halves([[a, b], [c, d]]: [[v128; 2]; 2]) -> Self {
        F32x16([a, b, c, d])
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(v128, v128) -> v128) -> Self {
        F32x16(std::array::from_fn(
            #[inline(always)]
            |i| f(self.0[i], other.0[i]),
        ))
    }
}

/// Sixteen bytes at any address.
#[inline(always)]
pub(crate) fn load<T>(at: &[T]) -> v128 {
    assert!(size_of_val(at) >= 16);
    // SAFETY: the slice has at least 16 bytes; v128.load has no alignment requirement.
    unsafe { v128_load(at.as_ptr().cast()) }
}

/// Eight int8 at any address, widened to int16.
#[inline(always)]
pub(crate) fn load_i8x8(at: &[u8; 8]) -> v128 {
    // SAFETY: a reference to 8 bytes; the load has no alignment requirement.
    unsafe { i16x8_load_extend_i8x8(at.as_ptr().cast()) }
}

/// Four neighbouring int8 in each of four lanes, which takes no instruction besides the load.
#[cfg(feature = "relaxed-simd")]
#[inline(always)]
pub(crate) fn load_splat(at: &[i8; 4]) -> v128 {
    // SAFETY: a reference to 4 bytes; the load has no alignment requirement.
    unsafe { v128_load32_splat(at.as_ptr().cast()) }
}

/// Stores sixteen bytes.
#[inline(always)]
pub(crate) fn store_bytes(v: v128, out: &mut [u8; 16]) {
    // SAFETY: a reference to 16 bytes; v128.store has no alignment requirement.
    unsafe { v128_store(out.as_mut_ptr().cast(), v) }
}

/// Stores eight int16.
#[inline(always)]
pub(crate) fn store_halves(v: v128, out: &mut [i16; 8]) {
    // SAFETY: a reference to 16 bytes; v128.store has no alignment requirement.
    unsafe { v128_store(out.as_mut_ptr().cast(), v) }
}

/// Stores four int32.
#[inline(always)]
pub(crate) fn store_ints(v: v128, out: &mut [i32; 4]) {
    // SAFETY: a reference to 16 bytes; v128.store has no alignment requirement.
    unsafe { v128_store(out.as_mut_ptr().cast(), v) }
}

/// Stores four lanes.
#[inline(always)]
pub(crate) fn store(v: v128, out: &mut [f32; 4]) {
    // SAFETY: a reference to 16 bytes; v128.store has no alignment requirement.
    unsafe { v128_store(out.as_mut_ptr().cast(), v) }
}

/// a > b ? a : b
#[inline(always)]
fn greater(a: v128, b: v128) -> v128 {
    if cfg!(feature = "relaxed-simd") {
        v128_bitselect(a, b, opaque(f32x4_gt(a, b)))
    } else {
        f32x4_pmax(b, a) // b < a ? a : b
    }
}

/// a < b ? a : b
#[inline(always)]
fn lesser(a: v128, b: v128) -> v128 {
    if cfg!(feature = "relaxed-simd") {
        v128_bitselect(a, b, opaque(f32x4_lt(a, b)))
    } else {
        f32x4_pmin(b, a) // a < b ? a : b
    }
}

/// The same vector, through an instruction that LLVM does not look into. Where relaxed SIMD is on
/// it makes relaxed_max of every comparison and choice that is a maximum, and that gives other
/// results on other CPUs.
#[inline(always)]
fn opaque(v: v128) -> v128 {
    u8x16_swizzle(
        v,
        u8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    )
}

/// The sum of four i32 lanes.
#[inline(always)]
pub(crate) fn add_lanes(v: v128) -> i32 {
    i32x4_extract_lane::<0>(v)
        + i32x4_extract_lane::<1>(v)
        + i32x4_extract_lane::<2>(v)
        + i32x4_extract_lane::<3>(v)
}

/// The lane sums of four vectors at once.
#[inline(always)]
pub(crate) fn add_lanes_of_four([a, b, c, d]: [v128; 4]) -> [i32; 4] {
    let ab = i32x4_add(
        i32x4_shuffle::<0, 4, 1, 5>(a, b),
        i32x4_shuffle::<2, 6, 3, 7>(a, b),
    );
    let cd = i32x4_add(
        i32x4_shuffle::<0, 4, 1, 5>(c, d),
        i32x4_shuffle::<2, 6, 3, 7>(c, d),
    );
    let sums = i32x4_add(i64x2_shuffle::<0, 2>(ab, cd), i64x2_shuffle::<1, 3>(ab, cd));
    let mut out = [0; 4];
    store_ints(sums, &mut out);
    out
}

/// Four f16 in the high halves of u32 lanes, as f32, exact. An arithmetic shift moves the magnitude
/// into place and keeps the sign; a multiplication rebases the exponent, which also turns
/// subnormals into normals. Infinity and NaN come out as large numbers.
#[inline(always)]
fn widen_f16(h: v128) -> v128 {
    let bits = v128_and(i32x4_shr(h, 3), u32x4_splat(0x8fff_e000));
    f32x4_mul(bits, f32x4_splat(f32::from_bits((127 + 112) << 23)))
}

/// One f16 as f32, exact, without a call into a software conversion. Not as in [`widen_f16`]: the
/// scales of small weights are subnormal in f16, block after block, and a multiplication that takes
/// in a subnormal costs some CPUs a hundred cycles.
#[inline(always)]
pub(crate) fn widen_scale(bytes: [u8; 2]) -> f32 {
    let h = u32::from(u16::from_le_bytes(bytes));
    let (sign, magnitude) = ((h & 0x8000) << 16, h & 0x7fff);
    let magnitude = match magnitude {
        0..0x0400 => (magnitude as f32 * f32::from_bits((127 - 24) << 23)).to_bits(),
        0x0400..0x7c00 => (magnitude << 13) + ((127 - 15) << 23),
        _ => magnitude << 13 | f32::INFINITY.to_bits(), // an infinity or NaN
    };
    f32::from_bits(sign | magnitude)
}

/// Eight f16 as eight f32, exact.
#[inline(always)]
fn widen_eight(h: v128) -> [v128; 2] {
    let zero = u16x8_splat(0);
    let low = i16x8_shuffle::<0, 8, 0, 9, 0, 10, 0, 11>(zero, h);
    let high = i16x8_shuffle::<0, 12, 0, 13, 0, 14, 0, 15>(zero, h);
    let widened = [widen_f16(low), widen_f16(high)];
    let exponent = u16x8_splat(0x7c00);
    let special = u16x8_eq(v128_and(h, exponent), exponent);
    if v128_any_true(special) {
        // Rare: give infinities and NaN the full exponent.
        let full = u32x4_splat(0x7f80_0000);
        [
            v128_or(widened[0], v128_and(i32x4_extend_low_i16x8(special), full)),
            v128_or(widened[1], v128_and(i32x4_extend_high_i16x8(special), full)),
        ]
    } else {
        widened
    }
}

impl Simd for Simd128 {
    type F = F32x16;

    #[inline(always)]
    fn splat(self, v: f32) -> F32x16 {
        F32x16([f32x4_splat(v); 4])
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> F32x16 {
        F32x16(std::array::from_fn(
            #[inline(always)]
            |i| load(&x[4 * i..4 * i + 4]),
        ))
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 2 * LANES]) -> F32x16 {
        let ([a, b], [c, d]) = (widen_eight(load(&x[..16])), widen_eight(load(&x[16..])));
        F32x16([a, b, c, d])
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u8; 2 * LANES]) -> F32x16 {
        let (a, b) = (load(&x[..16]), load(&x[16..]));
        F32x16([
            u32x4_shl(u32x4_extend_low_u16x8(a), 16),
            u32x4_shl(u32x4_extend_high_u16x8(a), 16),
            u32x4_shl(u32x4_extend_low_u16x8(b), 16),
            u32x4_shl(u32x4_extend_high_u16x8(b), 16),
        ])
    }
    #[inline(always)]
    fn load_f32(self, x: &[u8; 4 * LANES]) -> F32x16 {
        F32x16(std::array::from_fn(
            #[inline(always)]
            |i| load(&x[16 * i..16 * i + 16]),
        ))
    }
    #[inline(always)]
    fn int8_dots<const Q: usize>(
        self,
        queries: [&[i8]; Q],
        keys: &[i8],
        _: impl FnMut(usize),
    ) -> [[i32; LANES]; Q] {
        int8::dots(queries, keys)
    }
    #[inline(always)]
    fn int8_sums<const Q: usize>(
        self,
        weights: [&[i32; SUM_POSITIONS]; Q],
        values: &[i8],
        d: usize,
        column: usize,
        _: impl FnMut(usize),
    ) -> [[i32; SUM_COLUMNS]; Q] {
        int8::sums(weights, values, d, column)
    }
    #[inline(always)]
    fn load_i32(self, x: &[i32; LANES]) -> F32x16 {
        F32x16(std::array::from_fn(
            #[inline(always)]
            |i| f32x4_convert_i32x4(load(&x[4 * i..4 * i + 4])),
        ))
    }
    #[inline(always)]
    fn to_array(self, v: F32x16) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        for (v, out) in v.0.into_iter().zip(out.as_chunks_mut::<4>().0) {
            store(v, out);
        }
        out
    }
    #[inline(always)]
    fn add(self, a: F32x16, b: F32x16) -> F32x16 {
        a.zip(
            b,
            #[inline(always)]
            |a, b| f32x4_add(a, b),
        )
    }
    #[inline(always)]
    fn sub(self, a: F32x16, b: F32x16) -> F32x16 {
        a.zip(
            b,
            #[inline(always)]
            |a, b| f32x4_sub(a, b),
        )
    }
    #[inline(always)]
    fn mul(self, a: F32x16, b: F32x16) -> F32x16 {
        a.zip(
            b,
            #[inline(always)]
            |a, b| f32x4_mul(a, b),
        )
    }
    #[inline(always)]
    fn div(self, a: F32x16, b: F32x16) -> F32x16 {
        a.zip(
            b,
            #[inline(always)]
            |a, b| f32x4_div(a, b),
        )
    }
    #[inline(always)]
    fn max(self, a: F32x16, b: F32x16) -> F32x16 {
        a.zip(b, greater)
    }
    #[inline(always)]
    fn min(self, a: F32x16, b: F32x16) -> F32x16 {
        a.zip(b, lesser)
    }
    #[inline(always)]
    fn abs(self, v: F32x16) -> F32x16 {
        F32x16(v.0.map(
            #[inline(always)]
            |v| f32x4_abs(v),
        ))
    }
    #[inline(always)]
    fn pow2(self, n: F32x16) -> F32x16 {
        let bias = f32x4_splat(8_388_735.0); // 2^23 + 127
        F32x16(n.0.map(
            #[inline(always)]
            |n| u32x4_shl(f32x4_add(n, bias), 23),
        ))
    }
    #[inline(always)]
    fn prefetch<T>(self, _at: &T) {}
    #[inline(always)]
    fn sum(self, v: F32x16) -> f32 {
        let [a, b, c, d] = v.0;
        let four = f32x4_add(f32x4_add(a, c), f32x4_add(b, d));
        let two = f32x4_add(four, u64x2_shuffle::<1, 0>(four, four));
        f32x4_extract_lane::<0>(two) + f32x4_extract_lane::<1>(two)
    }
}

impl Kernels for Simd128 {
    kernel_list!(over_lanes plain);

    type I2sInput = I2sInput;
    type Q6kInput = Q6kInput;

    fn pack_i2s(self, x: &QuantizedActivations, packed: &mut I2sInput) {
        packed.set(x);
    }

    // One copy of each loop, whoever calls it.
    #[inline(never)]
    fn i2s_matmul(
        self,
        w: Ternary<'_>,
        x: &QuantizedActivations,
        packed: &I2sInput,
        out: &mut OutputRows<'_>,
    ) {
        match x.n_tokens() {
            1 => i2s_one::matvec(w, x, packed, out),
            n if n < i2s_many::MIN_TOKENS => {
                matmul_tiles::<_, _, 1, 1, 2>(self, w, x, |t| packed.token(t), out);
            }
            _ => i2s_many::matmul(w, x, packed, out),
        }
    }

    #[inline(always)]
    fn group_dots<const BITS: usize, const T: usize>(
        self,
        codes: &[u8],
        x: TokenBlocks<'_>,
    ) -> [F32x16; T] {
        grouped_few::dots::<BITS, T>(codes, x)
    }

    /// Sums of more do not stay in registers.
    #[cfg(feature = "relaxed-simd")]
    const GROUP_TOKENS: usize = 2;

    /// There are no prefetches to ask by.
    const FAR_GROUP_TILES: bool = true;

    /// As `group_tile`.
    #[cfg(feature = "relaxed-simd")]
    #[inline]
    fn far_group_tiles<C: Codes>(
        self,
        w: Grouped<'_>,
        tiles: [usize; FAR],
        x: &BlockActivations,
    ) -> [[f32; LANES]; FAR] {
        #[target_feature(enable = "relaxed-simd")]
        fn relaxed<C: Codes>(
            k: Simd128,
            w: Grouped<'_>,
            tiles: [usize; FAR],
            x: &BlockActivations,
        ) -> [[f32; LANES]; FAR] {
            far_tile_sums::<Simd128, C>(k, w, tiles, x)
        }
        relaxed::<C>(self, w, tiles, x)
    }

    /// As one function with relaxed SIMD, since functions that have it are not inlined elsewhere.
    #[cfg(feature = "relaxed-simd")]
    #[inline]
    fn group_tile<C: Codes, const T: usize>(
        self,
        w: Grouped<'_>,
        tile: usize,
        x: &BlockActivations,
        t: usize,
    ) -> [[f32; LANES]; T] {
        #[target_feature(enable = "relaxed-simd")]
        fn relaxed<C: Codes, const T: usize>(
            k: Simd128,
            w: Grouped<'_>,
            tile: usize,
            x: &BlockActivations,
            t: usize,
        ) -> [[f32; LANES]; T] {
            tile_sums::<Simd128, C, T>(k, w, tile, x, t)
        }
        relaxed::<C, T>(self, w, tile, x, t)
    }

    #[inline(always)]
    fn trits8_dots<const T: usize>(
        self,
        unit: &[u8; UNIT_BYTES],
        x: [TokenBlocks<'_>; 2],
    ) -> [[F32x16; T]; 2] {
        trits8_few::dots::<T>(unit, x)
    }

    #[inline]
    fn q8_0_row<const T: usize>(self, w: &[u8], x: [&[i16]; T]) -> [[f32; LANES]; T] {
        q8_0_few::row(w, x)
    }

    fn pack_q6_k(self, x: &DenseInput, packed: &mut Q6kInput) {
        packed.set(x);
    }

    #[inline]
    fn q6_k_matmul(
        self,
        w: Dense<'_>,
        x: &DenseInput,
        packed: &Q6kInput,
        out: &mut OutputRows<'_>,
    ) {
        q6_k::matmul(w, x, packed, out);
    }
}

impl I2sTile<&[Arranged]> for Simd128 {
    #[inline]
    fn tile<const R: usize, const T: usize>(
        self,
        w: [&[Block]; R],
        x: [&[Arranged]; T],
    ) -> [[i32; T]; R] {
        w.map(|row| i2s_inner::tokens(row, x))
    }
}
