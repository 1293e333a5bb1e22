//! Proof of VBMI besides AVX-512, and what needs it: the loops over layout trits5, and the bytes of
//! layout trits8.

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use super::trits5_codes::load;
use super::{trits5_few, trits5_one, trits5_pack, trits5_unpack};
use crate::grouped::trits8::{FIFTH, two_bits, unpack_byte};
use crate::isa::x86::vendor::intel;
use crate::ternary::Block;
use crate::trits5::GROUP_BYTES;
use crate::{OutputRows, QuantizedActivations, Ternary};

/// Proof of AVX-512 VBMI. Only [`super::Avx512`] holds one, so that it proves what that proves too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vbmi(());

/// Calls of what has the features; see `avx2/mod.rs`.
macro_rules! with_token {
    ($($body:tt)*) => {
        // SAFETY: `self` exists only where `Vbmi::new` found VBMI, in an `Avx512`, which found the
        // rest.
        unsafe { $($body)* }
    };
}

impl Vbmi {
    pub(super) fn new() -> Option<Self> {
        is_x86_feature_detected!("avx512vbmi").then_some(Self(()))
    }

    /// For fewer than many tokens; see [`crate::ternary_matmul`].
    pub(super) fn matmul(self, w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>) {
        match x.n_tokens() {
            1 if intel() => with_token!(trits5_one::matvec::<true>(w, x, out)),
            1 => with_token!(trits5_one::matvec::<false>(w, x, out)),
            _ if intel() => with_token!(trits5_few::matmul::<true>(w, x, out)),
            _ => with_token!(trits5_few::matmul::<false>(w, x, out)),
        }
    }

    /// See [`crate::ternary_matmul_rows`].
    pub(super) fn rows(
        self,
        w: Ternary<'_>,
        x: &QuantizedActivations,
        rows: &[u32],
        out: &mut OutputRows<'_>,
    ) {
        with_token!(trits5_one::rows(w, x, rows, out));
    }

    /// See [`crate::isa::kernels::Kernels::trits5_unpack`].
    pub(super) fn unpack(self, w: Ternary<'_>, rows: Range<usize>, out: &mut [u8]) {
        with_token!(trits5_unpack::unpack(w, rows, out));
    }

    /// See [`crate::isa::kernels::Kernels::trits5_pack`].
    pub(super) fn pack(self, blocks: &[Block], out: &mut [[u8; GROUP_BYTES]]) -> (usize, bool) {
        with_token!(trits5_pack::pack(blocks, out))
    }
    /// Of bytes in layout trits8 the first four codes in two bits each, and the fifths.
    #[inline(always)]
    pub(super) fn split_fives(self, bytes: __m512i) -> (__m512i, __m512i) {
        with_token!(split_fives(bytes))
    }
}

/// The fifth code, and what it adds, by a byte's upper six bits.
const FIFTHS: [[u8; 64]; 2] = {
    let mut tables = [[0; 64]; 2];
    let mut i = 0;
    while i < 64 {
        let fifth = unpack_byte(4 * i as u8).1;
        tables[0][i] = fifth;
        tables[1][i] = FIFTH * fifth;
        i += 1;
    }
    tables
};

/// Four codes by their number.
const FOURS: [[u8; 64]; 2] = {
    let mut tables = [[0; 64]; 2];
    let mut i = 0;
    // What is left of any byte is below.
    while i < FIFTH as usize + 4 {
        tables[i / 64][i % 64] = two_bits(i as u8);
        i += 1;
    }
    tables
};

/// Assembly, so that this is inlined into loops that are compiled without VBMI too.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn split_fives(bytes: __m512i) -> (__m512i, __m512i) {
    let (fifths, added) = (load(&FIFTHS[0]), load(&FIFTHS[1]));
    let (low, high) = (load(&FOURS[0]), load(&FOURS[1]));
    let upper = _mm512_srli_epi16::<2>(bytes);
    let (fifth, taken, mut four);
    // SAFETY: the caller vouches for VBMI; registers only.
    unsafe {
        asm!(
            "vpermb {fifth}, {upper}, {fifths}",
            fifth = lateout(zmm_reg) fifth,
            upper = in(zmm_reg) upper,
            fifths = in(zmm_reg) fifths,
            options(pure, nomem, nostack, preserves_flags)
        );
        asm!(
            "vpermb {taken}, {upper}, {added}",
            taken = lateout(zmm_reg) taken,
            upper = in(zmm_reg) upper,
            added = in(zmm_reg) added,
            options(pure, nomem, nostack, preserves_flags)
        );
        four = _mm512_sub_epi8(bytes, taken);
        asm!(
            "vpermi2b {four}, {low}, {high}",
            four = inlateout(zmm_reg) four,
            low = in(zmm_reg) low,
            high = in(zmm_reg) high,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    (four, fifth)
}
