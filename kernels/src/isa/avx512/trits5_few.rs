//! Layout trits5 for several tokens in AVX-512 VNNI and VBMI; codes are unpacked in registers,
//! beside the multiplications.
//!
//! ```text
//! a group (192 columns) of R rows:
//!   R x (vpermb · vpmultishiftqb · 3 x vpermb) · 3T x (load · R x vpdpbusd)
//! ```
//!
//! On CPUs whose `vpmultishiftqb` competes with multiplications, `vpsrlvw`, `vpsllw` and `vmovdqu8
//! {k}` take its place.
//!
//! The next group's triples are brought into place between this one's multiplications: all in one
//! go they fill the queues before the ports, and multiplications wait (docs/experiments.md has the
//! figures).

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use super::few_tiles::matmul_in_registers;
use super::sums::add_lanes;
use super::trits5_codes::{Thirds, load, load_group, load_plain, load_tail, plain_groups};
use super::unrolled::{is_after, pin, unrolled};
use crate::isa::x86::prefetch::{ask_ahead, near};
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
        let mut codes = [_mm512_setzero_si512(); R];
        for r in 0..R {
            // SAFETY: one of the groups that may be read so.
            triples[r] = thirds.triples(unsafe { load_plain(w_rows[r], first * GROUP_BYTES) });
            codes[r] = thirds.codes(triples[r], 0);
        }
        for g in first..plain {
            // Behind the last one the last one again, not used.
            let at = (g + 1).min(plain - 1) * GROUP_BYTES;
            let mut next = [_mm512_setzero_si512(); R];
            unrolled!(THIRD < THIRDS => {
                let mut next_codes = [_mm512_setzero_si512(); R];
                unrolled!(T < N => {
                    let q = load(&q[T][g][THIRD]);
                    for r in 0..R {
                        acc[T][r] = multiply_add(acc[T][r], codes[r], q);
                    }
                    unrolled!(TASK < 2 * R => {
                        if is_after(TASK, 2 * R, T, N) {
                            let r = TASK / 2;
                            match (THIRD, TASK % 2) {
                                (0 | 1, 0) => next_codes[r] = pin(thirds.codes(triples[r], THIRD + 1)),
                                (0, _) => {
                                    ask_ahead::<INTEL, _>(&w_rows[r][at], ahead, near);
                                    // SAFETY: as above.
                                    let group = unsafe { load_plain(w_rows[r], at) };
                                    next[r] = pin(thirds.spread(group));
                                }
                                (1, _) => next[r] = pin(thirds.place(next[r])),
                                (_, 0) => next_codes[r] = pin(thirds.codes(next[r], 0)),
                                _ => {}
                            }
                        }
                    });
                });
                codes = next_codes;
            });
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

/// `vpdpbusd`, in assembly and said to touch memory: so that it, what is pinned, and loads stay in
/// the order in which they are written.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn multiply_add(mut sum: __m512i, codes: __m512i, q: __m512i) -> __m512i {
    // SAFETY: an instruction on registers; the feature is enabled.
    unsafe {
        asm!(
            "vpdpbusd {sum}, {codes}, {q}",
            sum = inout(zmm_reg) sum,
            codes = in(zmm_reg) codes,
            q = in(zmm_reg) q,
            options(nostack, preserves_flags)
        );
    }
    sum
}
