//! Products that leave out what is known to be zero, and the layout by columns.

use crate::isa::unpacked;
use crate::sparse::columns::{self, Line, TILE};
use crate::{Isa, NonZero, OutputRows, QuantizedActivations, Ternary, TernaryColumns};

/// [`crate::ternary_matmul`] for the rows `rows` alone: the same bits there, and other outputs stay
/// as they are.
///
/// `rows` ascends strictly and lies within `out.range()`. Rows that are not listed are not read;
/// meant for few tokens.
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
    isa.ternary_rows(w, x, rows, &mut out);
}

/// The lines of rows `256 * tile..` of `w`, into `out` (`w.cols()` lines). Past the last row they
/// hold code 0.
///
/// # Panics
/// If there is no such tile, or `out` has another length: a caller's mistake.
pub fn pack_columns(isa: Isa, w: Ternary<'_>, tile: usize, out: &mut [Line]) {
    assert_eq!(out.len(), w.cols(), "a tile has a line for each column");
    let first = tile * TILE;
    assert!(first < w.rows(), "no such tile");
    let rows = first..w.rows().min(first + TILE);
    unpacked::with_i2s_rows(
        w,
        rows,
        |w, rows, out| isa.trits5_unpack(w, rows, out),
        |w| columns::pack(w, first, out),
    );
}

/// [`crate::ternary_matmul`] of the same matrix, to the bit, reading only the columns of `nonzero`.
///
/// Tokens are computed one after the other, each with its own columns, while a tile is in cache:
/// meant for few tokens. Threads should cut `out` at multiples of 256 rows; a tile that is cut is
/// computed for each part.
///
/// # Panics
/// If `x`, `nonzero`, `w` and `out` do not fit each other: a caller's mistake.
pub fn ternary_columns_matmul(
    isa: Isa,
    w: TernaryColumns<'_>,
    x: &QuantizedActivations,
    nonzero: &NonZero,
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
    assert!(
        (nonzero.k(), nonzero.n_tokens()) == (x.k(), x.n_tokens()),
        "columns of other activations"
    );
    assert!(
        out.range().end <= w.rows(),
        "output rows outside the matrix"
    );
    isa.ternary_columns(w, x, nonzero, &mut out);
}
