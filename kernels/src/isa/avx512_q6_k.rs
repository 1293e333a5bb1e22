//! The Q6_K product in AVX-512 VNNI.
//!
//! q stays unsigned (0..64) for `vpdpbusd` against the two bytes of x = 256 high + low, which leaves sums of four
//! neighbours. The sum with `low` starts at -32 times the sum of the four x, which takes the offset of q off. Then the
//! group's scale. Partial sums may wrap; the total is below 2^31, so it is exact.
//!
//! ```text
//! 64 weights by a token:  2 x vpdpbusd (activations from memory) · vpslld · vpaddd · vpmulld · vpaddd
//! ```
//!
//! One token unpacks in registers, at the speed of memory. For several a row is unpacked to L1 first.

use std::arch::x86_64::*;

use super::QuantRow;
use super::avx2::{load as load32, load_half, prefetch_far};
use super::avx512_sums::tree_sum;
use crate::dense::q6_k;
use crate::ops::lanes::LANES;
use crate::{Dense, DenseInput, OutputRows};

/// Tokens that share each load of unpacked weights.
const T: usize = 4;
/// Tokens whose lanes are kept while a group of rows passes: 16 KB.
const TOKENS: usize = 16;
/// Rows that meet the same activations before the next are loaded; two blocks of each, unpacked, are 16 KB.
const ROWS: usize = 16;

/// A block's bytes.
type Block = [u8; q6_k::BYTES];

/// 64 weights q, and the scales of the groups that the lanes of a product belong to.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Step {
    q: [u8; 64],
    scale: [i32; 16],
}

/// One block.
type Steps = [Step; 4];

/// Two neighbouring blocks of a row, or its last one alone.
#[derive(Clone, Copy)]
struct Pair {
    steps: [Steps; 2],
    /// Each block's scale in eight lanes.
    d: [f32; LANES],
    n_blocks: usize,
}

impl Pair {
    const EMPTY: Pair = Pair {
        steps: [[Step {
            q: [0; 64],
            scale: [0; 16],
        }; 4]; 2],
        d: [0.0; LANES],
        n_blocks: 0,
    };

    /// Unpacks the first of `blocks`, and prefetches what is read next, `ahead` blocks behind.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
    fn unpack(&mut self, blocks: &[Block], ahead: usize) {
        self.n_blocks = blocks.len().min(2);
        for (block, steps) in blocks.iter().zip(&mut self.steps) {
            for line in [0, 64, 128, 192] {
                let p = block[line..].as_ptr().cast::<i8>();
                _mm_prefetch::<_MM_HINT_T1>(p.wrapping_add(ahead * q6_k::BYTES));
            }
            unpack(block, steps);
        }
        let d = scales(d(&blocks[0]), d(&blocks[self.n_blocks - 1]));
        // SAFETY: 16 f32.
        unsafe { _mm512_storeu_ps(self.d.as_mut_ptr(), d) };
    }
}

/// See [`crate::dense_matmul`], for several tokens.
///
/// Two blocks of all rows of a group meet all tokens before the next two: whole rows of several tokens do not fit L1.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
pub(super) fn matmul(w: Dense<'_>, x: &DenseInput, out: &mut OutputRows<'_>) {
    let range = out.range();
    let mut pairs = [Pair::EMPTY; ROWS];
    let mut lanes = [[[0.0; LANES]; ROWS]; TOKENS];
    for r0 in range.clone().step_by(ROWS) {
        let r1 = range.end.min(r0 + ROWS);
        for t0 in (0..x.n_tokens()).step_by(TOKENS) {
            let t1 = x.n_tokens().min(t0 + TOKENS);
            lanes[..t1 - t0].fill([[0.0; LANES]; ROWS]);
            for b in (0..w.cols() / q6_k::BLOCK).step_by(2) {
                for (r, pair) in (r0..r1).zip(&mut pairs) {
                    let (blocks, _) = w.row(r).as_chunks::<{ q6_k::BYTES }>();
                    pair.unpack(&blocks[b..], ROWS * blocks.len());
                }
                let pairs = &pairs[..r1 - r0];
                let mut t = t0;
                while t < t1 {
                    let lanes = &mut lanes[t - t0..];
                    t += match t1 - t {
                        1 => add_tokens::<1>(pairs, b, x, t, lanes),
                        2 => add_tokens::<2>(pairs, b, x, t, lanes),
                        3 => add_tokens::<3>(pairs, b, x, t, lanes),
                        _ => add_tokens::<T>(pairs, b, x, t, lanes),
                    };
                }
            }
            for (t, lanes) in (t0..t1).zip(&lanes) {
                let (at, scale) = (r0 - range.start, x.scale(t));
                for (out, lanes) in out.token(t)[at..].iter_mut().zip(&lanes[..r1 - r0]) {
                    *out = tree_sum(load_lanes(lanes)) / scale;
                }
            }
        }
    }
}

