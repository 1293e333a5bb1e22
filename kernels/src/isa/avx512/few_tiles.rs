//! The walk over rows and tokens around tiles whose codes are unpacked in registers: 4 rows by up
//! to 4 tokens, or 2 rows by up to 8. Fewer tokens want more rows, since a load of activations then
//! serves more products; more tokens want fewer, since a row is unpacked once a tile.

use std::arch::x86_64::__m128i;

/// Tokens of a tile of 4 rows, and of one of 2 rows.
pub(super) const FEW: usize = 4;
pub(super) const MANY: usize = 8;
/// Rows whose packed bytes stay in cache while all tokens pass over them.
pub(super) const ROWS: usize = 32;

/// Sums of code * q of a tile's tokens, for the rows that are passed over together.
pub(super) type Sums = [[i32; ROWS]; MANY];

/// Into how many columns to cut the rows of a tile of `n` tokens, so that the tile's activations
/// (36 KB, one byte each) stay in L1 while rows pass over them: whole blocks of I2_S and whole
/// groups of trits5.
pub(super) fn part_cols(n: usize, cols: usize) -> usize {
    const IN_L1: usize = 36 << 10;
    const WHOLE: usize = 384;
    let parts = (n * cols).div_ceil(IN_L1).max(1);
    cols.div_ceil(parts).next_multiple_of(WHOLE)
}

/// Prefetch distance of a tile of `n` tokens over rows of `row_bytes`: of
/// rows that are not cut as any linear read does, of others the same part some rows later.
pub(super) fn bytes_ahead(n: usize, cols: usize, row_bytes: usize) -> usize {
    if part_cols(n, cols) < cols {
        8 * row_bytes
    } else {
        crate::isa::avx2::PREFETCH_FAR_BYTES
    }
}

/// Adds to `sums[i / R][at + i % R]` the sums of four of a tile's registers, the first of which is
/// number `first` of `N * R`.
#[inline(always)]
pub(super) fn add_four<const R: usize, const N: usize>(
    sums: &mut Sums,
    at: usize,
    first: usize,
    four: __m128i,
) {
    assert!(at + R <= ROWS && N <= MANY);
    let mut lanes = [0; 4];
    // SAFETY: 16 bytes, any alignment; SSE2 is part of x86-64.
    unsafe { std::arch::x86_64::_mm_storeu_si128(lanes.as_mut_ptr().cast(), four) };
    for (i, add) in (first..N * R).zip(lanes) {
        sums[i / R][at + i % R] += add;
    }
}

/// Makes `matmul(w, x, out)` of `tile::<R, N>(w, rows, x, t, columns, ahead)`, which gives the sums
/// of code * q of R rows by N tokens from `t` on over some columns, `acc[token][row]`, and of
/// `add_lanes`, which adds up the lanes of four such registers. The name is of a const parameter of
/// all: whether it is an Intel CPU's variant.
macro_rules! matmul_in_registers {
    ($features:literal, $tile:ident, $add_lanes:ident , $variant:ident) => {
        /// See [`crate::ternary_matmul`].
        #[target_feature(enable = $features)]
        pub(super) fn matmul<const $variant: bool>(
            w: crate::Ternary<'_>,
            x: &crate::QuantizedActivations,
            out: &mut crate::OutputRows<'_>,
        ) {
            use super::few_tiles::{FEW, MANY, ROWS};
            let range = out.range();
            let most = if x.n_tokens() <= FEW { FEW } else { MANY };
            for start in range.clone().step_by(ROWS) {
                let rows = start..range.end.min(start + ROWS);
                for (t, n) in super::token_tiles::token_tiles(x.n_tokens(), most) {
                    let rows = rows.clone();
                    match n {
                        8 => token_tile::<2, 8, $variant>(w, x, out, rows, t),
                        7 => token_tile::<2, 7, $variant>(w, x, out, rows, t),
                        6 => token_tile::<2, 6, $variant>(w, x, out, rows, t),
                        5 => token_tile::<2, 5, $variant>(w, x, out, rows, t),
                        4 => token_tile::<4, 4, $variant>(w, x, out, rows, t),
                        3 => token_tile::<4, 3, $variant>(w, x, out, rows, t),
                        2 => token_tile::<4, 2, $variant>(w, x, out, rows, t),
                        _ => token_tile::<4, 1, $variant>(w, x, out, rows, t),
                    }
                }
            }
        }

        /// Rows `rows` for tokens t..t + N.
        #[inline]
        #[target_feature(enable = $features)]
        fn token_tile<const R: usize, const N: usize, const $variant: bool>(
            w: crate::Ternary<'_>,
            x: &crate::QuantizedActivations,
            out: &mut crate::OutputRows<'_>,
            rows: std::ops::Range<usize>,
            t: usize,
        ) {
            use super::few_tiles::{MANY, ROWS, add_four, bytes_ahead, part_cols};
            let part = part_cols(N, w.cols());
            let ahead = bytes_ahead(N, w.cols(), w.layout().bytes(1, w.cols()));
            let mut sums = [[0; ROWS]; MANY];
            for start in (0..w.cols()).step_by(part) {
                let columns = start..w.cols().min(start + part);
                for r in rows.clone().step_by(R) {
                    let mut tile_rows = [r; R];
                    for (i, row) in tile_rows.iter_mut().enumerate() {
                        // Past the last row the last one again; its result is not written.
                        *row = (r + i).min(rows.end - 1);
                    }
                    let acc = $tile::<R, N, $variant>(w, tile_rows, x, t, columns.clone(), ahead);
                    let acc = acc.as_flattened();
                    for first in (0..acc.len()).step_by(4) {
                        let get = |i: usize| acc[(first + i).min(acc.len() - 1)];
                        let four = $add_lanes([get(0), get(1), get(2), get(3)]);
                        add_four::<R, N>(&mut sums, r - rows.start, first, four);
                    }
                }
            }
            for (i, sums) in sums[..N].iter().enumerate() {
                crate::isa::outputs::write_token(w, x, out, rows.start, t + i, &sums[..rows.len()]);
            }
        }
    };
}

pub(super) use matmul_in_registers;

#[cfg(test)]
mod tests {
    use super::part_cols;

    #[test]
    fn parts_are_whole_groups_and_their_activations_fit() {
        for (n, cols) in [
            (1, 2560),
            (8, 2560),
            (4, 6912),
            (8, 6912),
            (5, 20480),
            (8, 1),
        ] {
            let part = part_cols(n, cols);
            assert!(part.is_multiple_of(128) && part.is_multiple_of(192));
            assert!(
                n * part <= (36 << 10) + n * 384,
                "{n} tokens of {part} columns"
            );
        }
        assert_eq!(part_cols(8, 2560), 2688, "not cut");
        assert_eq!(part_cols(8, 6912), 3456, "cut in two");
    }
}
