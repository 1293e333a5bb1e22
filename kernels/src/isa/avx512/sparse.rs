//! Listed rows and listed columns in AVX-512 VNNI (see `crate::sparse`).
//!
//! The next line is known from the list and not from the address, so nothing is left to the
//! hardware's prefetcher: each line is asked for a fixed number of rows or columns before it is
//! used. Codes are masked where they lie in the byte, not shifted: sums come out times 1, 4, 16,
//! 64, and are shifted once at the end.

use std::arch::x86_64::*;

use crate::isa::avx2::load;
use crate::isa::outputs::write_row;
use crate::isa::x86::prefetch::{LINES_AHEAD, RowsAhead, prefetch};
use crate::sparse::columns::{Line, TILE};
use crate::ternary::{Activations, Block};
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Quads of columns that are on their way.
const QUADS_AHEAD: usize = LINES_AHEAD / 4;
/// Quads whose sums, times 64, fit i32 (see `add`).
const QUADS_PER_SUM: usize = 1 << 14;

/// Four sums for the four codes of a byte.
type Sums = [__m512i; 4];

/// See [`crate::ternary_matmul_rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn rows(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    rows: &[u32],
    out: &mut OutputRows<'_>,
) {
    let ahead = RowsAhead::new(w, rows);
    let (pairs, rest) = rows.as_chunks::<2>();
    for (at, pair) in pairs.iter().enumerate() {
        ahead.using(2 * at);
        ahead.using(2 * at + 1);
        all_tokens(w, x, *pair, out);
    }
    for row in rest {
        all_tokens(w, x, [*row], out);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn all_tokens<const R: usize>(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    rows: [u32; R],
    out: &mut OutputRows<'_>,
) {
    let weights = rows.map(|r| w.row(r as usize));
    let mut t = 0;
    while t + 2 <= x.n_tokens() {
        let sums = tile::<R, 2>(weights, [x.blocks(t), x.blocks(t + 1)]);
        for (r, sums) in rows.iter().zip(&sums) {
            write_row(w, x, out, *r as usize, t, sums);
        }
        t += 2;
    }
    if t < x.n_tokens() {
        let sums = tile::<R, 1>(weights, [x.blocks(t)]);
        for (r, sums) in rows.iter().zip(&sums) {
            write_row(w, x, out, *r as usize, t, sums);
        }
    }
}

/// sums[r][t] = sum of code * q.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn tile<const R: usize, const T: usize>(w: [&[Block]; R], x: [&[Activations]; T]) -> [[i32; T]; R] {
    let n = w[0].len();
    let w = w.map(|row| &row[..n]);
    let x = x.map(|token| &token[..n]);
    let zero: Sums = [_mm512_setzero_si512(); 4];
    let mut acc = [[zero; T]; R];
    let mut b = 0;
    #[allow(clippy::needless_range_loop)] // r and t index registers side by side
    while b + 2 <= n {
        for t in 0..T {
            let mut q = zero;
            for (g, q) in q.iter_mut().enumerate() {
                let low = _mm512_castsi256_si512(group(&x[t][b], 3 - g));
                *q = _mm512_inserti64x4::<1>(low, group(&x[t][b + 1], 3 - g));
            }
            for r in 0..R {
                let two = w[r][b..].first_chunk::<2>().expect("b + 2 <= n");
                add(&mut acc[r][t], load_64(two.as_flattened()), q);
            }
        }
        b += 2;
    }
    #[allow(clippy::needless_range_loop)]
    if b < n {
        for t in 0..T {
            let mut q = zero;
            for (g, q) in q.iter_mut().enumerate() {
                *q = _mm512_zextsi256_si512(group(&x[t][b], 3 - g));
            }
            for r in 0..R {
                add(&mut acc[r][t], _mm512_zextsi256_si512(load(&w[r][b])), q);
            }
        }
    }
    let mut sums = [[0; T]; R];
    for r in 0..R {
        for t in 0..T {
            let [a, b, c, d] = unscaled(acc[r][t]);
            let total = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
            sums[r][t] = _mm512_reduce_add_epi32(total);
        }
    }
    sums
}

/// sums[r] = sum of code * value over the listed columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn columns_tile(
    lines: &[Line],
    columns: &[[u32; 4]],
    values: &[[i8; 4]],
    sums: &mut [i32; TILE],
) {
    sums.fill(0);
    for (columns, values) in columns
        .chunks(QUADS_PER_SUM)
        .zip(values.chunks(QUADS_PER_SUM))
    {
        add_quads(lines, columns, values, sums);
    }
}

