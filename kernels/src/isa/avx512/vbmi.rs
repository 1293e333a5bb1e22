//! Proof of VBMI besides AVX-512, and what needs it: the loops over layout trits5.

use std::ops::Range;

use super::{trits5_few, trits5_one, trits5_pack, trits5_unpack};
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
}
