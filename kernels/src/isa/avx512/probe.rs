//! The pure loops of AVX-512 (see `isa/probe.rs`).

use std::arch::x86_64::*;

use crate::isa::probe::{PeakRun, words};
use crate::isa::x86::probe::{AHEAD, CHAINS, TURN, read};

#[rustfmt::skip]
read!(read_through, "avx512f", __m512i, _mm512_setzero_si512, _mm512_loadu_si512, _mm512_xor_si512);

/// See [`crate::Isa::multiply_add_peak`].
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn multiply_add_peak(turns: u32) -> PeakRun {
    let (codes, activations) = (_mm512_set1_epi8(1), _mm512_set1_epi8(1));
    // Different at the start, or they would be one chain.
    let mut sums: [__m512i; CHAINS] = std::array::from_fn(|i| _mm512_set1_epi32(i as i32));
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, codes, activations);
        }
    }
    // SAFETY: both are plain bytes of the same size.
    let lanes: [i32; 16] = unsafe { std::mem::transmute(sums[0]) };
    std::hint::black_box(sums);
    PeakRun {
        multiply_adds: u64::from(turns) * CHAINS as u64 * 64,
        checksum: lanes.into_iter().map(i64::from).sum(),
    }
}
