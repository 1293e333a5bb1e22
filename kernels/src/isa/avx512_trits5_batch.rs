//! Layout T5 for several tokens in AVX-512 VNNI and VBMI: tiles of 4 rows by up to 4 tokens; codes are unpacked in registers,
//! beside the multiplications.
//!
//! ```text
//! a group of 4 rows:  4 x (vpermb · vpsrlvw · vpsllw · vmovdqu8 {k} · 3 x vpermb) · 3T x (load · 4 x vpdpbusd)      192 columns
//! ```
//!
//! The next group's triples are brought into place between this one's multiplications: all in one go they fill the queues
//! before the ports, and multiplications wait (README.md has the figures).

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx512_sums::{add_lanes, write4};
use super::avx512_trits5_codes::{Thirds, load, load_group, load_plain, load_tail, plain_groups};
use super::token_tiles::token_tiles;
use crate::trits5::{GROUP, GROUP_BYTES, TAIL_BYTES, parts};
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Thirds of a group: 64 columns each.
const THIRDS: usize = GROUP / 64;
/// Rows and tokens of a tile.
const R: usize = 4;
const T: usize = 4;
/// Rows whose packed bytes stay in cache while all tokens pass over them.
const ROWS: usize = 32;

/// See [`crate::ternary_matmul`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2")]
pub(super) fn matmul(w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>) {
    let range = out.range();
    for start in range.clone().step_by(ROWS) {
        let rows = start..range.end.min(start + ROWS);
        for (t, n) in token_tiles(x.n_tokens(), T) {
            let rows = rows.clone();
            match n {
                4 => token_tile::<4>(w, x, out, rows, t),
                3 => token_tile::<3>(w, x, out, rows, t),
                2 => token_tile::<2>(w, x, out, rows, t),
                _ => token_tile::<1>(w, x, out, rows, t),
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
    let mut tokens: [&[[i8; 64]]; N] = [&[]; N];
    for (i, token) in tokens.iter_mut().enumerate() {
        *token = x.row(t + i).as_chunks().0;
    }
    for r in rows.clone().step_by(R) {
        let mut tile_rows: [&[u8]; R] = [&[]; R];
        for (i, row) in tile_rows.iter_mut().enumerate() {
            // Past the last row the last one again; its result is not stored.
            *row = w.trits5_rows_from((r + i).min(rows.end - 1));
        }
        for (i, sums) in tile::<N>(tile_rows, w.cols(), tokens)
            .into_iter()
            .enumerate()
        {
            write4(w, x, out, r, t + i, sums);
        }
    }
}

/// For each token the sums of code * q of four rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2")]
fn tile<const N: usize>(w: [&[u8]; R], cols: usize, x: [&[[i8; 64]]; N]) -> [__m128i; N] {
    let (groups, tail) = parts(cols);
    // Each token's activations, by groups.
    let mut q: [&[[[i8; 64]; THIRDS]]; N] = [&[]; N];
    for t in 0..N {
        q[t] = &x[t].as_chunks().0[..groups];
    }
    let thirds = Thirds::new();
    let plain = plain_groups(&w, groups);
    let mut acc = [[_mm512_setzero_si512(); R]; N];
    if let Some(last) = plain.checked_sub(1) {
        let mut triples = [_mm512_setzero_si512(); R];
        for r in 0..R {
            // SAFETY: one of the groups that may be read so.
            triples[r] = thirds.triples(unsafe { load_plain(w[r], 0) });
        }
        for g in 0..plain {
            // Behind the last one the last one again, not used.
            let at = (g + 1).min(last) * GROUP_BYTES;
            let mut next = [_mm512_setzero_si512(); R];
            for third in 0..THIRDS {
                let mut codes = [_mm512_setzero_si512(); R];
                for r in 0..R {
                    codes[r] = thirds.codes(triples[r], third);
                }
                for t in 0..N {
                    let q = load(&q[t][g][third]);
                    for r in 0..R {
                        acc[t][r] = _mm512_dpbusd_epi32(acc[t][r], codes[r], q);
                    }
                    for r in rows_after(third, t, N) {
                        // SAFETY: as above.
                        next[r] = thirds.triples(unsafe { load_plain(w[r], at) });
                    }
                }
            }
            triples = next;
        }
    }
    for g in plain..groups {
        for r in 0..R {
            let triples = thirds.triples(load_group(w[r], g * GROUP_BYTES));
            for third in 0..THIRDS {
                let codes = thirds.codes(triples, third);
                for t in 0..N {
                    let q = load(&q[t][g][third]);
                    acc[t][r] = _mm512_dpbusd_epi32(acc[t][r], codes, q);
                }
            }
        }
    }
    for piece in 0..tail {
        for r in 0..R {
            let codes = load_tail(w[r], groups * GROUP_BYTES + piece * TAIL_BYTES);
            for t in 0..N {
                let q = load(&x[t][groups * THIRDS + piece]);
                acc[t][r] = _mm512_dpbusd_epi32(acc[t][r], codes, q);
            }
        }
    }
    let mut sums = [_mm_setzero_si128(); N];
    for t in 0..N {
        sums[t] = add_lanes(acc[t]);
    }
    sums
}

/// The rows whose next group is unpacked behind the multiplications of third `third` by token `t` of `n`: two rows in the second
/// third, two in the last, spread over the tokens.
const fn rows_after(third: usize, t: usize, n: usize) -> Range<usize> {
    if third == 0 {
        return 0..0;
    }
    let first = (third - 1) * 2;
    match n {
        1 | 2 if t + 1 == n => first..first + 2,
        3.. if t.is_multiple_of(2) => first + t / 2..first + t / 2 + 1,
        _ => 0..0,
    }
}
