//! The Q6_K product for several tokens in AVX-512 VNNI.
//!
//! Each weight's group scale is multiplied into it as it is unpacked, in registers, beside the
//! multiplications; then one `vpdpwssd` multiplies 32 weights by a token's activations. See
//! `x86/q6_k_pairs.rs` for their order. Sums may wrap on the way; a block's total is below 2^31, so
//! it is exact.
//!
//! ```text
//! 32 weights of two blocks of a row:
//!   load · vinserti64x4 · 2 shifts · vpternlogd (high bits once a half)    q - 32 in six bits
//!   vpermw · vpsllw · vpmulhw · vpsllw · vpandd · vpmulhw                  times the scale
//! by a token:
//!   2 x vpdpwssd, activations loaded for all rows of a tile
//! two blocks of a row by a token:
//!   vcvtdq2ps · vmulps · vaddps
//! ```
//!
//! Macros and not functions where sums are passed on: a function with target features cannot be
//! inlined by force.

use std::arch::asm;
use std::arch::x86_64::*;

use super::q6_k_input::Q6kInput;
use super::q6_k_one::{Block, d, load, part, scales};
use super::sums::tree_sum4;
use super::token_tiles::token_tiles;
use super::unrolled::{is_after, pin};
use crate::dense::q6_k;
use crate::isa::avx2::{load as load32, load_half};
use crate::isa::x86::q6_k_pairs::PairOfBlocks;
use crate::simd::LANES;
use crate::{Dense, DenseInput, OutputRows};

/// Tokens of a tile at most.
const T: usize = 8;
/// Rows of a tile.
const R: usize = 2;
/// Rows that meet the same two blocks of activations, 8 KB for eight tokens, before the next two.
const ROWS: usize = 16;

/// Sums that lie on a cache line of their own.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Lanes([f32; LANES]);

/// The lanes of a group's rows for N tokens.
type GroupLanes<const N: usize> = [[Lanes; ROWS]; N];

/// See [`crate::dense_matmul`]; for two tokens or more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
pub(super) fn matmul(w: Dense<'_>, x: &DenseInput, packed: &Q6kInput, out: &mut OutputRows<'_>) {
    let range = out.range();
    for r0 in range.clone().step_by(ROWS) {
        let rows = r0..range.end.min(r0 + ROWS);
        for (t, n) in token_tiles(x.n_tokens(), T) {
            let rows = rows.clone();
            match n {
                8 => group::<8>(w, (x, packed), out, rows, t),
                7 => group::<7>(w, (x, packed), out, rows, t),
                6 => group::<6>(w, (x, packed), out, rows, t),
                5 => group::<5>(w, (x, packed), out, rows, t),
                4 => group::<4>(w, (x, packed), out, rows, t),
                3 => group::<3>(w, (x, packed), out, rows, t),
                // Of two tokens or more none is left alone.
                _ => group::<2>(w, (x, packed), out, rows, t),
            }
        }
    }
}

