//! The ternary product for one token in AVX-512 VNNI: as many bytes a cycle as the load ports give.
//!
//! Codes are never shifted. A block's 32 bytes, repeated in both halves of a register, are masked
//! to groups 0 and 1 (times 64 and 16) and to groups 2 and 3 (times 4 and 1), which is the order in
//! which the activations lie: `vpdpbusd` takes codes up to 192 as unsigned bytes. The powers of
//! four come off once a row, exactly.
//!
//! ```text
//! a block (128 weights):
//!   vbroadcasti64x4 · 2 x vpandd · 2 x vpdpbusd (activations from memory) · prefetches
//! ```
//!
//! A lane's sum: 2^20 columns make 8192 blocks of at most 4 * 3 * 64 * 127 = 97536, below 2^31.

use std::arch::x86_64::*;

use super::sums::{add_lanes, write4};
use crate::isa::avx2::{PREFETCH_FAR_BYTES, load};
use crate::isa::x86::prefetch::{ask_ahead, near};
use crate::ternary::{Activations, Block};
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Rows whose results are written together.
const R: usize = 4;

/// See [`crate::ternary_matmul`], for its first token alone.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn matvec<const NEAR: bool>(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    let q = x.blocks(0);
    for r in range.clone().step_by(R) {
        // Past the last row the last one again; its result is not stored.
        let row = |i: usize| w.row((r + i).min(range.end - 1));
        let [a, b] = row_sums::<NEAR>([row(0), row(1)], q);
        let [c, d] = row_sums::<NEAR>([row(2), row(3)], q);
        write4(w, x, out, r, 0, add_lanes([a, b, c, d]));
    }
}

/// For each of two neighbouring rows lanes whose sum is the row's sum of code * q. Two at a time
/// share the loads of activations, and are two streams for the prefetcher.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn row_sums<const NEAR: bool>(rows: [&[Block]; 2], x: &[Activations]) -> [__m512i; 2] {
    let n = x.len();
    let rows = [&rows[0][..n], &rows[1][..n]];
    let ahead = near(2, size_of_val(rows[0]));
    let high = halves(0xC0, 0x30);
    let low = halves(0x0C, 0x03);
    // Even and odd blocks have sums of their own: dependent additions would wait for each other.
    let mut acc = [[[_mm512_setzero_si512(); 2]; 2]; 2];
    let mut b = 0;
    while b + 2 <= n {
        for r in 0..2 {
            ask_ahead::<NEAR, _>(&rows[r][b], PREFETCH_FAR_BYTES, ahead);
            for i in 0..2 {
                acc[r][i] = add_block(acc[r][i], &rows[r][b + i], &x[b + i], high, low);
            }
        }
        b += 2;
    }
    if b < n {
        for r in 0..2 {
            acc[r][0] = add_block(acc[r][0], &rows[r][b], &x[b], high, low);
        }
    }
    let mut sums = [_mm512_setzero_si512(); 2];
    for r in 0..2 {
        let high = _mm512_add_epi32(acc[r][0][0], acc[r][1][0]);
        let low = _mm512_add_epi32(acc[r][0][1], acc[r][1][1]);
        sums[r] = _mm512_add_epi32(
            _mm512_srav_epi32(high, powers(6, 4)),
            _mm512_srav_epi32(low, powers(2, 0)),
        );
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn add_block(
    acc: [__m512i; 2],
    block: &Block,
    x: &Activations,
    high: __m512i,
    low: __m512i,
) -> [__m512i; 2] {
    let codes = _mm512_broadcast_i64x4(load(block));
    let [first, second] = [0, 1].map(|half| &x.as_chunks::<64>().0[half]);
    [
        _mm512_dpbusd_epi32(acc[0], _mm512_and_si512(codes, high), load_q(first)),
        _mm512_dpbusd_epi32(acc[1], _mm512_and_si512(codes, low), load_q(second)),
    ]
}

/// 64 activations.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_q(at: &[i8; 64]) -> __m512i {
    // SAFETY: a reference to 64 bytes, any alignment.
    unsafe { _mm512_loadu_si512(at.as_ptr().cast()) }
}

/// One byte throughout the low half, another throughout the high half.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn halves(low: u8, high: u8) -> __m512i {
    let (low, high) = (_mm256_set1_epi8(low as i8), _mm256_set1_epi8(high as i8));
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// One int32 throughout the low half, another throughout the high half.
#[inline]
#[target_feature(enable = "avx512f")]
fn powers(low: i32, high: i32) -> __m512i {
    let (low, high) = (_mm256_set1_epi32(low), _mm256_set1_epi32(high));
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}
