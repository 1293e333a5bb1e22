//! Layout T5 for several tokens in AVX-512 VNNI and VBMI; codes are unpacked in registers, beside the multiplications.
//!
//! ```text
//! a group of R rows:  R x (vpermb · vpmultishiftqb · 3 x vpermb) · 3T x (load · R x vpdpbusd)      192 columns
//! ```
//!
//! Where `vpmultishiftqb` competes with multiplications, `vpsrlvw`, `vpsllw` and `vmovdqu8 {k}` take its place.
//!
//! The next group's triples are brought into place between this one's multiplications: all in one go they fill the queues
//! before the ports, and multiplications wait (README.md has the figures).

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx512_in_registers::matmul_in_registers;
use super::avx512_sums::add_lanes;
use super::avx512_trits5_codes::{Thirds, load, load_group, load_plain, load_tail, plain_groups};
use super::prefetch::{ask_ahead, near};
use crate::trits5::{GROUP, GROUP_BYTES, TAIL_BYTES, parts, row_bytes};
use crate::{QuantizedActivations, Ternary};

/// Thirds of a group: 64 columns each.
const THIRDS: usize = GROUP / 64;

matmul_in_registers!(
    "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2",
    tile,
    add_lanes,
    INTEL
);

/// Lanes whose sums are those of code * q.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2")]
fn tile<const R: usize, const N: usize, const INTEL: bool>(
    w: Ternary<'_>,
    rows: [usize; R],
    x: &QuantizedActivations,
    t: usize,
    columns: Range<usize>,
    ahead: usize,
) -> [[__m512i; R]; N] {
    let (all_groups, tail) = parts(w.cols());
    let last = columns.end == w.cols();
    let groups = if last {
        all_groups
    } else {
        columns.end / GROUP
    };
    let first = (columns.start / GROUP).min(groups);
    let mut w_rows: [&[u8]; R] = [&[]; R];
    for (bytes, row) in w_rows.iter_mut().zip(rows) {
        *bytes = w.trits5_rows_from(row);
    }
    let mut pieces: [&[[i8; 64]]; N] = [&[]; N];
    // Each token's activations, by groups.
    let mut q: [&[[[i8; 64]; THIRDS]]; N] = [&[]; N];
    for i in 0..N {
        pieces[i] = x.row(t + i).as_chunks().0;
        q[i] = &pieces[i].as_chunks().0[..groups];
    }
    let near = near(R, row_bytes(w.cols()));
    let thirds = Thirds::<INTEL>::new();
    let plain = plain_groups(&w_rows, groups).max(first);
    let mut acc = [[_mm512_setzero_si512(); R]; N];
    if first < plain {
        let mut triples = [_mm512_setzero_si512(); R];
        for r in 0..R {
            // SAFETY: one of the groups that may be read so.
            triples[r] = thirds.triples(unsafe { load_plain(w_rows[r], first * GROUP_BYTES) });
        }
        for g in first..plain {
            // Behind the last one the last one again, not used.
            let at = (g + 1).min(plain - 1) * GROUP_BYTES;
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
                    for r in rows_after(third, t, R, N) {
                        ask_ahead::<INTEL, _>(&w_rows[r][at], ahead, near);
                        // SAFETY: as above.
                        next[r] = thirds.triples(unsafe { load_plain(w_rows[r], at) });
                    }
                }
            }
            triples = next;
        }
    }
    for g in plain..groups {
        for r in 0..R {
            let triples = thirds.triples(load_group(w_rows[r], g * GROUP_BYTES));
            for third in 0..THIRDS {
                let codes = thirds.codes(triples, third);
                for t in 0..N {
                    let q = load(&q[t][g][third]);
                    acc[t][r] = _mm512_dpbusd_epi32(acc[t][r], codes, q);
                }
            }
        }
    }
    let tail = if last { tail } else { 0 };
    for piece in 0..tail {
        for r in 0..R {
            let codes = load_tail(w_rows[r], groups * GROUP_BYTES + piece * TAIL_BYTES);
            for t in 0..N {
                let q = load(&pieces[t][groups * THIRDS + piece]);
                acc[t][r] = _mm512_dpbusd_epi32(acc[t][r], codes, q);
            }
        }
    }
    acc
}

/// The rows of a tile of `rows` by `n` tokens whose next group is unpacked behind the multiplications of third `third` by token `t`: half
/// of the rows in the second third, half in the last, spread over the tokens.
const fn rows_after(third: usize, t: usize, rows: usize, n: usize) -> Range<usize> {
    let half = rows / 2;
    if third == 0 {
        return 0..0;
    }
    let first = (third - 1) * half;
    if half == 1 {
        return if t == 0 { first..first + 1 } else { 0..0 };
    }
    match n {
        1 | 2 if t + 1 == n => first..first + 2,
        3.. if t.is_multiple_of(2) && t < 4 => first + t / 2..first + t / 2 + 1,
        _ => 0..0,
    }
}
