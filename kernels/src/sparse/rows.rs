//! The ternary product for some of the matrix's rows.

use crate::trits5::with_i2s_rows;
use crate::{Isa, OutputRows, QuantizedActivations, Ternary, TernaryLayout};

/// [`crate::ternary_matmul`] for the rows `rows` alone: the same bits there, and other outputs stay as they are.
///
/// `rows` ascends strictly and lies within `out.range()`. Rows that are not listed are not read; meant for few tokens.
///
/// # Panics
/// As `ternary_matmul`, and where `rows` is not as said: a caller's mistake.
pub fn ternary_matmul_rows(
    isa: Isa,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    rows: &[u32],
    mut out: OutputRows<'_>,
) {
    assert_eq!(
        x.k(),
        w.cols(),
        "activations of another width than the matrix"
    );
    assert_eq!(
        x.n_tokens(),
        out.n_tokens(),
        "output for another number of tokens"
    );
    let range = out.range();
    assert!(range.end <= w.rows(), "output rows outside the matrix");
    assert!(
        rows.is_sorted_by(|a, b| a < b)
            && rows.first().is_none_or(|&r| r as usize >= range.start)
            && rows.last().is_none_or(|&r| (r as usize) < range.end),
        "listed rows outside the output, or not ascending"
    );
    match w.layout() {
        TernaryLayout::I2S => isa.ternary_rows(w, x, rows, &mut out),
        TernaryLayout::T5 if isa.has_trits5() => isa.trits5_rows(w, x, rows, &mut out),
        TernaryLayout::T5 => {
            for run in rows.chunk_by(|a, b| a + 1 == *b) {
                let rows = run[0] as usize..run[0] as usize + run.len();
                with_i2s_rows(isa, w, rows, |w| isa.ternary_rows(w, x, run, &mut out));
            }
        }
    }
}
