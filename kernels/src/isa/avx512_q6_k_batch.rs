//! The Q6_K product for several tokens in AVX-512 VNNI.
//!
//! Each weight's group scale is multiplied into it as it is unpacked, in registers, beside the multiplications; then one
//! `vpdpwssd` multiplies 32 weights by a token's activations. See `q6_k_pairs.rs` for their order. Sums may wrap
//! on the way; a block's total is below 2^31, so it is exact.
//!
//! ```text
//! 32 weights of two blocks of a row:  2 x (load · vinserti64x4) · 2 shifts · vpxord · vpternlogd         q - 32 in six bits
//!                                     vpermw · vpsllw · vpmulhw · vpsllw · vpandd · vpmulhw            times the scale
//! by a token:                         2 x vpdpwssd, activations loaded for all rows of a tile
//! two blocks of a row by a token:     vcvtdq2ps · vmulps · vaddps
//! ```
//!
//! Macros and not functions where sums are passed on: a function with target features cannot be inlined by force.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx2::{load as load32, load_half};
use super::avx512_q6_k::{Block, d, load, part, scales};
use super::avx512_sums::tree_sum4;
use super::q6_k_pairs::PairOfBlocks;
use super::token_tiles::token_tiles;
use crate::dense::q6_k;
use crate::ops::lanes::LANES;
use crate::{Dense, DenseInput, OutputRows};

/// Tokens of a tile at most.
const T: usize = 8;
/// Rows that meet the same two blocks of activations, 8 KB for eight tokens, before the next two.
const ROWS: usize = 16;

/// The lanes of a group's rows for N tokens.
type GroupLanes<const N: usize> = [[[f32; LANES]; ROWS]; N];

/// See [`crate::dense_matmul`]; for two tokens or more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
pub(super) fn matmul(w: Dense<'_>, x: &DenseInput, out: &mut OutputRows<'_>) {
    let range = out.range();
    for r0 in range.clone().step_by(ROWS) {
        let rows = r0..range.end.min(r0 + ROWS);
        for (t, n) in token_tiles(x.n_tokens(), T) {
            let rows = rows.clone();
            match n {
                8 => group::<2, 8>(w, x, out, rows, t),
                7 => group::<2, 7>(w, x, out, rows, t),
                6 => group::<2, 6>(w, x, out, rows, t),
                5 => group::<2, 5>(w, x, out, rows, t),
                4 => group::<4, 4>(w, x, out, rows, t),
                3 => group::<4, 3>(w, x, out, rows, t),
                // Of two tokens or more none is left alone.
                _ => group::<4, 2>(w, x, out, rows, t),
            }
        }
    }
}

/// The rows `rows` for tokens t..t + N, in tiles of R rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn group<const R: usize, const N: usize>(
    w: Dense<'_>,
    x: &DenseInput,
    out: &mut OutputRows<'_>,
    rows: std::ops::Range<usize>,
    t: usize,
) {
    let mut tokens: [&[PairOfBlocks]; N] = [&[]; N];
    for (i, token) in tokens.iter_mut().enumerate() {
        *token = x.quant_row(t + i).pairs;
    }
    let n_blocks = w.cols() / q6_k::BLOCK;
    let mut lanes: GroupLanes<N> = [[[0.0; LANES]; ROWS]; N];
    for b in (0..n_blocks).step_by(2) {
        let mut inputs = [&tokens[0][b / 2]; N];
        for (input, token) in inputs.iter_mut().zip(tokens) {
            *input = &token[b / 2];
        }
        // A block that is not there is its own neighbour, and meets activations 0.
        let next = (b + 1).min(n_blocks - 1);
        for r in rows.clone().step_by(R) {
            let mut blocks = [[&[0; q6_k::BYTES]; 2]; R];
            for (i, blocks) in blocks.iter_mut().enumerate() {
                // Past the last row the last one again; its result is not stored.
                let (row, _) = w.row((r + i).min(rows.end - 1)).as_chunks();
                *blocks = [&row[b], &row[next]];
                // The next group's blocks into L2.
                for line in [0, 64, 128, 192] {
                    for block in *blocks {
                        let at = block[line..].as_ptr().cast::<i8>();
                        let at = at.wrapping_add(ROWS * n_blocks * q6_k::BYTES);
                        _mm_prefetch::<_MM_HINT_T1>(at);
                    }
                }
            }
            tile(&blocks, next == b, &inputs, &mut lanes, r - rows.start);
        }
    }
    let at = rows.start - out.range().start;
    for (t, lanes) in (t..t + N).zip(&lanes) {
        let (scale, line) = (x.scale(t), &mut out.token(t)[at..][..rows.len()]);
        for (out, lanes) in line.chunks_mut(4).zip(lanes.as_chunks::<4>().0) {
            let mut four = [_mm512_setzero_ps(); 4];
            for (v, lanes) in four.iter_mut().zip(lanes) {
                *v = load_lanes(lanes);
            }
            for (out, sum) in out.iter_mut().zip(tree_sum4(four)) {
                *out = sum / scale;
            }
        }
    }
}