/// Adds a pair of blocks of every row, the first of them number `b`, to the lanes of tokens t..t + N; returns N.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn add_tokens<const N: usize>(
    pairs: &[Pair],
    b: usize,
    x: &DenseInput,
    t: usize,
    lanes: &mut [[[f32; LANES]; ROWS]],
) -> usize {
    let mut tokens = [Token::default(); N];
    for (i, token) in tokens.iter_mut().enumerate() {
        *token = Token::new(x.quant_row(t + i));
    }
    for (r, pair) in pairs.iter().enumerate() {
        let even = block_sums(&pair.steps[0], &tokens, b);
        // A block that is not there is its own neighbour, whose lanes are not added.
        let odd = match pair.n_blocks {
            1 => even,
            _ => block_sums(&pair.steps[1], &tokens, b + 1),
        };
        let (d, mask) = (load_lanes(&pair.d), lanes_of(pair.n_blocks));
        for t in 0..N {
            let lanes = &mut lanes[t][r];
            let sums = accumulate(load_lanes(lanes), fold(even[t], odd[t]), d, mask);
            // SAFETY: 16 f32.
            unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), sums) };
        }
    }
    N
}

/// Scaled sums of one block for N tokens, whose lanes j and j + 8 make the oracle's lane j.
///
/// Out of line: inlined and unrolled, the compiler moves all multiplications by scales behind all products, and spills.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn block_sums<const N: usize>(steps: &Steps, tokens: &[Token<'_>; N], b: usize) -> [__m512i; N] {
    let mut sums = [_mm512_setzero_si512(); N];
    for (chunk, step) in steps.iter().enumerate() {
        let (q, scale) = (load::<_, 64>(&step.q), load::<_, 16>(&step.scale));
        for t in 0..N {
            let products = products(q, tokens[t].block(b), chunk);
            sums[t] = _mm512_add_epi32(sums[t], _mm512_mullo_epi32(products, scale));
        }
    }
    sums
}

/// One token's activations, by blocks: high bytes, low bytes, offsets.
#[derive(Clone, Copy, Default)]
struct Token<'a> {
    high: &'a [[i8; q6_k::BLOCK]],
    low: &'a [[i8; q6_k::BLOCK]],
    offsets: &'a [[i32; q6_k::BLOCK / 4]],
}

/// The same for one block.
type Inputs<'a> = (
    &'a [i8; q6_k::BLOCK],
    &'a [i8; q6_k::BLOCK],
    &'a [i32; q6_k::BLOCK / 4],
);

impl<'a> Token<'a> {
    #[inline(always)]
    fn new(row: QuantRow<'a>) -> Self {
        Token {
            high: row.split.high.as_chunks().0,
            low: row.split.low.as_chunks().0,
            offsets: row.split.offsets.as_chunks().0,
        }
    }

    #[inline(always)]
    fn block(&self, b: usize) -> Inputs<'a> {
        (&self.high[b], &self.low[b], &self.offsets[b])
    }
}

