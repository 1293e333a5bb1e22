//! The ternary product for many tokens in NEON.
//!
//! Everything goes by pairs of rows and pairs of tokens, sixteen columns at a time, in the order
//! that the level's multiplier takes (`smmla`: two rows by two tokens by eight columns). A panel's
//! tokens are brought into that order once; codes of eight rows are unpacked into it in L1 and meet
//! all tokens of the panel in tiles of 16 sums that stay in registers.

use super::intrinsics::*;
use std::cell::RefCell;
use std::ops::Range;

use super::i2s_few::unpack;
use super::level::{Level, Sums};
use super::{load_i8, prefetch, store_i8};
use crate::isa::outputs::write_token;
use crate::ternary::Block;
use crate::{OutputRows, QuantizedActivations, Ternary};

/// With fewer tokens the codes are better kept in registers (not measured: no ARM machine was at
/// hand).
pub(super) const MIN_TOKENS: usize = 8;

/// Blocks of a chunk: 2560 columns.
const CHUNK: usize = 20;
/// Sixteens of columns in a chunk.
const STEPS: usize = 8 * CHUNK;
/// Pairs of rows whose codes are in L1 (20 KB).
const PAIRS: usize = 4;
/// Rows that a panel's chunk of tokens, 160 KB, meets while it stays in L2.
const ROWS: usize = 6 * 2 * PAIRS;
/// Tokens of a panel.
const TOKENS: usize = 64;

/// Sixteen columns of two rows or two tokens.
type Pair = [[i8; 16]; 2];

thread_local! {
    /// A panel's tokens, `[pair of tokens, sixteen of columns]`. Kept, since fresh pages cost more
    /// than filling them.
    static PANEL: RefCell<Vec<Pair>> = const { RefCell::new(Vec::new()) };
}

/// See [`crate::ternary_matmul`]. A tile is R pairs of rows by T pairs of tokens.
pub(super) fn matmul<L: Level, const R: usize, const T: usize>(
    level: L,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
) {
    PANEL.with_borrow_mut(|panel| {
        let mut codes = [[[[0; 16]; 2]; STEPS]; PAIRS];
        let range = out.range();
        for t0 in (0..x.n_tokens()).step_by(TOKENS) {
            let tokens = t0..x.n_tokens().min(t0 + TOKENS);
            arrange(level, x, tokens.clone(), panel);
            for r0 in range.clone().step_by(ROWS) {
                let rows = r0..range.end.min(r0 + ROWS);
                let sums = panel_rows::<L, R, T>(level, w, rows.clone(), panel, &mut codes);
                for (t, sums) in tokens.clone().zip(sums.as_flattened()) {
                    write_token(w, x, out, r0, t, &sums[..rows.len()]);
                }
            }
        }
    });
}

/// Fills `panel` with some tokens; an odd one is paired with zeros.
#[inline(always)]
fn arrange<L: Level>(
    level: L,
    x: &QuantizedActivations,
    tokens: Range<usize>,
    panel: &mut Vec<Pair>,
) {
    panel.clear();
    for t in tokens.clone().step_by(2) {
        let first = x.row(t).as_chunks::<16>().0;
        let second = (t + 1 < tokens.end).then(|| x.row(t + 1).as_chunks::<16>().0);
        panel.extend(first.iter().enumerate().map(
            #[inline(always)]
            |(i, first)| {
                let second = second.map_or(vdupq_n_s8(0), |second| load_i8(&second[i]));
                store_pair(level.pair([load_i8(first), second]))
            },
        ));
    }
}

/// The sums of code * q, `[token / 2][token % 2][row]`, of the rows `rows` for the tokens in
/// `panel`.
fn panel_rows<L: Level, const R: usize, const T: usize>(
    level: L,
    w: Ternary<'_>,
    rows: Range<usize>,
    panel: &[Pair],
    codes: &mut [[Pair; STEPS]; PAIRS],
) -> [[[i32; ROWS]; 2]; TOKENS / 2] {
    let n_blocks = w.row(rows.start).len();
    let n_pairs = panel.len() / (8 * n_blocks);
    let mut sums = [[[0; ROWS]; 2]; TOKENS / 2];
    for b0 in (0..n_blocks).step_by(CHUNK) {
        let b1 = n_blocks.min(b0 + CHUNK);
        for u0 in (0..rows.len()).step_by(2 * PAIRS) {
            for (p, codes) in codes.iter_mut().enumerate() {
                // Past the last row it is repeated, and the results are not used.
                let row =
                    |i: usize| &w.row((rows.start + u0 + 2 * p + i).min(rows.end - 1))[b0..b1];
                unpack_pair(level, row(0), row(1), codes);
            }
            for t in (0..n_pairs).step_by(T) {
                // Past the last token likewise.
                let tokens: [&[Pair]; T] = std::array::from_fn(|i| {
                    let t = (t + i).min(n_pairs - 1);
                    &panel[8 * (n_blocks * t + b0)..8 * (n_blocks * t + b1)]
                });
                for (i, codes) in codes.as_chunks::<R>().0.iter().enumerate() {
                    let tile = tile(level, codes, tokens);
                    for (sums, tile) in sums[t..].iter_mut().zip(tile) {
                        for (r, tile) in tile.into_iter().enumerate() {
                            let at = u0 + 2 * (R * i + r);
                            for j in 0..2 {
                                sums[j][at] += tile[j][0];
                                sums[j][at + 1] += tile[j][1];
                            }
                        }
                    }
                }
            }
        }
    }
    sums
}

/// The codes of two rows.
#[inline(always)]
fn unpack_pair<L: Level>(level: L, a: &[Block], b: &[Block], codes: &mut [Pair; STEPS]) {
    for ((a, b), codes) in a.iter().zip(b).zip(codes.as_chunks_mut::<8>().0) {
        prefetch(a);
        prefetch(b);
        for half in 0..2 {
            let a = unpack(&a.as_chunks::<16>().0[half]);
            let b = unpack(&b.as_chunks::<16>().0[half]);
            for g in 0..4 {
                codes[2 * g + half] = store_pair(level.pair([a[g], b[g]]));
            }
        }
    }
}

/// Sums of code * q over one chunk: `[pair of tokens][pair of rows][token][row]`.
#[inline(always)]
fn tile<L: Level, const R: usize, const T: usize>(
    level: L,
    codes: &[[Pair; STEPS]; R],
    tokens: [&[Pair]; T],
) -> [[[[i32; 2]; 2]; R]; T] {
    let n = tokens[0].len().min(STEPS);
    let tokens = tokens.map(|token| &token[..n]);
    let mut acc: [[Sums; R]; T] = [[[[vdupq_n_s32(0); 2]; 2]; R]; T];
    for i in 0..n {
        let w: [_; R] = std::array::from_fn(
            #[inline(always)]
            |r| load_pair(&codes[r][i]),
        );
        for t in 0..T {
            let x = load_pair(&tokens[t][i]);
            for r in 0..R {
                level.multiply(&mut acc[t][r], w[r], x);
            }
        }
    }
    acc.map(
        #[inline(always)]
        |acc| {
            acc.map(
                #[inline(always)]
                |sums| level.totals(sums),
            )
        },
    )
}

#[inline(always)]
fn load_pair(pair: &Pair) -> [int8x16_t; 2] {
    [load_i8(&pair[0]), load_i8(&pair[1])]
}

#[inline(always)]
fn store_pair([a, b]: [int8x16_t; 2]) -> Pair {
    [store_i8(a), store_i8(b)]
}
