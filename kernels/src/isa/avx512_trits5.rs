//! Layout T5 in AVX-512 VNNI and VBMI (see `crate::trits5`).
//!
//! 40 bytes to 192 weights: `vpermb` spreads five bytes to each quadword, `vpmultishiftqb` brings each five bits to the low end
//! of a byte, and a second `vpermb` looks up the triple's three codes side by side in a byte. It uses the low six bits, of
//! which one belongs to a neighbour: the table says everything twice. Then three masks and three `vpdpbusd`; a mask is
//! cheaper than a table for each code, since look-ups share one port with the other shuffles. Sums come out times 1, 4, 16.
//!
//! ```text
//! a group of a row:  load · vpermb · vpmultishiftqb · vpermb · 3 x vpandd · 3T x vpdpbusd · prefetch      192 columns
//! ```

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx2::prefetch_far;
use super::avx512_sums::{add_lanes, write4};
use super::prefetch::RowsAhead;
use crate::trits5::{GROUP, GROUP_BYTES, TAIL, TAIL_BYTES, parts};
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Rows of a tile.
const R: usize = 4;
/// Most tokens of a tile: sums of 4 rows and 2 tokens are 24 registers.
const T: usize = 2;
/// Rows whose packed bytes stay in cache while all tokens pass over them.
const ROWS: usize = 32;

/// Byte i % 8 of quadword i / 8 comes from byte 5 (i / 8) + i % 8; the three past a quadword's five are not looked at.
const SPREAD: [u8; 64] = {
    let mut from = [0; 64];
    let mut i = 0;
    while i < 64 {
        from[i] = (i / 8 * 5 + if i % 8 < 5 { i % 8 } else { 4 }) as u8;
        i += 1;
    }
    from
};

/// The bit where byte i % 8 of a quadword begins.
const SHIFTS: [u8; 64] = {
    let mut shifts = [0; 64];
    let mut i = 0;
    while i < 64 {
        shifts[i] = (i % 8 * 5) as u8;
        i += 1;
    }
    shifts
};

/// The codes of a triple in bits 0, 2 and 4, by the triple and one bit that means nothing.
const CODES: [u8; 64] = {
    let mut codes = [0; 64];
    let mut i = 0;
    while i < 64 {
        let triple = if i % 32 < 27 { i % 32 } else { 26 };
        codes[i] = (triple % 3 + triple / 3 % 3 * 4 + triple / 9 * 16) as u8;
        i += 1;
    }
    codes
};

/// Whether this machine has VBMI besides what the token of `avx512.rs` proves.
pub(super) fn supported() -> bool {
    is_x86_feature_detected!("avx512vbmi")
}

/// The constants of the loops.
pub(super) struct Tables {
    spread: __m512i,
    shifts: __m512i,
    codes: __m512i,
}

impl Tables {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    pub(super) fn new() -> Self {
        Tables {
            spread: load(&SPREAD),
            shifts: load(&SHIFTS),
            codes: load(&CODES),
        }
    }

    /// The codes of 40 bytes' triples in bits 0, 2 and 4 of 64 bytes; the other bits are 0.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    pub(super) fn codes(&self, group: __m512i) -> __m512i {
        let spread = _mm512_permutexvar_epi8(self.spread, group);
        let triples = _mm512_multishift_epi64_epi8(self.shifts, spread);
        _mm512_permutexvar_epi8(triples, self.codes)
    }
}

/// See [`crate::ternary_matmul`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2")]
pub(super) fn matmul(w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>) {
    let range = out.range();
    for start in range.clone().step_by(ROWS) {
        let rows = start..range.end.min(start + ROWS);
        let mut t = 0;
        while t < x.n_tokens() {
            if t + T <= x.n_tokens() {
                token_tile::<T>(w, x, out, rows.clone(), t);
                t += T;
            } else {
                token_tile::<1>(w, x, out, rows.clone(), t);
                t += 1;
            }
        }
    }
}

/// Rows `rows` for tokens t..t + N.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2")]
fn token_tile<const N: usize>(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    rows: Range<usize>,
    t: usize,
) {
    for r in rows.clone().step_by(R) {
        // Past the last row the last one again; its result is not stored.
        let last = rows.end - 1;
        let tile_rows = [r, (r + 1).min(last), (r + 2).min(last), (r + 3).min(last)];
        let sums = tile::<R, N>(w, tile_rows, x, t);
        for (i, sums) in sums.into_iter().enumerate() {
            write4(w, x, out, r, t + i, add_lanes(sums));
        }
    }
}

/// See [`crate::ternary_matmul_rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2")]
pub(super) fn rows(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    rows: &[u32],
    out: &mut OutputRows<'_>,
) {
    let ahead = RowsAhead::new(w, rows);
    for (at, row) in rows.iter().enumerate() {
        ahead.using(at);
        for t in 0..x.n_tokens() {
            let [[sums]] = tile::<1, 1>(w, [*row as usize], x, t);
            let sum = _mm512_reduce_add_epi32(sums);
            crate::ternary::write_row(w, x, out, *row as usize, t, &[sum]);
        }
    }
}