/// Adds at most `QUADS_PER_SUM` quads of columns to `sums`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn add_quads(lines: &[Line], columns: &[[u32; 4]], values: &[[i8; 4]], sums: &mut [i32; TILE]) {
    for quad in columns.iter().take(QUADS_AHEAD) {
        prefetch_quad(lines, quad);
    }
    let mut acc = [[_mm512_setzero_si512(); 4]; 4];
    for (at, (quad, value)) in columns.iter().zip(values).enumerate() {
        if let Some(ahead) = columns.get(at + QUADS_AHEAD) {
            prefetch_quad(lines, ahead);
        }
        let value = _mm512_set1_epi32(i32::from_le_bytes(value.map(|v| v as u8)));
        let mut l = [_mm512_setzero_si512(); 4];
        for (l, column) in l.iter_mut().zip(quad) {
            *l = load_64(&lines[*column as usize].0);
        }
        // Dwords of the four columns' codes of a row: rows 16j.. of each 64 in register j.
        let (a, b) = (
            _mm512_unpacklo_epi8(l[0], l[1]),
            _mm512_unpackhi_epi8(l[0], l[1]),
        );
        let (c, d) = (
            _mm512_unpacklo_epi8(l[2], l[3]),
            _mm512_unpackhi_epi8(l[2], l[3]),
        );
        let rows = [
            _mm512_unpacklo_epi16(a, c),
            _mm512_unpackhi_epi16(a, c),
            _mm512_unpacklo_epi16(b, d),
            _mm512_unpackhi_epi16(b, d),
        ];
        for (acc, rows) in acc.iter_mut().zip(rows) {
            add(acc, rows, [value; 4]);
        }
    }
    for (j, acc) in acc.iter().enumerate() {
        for (g, sum) in unscaled(*acc).iter().enumerate() {
            let at = 64 * g + 16 * j;
            add_to_16(&mut sums[at..at + 16], *sum);
        }
    }
}

#[inline]
fn prefetch_quad(lines: &[Line], quad: &[u32; 4]) {
    for column in quad {
        prefetch(&lines[*column as usize]);
    }
}

/// Adds the codes in bits 2g and 2g + 1, times 4^g, by q[g]: at most 4 * 192 * 127 to a lane, so
/// that 2^14 times fit. A row of 2^20 columns, the most there are, adds 2^12 times to each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add(acc: &mut Sums, codes: __m512i, q: Sums) {
    let masks = [0x03, 0x0c, 0x30, 0xc0u8].map(|mask| mask as i8);
    for g in 0..4 {
        let codes = _mm512_and_si512(codes, _mm512_set1_epi8(masks[g]));
        acc[g] = _mm512_dpbusd_epi32(acc[g], codes, q[g]);
    }
}

/// The sums without their factors 4^g; exact, since each addend has the factor.
#[inline]
#[target_feature(enable = "avx512f")]
fn unscaled([a, b, c, d]: Sums) -> Sums {
    [
        a,
        _mm512_srai_epi32::<2>(b),
        _mm512_srai_epi32::<4>(c),
        _mm512_srai_epi32::<6>(d),
    ]
}

/// The 32 activations of group `g` of a block.
#[inline]
#[target_feature(enable = "avx2")]
fn group(block: &Activations, g: usize) -> __m256i {
    load(&block.as_chunks::<32>().0[g])
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_64(bytes: &[u8]) -> __m512i {
    assert!(bytes.len() >= 64);
    // SAFETY: 64 bytes, checked above; any alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Adds sixteen sums to `out`.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_to_16(out: &mut [i32], v: __m512i) {
    assert!(out.len() >= 16);
    let at = out.as_mut_ptr().cast();
    // SAFETY: 16 values of four bytes, checked above; any alignment.
    unsafe { _mm512_storeu_si512(at, _mm512_add_epi32(_mm512_loadu_si512(at), v)) }
}
