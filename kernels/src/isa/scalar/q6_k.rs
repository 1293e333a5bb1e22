//! The Q6_K product.

use crate::dense::q6_k;
use crate::simd::{LANES, tree_sum};
use crate::{Dense, DenseInput, OutputRows};

/// See [`crate::dense_matmul`].
pub(super) fn matmul(w: Dense<'_>, x: &DenseInput, out: &mut OutputRows<'_>) {
    let range = out.range();
    for t in 0..x.n_tokens() {
        for (r, out) in range.clone().zip(out.token(t)) {
            *out = tree_sum(row(w.row(r), x.wide(t))) / x.scale(t);
        }
    }
}

/// The lanes of a row; see [`crate::isa::kernels::Kernels::q6_k_matmul`].
fn row(w: &[u8], x: &[i16]) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    let blocks = w.as_chunks::<{ q6_k::BYTES }>().0;
    for (b, (block, x)) in blocks
        .iter()
        .zip(x.as_chunks::<{ q6_k::BLOCK }>().0)
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
}
