//! The group-scaled product for many tokens in AVX-512 VNNI: up to 12 tokens by the 16 rows of a
//! tile, whose codes are unpacked once to L1 for all tokens.
//!
//! ```text
//! a block (32 columns of 16 rows):
//!   8 x (load of codes · T x vpdpbusd with 4 activations broadcast from memory)
//!   T x (vcvtdq2ps · vmulps · vaddps)
//! ```

use std::arch::x86_64::*;

use super::Avx512;
use super::token_tiles::token_tiles;
use crate::grouped::{ActivationBlock, BLOCK};
use crate::isa::x86::group_panel::{Chunk, Sums, TILES, walk};
use crate::simd::Simd;
use crate::{BlockActivations, Grouped, OutputRows};

/// Tokens of a tile: sums of a block and of a group take two registers each.
const T: usize = 12;

/// See [`crate::grouped_matmul`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
pub(super) fn matmul(isa: Avx512, w: Grouped<'_>, x: &BlockActivations, out: &mut OutputRows<'_>) {
    walk::<Avx512, 0>(
        isa,
        w,
        x.n_tokens(),
        out,
        #[inline(always)]
        |chunk, first, sums| {
            for (t, n) in token_tiles(sums.len(), T) {
                let (sums, t) = (&mut sums[t..][..n], first + t);
                match n {
                    12 => add_chunk::<12, 1>(isa, chunk, x, t, sums),
                    11 => add_chunk::<11, 1>(isa, chunk, x, t, sums),
                    10 => add_chunk::<10, 1>(isa, chunk, x, t, sums),
                    9 => add_chunk::<9, 1>(isa, chunk, x, t, sums),
                    8 => add_chunk::<8, 2>(isa, chunk, x, t, sums),
                    7 => add_chunk::<7, 2>(isa, chunk, x, t, sums),
                    6 => add_chunk::<6, 2>(isa, chunk, x, t, sums),
                    5 => add_chunk::<5, 2>(isa, chunk, x, t, sums),
                    4 => add_chunk::<4, 2>(isa, chunk, x, t, sums),
                    3 => add_chunk::<3, 2>(isa, chunk, x, t, sums),
                    2 => add_chunk::<2, 2>(isa, chunk, x, t, sums),
                    _ => add_chunk::<1, 2>(isa, chunk, x, t, sums),
                }
            }
        },
    );
}

/// N tokens from `t` on meet a chunk, W blocks at a time: a token's `vpdpbusd` depend on each other
/// within a block, so that few tokens take two.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn add_chunk<const N: usize, const W: usize>(
    isa: Avx512,
    chunk: &Chunk<'_>,
    x: &BlockActivations,
    t: usize,
    sums: &mut [Sums],
) {
    let blocks = chunk.group_blocks();
    for tile in 0..TILES {
        for (n, g) in chunk.groups().enumerate() {
            let mut tokens: [&[ActivationBlock]; N] = [&[]; N];
            for (i, token) in tokens.iter_mut().enumerate() {
                *token = &x.row(t + i)[g * blocks..][..blocks];
            }
            let mut group = [_mm512_setzero_ps(); N];
            for b in (0..blocks).step_by(W) {
                let mut acc = [[_mm512_setzero_si512(); N]; W];
                for w in 0..W {
                    for i in 0..N {
                        acc[w][i] = _mm512_set1_epi32(tokens[i][b + w].minus_sum);
                    }
                }
                for k in 0..BLOCK / 4 {
                    for w in 0..W {
                        let line = &chunk.block(tile, n * blocks + b + w)[k];
                        // SAFETY: a reference to 64 bytes.
                        let codes = unsafe { _mm512_loadu_si512(line.as_ptr().cast()) };
                        for i in 0..N {
                            let q = tokens[i][b + w].q.as_chunks::<4>().0[k].map(|q| q as u8);
                            let q = _mm512_set1_epi32(i32::from_ne_bytes(q));
                            acc[w][i] = _mm512_dpbusd_epi32(acc[w][i], codes, q);
                        }
                    }
                }
                for w in 0..W {
                    for i in 0..N {
                        let scale = _mm512_set1_ps(tokens[i][b + w].scale);
                        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[w][i]), scale);
                        group[i] = _mm512_add_ps(group[i], scaled);
                    }
                }
            }
            let d = chunk.scales(isa, tile, g).0;
            for i in 0..N {
                let sums = &mut sums[i].0[tile];
                let sum = _mm512_add_ps(isa.load(sums).0, _mm512_mul_ps(group[i], d));
                *sums = isa.to_array(super::F32x16(sum));
            }
        }
    }
}
