//! The Q6_K product for one token in AVX-512 VNNI.
//!
//! q stays unsigned (0..64) for `vpdpbusd` against the two bytes of x = 256 high + low, which
//! leaves sums of four neighbours for each. They start at -32 times the sum of the four bytes,
//! which takes the offset of q off, so they end within 4 * 32 * 128 = 2^14 and fit int16. Side by
//! side in a lane they meet the group's scale and 256 times the scale in one `vpdpwssd`. Partial
//! sums may wrap; the total is below 2^31, so it is exact.
//!
//! ```text
//! 64 weights by a token:
//!   2 x vpdpbusd (from offsets; q from memory) · vpshufb {k} · vpshufb of scales · vpdpwssd
//! ```
//!
//! This is for one token, at the speed of memory; `q6_k_few.rs` is for several.

use std::arch::asm;
use std::arch::x86_64::*;

use super::q6_k_input::Q6kInput;
use super::sums::tree_sum;
use crate::dense::q6_k;
use crate::isa::avx2::{PREFETCH_FAR_BYTES, load as load32, load_half};
use crate::isa::x86::prefetch::ask_ahead;
use crate::{Dense, DenseInput, OutputRows};

/// Prefetch distance from L2 into L1.
const NEAR_BYTES: usize = 256;

/// A block's bytes.
pub(super) type Block = [u8; q6_k::BYTES];

/// One of the two bytes of a block's activations, and its offsets.
type Bytes<'a> = (&'a [i8; q6_k::BLOCK], &'a [i32; q6_k::BLOCK / 4]);

/// One token's activations, by blocks.
#[derive(Clone, Copy, Default)]
struct Token<'a> {
    high: &'a [[i8; q6_k::BLOCK]],
    low: &'a [[i8; q6_k::BLOCK]],
    high_offsets: &'a [[i32; q6_k::BLOCK / 4]],
    low_offsets: &'a [[i32; q6_k::BLOCK / 4]],
}

/// The same for one block: high and low bytes.
type Inputs<'a> = [Bytes<'a>; 2];

impl<'a> Token<'a> {
    #[inline(always)]
    fn new(row: &'a Q6kInput) -> Self {
        Token {
            high: row.high.as_chunks().0,
            low: row.low.as_chunks().0,
            high_offsets: row.high_offsets.as_chunks().0,
            low_offsets: row.low_offsets.as_chunks().0,
        }
    }

    #[inline(always)]
    fn block(&self, b: usize) -> Inputs<'a> {
        [
            (&self.high[b], &self.high_offsets[b]),
            (&self.low[b], &self.low_offsets[b]),
        ]
    }
}

/// Sums of four neighbouring products of weights q - 32: by low bytes in the low half of each lane,
/// by high bytes in the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn products(q: __m512i, [high, low]: Inputs<'_>, chunk: usize) -> __m512i {
    let sums = |(bytes, offsets): Bytes<'_>| {
        let bytes = load::<_, 64>(part(bytes, 64 * chunk));
        let offset = load::<_, 16>(part(offsets, 16 * chunk));
        _mm512_dpbusd_epi32(offset, q, bytes)
    };
    let (mut both, high) = (sums(low), sums(high));
    let halves = _mm512_set1_epi32(0x0100_0100);
    let lanes = _mm512_set4_epi32(0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0);
    let to_high_half = _mm512_or_si512(halves, lanes);
    // SAFETY: an instruction on registers; the feature is enabled. LLVM writes the intrinsic as
    // `vpermt2w`, three instructions' work.
    unsafe {
        asm!(
            "vpshufb {both}{{{high_halves}}}, {high}, {lanes}",
            both = inout(zmm_reg) both,
            high_halves = in(kreg) 0xcccc_cccc_cccc_cccc_u64,
            high = in(zmm_reg) high,
            lanes = in(zmm_reg) to_high_half,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    both
}

/// See [`crate::dense_matmul`], for the first token alone. Two rows at a time share the loads of
/// activations.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
pub(super) fn matvec<const NEAR: bool>(
    w: Dense<'_>,
    x: &DenseInput,
    packed: &Q6kInput,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    let (token, scale) = (Token::new(packed), x.scale(0));
    let line = out.token(0);
    for (outs, r) in line.chunks_mut(2).zip(range.clone().step_by(2)) {
        // Past the last row the last one again; its result is not stored.
        let rows = [w.row(r), w.row((r + 1).min(range.end - 1))];
        for (out, lanes) in outs.iter_mut().zip(two_rows::<NEAR>(rows, token)) {
            *out = tree_sum(lanes) / scale;
        }
    }
}

/// The lanes of two rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn two_rows<const NEAR: bool>(rows: [&[u8]; 2], token: Token<'_>) -> [__m512; 2] {
    let n = token.high.len();
    let first = &rows[0].as_chunks::<{ q6_k::BYTES }>().0[..n];
    let second = &rows[1].as_chunks::<{ q6_k::BYTES }>().0[..n];
    let mut acc = [_mm512_setzero_ps(); 2];
    for b in (0..n).step_by(2) {
        // Where the number is odd the last block is its own neighbour, whose lanes are not added.
        let next = (b + 1).min(n - 1);
        let mask = lanes_of(n - b);
        let even = packed_sums::<NEAR>([&first[b], &second[b]], token.block(b));
        let odd = packed_sums::<NEAR>([&first[next], &second[next]], token.block(next));
        for (r, row) in [first, second].into_iter().enumerate() {
            let d = scales(d(&row[b]), d(&row[next]));
            acc[r] = accumulate(acc[r], fold(even[r], odd[r]), d, mask);
        }
    }
    acc
}

