//! The ternary product for one token in wasm SIMD128, plain or relaxed.
//!
//! A few rows at once share the loads of the activations. They lie far apart, so that each is one
//! long linear stream of bytes: neighbouring rows would be short runs that a prefetcher has to find
//! again and again, and wasm has no prefetch.

use std::arch::wasm32::*;

use super::i2s_inner as inner;
use super::i2s_input::I2sInput;
use super::{add_lanes, add_lanes_of_four, load, store};
use crate::isa::outputs::output;
use crate::ternary::Block;
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Rows at once: as many as the inner loop has registers for.
const ROWS: usize = if cfg!(feature = "relaxed-simd") { 4 } else { 2 };

/// See [`crate::ternary_matmul`].
#[inline(never)]
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
pub(super) fn matvec(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    packed: &I2sInput,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    let input = packed.token(0);
    let out = out.token(0);
    let stream = range.len() / ROWS;
    for r in 0..stream {
        let rows: [&[Block]; ROWS] = std::array::from_fn(|i| w.row(range.start + r + i * stream));
        let parts = inner::rows(rows, input);
        // Kept as integers, so that the divisions are done four at once.
        let sums = match *parts.as_slice() {
            [a, b, c, d] => add_lanes_of_four([a, b, c, d]),
            _ => std::array::from_fn(|i| parts.get(i).map_or(0, |sum| add_lanes(*sum))),
        };
        for (i, sum) in sums.into_iter().take(ROWS).enumerate() {
            out[r + i * stream] = f32::from_bits(sum as u32);
        }
    }
    let done = ROWS * stream;
    for (r, out) in (range.start + done..range.end).zip(&mut out[done..]) {
        let [sum] = inner::rows([w.row(r)], input);
        *out = f32::from_bits(add_lanes(sum) as u32);
    }
    finish(out, x.sum(0), x.scale(0), w.scale());
}

/// Puts the results of [`output`] in place of the sums, whose bits `out` holds.
fn finish(out: &mut [f32], q_sum: i32, scale: f32, w_scale: f32) {
    let (fours, rest) = out.as_chunks_mut::<4>();
    let offset = i32x4_splat(q_sum);
    let (by, w_by) = (f32x4_splat(scale), f32x4_splat(w_scale));
    for four in fours {
        let values = f32x4_convert_i32x4(i32x4_sub(load(four), offset));
        store(f32x4_mul(f32x4_div(values, by), w_by), four);
    }
    for out in rest {
        *out = output(out.to_bits() as i32, q_sum, scale, w_scale);
    }
}
