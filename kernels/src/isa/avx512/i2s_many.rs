//! The ternary product for many tokens in AVX-512 VNNI: tiles of 32 rows by up to 12 tokens.
//!
//! Codes of 32 rows are unpacked once for a chunk of columns, in the order of `x86/panel.rs`, and
//! stay in L1 while all tokens pass over them. A lane of a register belongs to a row, so that sums
//! need no adding up, and lie as the output does.
//!
//! ```text
//! 4 columns of a tile:
//!   2 loads of codes (4 of each of 16 rows) · T x (vpbroadcastd of 4 activations · 2 x vpdpbusd)
//! ```
//!
//! Plain loops throughout: `map` and `array::from_fn` stay out of line around intrinsics.

use std::arch::x86_64::*;
use std::ops::Range;

use super::Avx512;
use super::token_tiles::token_tiles;
use crate::isa::x86::panel::{
    CHUNK, Panel, Sums, Vectors, WIDTH, new_panel, prefetch_next, unpack,
};
use crate::pack::BLOCK;
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Tokens of a tile: 24 registers of sums.
const T: usize = 12;
/// Tokens of a panel: their activations, 320 KB of 2560 columns, are read from L2 again for each 32
/// rows.
const TOKENS: usize = 128;

/// See [`crate::ternary_matmul`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
pub(super) fn matmul(
    isa: Avx512,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    let n_blocks = w.row(range.start).len();
    let mut panel = new_panel();
    let mut sums = [Sums::ZERO; TOKENS];
    for r0 in range.clone().step_by(WIDTH) {
        let r1 = range.end.min(r0 + WIDTH);
        for t0 in (0..x.n_tokens()).step_by(TOKENS) {
            let t1 = x.n_tokens().min(t0 + TOKENS);
            for b0 in (0..n_blocks).step_by(CHUNK) {
                let b1 = n_blocks.min(b0 + CHUNK);
                unpack(isa, w, r0..r1, b0..b1, &mut panel);
                prefetch_next(isa, w, r0..range.end, b1);
                for (first, n) in token_tiles(t1 - t0, T) {
                    let (t, sums) = (t0 + first, &mut sums[first..][..n]);
                    match n {
                        12 => token_tile::<12>(&panel, x, t, b0..b1, sums),
                        11 => token_tile::<11>(&panel, x, t, b0..b1, sums),
                        10 => token_tile::<10>(&panel, x, t, b0..b1, sums),
                        9 => token_tile::<9>(&panel, x, t, b0..b1, sums),
                        8 => token_tile::<8>(&panel, x, t, b0..b1, sums),
                        7 => token_tile::<7>(&panel, x, t, b0..b1, sums),
                        6 => token_tile::<6>(&panel, x, t, b0..b1, sums),
                        5 => token_tile::<5>(&panel, x, t, b0..b1, sums),
                        4 => token_tile::<4>(&panel, x, t, b0..b1, sums),
                        3 => token_tile::<3>(&panel, x, t, b0..b1, sums),
                        2 => token_tile::<2>(&panel, x, t, b0..b1, sums),
                        _ => token_tile::<1>(&panel, x, t, b0..b1, sums),
                    }
                }
            }
            for (t, sums) in (t0..t1).zip(&sums) {
                let out = &mut out.token(t)[r0 - range.start..r1 - range.start];
                isa.outputs(&sums.0, x.sum(t), x.scale(t), w.scale(), out);
            }
        }
    }
}

/// The tokens t..t + N meet the panel's blocks, which are `blocks` of their rows. Sums start at
/// zero with the first, and are added to by the others.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn token_tile<const N: usize>(
    panel: &Panel,
    x: &QuantizedActivations,
    t: usize,
    blocks: Range<usize>,
    sums: &mut [Sums],
) {
    let n = blocks.len();
    let mut tokens: [&[[[i8; 4]; BLOCK / 4]]; N] = [&[]; N];
    for (i, token) in tokens.iter_mut().enumerate() {
        let row = x.row(t + i).as_chunks().0.as_chunks().0;
        *token = &row[blocks.clone()][..n];
    }
    let [left, right] = [&panel[0][..n], &panel[1][..n]];
    let mut acc = [[_mm512_setzero_si512(); 2]; N];
    if blocks.start > 0 {
        for i in 0..N {
            acc[i] = [load(&sums[i].0[..16]), load(&sums[i].0[16..])];
        }
    }
    for b in 0..n {
        #[allow(clippy::needless_range_loop)] // k and i index registers side by side
        for k in 0..BLOCK / 4 {
            let codes = [load(&left[b].0[k]), load(&right[b].0[k])];
            for i in 0..N {
                let q = _mm512_set1_epi32(i32::from_ne_bytes(tokens[i][b][k].map(|q| q as u8)));
                acc[i][0] = _mm512_dpbusd_epi32(acc[i][0], codes[0], q);
                acc[i][1] = _mm512_dpbusd_epi32(acc[i][1], codes[1], q);
            }
        }
    }
    for i in 0..N {
        store(&mut sums[i].0[..16], acc[i][0]);
        store(&mut sums[i].0[16..], acc[i][1]);
    }
}

/// 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
fn load<T: Copy>(at: &[T]) -> __m512i {
    assert!(size_of_val(at) == 64);
    // SAFETY: 64 bytes, checked above, of integers; any alignment.
    unsafe { _mm512_loadu_si512(at.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(at: &mut [i32], sums: __m512i) {
    assert!(size_of_val(at) == 64);
    // SAFETY: 64 bytes, checked above; any alignment.
    unsafe { _mm512_storeu_si512(at.as_mut_ptr().cast(), sums) };
}
