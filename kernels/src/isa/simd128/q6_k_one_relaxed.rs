//! The Q6_K product of one token in wasm relaxed SIMD: four rows at a time, codes multiplied as the
//! bytes they are.
//!
//! An int16 activation is 256 * high + low, two signed bytes, and q in 0..64 fits the 7-bit operand
//! of `i16x8.relaxed_dot_i8x16_i7x16_s`: its sums of two neighbours stay below 2 * 63 * 128, so no
//! CPU saturates or differs. They are int16, so `i32x4.dot_i16x8_s` multiplies them by the group's
//! scale and adds up four neighbours at once. Three sums, of low bytes, high bytes and whole
//! activations, meet at a block's end: low + 256 * high - 32 * whole, below 2^31, so that it does
//! not matter where one of them wraps.
//!
//! Cranelift puts arithmetic where its result is first needed, and leaves loads in order. In a body
//! as long as a block all loads would come first and be spilled, and an exit after each step, as in
//! `turns.rs`, is something that LLVM copies the arithmetic into. A store is neither: so each group
//! writes its sums, to a place that nobody reads.

use std::arch::wasm32::*;
use std::mem::MaybeUninit;

use super::i2s_inner::dot;
use super::q6_k::Q6kInput;
use super::{F32x16, Simd128, load, load_i8x8, widen_scale};
use crate::dense::q6_k::{BLOCK, BYTES};
use crate::simd::Simd;
use crate::{Dense, DenseInput, OutputRows};

/// A block as its parts lie (see `dense/q6_k.rs`), so that offsets are the loads' own. Bytes only:
/// any 210 are one.
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
    /// The sums of each two neighbours.
    whole: [[i16; 8]; 2],
}

/// A block's activations: by which 16 of 32, by half, by k % 2.
#[derive(Clone, Copy, Default)]
pub(super) struct Arranged([[[Pair; 2]; 2]; 2]);

/// Fills `arranged`, one for each block, from the natural order.
pub(super) fn arrange_one(wide: &[i16], arranged: &mut [Arranged]) {
    for (x, arranged) in wide.as_chunks::<BLOCK>().0.iter().zip(arranged) {
        for (g, x) in x.as_chunks::<16>().0.iter().enumerate() {
            let (n, k, s) = (g / 8, g / 2 % 4, g % 2);
            let (pair, i) = (&mut arranged.0[s][n][k % 2], k / 2);
            for (j, x) in x.iter().enumerate() {
                let low = *x as i8;
                pair.low[i][j] = low;
                pair.high[i][j] = (x.wrapping_sub(i16::from(low)) >> 8) as i8;
            }
            for (sum, [a, b]) in pair.whole[i].iter_mut().zip(x.as_chunks::<2>().0) {
                *sum = a + b;
            }
        }
    }
}

/// Rows at once.
const ROWS: usize = 4;

/// A row's lanes, while blocks are added: by parity of the block, then of the group.
type Lanes = [[v128; 2]; 2];

/// Adds block number `$b` to a row's [`Lanes`]. A macro, since LLVM would leave a function out of
/// line.
macro_rules! add {
    ($lanes:expr, $b:expr, $w:expr, $x:expr) => {
        let (w, x) = ($w, $x);
        let d = f32x4_splat(widen_scale(w.d));
        let mut scales = Scales::unset();
        scales.set(&w.scales);
        let sums = [sums::<0>(w, x, &scales), sums::<1>(w, x, &scales)];
        for (lane, sum) in $lanes[$b % 2].iter_mut().zip(sums) {
            *lane = f32x4_add(*lane, f32x4_mul(sum, d));
        }
    };
}

