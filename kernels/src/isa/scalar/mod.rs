//! The oracle: every kernel in plain Rust, written to be read. All other instruction sets must give its bits.

use crate::dense::{q6_k, q8_0};
use crate::isa::kernels::{Kernels, QuantRow, TernaryTiles};
use crate::simd::LANES;
use crate::simd::{Simd, tree_sum};
use crate::ternary::{Activations, Block, TokenRow};

/// Plain Rust; every machine supports it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalar;

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
    crate::isa::kernels::float_kernels!(plain);

    fn ternary_matmul(
        self,
        w: crate::Ternary<'_>,
        x: &crate::QuantizedActivations,
        out: &mut crate::OutputRows<'_>,
    ) {
        crate::ternary::matmul_tiles::<_, 1, 1, 4>(self, w, x, out);
    }

    fn q8_0_row<const T: usize>(self, w: &[u8], x: [QuantRow<'_>; T]) -> [[f32; LANES]; T] {
        x.map(|x| {
            let mut lanes = [0.0; LANES];
            let blocks = w.as_chunks::<{ q8_0::BYTES }>().0;
            for (b, (block, x)) in blocks
                .iter()
                .zip(x.wide.as_chunks::<{ q8_0::BLOCK }>().0)
                .enumerate()
            {
                let mut sums = [0i32; 8];
                for (i, (w, x)) in q8_0::values(block).iter().zip(x).enumerate() {
                    sums[i % 16 / 2] += i32::from(*w as i8) * i32::from(*x);
                }
                let d = q8_0::d(block);
                for (j, sum) in sums.into_iter().enumerate() {
                    lanes[b % 2 * 8 + j] += sum as f32 * d;
                }
            }
            lanes
        })
    }

    fn q6_k_row<const T: usize>(self, w: &[u8], x: [QuantRow<'_>; T]) -> [[f32; LANES]; T] {
        x.map(|x| {
            let mut lanes = [0.0; LANES];
            let blocks = w.as_chunks::<{ q6_k::BYTES }>().0;
            for (b, (block, x)) in blocks
                .iter()
                .zip(x.wide.as_chunks::<{ q6_k::BLOCK }>().0)
                .enumerate()
            {
                let mut sums = [0i32; 8];
                for (i, x) in x.iter().enumerate() {
                    let (q, scale) = q6_k::weight(block, i);
                    sums[i % 32 / 4] += i32::from(q) * i32::from(scale) * i32::from(*x);
                }
                let d = q6_k::d(block);
                for (j, sum) in sums.into_iter().enumerate() {
                    lanes[b % 2 * 8 + j] += sum as f32 * d;
                }
            }
            lanes
        })
    }
}

impl TernaryTiles for Scalar {
    fn ternary_tile<const R: usize, const T: usize>(
        self,
        w: [&[Block]; R],
        x: [TokenRow<'_>; T],
    ) -> [[i32; T]; R] {
        w.map(|row| {
            x.map(|token| {
                row.iter()
                    .zip(token.q)
                    .map(|(block, x)| ternary_block(block, x))
                    .sum()
            })
        })
    }
}

/// sum of code * q over one block of 128 weights.
fn ternary_block(block: &Block, x: &Activations) -> i32 {
    let mut sum = 0;
    for g in 0..4 {
        for p in 0..32 {
            let code = (block[p] >> (6 - 2 * g)) & 3;
            sum += i32::from(code) * i32::from(x[32 * g + p]);
        }
    }
    sum
}
