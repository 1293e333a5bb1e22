//! The ternary product for several tokens in AVX-512 VNNI; codes are unpacked in registers, beside
//! the multiplications.
//!
//! Codes 1 and 3 of four come down by one shift, and then all four are masked where they lie: the
//! first and the third times 4, in the low half of a register, the others in the high half, which
//! is the order in which the activations lie. The low half's sums are shifted once a tile.
//!
//! ```text
//! a block (128 columns) of R rows:
//!   R x (vbroadcasti64x4 · vpsrlw · 2 x vpandd) · 2T x (load · R x vpdpbusd)
//! ```

use std::arch::x86_64::*;
use std::ops::Range;

use super::few_tiles::matmul_in_registers;
use super::i2s_one::{halves, load_q};
use super::sums::add_lanes_low_times_4;
use crate::isa::avx2::load;
use crate::isa::x86::prefetch::{ask_ahead, near};
use crate::pack::BLOCK;
use crate::ternary::{Activations, Block};
use crate::{QuantizedActivations, Ternary};

matmul_in_registers!(
    "avx512f,avx512bw,avx512vl,avx512vnni,avx2",
    tile,
    add_lanes_low_times_4,
    NEAR
);

/// Lanes whose sums are those of code * q, in the low half times 4.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn tile<const R: usize, const N: usize, const NEAR: bool>(
    w: Ternary<'_>,
    rows: [usize; R],
    x: &QuantizedActivations,
    t: usize,
    columns: Range<usize>,
    ahead: usize,
) -> [[__m512i; R]; N] {
    let blocks = columns.start / BLOCK..columns.end.div_ceil(BLOCK);
    let n = blocks.len();
    let mut w_rows: [&[Block]; R] = [&[]; R];
    for (blocks_of_row, row) in w_rows.iter_mut().zip(rows) {
        *blocks_of_row = &w.row(row)[blocks.clone()][..n];
    }
    let mut tokens: [&[Activations]; N] = [&[]; N];
    for (i, token) in tokens.iter_mut().enumerate() {
        *token = &x.blocks(t + i)[blocks.clone()][..n];
    }
    let near = near(R, Ternary::row_bytes(w.cols()));
    let mask = halves(0x0C, 0x03);
    let mut acc = [[_mm512_setzero_si512(); R]; N];
    for b in 0..n {
        let mut codes = [[_mm512_setzero_si512(); R]; 2];
        for r in 0..R {
            ask_ahead::<NEAR, _>(&w_rows[r][b], ahead, near);
            let block = _mm512_broadcast_i64x4(load(&w_rows[r][b]));
            codes[0][r] = _mm512_and_si512(_mm512_srli_epi16::<4>(block), mask);
            codes[1][r] = _mm512_and_si512(block, mask);
        }
        for t in 0..N {
            let q = tokens[t][b].as_chunks::<64>().0;
            for half in 0..2 {
                let q = load_q(&q[half]);
                for r in 0..R {
                    acc[t][r] = _mm512_dpbusd_epi32(acc[t][r], codes[half][r], q);
                }
            }
        }
    }
    acc
}
