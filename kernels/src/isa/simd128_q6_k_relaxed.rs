//! The Q6_K product of one token in wasm relaxed SIMD: four rows at a time, codes multiplied as the bytes they are.
//!
//! An int16 activation is 256 * high + low, two signed bytes, and q in 0..64 fits the 7-bit operand of
//! `i16x8.relaxed_dot_i8x16_i7x16_s`: its sums of two neighbours stay below 2 * 63 * 128, so no CPU saturates or differs. Both
//! halves meet again in i32 lanes of four neighbours, where the offset of 32 comes off and the group's scale multiplies.
//!
//! Cranelift puts arithmetic where its result is first needed, and leaves loads in order. In a body as long as a block all
//! loads would come first and be spilled, and an exit after each step, as in `simd128_turns.rs`, is something that LLVM
//! copies the arithmetic into. A store is neither: so each step writes its sum, to a place that nobody reads.

use std::arch::wasm32::*;

use super::Simd;
use super::simd128::{F32x16, Simd128, load, load_i8x8, widen_scale};
use super::simd128_inner::dot;
use crate::dense::q6_k::{BLOCK, BYTES};
use crate::{Dense, DenseInput, OutputRows};

/// A block as its parts lie (see `dense/q6_k.rs`), so that offsets are the loads' own. Bytes only: any 210 are one.
#[repr(C)]
struct Packed {
    /// By half n, then k % 2, then which 16 of 32 bytes.
    low: [[[[u8; 16]; 2]; 2]; 2],
    /// By half n, then which 16 of 32 bytes.
    high: [[[u8; 16]; 2]; 2],
    /// By half n; of a half in pairs for quarters k, one for which 16 of 32 each.
    scales: [[u8; 8]; 2],
    d: [u8; 2],
}

/// The activations of two groups whose low bits share bytes: quarters k and k + 2.
#[derive(Clone, Copy, Default)]
#[repr(C, align(16))]
struct Pair {
    low: [[i8; 16]; 2],
    high: [[i8; 16]; 2],
    /// 32 * the sums of each four neighbours.
    offset: [[i32; 4]; 2],
}

/// A block's activations: by which 16 of 32, by half, by k % 2.
#[derive(Clone, Copy, Default)]
pub(crate) struct Arranged([[[Pair; 2]; 2]; 2]);

/// Fills `arranged`, one for each block, from the natural order.
pub(crate) fn arrange(wide: &[i16], arranged: &mut [Arranged]) {
    for (x, arranged) in wide.as_chunks::<BLOCK>().0.iter().zip(arranged) {
        for (g, x) in x.as_chunks::<16>().0.iter().enumerate() {
            let (n, k, s) = (g / 8, g / 2 % 4, g % 2);
            let (pair, i) = (&mut arranged.0[s][n][k % 2], k / 2);
            for (j, x) in x.iter().enumerate() {
                let low = *x as i8;
                pair.low[i][j] = low;
                pair.high[i][j] = (x.wrapping_sub(i16::from(low)) >> 8) as i8;
            }
            for (offset, four) in pair.offset[i].iter_mut().zip(x.as_chunks::<4>().0) {
                *offset = 32 * four.iter().map(|x| i32::from(*x)).sum::<i32>();
            }
        }
    }
}

/// Rows at once.
const ROWS: usize = 4;

/// A row's lanes, while blocks are added: by parity of the block, then of the group.
type Lanes = [[v128; 2]; 2];

/// Adds block number `$b` to a row's [`Lanes`]. A macro, since LLVM would leave a function out of line.
macro_rules! add {
    ($lanes:expr, $b:expr, $w:expr, $x:expr) => {
        let (w, x) = ($w, $x);
        let d = f32x4_splat(widen_scale(w.d));
        let sums = [sums::<0>(w, x), sums::<1>(w, x)];
        for (lane, sum) in $lanes[$b % 2].iter_mut().zip(sums) {
            *lane = f32x4_add(*lane, f32x4_mul(sum, d));
        }
    };
}

/// The rows of `out` for token `t`. See [`crate::dense_matmul`].
///
/// Four rows a quarter of the matrix apart: what a core reads ahead of one linear stream does not cover the time of a
/// read from memory.
#[target_feature(enable = "relaxed-simd")]
pub(super) fn matvec(w: Dense<'_>, x: &DenseInput, out: &mut OutputRows<'_>, t: usize) {
    let range = out.range();
    let (input, scale) = (x.quant_row(t).arranged, x.scale(t));
    let out = out.token(t);
    let stream = range.len() / ROWS;
    for r in 0..stream {
        let rows = std::array::from_fn(|i| w.row(range.start + r + i * stream));
        for (i, lanes) in four_rows(rows, input).into_iter().enumerate() {
            out[r + i * stream] = Simd128.sum(lanes) / scale;
        }
    }
    let done = ROWS * stream;
    for (r, out) in (range.start + done..range.end).zip(&mut out[done..]) {
        *out = Simd128.sum(row(w.row(r), input)) / scale;
    }
}

