//! Layout trits5 for one token in AVX-512 VNNI and VBMI (see `crate::trits5`).
//!
//! 40 bytes to 192 weights: `vpermb` spreads five bytes to each quadword, `vpmultishiftqb` brings
//! each five bits to the low end of a byte, and a second `vpermb` looks up the triple's three codes
//! side by side in a byte. It uses the low six bits, of which one belongs to a neighbour: the table
//! says everything twice. Then three masks and three `vpdpbusd`. Sums come out times 1, 4, 16.
//!
//! ```text
//! a group (192 columns) of a row:
//!   load · vpermb · vpmultishiftqb · vpermb · 3 x vpandd · 3 x vpdpbusd · prefetch
//! ```

use std::arch::x86_64::*;

use super::sums::{add_lanes, write4};
use super::trits5_codes::{Tables, load, load_group, load_plain, load_tail, plain_groups};
use crate::isa::avx2::PREFETCH_FAR_BYTES;
use crate::isa::x86::prefetch::{RowsAhead, ask_ahead, near};
use crate::trits5::{GROUP, GROUP_BYTES, TAIL_BYTES, parts, row_bytes};
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Rows of a tile: their sums, three each, are 12 registers.
const R: usize = 4;

/// See [`crate::ternary_matmul`], for its first token alone.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2")]
pub(super) fn matvec<const NEAR: bool>(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    for r in range.clone().step_by(R) {
        // Past the last row the last one again; its result is not stored.
        let last = range.end - 1;
        let rows = [r, (r + 1).min(last), (r + 2).min(last), (r + 3).min(last)];
        write4(
            w,
            x,
            out,
            r,
            0,
            add_lanes(row_sums::<NEAR, R>(w, rows, x, 0)),
        );
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
            let [sums] = row_sums::<false, 1>(w, [*row as usize], x, t);
            let sum = _mm512_reduce_add_epi32(sums);
            crate::isa::outputs::write_row(w, x, out, *row as usize, t, &[sum]);
        }
    }
}

/// For each row lanes whose sum is the sum of code * q of token `t`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2")]
fn row_sums<const NEAR: bool, const R: usize>(
    w: Ternary<'_>,
    rows: [usize; R],
    x: &QuantizedActivations,
    t: usize,
) -> [__m512i; R] {
    let (groups, tail) = parts(w.cols());
    let near = near(R, row_bytes(w.cols()));
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
    let q = &x.row(t).as_chunks().0[..groups * (GROUP / 64) + tail];
    let (q, q_tail) = q.split_at(groups * (GROUP / 64));
    let plain = plain_groups(&weights, groups);
    let mut acc = [[_mm512_setzero_si512(); 3]; R];
    for (g, thirds) in q.as_chunks::<3>().0.iter().enumerate() {
        let mut q = [_mm512_setzero_si512(); 3];
        for (q, third) in q.iter_mut().zip(thirds) {
            *q = load(third);
        }
        for r in 0..R {
            let at = g * GROUP_BYTES;
            ask_ahead::<NEAR, _>(&weights[r][at], PREFETCH_FAR_BYTES, near);
            let group = if g < plain {
                // SAFETY: one of the groups that may be read so.
                unsafe { load_plain(weights[r], at) }
            } else {
                load_group(weights[r], at)
            };
            let codes = tables.codes(group);
            for i in 0..3 {
                let codes = _mm512_and_si512(codes, masks[i]);
                acc[r][i] = _mm512_dpbusd_epi32(acc[r][i], codes, q[i]);
            }
        }
    }
    let mut sums = [_mm512_setzero_si512(); R];
    for r in 0..R {
        // At most 4 * 48 * 127 a group: 2^20 columns have 2^13 groups.
        let [a, b, c] = acc[r];
        let (b, c) = (_mm512_srai_epi32::<2>(b), _mm512_srai_epi32::<4>(c));
        sums[r] = _mm512_add_epi32(a, _mm512_add_epi32(b, c));
    }
    for (piece, q) in q_tail.iter().enumerate() {
        for r in 0..R {
            let codes = load_tail(weights[r], groups * GROUP_BYTES + piece * TAIL_BYTES);
            sums[r] = _mm512_dpbusd_epi32(sums[r], codes, load(q));
        }
    }
    sums
}