/// See [`crate::dense_matmul`], for the first token alone.
///
/// Four rows a quarter of the matrix apart: what a core reads ahead of one linear stream does not
/// cover the time of a read from memory.
#[inline]
#[target_feature(enable = "relaxed-simd")]
pub(super) fn matvec(w: Dense<'_>, x: &DenseInput, packed: &Q6kInput, out: &mut OutputRows<'_>) {
    let range = out.range();
    let (input, scale) = (&packed.one[..], x.scale(0));
    let out = out.token(0);
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

/// The lanes of [`crate::isa::kernels::Kernels::q6_k_matmul`].
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
/// Written out, so that each row has load instructions of its own: by their addresses a CPU tells
/// streams apart. In a loop over the rows the same streams are a seventh slower.
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
fn sums<const S: usize>(w: &Packed, x: &Arranged, scales: &Scales) -> v128 {
    let mut sums = [i32x4_splat(0); 3];
    for n in 0..2 {
        let high = load(&w.high[n][S]);
        let (low, x) = (&w.low[n], &x.0[S][n]);
        let [k0, k1, k2, k3] = scales.of::<S>(n);
        let bits = [u16x8_shl(high, 4), high];
        step(&mut sums, load(&low[0][S]), bits, &x[0], [k0, k2]);
        let bits = [u16x8_shl(high, 2), u16x8_shr(high, 2)];
        step(&mut sums, load(&low[1][S]), bits, &x[1], [k1, k3]);
    }
    let [low, high, whole] = sums;
    let sum = i32x4_add(low, i32x4_shl(high, 8));
    f32x4_convert_i32x4(i32x4_sub(sum, i32x4_shl(whole, 5)))
}

/// Adds two groups to the sums of low bytes, high bytes and whole activations: `low` holds the low
/// bits of both, `bits` each one's high bits where they belong, among others.
#[inline]
#[target_feature(enable = "relaxed-simd")]
fn step(sums: &mut [v128; 3], low: v128, bits: [v128; 2], x: &Pair, scales: [v128; 2]) {
    let (nibble, two) = (u8x16_splat(15), u8x16_splat(0x30));
    let q = [
        v128_or(v128_and(low, nibble), v128_and(bits[0], two)),
        v128_or(v128_and(u16x8_shr(low, 4), nibble), v128_and(bits[1], two)),
    ];
    for i in 0..2 {
        let products = [
            dot(load(&x.low[i]), q[i]),
            dot(load(&x.high[i]), q[i]),
            load(&x.whole[i]),
        ];
        for (sum, products) in sums.iter_mut().zip(products) {
            *sum = i32x4_add(*sum, i32x4_dot_i16x8(products, scales[i]));
        }
        for sum in *sums {
            put(sum, &mut MaybeUninit::uninit());
        }
    }
}

/// A block's scales in memory, as int16 and each twice: of each half those of quarters 0 and 1,
/// then 2 and 3, parities in turn.
///
/// Written and read as volatile, or LLVM makes one shuffle of two that Cranelift has no instruction
/// for but a slow one.
struct Scales([[MaybeUninit<v128>; 2]; 2]);

impl Scales {
    #[inline(always)]
    fn unset() -> Self {
        Scales([[MaybeUninit::uninit(); 2]; 2])
    }

    #[inline(always)]
    fn set(&mut self, scales: &[[u8; 8]; 2]) {
        for ([first, second], scales) in self.0.iter_mut().zip(scales) {
            let s = load_i8x8(scales);
            put(i16x8_shuffle::<0, 0, 1, 1, 2, 2, 3, 3>(s, s), first);
            put(i16x8_shuffle::<4, 4, 5, 5, 6, 6, 7, 7>(s, s), second);
        }
    }

    /// Those of half `n` and parity `S` by quarter, each in all lanes.
    #[inline(always)]
    fn of<const S: usize>(&self, n: usize) -> [v128; 4] {
        let [a, b] = &self.0[n];
        // SAFETY: `set` was called: only `add` makes one, and sets it.
        let (a, b) = unsafe { (a.as_ptr().read_volatile(), b.as_ptr().read_volatile()) };
        match S {
            0 => [splat::<0>(a), splat::<2>(a), splat::<0>(b), splat::<2>(b)],
            _ => [splat::<1>(a), splat::<3>(a), splat::<1>(b), splat::<3>(b)],
        }
    }
}

#[inline(always)]
fn splat<const I: usize>(v: v128) -> v128 {
    i32x4_shuffle::<I, I, I, I>(v, v)
}

/// Makes an engine compute `v` here.
#[inline(always)]
fn put(v: v128, place: &mut MaybeUninit<v128>) {
    // SAFETY: a place for one v128.
    unsafe { place.as_mut_ptr().write_volatile(v) }
}
