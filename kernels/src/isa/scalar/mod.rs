//! The oracle: every kernel in plain Rust, written to be read. All other instruction sets must give
//! its bits.

pub(crate) mod grouped;
mod i2s;
mod q6_k;
mod q8_0;

use super::kernels::{Kernels, kernel_list, over_lanes};
use super::tiles::matmul_tiles;
use crate::simd::{LANES, Simd, tree_sum};
use crate::{Dense, DenseInput, OutputRows, QuantizedActivations, Ternary};

/// Plain Rust; every machine supports it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalar;

impl Scalar {
    pub(crate) fn new() -> Option<Self> {
        Some(Self)
    }
}

impl Simd for Scalar {
    type F = [f32; LANES];

    #[inline(always)]
    fn splat(self, v: f32) -> Self::F {
        [v; LANES]
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        *x
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 2 * LANES]) -> Self::F {
        std::array::from_fn(|i| half::f16::from_le_bytes([x[2 * i], x[2 * i + 1]]).to_f32())
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u8; 2 * LANES]) -> Self::F {
        std::array::from_fn(|i| f32::from_le_bytes([0, 0, x[2 * i], x[2 * i + 1]]))
    }
    #[inline(always)]
    fn load_f32(self, x: &[u8; 4 * LANES]) -> Self::F {
        std::array::from_fn(|i| {
            f32::from_le_bytes([x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]])
        })
    }
    #[inline(always)]
    fn to_array(self, v: Self::F) -> [f32; LANES] {
        v
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn abs(self, v: Self::F) -> Self::F {
        v.map(f32::abs)
    }
    #[inline(always)]
    fn pow2(self, n: Self::F) -> Self::F {
        // n + 2^23 + 127 has the biased exponent in its low mantissa bits.
        n.map(|n| f32::from_bits((n + 8_388_735.0).to_bits() << 23))
    }
    #[inline(always)]
    fn prefetch<T>(self, _at: &T) {}
    #[inline(always)]
    fn sum(self, v: Self::F) -> f32 {
        tree_sum(v)
    }
}

impl Kernels for Scalar {
    kernel_list!(over_lanes plain);

    type I2sInput = ();
    type Q6kInput = ();

    fn i2s_matmul(
        self,
        w: Ternary<'_>,
        x: &QuantizedActivations,
        _: &(),
        out: &mut OutputRows<'_>,
    ) {
        matmul_tiles::<_, _, 1, 1, 4>(self, w, x, |t| x.blocks(t), out);
    }

    fn q8_0_row<const T: usize>(self, w: &[u8], x: [&[i16]; T]) -> [[f32; LANES]; T] {
        x.map(|x| q8_0::row(w, x))
    }

    fn q6_k_matmul(self, w: Dense<'_>, x: &DenseInput, _: &(), out: &mut OutputRows<'_>) {
        q6_k::matmul(w, x, out);
    }
}
