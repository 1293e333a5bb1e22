//! The ternary product for one token in wasm SIMD128, plain or relaxed.
//!
//! A few rows at once share the loads of the activations. They lie far apart, so that each is one long linear stream of
//! bytes: neighbouring rows would be short runs that a prefetcher has to find again and again, and wasm has no prefetch.

use super::simd128_inner as inner;
use crate::ternary::{Block, write_token};
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Rows at once: as many as the inner loop has registers for.
const ROWS: usize = if cfg!(feature = "relaxed-simd") { 4 } else { 2 };

/// See [`crate::ternary_matmul`].
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
pub(super) fn matvec(w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>) {
    let range = out.range();
    let input = x.token_row(0).arranged;
    let stream = range.len() / ROWS;
    for r in range.start..range.start + stream {
        let rows: [&[Block]; ROWS] = std::array::from_fn(|i| w.row(r + i * stream));
        for (i, sum) in inner::rows(rows, input).into_iter().enumerate() {
            write_token(w, x, out, r + i * stream, 0, &[sum]);
        }
    }
    for r in range.start + ROWS * stream..range.end {
        write_token(w, x, out, r, 0, &inner::rows([w.row(r)], input));
    }
}
