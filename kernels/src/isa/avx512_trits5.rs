//! Layout T5 in AVX-512 VNNI and VBMI (see `crate::trits5`).
//!
//! 40 bytes to 192 weights: `vpermb` spreads five bytes to each quadword, `vpmultishiftqb` brings each five bits to the low end
//! of a byte, and a second `vpermb` looks up the triple's three codes side by side in a byte. It uses the low six bits, of
//! which one belongs to a neighbour: the table says everything twice. Then three masks and three `vpdpbusd`; a mask is
//! cheaper than a table for each code, since look-ups share one port with the other shuffles. Sums come out times 1, 4, 16.

use std::arch::x86_64::*;

use crate::trits5::{GROUP, GROUP_BYTES, ROWS, TAIL, TAIL_BYTES, parts};

/// How far ahead of the one linear stream to prefetch, in bytes.
const PREFETCH_BYTES: usize = 4096;

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

/// sums[r] = sum of code * q of the first four rows in `w`, which are `cols` wide; `q` is as long as their groups and tail.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2")]
pub(super) fn quad(w: &[u8], q: &[i8], cols: usize) -> [i32; ROWS] {
    let (groups, tail) = parts(cols);
    let (spread, shifts, codes) = (load(&SPREAD), load(&SHIFTS), load(&CODES));
    let masks = [
        _mm512_set1_epi8(0x03),
        _mm512_set1_epi8(0x0c),
        _mm512_set1_epi8(0x30),
    ];
    let mut acc = [[_mm512_setzero_si512(); 3]; ROWS];
    for (g, q) in q.chunks_exact(GROUP).take(groups).enumerate() {
        let q = q.as_chunks::<64>().0;
        let q = [load(&q[0]), load(&q[1]), load(&q[2])];
        for (r, acc) in acc.iter_mut().enumerate() {
            let at = (g * ROWS + r) * GROUP_BYTES;
            prefetch(w, at);
            let spread = _mm512_permutexvar_epi8(spread, load_group(w, at));
            let triples = _mm512_multishift_epi64_epi8(shifts, spread);
            let codes = _mm512_permutexvar_epi8(triples, codes);
            for i in 0..3 {
                acc[i] = _mm512_dpbusd_epi32(acc[i], _mm512_and_si512(codes, masks[i]), q[i]);
            }
        }
    }
    let first = groups * ROWS * GROUP_BYTES;
    let mut sums = [_mm512_setzero_si512(); ROWS];
    for (sum, acc) in sums.iter_mut().zip(acc) {
        // At most 4 * 48 * 127 a group: 2^20 columns have 2^13 groups.
        let [a, b, c] = acc;
        let (b, c) = (_mm512_srai_epi32::<2>(b), _mm512_srai_epi32::<4>(c));
        *sum = _mm512_add_epi32(a, _mm512_add_epi32(b, c));
    }
    let tail_shifts = _mm512_setr_epi32(6, 6, 6, 6, 4, 4, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0);
    let q = q[groups * GROUP..].as_chunks::<TAIL>().0;
    for (piece, q) in q.iter().take(tail).enumerate() {
        let q = load(q);
        for (r, sum) in sums.iter_mut().enumerate() {
            let at = first + (piece * ROWS + r) * TAIL_BYTES;
            let four = _mm512_broadcast_i32x4(load_16(&w[at..at + TAIL_BYTES]));
            let codes = _mm512_srlv_epi32(four, tail_shifts);
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_and_si512(codes, _mm512_set1_epi8(3)), q);
        }
    }
    let mut totals = [0; ROWS];
    for (total, sum) in totals.iter_mut().zip(sums) {
        *total = _mm512_reduce_add_epi32(sum);
    }
    totals
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load<T>(at: &[T; 64]) -> __m512i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: a reference to 64 one-byte values, any alignment.
    unsafe { _mm512_loadu_si512(at.as_ptr().cast()) }
}

/// 40 bytes, and where there are more behind them, whatever they are: a masked load is slower.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_group(w: &[u8], at: usize) -> __m512i {
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

#[inline]
#[target_feature(enable = "avx512f")]
fn load_16(bytes: &[u8]) -> __m128i {
    assert!(bytes.len() >= 16);
    // SAFETY: 16 bytes, checked above; any alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
fn prefetch(w: &[u8], at: usize) {
    let p = w.as_ptr().wrapping_add(at + PREFETCH_BYTES);
    // SAFETY: a prefetch never faults, whatever the address; SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) };
}
