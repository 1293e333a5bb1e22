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
        // Rows by fours are no layout for single rows: correct, and not fast.
        TernaryLayout::T5 => {
            for &row in rows {
                let row = row as usize;
                with_i2s_rows(w, row..row + 1, |w| {
                    isa.ternary_rows(w, x, &[row as u32], &mut out);
                });
            }
        }
    }
}
