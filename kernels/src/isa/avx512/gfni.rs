//! Proof of GFNI besides AVX-512: any bit of every byte by one instruction, where a shift and a
//! mask would be two.

use std::arch::asm;
use std::arch::x86_64::{__m512i, _mm512_set1_epi64};

/// Proof of GFNI. Only [`super::Avx512`] holds one, so that it proves what that proves too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gfni(());

impl Gfni {
    pub(super) fn new() -> Option<Self> {
        is_x86_feature_detected!("gfni").then_some(Self(()))
    }

    /// Bit `k` of every byte, as 0 or 2.
    #[inline(always)]
    pub(super) fn twice_bit(self, v: __m512i, k: usize) -> __m512i {
        // SAFETY: `self` exists only where `new` found GFNI, in an `Avx512`, which found the rest.
        unsafe { affine(v, k) }
    }
}

/// Assembly, so that this is inlined into loops that are compiled without GFNI too.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn affine(v: __m512i, k: usize) -> __m512i {
    // Row 1 of the matrix, its byte 6, makes bit 1 of a result.
    let matrix = _mm512_set1_epi64(1 << (8 * 6 + k));
    let result;
    // SAFETY: the caller vouches for GFNI; registers only.
    unsafe {
        asm!(
            "vgf2p8affineqb {result}, {v}, {matrix}, 0",
            result = lateout(zmm_reg) result,
            v = in(zmm_reg) v,
            matrix = in(zmm_reg) matrix,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    result
}
