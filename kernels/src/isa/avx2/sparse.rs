//! Listed rows and listed columns in AVX2 (see `crate::sparse`).
//!
//! As in `avx512/sparse.rs`, what comes next is asked for by the list.

use std::arch::x86_64::*;

use super::i2s_few::{BLOCKS_PER_WIDENING, unpack};
use super::load;
use crate::isa::outputs::write_row;
use crate::isa::x86::prefetch::{RowsAhead, prefetch};
use crate::sparse::columns::{Line, TILE};
use crate::ternary::{Activations, Block};
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Quads of columns summed in i16: each adds at most 2 * 3 * 127 = 762 to a lane, and 40 of them
/// 30480. Their 160 lines stay in L1 while all four parts of the tile pass.
const QUADS_PER_WIDENING: usize = 40;

/// See [`crate::ternary_matmul_rows`].
#[target_feature(enable = "avx2")]
pub(super) fn rows(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    rows: &[u32],
    out: &mut OutputRows<'_>,
) {
    let ahead = RowsAhead::new(w, rows);
    for (at, row) in rows.iter().enumerate() {
        ahead.using(at);
        let weights = w.row(*row as usize);
        for t in 0..x.n_tokens() {
            let sum = row_sum(weights, x.blocks(t));
            write_row(w, x, out, *row as usize, t, &[sum]);
        }
    }
}

/// sum of code * q.
#[inline]
#[target_feature(enable = "avx2")]
fn row_sum(w: &[Block], x: &[Activations]) -> i32 {
    let ones = _mm256_set1_epi16(1);
    let mut sum = _mm256_setzero_si256();
    for (w, x) in w
        .chunks(BLOCKS_PER_WIDENING)
        .zip(x.chunks(BLOCKS_PER_WIDENING))
    {
        let mut acc = [_mm256_setzero_si256(); 2];
        for (block, x) in w.iter().zip(x) {
            let codes = unpack(load(block));
            for (g, q) in x.as_chunks::<32>().0.iter().enumerate() {
                let products = _mm256_maddubs_epi16(codes[g], load(q));
                acc[g % 2] = _mm256_add_epi16(acc[g % 2], products);
            }
        }
        let acc = _mm256_add_epi16(acc[0], acc[1]);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(acc, ones));
    }
    let four = _mm_add_epi32(
        _mm256_castsi256_si128(sum),
        _mm256_extracti128_si256::<1>(sum),
    );
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b_01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
}

/// sums[r] = sum of code * value over the listed columns.
#[target_feature(enable = "avx2")]
pub(super) fn columns_tile(
    lines: &[Line],
    columns: &[[u32; 4]],
    values: &[[i8; 4]],
    sums: &mut [i32; TILE],
) {
    sums.fill(0);
    let mut start = 0;
    while start < columns.len() {
        let end = columns.len().min(start + QUADS_PER_WIDENING);
        for column in columns[end..].iter().take(QUADS_PER_WIDENING).flatten() {
            prefetch(&lines[*column as usize]);
        }
        for half in 0..2 {
            for low_bits in [true, false] {
                let (columns, values) = (&columns[start..end], &values[start..end]);
                add_quads(lines, columns, values, half, low_bits, sums);
            }
        }
        start = end;
    }
}

/// Adds a chunk's quads to one half of the lines' rows and, of each byte, two of the four rows.
#[inline]
#[target_feature(enable = "avx2")]
fn add_quads(
    lines: &[Line],
    columns: &[[u32; 4]],
    values: &[[i8; 4]],
    half: usize,
    low_bits: bool,
    sums: &mut [i32; TILE],
) {
    let mask = _mm256_set1_epi8(3);
    let mut acc = [[_mm256_setzero_si256(); 2]; 4];
    for (quad, value) in columns.iter().zip(values) {
        let value = _mm256_set1_epi32(i32::from_le_bytes(value.map(|v| v as u8)));
        let mut l = [_mm256_setzero_si256(); 4];
        for (l, column) in l.iter_mut().zip(quad) {
            *l = load(&lines[*column as usize].0.as_chunks::<32>().0[half]);
        }
        // Dwords of the four columns' codes of a row; see `avx512/sparse.rs`.
        let (a, b) = (
            _mm256_unpacklo_epi8(l[0], l[1]),
            _mm256_unpackhi_epi8(l[0], l[1]),
        );
        let (c, d) = (
            _mm256_unpacklo_epi8(l[2], l[3]),
            _mm256_unpackhi_epi8(l[2], l[3]),
        );
        let rows = [
            _mm256_unpacklo_epi16(a, c),
            _mm256_unpackhi_epi16(a, c),
            _mm256_unpacklo_epi16(b, d),
            _mm256_unpackhi_epi16(b, d),
        ];
        for (acc, rows) in acc.iter_mut().zip(rows) {
            let rows = if low_bits {
                rows
            } else {
                _mm256_srli_epi16::<4>(rows)
            };
            let codes = [rows, _mm256_srli_epi16::<2>(rows)];
            for (acc, codes) in acc.iter_mut().zip(codes) {
                let products = _mm256_maddubs_epi16(_mm256_and_si256(codes, mask), value);
                *acc = _mm256_add_epi16(*acc, products);
            }
        }
    }
    let ones = _mm256_set1_epi16(1);
    for (j, acc) in acc.iter().enumerate() {
        for (bit_pair, acc) in acc.iter().enumerate() {
            let g = bit_pair + if low_bits { 0 } else { 2 };
            let at = 64 * g + 16 * j + 8 * half;
            add_to_8(&mut sums[at..at + 8], _mm256_madd_epi16(*acc, ones));
        }
    }
}

/// Adds eight sums to `out`.
#[inline]
#[target_feature(enable = "avx2")]
fn add_to_8(out: &mut [i32], v: __m256i) {
    assert!(out.len() >= 8);
    let at = out.as_mut_ptr().cast();
    // SAFETY: 8 values of four bytes, checked above; any alignment.
    unsafe { _mm256_storeu_si256(at, _mm256_add_epi32(_mm256_loadu_si256(at), v)) }
}
