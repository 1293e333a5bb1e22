//! The Q6_K product of several tokens in wasm SIMD128: what is done to a weight is done once for
//! all of them.
//!
//! A block of four rows becomes int16 values (q - 32) * scale, at most 32 * 128, in L1. Two tokens
//! at a time meet them in `i32x4.dot_i16x8_s`, two operations for eight weights of a row; one token
//! alone takes four. Activations lie as even and odd numbers of a group, so that a lane sums four
//! neighbours, which is what a result lane is.

use std::arch::wasm32::*;
use std::hint::black_box;

use super::q6_k::{GROUPS, Lanes, Q6kInput, ROWS, Unpacked, add, blocks, clear, scales, tiles};
use super::turns::turns;
use super::{Simd128, load, store_halves};
use crate::simd::{LANES, Simd};
use crate::{Dense, DenseInput, OutputRows};

/// Tokens that share unpacked rows. Their activations lie in L2.
const TOKENS: usize = 8;

/// A block of each row as [`super::q6_k::Grouped::halves`] lies: by parity of the group, then by
/// group and half.
type Values = [[[[i16; 8]; ROWS]; GROUPS]; 2];

/// Scratch memory that stays in L1; made once, since an engine clears memory by a call.
#[repr(align(16))]
struct Scratch {
    values: Values,
    unpacked: Unpacked,
    lanes: [Lanes; TOKENS],
}

/// See [`crate::dense_matmul`].
pub(super) fn matmul(w: Dense<'_>, x: &DenseInput, packed: &Q6kInput, out: &mut OutputRows<'_>) {
    let range = out.range();
    let mut scratch = Scratch {
        values: [[[[0; 8]; ROWS]; GROUPS]; 2],
        unpacked: Unpacked::new(),
        lanes: [[[0.0; LANES]; ROWS]; TOKENS],
    };
    // Not known to LLVM, which would unroll the loop over it to one long body.
    let n_halves = black_box(GROUPS).min(GROUPS);
    for t0 in (0..x.n_tokens()).step_by(TOKENS) {
        let n = (x.n_tokens() - t0).min(TOKENS);
        for at in tiles(&range) {
            rows(w, (x, packed), &mut scratch, at, t0, n, n_halves);
            for (i, lanes) in scratch.lanes[..n].iter().enumerate() {
                let (out, scale) = (out.token(t0 + i), x.scale(t0 + i));
                for (r, lanes) in at.into_iter().zip(lanes) {
                    out[r - range.start] = Simd128.sum(Simd128.load(lanes)) / scale;
                }
            }
        }
    }
}

/// The lanes of [`crate::isa::kernels::Kernels::q6_k_matmul`] for the rows `at` and the tokens
/// t0..t0 + n.
#[inline(always)]
fn rows(
    w: Dense<'_>,
    (x, packed): (&DenseInput, &Q6kInput),
    scratch: &mut Scratch,
    at: [usize; ROWS],
    t0: usize,
    n: usize,
    n_halves: usize,
) {
    let Scratch {
        values,
        unpacked,
        lanes,
    } = scratch;
    let w = blocks(at.map(|r| w.row(r)));
    lanes[..n].iter_mut().for_each(clear);
    for b in 0..w[0].len() {
        let blocks = w.map(|row| &row[b]);
        unpacked.fill(blocks);
        multiply(unpacked, values);
        let d = scales(blocks);
        for t in (0..n).step_by(2) {
            // The last token of an odd number meets itself.
            let second = (t + 1).min(n - 1);
            let x0 = &packed.token(x, t0 + t)[b];
            let x1 = &packed.token(x, t0 + second)[b];
            for s in 0..2 {
                let values = &values[s][..n_halves];
                let [a, b2] = tile(values, &x0.halves[s][..n_halves], &x1.halves[s][..n_halves]);
                add(&mut lanes[t], b, s, a, d);
                if second > t {
                    add(&mut lanes[second], b, s, b2, d);
                }
            }
        }
    }
}

/// Sums of value * x over four neighbours and all halves, for two tokens. A step's 6 loads and 8
/// sums fit the registers.
#[inline(always)]
fn tile(w: &[[[i16; 8]; ROWS]], x0: &[[i16; 8]], x1: &[[i16; 8]]) -> [[v128; ROWS]; 2] {
    let mut acc = [[i32x4_splat(0); ROWS]; 2];
    turns!((w, (x0, x1)) in w.iter().zip(x0.iter().zip(x1)) => {
        let (x0, x1) = (load(x0), load(x1));
        for r in 0..ROWS {
            let w = load(&w[r]);
            acc[0][r] = i32x4_add(acc[0][r], i32x4_dot_i16x8(w, x0));
            acc[1][r] = i32x4_add(acc[1][r], i32x4_dot_i16x8(w, x1));
        }
    });
    acc
}

/// Writes (q - 32) * scale.
#[inline(always)]
fn multiply(unpacked: &Unpacked, values: &mut Values) {
    for g in 0..GROUPS {
        // Each row's scale twice, as int16, so that a row's is spread by one shuffle.
        let v = load(&unpacked.scales[g]);
        let pairs = v128_or(v128_and(v, u32x4_splat(0xffff)), i32x4_shl(v, 16));
        let codes = &unpacked.codes[g];
        let scales = [
            i32x4_shuffle::<0, 0, 0, 0>(pairs, pairs),
            i32x4_shuffle::<1, 1, 1, 1>(pairs, pairs),
            i32x4_shuffle::<2, 2, 2, 2>(pairs, pairs),
            i32x4_shuffle::<3, 3, 3, 3>(pairs, pairs),
        ];
        for r in 0..ROWS {
            let q = load(&codes[r]);
            let halves = [v128_and(q, u16x8_splat(0x00ff)), u16x8_shr(q, 8)];
            for (h, q) in halves.into_iter().enumerate() {
                let value = i16x8_mul(i16x8_sub(q, i16x8_splat(32)), scales[r]);
                store_halves(value, &mut values[g % 2][g / 2 * 2 + h][r]);
            }
        }
    }
}
