//! Products with trits5 rows that are unpacked to I2_S first, a few at a time: where an ISA has no
//! loop for trits5, or none for so many tokens.

use std::cell::RefCell;
use std::ops::Range;

use super::kernels::Kernels;
use crate::ternary::Block;
use crate::trits5::{self, GROUP_BYTES};
use crate::{OutputRows, Ternary, TernaryLayout};

/// Rows that are unpacked at a time: they stay in L2.
pub(crate) const PANEL: usize = 32;

thread_local! {
    /// Unpacked rows: kept, so that a product allocates nothing.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `use_rows` with the rows `rows` of `w` in I2_S, under their own numbers. `unpack` is an
/// ISA's `trits5_unpack`.
pub(crate) fn with_i2s_rows<R>(
    w: Ternary<'_>,
    rows: Range<usize>,
    unpack: impl FnOnce(Ternary<'_>, Range<usize>, &mut [u8]),
    use_rows: impl FnOnce(Ternary<'_>) -> R,
) -> R {
    if w.layout() == TernaryLayout::I2S {
        return use_rows(w);
    }
    SCRATCH.with_borrow_mut(|unpacked| {
        let n = rows.len() * Ternary::row_bytes(w.cols());
        if unpacked.len() < n {
            unpacked.resize(n, 0);
        }
        unpack(w, rows.clone(), &mut unpacked[..n]);
        use_rows(w.window(rows.start, &unpacked[..n]))
    })
}

/// The product, by `product`, which takes I2_S rows: they are unpacked once for all tokens, `panel`
/// at a time.
pub(crate) fn matmul(
    w: Ternary<'_>,
    out: &mut OutputRows<'_>,
    panel: usize,
    unpack: impl Fn(Ternary<'_>, Range<usize>, &mut [u8]),
    product: impl Fn(Ternary<'_>, &mut OutputRows<'_>),
) {
    let range = out.range();
    for start in range.clone().step_by(panel) {
        let rows = start..range.end.min(start + panel);
        let mut part = out.part(rows.clone());
        with_i2s_rows(w, rows, &unpack, |w| product(w, &mut part));
    }
}

/// The product for listed rows, run by run.
pub(crate) fn rows(
    w: Ternary<'_>,
    rows: &[u32],
    out: &mut OutputRows<'_>,
    unpack: impl Fn(Ternary<'_>, Range<usize>, &mut [u8]),
    product: impl Fn(Ternary<'_>, &[u32], &mut OutputRows<'_>),
) {
    for run in rows.chunk_by(|a, b| a + 1 == *b) {
        let rows = run[0] as usize..run[0] as usize + run.len();
        with_i2s_rows(w, rows, &unpack, |w| product(w, run, out));
    }
}

/// Unpacking in portable code.
pub(crate) fn unpack<K: Kernels>(_: K, w: Ternary<'_>, rows: Range<usize>, out: &mut [u8]) {
    trits5::unpack::unpack_rows(w, rows, out);
}

/// Packing is left to portable code.
pub(crate) fn pack<K: Kernels>(_: K, _: &[Block], _: &mut [[u8; GROUP_BYTES]]) -> (usize, bool) {
    (0, true)
}
