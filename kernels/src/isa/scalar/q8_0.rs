//! The Q8_0 product.

use crate::dense::q8_0;
use crate::simd::LANES;

/// The lanes of a row; see [`crate::isa::kernels::Kernels::q8_0_row`].
pub(super) fn row(w: &[u8], x: &[i16]) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    let blocks = w.as_chunks::<{ q8_0::BYTES }>().0;
    for (b, (block, x)) in blocks
        .iter()
        .zip(x.as_chunks::<{ q8_0::BLOCK }>().0)
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
}
