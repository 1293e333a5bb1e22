//! The pure multiply-add loop of NEON (see `isa/probe.rs`).

use super::intrinsics::{vdupq_n_s8, vdupq_n_s32};
use super::level::{Level, Sums};
use crate::isa::probe::PeakRun;

/// Products of 2 rows by 2 tokens that are summed side by side: four vectors each, or one.
const CHAINS: usize = 6;

pub(super) fn multiply_add_peak<L: Level>(level: L, turns: u32) -> PeakRun {
    let x = [vdupq_n_s8(1); 2];
    let mut w = x;
    let mut sums: [Sums; CHAINS] = std::array::from_fn(|i| [[vdupq_n_s32(i as i32); 2]; 2]);
    for _ in 0..turns {
        for sums in &mut sums {
            // Products of its own instruction could be computed once for all; sdot and smmla are
            // opaque.
            if L::TRANSPARENT {
                w = std::hint::black_box(w);
            }
            level.multiply(sums, w, x);
        }
    }
    let checksum = level
        .totals(sums[0])
        .into_iter()
        .flatten()
        .map(i64::from)
        .sum();
    std::hint::black_box(sums);
    PeakRun {
        // 16 columns of 2 rows by 2 tokens.
        multiply_adds: u64::from(turns) * CHAINS as u64 * 64,
        checksum,
    }
}