/// Sums of four neighbouring products with weights q - 32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn products(q: __m512i, (high, low, offsets): Inputs<'_>, chunk: usize) -> __m512i {
    let high = load::<_, 64>(part(high, 64 * chunk));
    let low = load::<_, 64>(part(low, 64 * chunk));
    let offset = load::<_, 16>(part(offsets, 16 * chunk));
    let high = _mm512_dpbusd_epi32(_mm512_setzero_si512(), q, high);
    let low = _mm512_dpbusd_epi32(offset, q, low);
    _mm512_add_epi32(_mm512_slli_epi32::<8>(high), low)
}

/// See [`crate::dense_matmul`], for the first token alone. Two rows at a time share the loads of activations.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
pub(super) fn matvec(w: Dense<'_>, x: &DenseInput, out: &mut OutputRows<'_>) {
    let range = out.range();
    let (token, scale) = (Token::new(x.quant_row(0)), x.scale(0));
    let line = out.token(0);
    for (outs, r) in line.chunks_mut(2).zip(range.clone().step_by(2)) {
        // Past the last row the last one again; its result is not stored.
        let rows = [w.row(r), w.row((r + 1).min(range.end - 1))];
        for (out, lanes) in outs.iter_mut().zip(two_rows(rows, token)) {
            *out = tree_sum(lanes) / scale;
        }
    }
}

/// The lanes of two rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn two_rows(rows: [&[u8]; 2], token: Token<'_>) -> [__m512; 2] {
    let n = token.high.len();
    let first = &rows[0].as_chunks::<{ q6_k::BYTES }>().0[..n];
    let second = &rows[1].as_chunks::<{ q6_k::BYTES }>().0[..n];
    let mut acc = [_mm512_setzero_ps(); 2];
    for b in (0..n).step_by(2) {
        // Where the number is odd the last block is its own neighbour, whose lanes are not added.
        let next = (b + 1).min(n - 1);
        let mask = lanes_of(n - b);
        let even = packed_sums([&first[b], &second[b]], token.block(b));
        let odd = packed_sums([&first[next], &second[next]], token.block(next));
        for (r, row) in [first, second].into_iter().enumerate() {
            let d = scales(d(&row[b]), d(&row[next]));
            acc[r] = accumulate(acc[r], fold(even[r], odd[r]), d, mask);
        }
    }
    acc
}