/// The lanes of [`super::Kernels::q6_k_row`].
#[inline]
#[target_feature(enable = "relaxed-simd")]
fn row(w: &[u8], x: &[Arranged]) -> F32x16 {
    let mut lanes: Lanes = [[f32x4_splat(0.0); 2]; 2];
    for (b, (w, x)) in blocks(w).iter().zip(x).enumerate() {
        add!(lanes, b, w, x);
    }
    F32x16::of_halves(lanes)
}

/// The same of four rows, a block of each in turn.
///
/// Written out, so that each row has load instructions of its own: by their addresses a CPU tells streams apart. In a loop over the rows
/// the same streams are a seventh slower.
#[inline]
#[target_feature(enable = "relaxed-simd")]
fn four_rows(w: [&[u8]; ROWS], x: &[Arranged]) -> [F32x16; ROWS] {
    let w = w.map(|w| &blocks(w)[..x.len()]);
    let mut lanes: [Lanes; ROWS] = [[[f32x4_splat(0.0); 2]; 2]; ROWS];
    for (b, x) in x.iter().enumerate() {
        add!(lanes[0], b, &w[0][b], x);
        add!(lanes[1], b, &w[1][b], x);
        add!(lanes[2], b, &w[2][b], x);
        add!(lanes[3], b, &w[3][b], x);
    }
    lanes.map(F32x16::of_halves)
}

/// A row's blocks.
#[inline(always)]
fn blocks(w: &[u8]) -> &[Packed] {
    const { assert!(size_of::<Packed>() == BYTES && align_of::<Packed>() == 1) }
    let blocks = w.as_chunks::<BYTES>().0;
    // SAFETY: `Packed` has a chunk's size and alignment, and all of its fields are arrays of bytes.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len()) }
}

/// Result lanes of the groups of parity `S`, as floats.
#[inline]
#[target_feature(enable = "relaxed-simd")]
fn sums<const S: usize>(w: &Packed, x: &Arranged) -> v128 {
    let mut sum = i32x4_splat(0);
    for n in 0..2 {
        let pairs = load_i8x8(&w.scales[n]);
        let scales = match S {
            0 => i32x4_shr(i32x4_shl(pairs, 16), 16),
            _ => i32x4_shr(pairs, 16),
        };
        let high = load(&w.high[n][S]);
        let (low, x) = (&w.low[n], &x.0[S][n]);
        // Quarters 0 and 2, then 1 and 3.
        let bits = [u16x8_shl(high, 4), high];
        let (a, b) = step(load(&low[0][S]), bits, &x[0]);
        let a = i32x4_mul(a, i32x4_shuffle::<0, 0, 0, 0>(scales, scales));
        let b = i32x4_mul(b, i32x4_shuffle::<2, 2, 2, 2>(scales, scales));
        sum = i32x4_add(sum, i32x4_add(a, b));
        ready(sum);
        let bits = [u16x8_shl(high, 2), u16x8_shr(high, 2)];
        let (a, b) = step(load(&low[1][S]), bits, &x[1]);
        let a = i32x4_mul(a, i32x4_shuffle::<1, 1, 1, 1>(scales, scales));
        let b = i32x4_mul(b, i32x4_shuffle::<3, 3, 3, 3>(scales, scales));
        sum = i32x4_add(sum, i32x4_add(a, b));
        ready(sum);
    }
    f32x4_convert_i32x4(sum)
}

/// Sums of four neighbours of two groups, not yet scaled: `low` holds the low bits of both, `bits` each one's high bits
/// where they belong, among others.
#[inline]
#[target_feature(enable = "relaxed-simd")]
fn step(low: v128, bits: [v128; 2], x: &Pair) -> (v128, v128) {
    let (nibble, two) = (u8x16_splat(15), u8x16_splat(0x30));
    let x0 = (load(&x.low[0]), load(&x.high[0]), load(&x.offset[0]));
    let x1 = (load(&x.low[1]), load(&x.high[1]), load(&x.offset[1]));
    let q0 = v128_or(v128_and(low, nibble), v128_and(bits[0], two));
    let q1 = v128_or(v128_and(u16x8_shr(low, 4), nibble), v128_and(bits[1], two));
    (fours(q0, x0), fours(q1, x1))
}

/// Sums of (q - 32) * x over four neighbours.
#[inline]
#[target_feature(enable = "relaxed-simd")]
fn fours(q: v128, (low, high, offset): (v128, v128, v128)) -> v128 {
    let low = i32x4_dot_i16x8(dot(low, q), i16x8_splat(1));
    let high = i32x4_dot_i16x8(dot(high, q), i16x8_splat(256));
    i32x4_sub(i32x4_add(low, high), offset)
}

/// Makes an engine compute `v` here.
#[inline(always)]
fn ready(v: v128) {
    let mut nowhere = std::mem::MaybeUninit::<v128>::uninit();
    // SAFETY: a place for one v128.
    unsafe { nowhere.as_mut_ptr().write_volatile(v) }
}
