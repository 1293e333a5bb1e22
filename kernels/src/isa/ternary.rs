//! The ternary product over any ISA: which layout it is, and the input as the loops read it.

use super::kernels::Kernels;
use crate::{OutputRows, QuantizedActivations, Ternary, TernaryLayout};

/// See [`crate::ternary_matmul`].
///
/// One token streams the weights once (decode); several unpack each weight block once for a tile of
/// tokens.
#[inline]
pub(crate) fn matmul<K: Kernels>(
    k: K,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
) {
    match w.layout() {
        TernaryLayout::I2S => {
            let mut own = Default::default();
            let packed = x.packed().get(&mut own, |packed| k.pack_i2s(x, packed));
            k.i2s_matmul(w, x, packed, out);
        }
        TernaryLayout::Trits5 => k.trits5_matmul(w, x, out),
    }
}

/// See [`crate::ternary_matmul_rows`].
#[inline]
pub(crate) fn rows<K: Kernels>(
    k: K,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    rows: &[u32],
    out: &mut OutputRows<'_>,
) {
    match w.layout() {
        TernaryLayout::I2S => {
            let mut own = Default::default();
            let packed = x.packed().get(&mut own, |packed| k.pack_i2s(x, packed));
            k.i2s_rows(w, x, packed, rows, out);
        }
        TernaryLayout::Trits5 => k.trits5_rows(w, x, rows, out),
    }
}

/// Listed rows for an ISA without a loop for them: as many neighbours at once as there are.
#[inline]
pub(crate) fn i2s_runs<K: Kernels>(
    k: K,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    packed: &K::I2sInput,
    rows: &[u32],
    out: &mut OutputRows<'_>,
) {
    for run in rows.chunk_by(|a, b| a + 1 == *b) {
        let run = run[0] as usize..run[0] as usize + run.len();
        k.i2s_matmul(w, x, packed, &mut out.part(run));
    }
}
