//! Walks over rows and tokens of an I2_S product, for loops that take a tile of both.

use super::outputs::write_row;
use crate::ternary::Block;
use crate::{OutputRows, QuantizedActivations, Ternary};

/// The inner loop of an ISA that lets [`matmul_tiles`] walk rows and tokens; X is a token as it
/// reads one.
pub(crate) trait I2sTile<X: Copy>: Copy {
    /// sums[r][t] = sum of code * q, exact. All rows and tokens have as many blocks as `w[0]`.
    fn tile<const R: usize, const T: usize>(self, w: [&[Block]; R], x: [X; T]) -> [[i32; T]; R];
}

/// Rows whose packed bytes stay in L2 while all tokens pass over them.
const ROW_BLOCK: usize = 32;

/// Walks rows and tokens in tiles of R x T around an ISA's [`I2sTile`]; single tokens take R1 rows
/// at once.
#[inline(always)]
pub(crate) fn matmul_tiles<S, X, const R1: usize, const R: usize, const T: usize>(
    s: S,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    token: impl Fn(usize) -> X + Copy,
    out: &mut OutputRows<'_>,
) where
    S: I2sTile<X>,
    X: Copy,
{
    let range = out.range();
    for start in range.clone().step_by(ROW_BLOCK) {
        let end = range.end.min(start + ROW_BLOCK);
        let mut t = 0;
        while t < x.n_tokens() {
            // What is left over after the tiles of T goes by fours, twos and ones.
            t += match x.n_tokens() - t {
                left if left >= T => row_tiles::<S, X, R, T>(s, w, x, token, out, start..end, t),
                left if T > 4 && left >= 4 => {
                    row_tiles::<S, X, R, 4>(s, w, x, token, out, start..end, t)
                }
                left if left >= 2 => row_tiles::<S, X, R, 2>(s, w, x, token, out, start..end, t),
                _ => row_tiles::<S, X, R1, 1>(s, w, x, token, out, start..end, t),
            };
        }
    }
}

/// Rows `range` for tokens t..t + T; returns T.
#[inline(always)]
fn row_tiles<S: I2sTile<X>, X: Copy, const R: usize, const T: usize>(
    s: S,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    token: impl Fn(usize) -> X,
    out: &mut OutputRows<'_>,
    range: std::ops::Range<usize>,
    t: usize,
) -> usize {
    let tokens: [X; T] = std::array::from_fn(|i| token(t + i));
    let mut r = range.start;
    while r + R <= range.end {
        let sums = s.tile::<R, T>(std::array::from_fn(|i| w.row(r + i)), tokens);
        write(w, x, out, r, t, &sums);
        r += R;
    }
    // Tiles of one row leave none over.
    if R > 1 {
        for r in r..range.end {
            let sums = s.tile::<1, T>([w.row(r)], tokens);
            write(w, x, out, r, t, &sums);
        }
    }
    T
}

/// Writes a tile's results.
#[inline(always)]
fn write<const T: usize>(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    row: usize,
    t: usize,
    sums: &[[i32; T]],
) {
    for (r, sums) in sums.iter().enumerate() {
        write_row(w, x, out, row + r, t, sums);
    }
}
