//! The Q8_0 inner loop in wasm SIMD128: everything widened to int16 for `i32x4.dot_i16x8_s`.

use std::arch::wasm32::*;

use super::{load, load_i8x8, store, widen_scale};
use crate::dense::q8_0;
use crate::simd::LANES;

/// Result lanes 0..4 and 4..8 of even and of odd blocks.
type Acc = [[v128; 2]; 2];

/// Adds float(sums) * d to the lanes of block `b`.
#[inline(always)]
fn accumulate(acc: &mut Acc, b: usize, sums: [v128; 2], d: f32) {
    for (acc, sums) in acc[b % 2].iter_mut().zip(sums) {
        *acc = f32x4_add(*acc, f32x4_mul(f32x4_convert_i32x4(sums), f32x4_splat(d)));
    }
}

#[inline(always)]
fn lanes<const T: usize>(acc: [Acc; T]) -> [[f32; LANES]; T] {
    acc.map(
        #[inline(always)]
        |acc| {
            let mut out = [0.0; LANES];
            for (v, out) in acc.as_flattened().iter().zip(out.as_chunks_mut::<4>().0) {
                store(*v, out);
            }
            out
        },
    )
}

/// See [`crate::isa::kernels::Kernels::q8_0_row`].
#[inline(always)]
pub(super) fn row<const T: usize>(w: &[u8], x: [&[i16]; T]) -> [[f32; LANES]; T] {
    let blocks = w.as_chunks::<{ q8_0::BYTES }>().0;
    let x = x.map(|x| &x.as_chunks::<{ q8_0::BLOCK }>().0[..blocks.len()]);
    let mut acc = [[[f32x4_splat(0.0); 2]; 2]; T];
    for (b, block) in blocks.iter().enumerate() {
        let d = widen_scale([block[0], block[1]]);
        let values = block[2..].as_chunks::<8>().0;
        let w: [v128; 4] = std::array::from_fn(
            #[inline(always)]
            |i| load_i8x8(&values[i]),
        );
        for t in 0..T {
            let dot = |i: usize| i32x4_dot_i16x8(w[i], load(&x[t][b][8 * i..8 * i + 8]));
            let sums = [i32x4_add(dot(0), dot(2)), i32x4_add(dot(1), dot(3))];
            accumulate(&mut acc[t], b, sums, d);
        }
    }
    lanes(acc)
}