/// Adds two blocks (or one, where it is `alone`) of R rows for N tokens to the lanes of the group's rows r..r + R.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn tile<const R: usize, const N: usize>(
    blocks: &[[&Block; 2]; R],
    alone: bool,
    x: &[&PairOfBlocks; N],
    lanes: &mut GroupLanes<N>,
    r: usize,
) {
    let mut group_scales = [_mm512_setzero_si512(); R];
    for i in 0..R {
        let [first, second] = blocks[i];
        let both = _mm256_inserti128_si256::<1>(
            _mm256_castsi128_si256(load_half(part(first, q6_k::SCALES))),
            load_half(part(second, q6_k::SCALES)),
        );
        // A weight comes as (q - 32) << 10, and `vpmulhw` keeps what is above 16 bits.
        group_scales[i] = _mm512_slli_epi16::<6>(_mm512_cvtepi8_epi16(both));
    }
    let mut acc = [[_mm512_setzero_si512(); N]; R];
    macro_rules! step {
        ($step:expr, $w:expr) => {
            for t in 0..N {
                let x = load(&x[t].0[$step]);
                for r in 0..R {
                    acc[r][t] = multiply_add(acc[r][t], $w[r], x);
                }
            }
        };
    }
    macro_rules! quarter {
        ($half:expr, $k:literal) => {
            let chunk = 4 * $half + $k;
            let mut even = [_mm512_setzero_si512(); R];
            let mut odd = [_mm512_setzero_si512(); R];
            for r in 0..R {
                let scale = _mm512_permutexvar_epi16(groups_of(chunk), group_scales[r]);
                let q = quarter::<$k>(blocks[r], $half);
                let (low, high) = (_mm512_slli_epi16::<10>(q), _mm512_slli_epi16::<2>(q));
                let high = _mm512_and_si512(high, _mm512_set1_epi16(-1 << 10));
                even[r] = _mm512_mulhi_epi16(low, scale);
                odd[r] = _mm512_mulhi_epi16(high, scale);
            }
            step!(2 * chunk, even);
            step!(2 * chunk + 1, odd);
        };
    }
    for half in 0..2 {
        quarter!(half, 0);
        quarter!(half, 1);
        quarter!(half, 2);
        quarter!(half, 3);
    }
    // By an index: behind an iterator the sums would be an array in memory.
    for i in 0..R {
        let [first, second] = blocks[i];
        // What is not there adds 0 * 0 to sums that are never -0.
        let d = scales(d(first), if alone { [0; 2] } else { d(second) });
        for t in 0..N {
            let lanes = &mut lanes[t][r + i];
            let add = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[i][t]), d);
            let sums = _mm512_add_ps(load_lanes(lanes), add);
            // SAFETY: 16 f32.
            unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), sums) };
        }
    }
}

/// Quarter `K` of a half of two blocks: each byte has q - 32 as a six-bit number in two's complement, below two other bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2")]
fn quarter<const K: usize>(blocks: [&Block; 2], half: usize) -> __m512i {
    let low = both(blocks, 64 * half + 32 * (K % 2));
    let high = both(blocks, q6_k::QH + 32 * half);
    // 32 less is the upper of the high bits the other way round.
    let high = _mm512_xor_si512(high, _mm512_set1_epi8(0xAA_u8 as i8));
    let (low, high) = match K {
        0 => (low, _mm512_slli_epi16::<4>(high)),
        1 => (low, _mm512_slli_epi16::<2>(high)),
        2 => (_mm512_srli_epi16::<4>(low), high),
        _ => (_mm512_srli_epi16::<4>(low), _mm512_srli_epi16::<2>(high)),
    };
    // low where the mask is set, else high
    _mm512_ternarylogic_epi32::<0xCA>(_mm512_set1_epi8(15), low, high)
}

/// The same 32 bytes of two blocks.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
fn both([first, second]: [&Block; 2], at: usize) -> __m512i {
    let first = _mm512_castsi256_si512(load32(part(first, at)));
    _mm512_inserti64x4::<1>(first, load32(part(second, at)))
}

/// `vpdpwssd`: sum + the products of two 16-bit pairs in each 32-bit lane, modulo 2^32.
///
/// In assembly: of several of its intrinsics in a row LLVM makes `vpmaddwd` and `vpaddd`, for a shorter latency, where
/// the number of instructions is what counts. It is said to touch memory, so that loads stay where they are written: moved
/// ahead they would all be alive at once, and spilled.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn multiply_add(mut sum: __m512i, w: __m512i, x: __m512i) -> __m512i {
    // SAFETY: an instruction on registers; the feature is enabled.
    unsafe {
        asm!(
            "vpdpwssd {sum}, {w}, {x}",
            sum = inout(zmm_reg) sum,
            w = in(zmm_reg) w,
            x = in(zmm_reg) x,
            options(nostack, preserves_flags)
        );
    }
    sum
}

/// For each of a block's chunks of 32 weights: where the group scale of each 16-bit lane is among the sixteen of one block
/// and the sixteen of the next.
#[repr(align(64))]
struct GroupsOf([[i16; 32]; 8]);

static GROUPS_OF: GroupsOf = {
    let mut all = [[0; 32]; 8];
    let mut i = 0;
    while i < 256 {
        let (chunk, block, lane) = (i / 32, i % 32 / 16, i % 16 / 2);
        all[chunk][i % 32] = (16 * block + 2 * chunk + lane / 4) as i16;
        i += 1;
    }
    GroupsOf(all)
};

#[inline]
#[target_feature(enable = "avx512f")]
fn groups_of(chunk: usize) -> __m512i {
    load(&GROUPS_OF.0[chunk])
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_lanes(lanes: &[f32; LANES]) -> __m512 {
    // SAFETY: 16 f32.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}