/// The rows `rows` for tokens t..t + N, in tiles of R rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn group<const N: usize>(
    w: Dense<'_>,
    (x, packed): (&DenseInput, &Q6kInput),
    out: &mut OutputRows<'_>,
    rows: std::ops::Range<usize>,
    t: usize,
) {
    let mut tokens: [&[PairOfBlocks]; N] = [&[]; N];
    for (i, token) in tokens.iter_mut().enumerate() {
        *token = packed.pairs(x, t + i);
    }
    let n_blocks = w.cols() / q6_k::BLOCK;
    // Of the rows of the next group.
    let ahead = ROWS * n_blocks * q6_k::BYTES;
    let mut lanes: GroupLanes<N> = [[Lanes([0.0; LANES]); ROWS]; N];
    let mut row_blocks: [&[Block]; ROWS] = [&[]; ROWS];
    for (i, row) in row_blocks.iter_mut().enumerate() {
        // Past the last row the last one again; its result is not stored.
        *row = &w.row((rows.start + i).min(rows.end - 1)).as_chunks().0[..n_blocks];
    }
    // Tiles, the last of which may have a row too many.
    let tiles = rows.len().div_ceil(R);
    for b in (0..n_blocks).step_by(2) {
        let mut inputs = [&tokens[0][b / 2]; N];
        for (input, token) in inputs.iter_mut().zip(tokens) {
            *input = &token[b / 2];
        }
        // A block that is not there is its own neighbour, and meets activations 0.
        let next = (b + 1).min(n_blocks - 1);
        for (i, rows) in row_blocks.as_chunks::<R>().0[..tiles].iter().enumerate() {
            let [first, second] = rows;
            let blocks = [[&first[b], &first[next]], [&second[b], &second[next]]];
            tile(&blocks, next == b, &inputs, &mut lanes, i * R, ahead);
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

/// Adds two blocks (or one, where it is `alone`) of R rows for N tokens to the lanes of the group's
/// rows r..r + R.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn tile<const N: usize>(
    blocks: &[[&Block; 2]; R],
    alone: bool,
    x: &[&PairOfBlocks; N],
    lanes: &mut GroupLanes<N>,
    r: usize,
    ahead: usize,
) {
    let mut rows = [Row::new(blocks[0]), Row::new(blocks[1])];
    for row in &mut rows {
        row.read::<0>(0);
        row.join::<0>(0);
        row.scale_even(0);
        row.scale_odd();
    }
    let mut acc = [[_mm512_setzero_si512(); N]; R];
    // What each row of the next chunk needs done is spread over this one's multiplications. Tokens
    // are literals: a loop over them is not always unrolled, and then the sums are an array in
    // memory.
    macro_rules! chunk {
        ($half:literal, $k:literal, $next_half:literal, $next_k:literal) => {
            let chunk = 4 * $half + $k;
            let (next, is_last) = (4 * $next_half + $next_k, chunk == 7);
            rows[0].ask(chunk, ahead);
            let w = [rows[0].even, rows[1].even];
            chunk!(@step 2 * chunk, w, is_last,
                |row| row.read::<$next_k>($next_half), |row| row.join::<$next_k>($next_half));
            rows[1].ask(chunk, ahead);
            let w = [rows[0].odd, rows[1].odd];
            chunk!(@step 2 * chunk + 1, w, is_last, |row| row.scale_even(next), |row| row.scale_odd());
        };
        (@step $step:expr, $w:ident, $is_last:expr, |$a:ident| $first:expr, |$b:ident| $second:expr) => {
            chunk!(@token 0, $step, $w, $is_last, |$a| $first, |$b| $second);
            chunk!(@token 1, $step, $w, $is_last, |$a| $first, |$b| $second);
            chunk!(@token 2, $step, $w, $is_last, |$a| $first, |$b| $second);
            chunk!(@token 3, $step, $w, $is_last, |$a| $first, |$b| $second);
            chunk!(@token 4, $step, $w, $is_last, |$a| $first, |$b| $second);
            chunk!(@token 5, $step, $w, $is_last, |$a| $first, |$b| $second);
            chunk!(@token 6, $step, $w, $is_last, |$a| $first, |$b| $second);
            chunk!(@token 7, $step, $w, $is_last, |$a| $first, |$b| $second);
        };
        (@token $t:literal, $step:expr, $w:ident, $is_last:expr, |$a:ident| $first:expr, |$b:ident| $second:expr) => {
            if $t < N {
                let x = load(&x[$t].0[$step]);
                acc[0][$t] = multiply_add(acc[0][$t], $w[0], x);
                acc[1][$t] = multiply_add(acc[1][$t], $w[1], x);
                if !$is_last {
                    if is_after(0, 4, $t, N) {
                        let $a = &mut rows[0];
                        $first;
                    }
                    if is_after(1, 4, $t, N) {
                        let $b = &mut rows[0];
                        $second;
                    }
                    if is_after(2, 4, $t, N) {
                        let $a = &mut rows[1];
                        $first;
                    }
                    if is_after(3, 4, $t, N) {
                        let $b = &mut rows[1];
                        $second;
                    }
                }
            }
        };
    }
    chunk!(0, 0, 0, 1);
    chunk!(0, 1, 0, 2);
    chunk!(0, 2, 0, 3);
    chunk!(0, 3, 1, 0);
    chunk!(1, 0, 1, 1);
    chunk!(1, 1, 1, 2);
    chunk!(1, 2, 1, 3);
    chunk!(1, 3, 1, 3);
    // By an index: behind an iterator the sums would be an array in memory.
    for i in 0..R {
        let [first, second] = blocks[i];
        // What is not there adds 0 * 0 to sums that are never -0.
        let d = scales(d(first), if alone { [0; 2] } else { d(second) });
        for t in 0..N {
            let lanes = &mut lanes[t][r + i];
            let add = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[i][t]), d);
            let sums = _mm512_add_ps(load_lanes(lanes), add);
            // SAFETY: 16 f32, aligned.
            unsafe { _mm512_store_ps(lanes.0.as_mut_ptr(), sums) };
        }
    }
}