/// For each token and row lanes whose sum is the sum of code * q.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2")]
fn tile<const R: usize, const N: usize>(
    w: Ternary<'_>,
    rows: [usize; R],
    x: &QuantizedActivations,
    t: usize,
) -> [[__m512i; R]; N] {
    let (groups, tail) = parts(w.cols());
    let tables = Tables::new();
    let masks = [
        _mm512_set1_epi8(0x03),
        _mm512_set1_epi8(0x0c),
        _mm512_set1_epi8(0x30),
    ];
    let mut weights: [&[u8]; R] = [&[]; R];
    for (weights, row) in weights.iter_mut().zip(rows) {
        *weights = w.trits5_rows_from(row);
    }
    let mut tokens: [&[[i8; 64]]; N] = [&[]; N];
    for (i, token) in tokens.iter_mut().enumerate() {
        *token = &x.row(t + i).as_chunks().0[..groups * (GROUP / 64) + tail];
    }
    let mut acc = [[[_mm512_setzero_si512(); 3]; R]; N];
    // Groups behind which 24 more bytes lie in every row's slice: all but the matrix's last.
    let shortest = weights.iter().map(|row| row.len()).min().unwrap_or(0);
    let plain = ((shortest + GROUP_BYTES).saturating_sub(64) / GROUP_BYTES).min(groups);
    for g in 0..groups {
        let mut q = [[_mm512_setzero_si512(); 3]; N];
        for (q, token) in q.iter_mut().zip(&tokens) {
            let token: &[[i8; 64]; 3] = &token.as_chunks().0[g];
            for (q, token) in q.iter_mut().zip(token) {
                *q = load(token);
            }
        }
        for r in 0..R {
            let at = g * GROUP_BYTES;
            let group = if g < plain {
                // SAFETY: `plain` times 40 bytes and 24 more lie in every row's slice, and one group more than `g` is among them.
                unsafe { load_plain(weights[r], at) }
            } else {
                load_group(weights[r], at)
            };
            let codes = tables.codes(group);
            for i in 0..3 {
                let codes = _mm512_and_si512(codes, masks[i]);
                for t in 0..N {
                    acc[t][r][i] = _mm512_dpbusd_epi32(acc[t][r][i], codes, q[t][i]);
                }
            }
        }
    }
    let mut sums = [[_mm512_setzero_si512(); R]; N];
    for t in 0..N {
        for r in 0..R {
            // At most 4 * 48 * 127 a group: 2^20 columns have 2^13 groups.
            let [a, b, c] = acc[t][r];
            let (b, c) = (_mm512_srai_epi32::<2>(b), _mm512_srai_epi32::<4>(c));
            sums[t][r] = _mm512_add_epi32(a, _mm512_add_epi32(b, c));
        }
    }
    for piece in 0..tail {
        for r in 0..R {
            let codes = load_tail(weights[r], groups * GROUP_BYTES + piece * TAIL_BYTES);
            for t in 0..N {
                let q = load(&tokens[t][groups * (GROUP / 64) + piece]);
                sums[t][r] = _mm512_dpbusd_epi32(sums[t][r], codes, q);
            }
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load<T>(at: &[T; 64]) -> __m512i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: a reference to 64 one-byte values, any alignment.
    unsafe { _mm512_loadu_si512(at.as_ptr().cast()) }
}

/// 64 bytes, and a request for those that are used some time later.
///
/// # Safety
/// `at + 64` is at most `w.len()`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_plain(w: &[u8], at: usize) -> __m512i {
    debug_assert!(at + 64 <= w.len());
    // SAFETY: the caller's.
    let from = unsafe { w.as_ptr().add(at) };
    // SAFETY: as above.
    prefetch_far(unsafe { &*from });
    // SAFETY: 64 bytes from there on are in `w`, any alignment.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

/// 40 bytes, and where there are more behind them, whatever they are: a masked load is slower.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load_group(w: &[u8], at: usize) -> __m512i {
    let from = &w[at..];
    match from.first_chunk::<64>() {
        Some(bytes) => load(bytes),
        None => {
            assert!(from.len() >= GROUP_BYTES);
            // SAFETY: the mask selects 40 bytes, checked above; a masked load does not touch the others.
            unsafe { _mm512_maskz_loadu_epi8((1 << GROUP_BYTES) - 1, from.as_ptr().cast()) }
        }
    }
}

/// The 64 codes of a piece of the tail.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load_tail(w: &[u8], at: usize) -> __m512i {
    const { assert!(4 * TAIL_BYTES == TAIL) };
    let bytes = w[at..].first_chunk::<TAIL_BYTES>().expect("a whole piece");
    // SAFETY: 16 bytes, any alignment.
    let four = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    let shifts = _mm512_setr_epi32(6, 6, 6, 6, 4, 4, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0);
    let codes = _mm512_srlv_epi32(_mm512_broadcast_i32x4(four), shifts);
    _mm512_and_si512(codes, _mm512_set1_epi8(3))
}
