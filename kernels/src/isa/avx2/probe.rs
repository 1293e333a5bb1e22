//! The pure loops of AVX2 (see `isa/probe.rs`).

use std::arch::asm;
use std::arch::x86_64::*;

use crate::isa::probe::{PeakRun, words};
use crate::isa::x86::probe::{AHEAD, CHAINS, TURN, read};

#[rustfmt::skip]
read!(read_through, "avx2", __m256i, _mm256_setzero_si256, _mm256_loadu_si256, _mm256_xor_si256);

/// See [`crate::Isa::multiply_add_peak`].
#[target_feature(enable = "avx2")]
pub(super) fn multiply_add_peak(turns: u32) -> PeakRun {
    let mut codes = _mm256_set1_epi8(1);
    let activations = _mm256_set1_epi8(1);
    // Different at the start, or they would be one chain.
    let mut sums: [__m256i; CHAINS] = std::array::from_fn(|i| _mm256_set1_epi16(i as i16));
    for _ in 0..turns {
        for sum in &mut sums {
            // SAFETY: does nothing. It makes `codes` unknown, so that no product is computed once
            // for all.
            unsafe {
                asm!("/* {0} */", inout(ymm_reg) codes, options(nomem, nostack, preserves_flags));
            }
            *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(codes, activations));
        }
    }
    // SAFETY: both are plain bytes of the same size.
    let lanes: [i16; 16] = unsafe { std::mem::transmute(sums[0]) };
    std::hint::black_box(sums);
    PeakRun {
        multiply_adds: u64::from(turns) * CHAINS as u64 * 32,
        checksum: lanes.into_iter().map(i64::from).sum(),
    }
}