/// One row's two blocks as they are unpacked, 32 weights of each at a time: a chunk, `4 * half +
/// K`. Each step's result is pinned to its place, or LLVM would gather them.
#[derive(Clone, Copy)]
struct Row<'a> {
    blocks: [&'a Block; 2],
    /// Group scales of both, times 64: a weight comes as (q - 32) << 10, and `vpmulhw` keeps what
    /// is above 16 bits.
    scales: __m512i,
    /// The bytes with this half's high bits, the upper of each two the other way round, which makes
    /// 32 less.
    high: __m512i,
    /// Low bits, and then all six: q - 32 in two's complement, below two other bits.
    q: __m512i,
    scale: __m512i,
    /// (q - 32) * scale of bytes 0, 2, .. of the chunk, and of 1, 3, ..
    even: __m512i,
    odd: __m512i,
}

impl<'a> Row<'a> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    fn new(blocks: [&'a Block; 2]) -> Self {
        let [first, second] = blocks;
        let both = _mm256_inserti128_si256::<1>(
            _mm256_castsi128_si256(load_half(part(first, q6_k::SCALES))),
            load_half(part(second, q6_k::SCALES)),
        );
        let zero = _mm512_setzero_si512();
        Row {
            blocks,
            scales: _mm512_slli_epi16::<6>(_mm512_cvtepi8_epi16(both)),
            high: zero,
            q: zero,
            scale: zero,
            even: zero,
            odd: zero,
        }
    }

    /// One of the eight lines of what lies so many bytes ahead of the blocks, into L2. All in one
    /// go would keep their own blocks waiting.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn ask(&self, chunk: usize, ahead: usize) {
        let at = self.blocks[chunk / 4][64 * (chunk % 4)..].as_ptr();
        _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(ahead).cast::<i8>());
    }

    /// Low bits of chunk K of a half to the low four of each byte.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2")]
    fn read<const K: usize>(&mut self, half: usize) {
        let low = both(self.blocks, 64 * half + 32 * (K % 2));
        self.q = pin(if K < 2 {
            low
        } else {
            _mm512_srli_epi16::<4>(low)
        });
    }

    /// The high bits of the same chunk above them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2")]
    fn join<const K: usize>(&mut self, half: usize) {
        if K == 0 {
            let high = both(self.blocks, q6_k::QH + 32 * half);
            self.high = pin(_mm512_xor_si512(high, _mm512_set1_epi8(0xAA_u8 as i8)));
        }
        let high = match K {
            0 => _mm512_slli_epi16::<4>(self.high),
            1 => _mm512_slli_epi16::<2>(self.high),
            2 => self.high,
            _ => _mm512_srli_epi16::<2>(self.high),
        };
        // low where the mask is set, else high
        let q = _mm512_ternarylogic_epi32::<0xCA>(_mm512_set1_epi8(15), self.q, high);
        self.q = pin(q);
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn scale_even(&mut self, chunk: usize) {
        self.scale = pin(_mm512_permutexvar_epi16(groups_of(chunk), self.scales));
        let even = _mm512_slli_epi16::<10>(self.q);
        self.even = pin(_mm512_mulhi_epi16(even, self.scale));
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn scale_odd(&mut self) {
        let odd = _mm512_slli_epi16::<2>(self.q);
        let odd = _mm512_and_si512(odd, _mm512_set1_epi16(-1 << 10));
        self.odd = pin(_mm512_mulhi_epi16(odd, self.scale));
    }
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
/// In assembly: of several of its intrinsics in a row LLVM makes `vpmaddwd` and `vpaddd`, for a
/// shorter latency, where the number of instructions is what counts. It is said to touch memory, so
/// that loads stay where they are written: moved ahead they would all be alive at once, and
/// spilled.
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

/// For each of a block's chunks of 32 weights: where the group scale of each 16-bit lane is among
/// the sixteen of one block and the sixteen of the next.
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
fn load_lanes(lanes: &Lanes) -> __m512 {
    // SAFETY: 16 f32, aligned.
    unsafe { _mm512_load_ps(lanes.0.as_ptr()) }
}