/// [`block_sums`] for one token and a block of two rows as they lie.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn packed_sums(blocks: [&Block; 2], x: Inputs<'_>) -> [__m512i; 2] {
    let mut sums = [_mm512_setzero_si512(); 2];
    let scales = [groups(blocks[0]), groups(blocks[1])];
    for line in [0, 64, 128, 192] {
        prefetch_far(&blocks[0][line]);
        prefetch_far(&blocks[1][line]);
    }
    for half in 0..2 {
        let [first, second] = [quarters(blocks[0], half), quarters(blocks[1], half)];
        for (i, q) in first.into_iter().zip(second).enumerate() {
            let chunk = 2 * half + i;
            for (r, q) in [q.0, q.1].into_iter().enumerate() {
                let scale = _mm512_permutexvar_epi32(four_groups(chunk), scales[r]);
                let scaled = _mm512_mullo_epi32(products(q, x, chunk), scale);
                sums[r] = _mm512_add_epi32(sums[r], scaled);
            }
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn unpack(block: &Block, steps: &mut Steps) {
    let groups = groups(block);
    for half in 0..2 {
        for (i, q) in quarters(block, half).into_iter().enumerate() {
            let chunk = 2 * half + i;
            let scale = _mm512_permutexvar_epi32(four_groups(chunk), groups);
            // SAFETY: references to 64 bytes each.
            unsafe {
                _mm512_storeu_si512(steps[chunk].q.as_mut_ptr().cast(), q);
                _mm512_storeu_si512(steps[chunk].scale.as_mut_ptr().cast(), scale);
            }
        }
    }
}

/// The f16 scale of a block.
#[inline(always)]
fn d(block: &Block) -> [u8; 2] {
    *part(block, q6_k::D)
}

/// The scales of a block's sixteen groups.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
fn groups(block: &Block) -> __m512i {
    _mm512_cvtepi8_epi32(load_half(part(block, q6_k::SCALES)))
}

/// The 128 values q of one half of a block: quarters 0 and 1, quarters 2 and 3.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2")]
fn quarters(block: &Block, half: usize) -> [__m512i; 2] {
    let low = load::<u8, 64>(part(block, 64 * half));
    let high = _mm512_broadcast_i64x4(load32(part(block, q6_k::QH + 32 * half)));
    // The two high bits of each quarter moved to where they belong.
    [
        join(low, _mm512_sllv_epi16(high, shift(4, 2))),
        join(
            _mm512_srli_epi16::<4>(low),
            _mm512_srlv_epi16(high, shift(0, 2)),
        ),
    ]
}

/// low & 15 | high & 48
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn join(low: __m512i, high: __m512i) -> __m512i {
    let low = _mm512_and_si512(low, _mm512_set1_epi8(15));
    _mm512_or_si512(low, _mm512_and_si512(high, _mm512_set1_epi8(0x30)))
}

/// Shifts of 16-bit lanes: one in the low half, another in the high half.
#[inline]
#[target_feature(enable = "avx512f")]
fn shift(low: i16, high: i16) -> __m512i {
    let (low, high) = (_mm256_set1_epi16(low), _mm256_set1_epi16(high));
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// Lane indexes that give each of the four groups of 64 weights, number `chunk` of a block, four lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn four_groups(chunk: usize) -> __m512i {
    let first = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    _mm512_add_epi32(first, _mm512_set1_epi32(4 * chunk as i32))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_lanes(lanes: &[f32; LANES]) -> __m512 {
    // SAFETY: 16 f32.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}

/// An array's 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
fn load<T, const N: usize>(at: &[T; N]) -> __m512i {
    const { assert!(size_of::<[T; N]>() == 64) };
    // SAFETY: a reference to 64 bytes, any alignment.
    unsafe { _mm512_loadu_si512(at.as_ptr().cast()) }
}

/// `N` values from `at` on. The bounds are constants once inlined, so the check disappears.
#[inline(always)]
fn part<T, const N: usize, const M: usize>(of: &[T; M], at: usize) -> &[T; N] {
    assert!(at + N <= M);
    // SAFETY: in bounds, checked above; the same element type.
    unsafe { &*of.as_ptr().add(at).cast() }
}

/// Two f16 as f32: one in lanes 0..8, the other in lanes 8..16.
#[inline]
#[target_feature(enable = "avx512f,avx2,f16c")]
fn scales(first: [u8; 2], second: [u8; 2]) -> __m512 {
    let first = _mm256_cvtph_ps(_mm_set1_epi16(i16::from_le_bytes(first)));
    let second = _mm256_cvtph_ps(_mm_set1_epi16(i16::from_le_bytes(second)));
    _mm512_castpd_ps(_mm512_insertf64x4::<1>(
        _mm512_castps_pd(_mm512_castps256_ps512(first)),
        _mm256_castps_pd(second),
    ))
}

/// [first's low + high half | second's low + high half]
#[inline]
#[target_feature(enable = "avx512f")]
fn fold(first: __m512i, second: __m512i) -> __m512i {
    _mm512_add_epi32(
        _mm512_shuffle_i64x2::<0b01_00_01_00>(first, second),
        _mm512_shuffle_i64x2::<0b11_10_11_10>(first, second),
    )
}

/// Lanes of the blocks that are there: an even number of them fills all sixteen.
fn lanes_of(blocks: usize) -> __mmask16 {
    if blocks == 1 { 0x00FF } else { 0xFFFF }
}

/// acc + float(sums) * d in the lanes of `mask`.
#[inline]
#[target_feature(enable = "avx512f")]
fn accumulate(acc: __m512, sums: __m512i, d: __m512, mask: __mmask16) -> __m512 {
    _mm512_mask_add_ps(acc, mask, acc, _mm512_mul_ps(_mm512_cvtepi32_ps(sums), d))
}
