//! The quantised dense inner loops in wasm SIMD128: everything widened to int16 for `i32x4.dot_i16x8_s`.

use std::arch::wasm32::*;

use super::QuantRow;
use super::simd128::{load, load_i8x8, store};
use crate::dense::{q6_k, q8_0};
use crate::ops::lanes::LANES;

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

/// See [`super::Kernels::q8_0_row`].
#[inline(always)]
pub(super) fn q8_0_row<const T: usize>(w: &[u8], x: [QuantRow<'_>; T]) -> [[f32; LANES]; T] {
    let blocks = w.as_chunks::<{ q8_0::BYTES }>().0;
    let x = x.map(|x| &x.wide.as_chunks::<{ q8_0::BLOCK }>().0[..blocks.len()]);
    let mut acc = [[[f32x4_splat(0.0); 2]; 2]; T];
    for (b, block) in blocks.iter().enumerate() {
        let d = q8_0::d(block);
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

/// See [`super::Kernels::q6_k_row`]. A dot leaves sums of two neighbours; a result lane is two of those side by side, so
/// they stay apart until the block is done.
#[inline(always)]
pub(super) fn q6_k_row<const T: usize>(w: &[u8], x: [QuantRow<'_>; T]) -> [[f32; LANES]; T] {
    let blocks = w.as_chunks::<{ q6_k::BYTES }>().0;
    let x = x.map(|x| &x.wide.as_chunks::<{ q6_k::BLOCK }>().0[..blocks.len()]);
    let mut acc = [[[f32x4_splat(0.0); 2]; 2]; T];
    for (b, block) in blocks.iter().enumerate() {
        // [eight values of i % 32 / 8]
        let mut pairs = [[i32x4_splat(0); 4]; T];
        for n in 0..2 {
            for k in 0..4 {
                for s in 0..2 {
                    let q = sixteen(block, n, k, s);
                    let scale = block[q6_k::SCALES + 8 * n + 2 * k + s] as i8;
                    let scale = i16x8_splat(i16::from(scale));
                    let low = i16x8_mul(i16x8_extend_low_i8x16(q), scale);
                    let high = i16x8_mul(i16x8_extend_high_i8x16(q), scale);
                    let at = 128 * n + 32 * k + 16 * s;
                    for t in 0..T {
                        let x = &x[t][b][at..at + 16];
                        let pairs = &mut pairs[t];
                        pairs[2 * s] = i32x4_add(pairs[2 * s], i32x4_dot_i16x8(low, load(&x[..8])));
                        pairs[2 * s + 1] =
                            i32x4_add(pairs[2 * s + 1], i32x4_dot_i16x8(high, load(&x[8..])));
                    }
                }
            }
        }
        let d = q6_k::d(block);
        for t in 0..T {
            let [a, b0, c, d0] = pairs[t];
            accumulate(&mut acc[t], b, [neighbours(a, b0), neighbours(c, d0)], d);
        }
    }
    lanes(acc)
}

/// Sums of neighbouring lanes of `a`, then of `b`.
#[inline(always)]
fn neighbours(a: v128, b: v128) -> v128 {
    i32x4_add(
        i32x4_shuffle::<0, 2, 4, 6>(a, b),
        i32x4_shuffle::<1, 3, 5, 7>(a, b),
    )
}

/// Sixteen values q - 32: half n, quarter k, bytes 16s.. of its 32.
#[inline(always)]
fn sixteen(block: &[u8; q6_k::BYTES], n: usize, k: usize, s: usize) -> v128 {
    let low_at = 64 * n + 32 * (k % 2) + 16 * s;
    let high_at = q6_k::QH + 32 * n + 16 * s;
    let low = load(&block[low_at..low_at + 16]);
    let low = if k < 2 {
        v128_and(low, u8x16_splat(15))
    } else {
        u8x16_shr(low, 4)
    };
    let high = v128_and(
        u8x16_shr(load(&block[high_at..high_at + 16]), 2 * k as u32),
        u8x16_splat(3),
    );
    i8x16_sub(v128_or(low, u8x16_shl(high, 4)), i8x16_splat(32))
}