/// Scaled sums of one block of two rows, whose lanes j and j + 8 make the oracle's lane j.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn packed_sums<const NEAR: bool>(blocks: [&Block; 2], x: Inputs<'_>) -> [__m512i; 2] {
    let mut sums = [_mm512_setzero_si512(); 2];
    let scales = [groups(blocks[0]), groups(blocks[1])];
    for line in [0, 64, 128, 192] {
        for block in blocks {
            ask_ahead::<NEAR, _>(&block[line], PREFETCH_FAR_BYTES, NEAR_BYTES);
        }
    }
    for half in 0..2 {
        let [first, second] = [quarters(blocks[0], half), quarters(blocks[1], half)];
        for (i, q) in first.into_iter().zip(second).enumerate() {
            let chunk = 2 * half + i;
            for (r, q) in [q.0, q.1].into_iter().enumerate() {
                let scale = _mm512_permutexvar_epi32(four_groups(chunk), scales[r]);
                sums[r] = super::q6_k_few::multiply_add(sums[r], products(q, x, chunk), scale);
            }
        }
    }
    sums
}

/// The f16 scale of a block.
#[inline(always)]
pub(super) fn d(block: &Block) -> [u8; 2] {
    *part(block, q6_k::D)
}

/// The scales of a block's sixteen groups, each in the low half of a lane, and times 256 in the
/// other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2")]
fn groups(block: &Block) -> __m512i {
    const HIGH_HALVES: u32 = 0xaaaa_aaaa;
    let scales = _mm512_cvtepi8_epi32(load_half(part(block, q6_k::SCALES)));
    _mm512_mask_blend_epi16(HIGH_HALVES, scales, _mm512_slli_epi32::<24>(scales))
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

/// Lane indexes that give each of the four groups of 64 weights, number `chunk` of a block, four
/// lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn four_groups(chunk: usize) -> __m512i {
    let first = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    _mm512_add_epi32(first, _mm512_set1_epi32(4 * chunk as i32))
}

/// An array's 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load<T, const N: usize>(at: &[T; N]) -> __m512i {
    const { assert!(size_of::<[T; N]>() == 64) };
    // SAFETY: a reference to 64 bytes, any alignment.
    unsafe { _mm512_loadu_si512(at.as_ptr().cast()) }
}

/// `N` values from `at` on. The bounds are constants once inlined, so the check disappears.
#[inline(always)]
pub(super) fn part<T, const N: usize, const M: usize>(of: &[T; M], at: usize) -> &[T; N] {
    assert!(at + N <= M);
    // SAFETY: in bounds, checked above; the same element type.
    unsafe { &*of.as_ptr().add(at).cast() }
}

/// Two f16 as f32: one in lanes 0..8, the other in lanes 8..16.
#[inline]
#[target_feature(enable = "avx512f,avx2,f16c")]
pub(super) fn scales(first: [u8; 2], second: [u8; 2]) -> __m512 {
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
