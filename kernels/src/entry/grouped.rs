//! The product of a group-scaled matrix, and its input.

use crate::{BlockActivations, BlockRowToFill, Grouped, Isa, OutputRows};

impl BlockActivations {
    /// Replaces the contents by the rows of `x`, `[n_tokens, cols]` (a partial last row is left
    /// out).
    ///
    /// A block with a NaN or an infinity gets scale NaN, so that everything computed from its token
    /// is NaN rather than plausible.
    ///
    /// # Panics
    /// If `cols` is 0 or no multiple of 32: a caller's mistake.
    pub fn quantize(&mut self, isa: Isa, x: &[f32], cols: usize) {
        let n_tokens = x.len().checked_div(cols).unwrap_or(0);
        let rows = self.rows_to_fill(n_tokens, cols);
        for (row, x) in rows.zip(x.chunks_exact(cols)) {
            row.quantize(isa, x);
        }
    }
}

impl BlockRowToFill<'_> {
    /// Fills it with `x`, `[cols]`.
    pub fn quantize(self, isa: Isa, x: &[f32]) {
        isa.quantize_blocks(x, self.blocks);
    }
}

/// `out[t][r] = sum_g d[r][g] * sum_b s[t][b] * sum_j q[t][j] * w[r][j]`, for the rows of `out`:
/// groups g of row r, blocks b of group g, columns j of block b, in their order.
///
/// The sum over j is exact in i32. The others are f32, multiply then add, from 0 on, so that every
/// ISA gives the same bits. One token streams the weights once (decode); several unpack each block
/// once for a tile of tokens. Threads should cut `out` at multiples of 16 rows; a tile that is cut
/// is computed for each part.
///
/// # Panics
/// If `x` has not `w`'s columns a token, or `out` other tokens than `x` or rows outside `w`: a
/// caller's mistake.
pub fn grouped_matmul(isa: Isa, w: Grouped<'_>, x: &BlockActivations, mut out: OutputRows<'_>) {
    assert_eq!(
        x.cols(),
        w.shape().cols(),
        "activations of another width than the matrix"
    );
    assert_eq!(
        x.n_tokens(),
        out.n_tokens(),
        "output for another number of tokens"
    );
    assert!(
        out.range().end <= w.shape().rows(),
        "output rows outside the matrix"
    );
    isa.grouped_matmul(w, x, &mut out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grouped::BLOCK;
    use crate::{GroupCodes, GroupShape, pack_group_tile};

    #[test]
    fn values_round_half_to_even_in_blocks_of_their_own() {
        let mut x = [0.0; 4 * BLOCK];
        x[..5].copy_from_slice(&[127.0, 0.5, 1.5, -2.5, -127.0]);
        x[BLOCK] = 1e-38;
        x[2 * BLOCK..3 * BLOCK].fill(-3e38);
        x[3 * BLOCK] = f32::INFINITY;
        let mut q = BlockActivations::with_capacity(2, 2 * BLOCK);
        q.quantize(Isa::SCALAR, &x, 2 * BLOCK);
        assert_eq!((q.n_tokens(), q.cols()), (2, 2 * BLOCK));
        let [first, second] = q.row(0) else {
            panic!("two blocks")
        };
        assert_eq!(first.q[..6], [127, 0, 2, -2, -127, 0]);
        assert_eq!((first.scale, first.minus_sum), (1.0, 0));
        assert_eq!((second.q, second.scale), ([0; BLOCK], 0.0));
        let [first, second] = q.row(1) else {
            panic!("two blocks")
        };
        assert_eq!((first.q, first.minus_sum), ([-127; BLOCK], 127 * 32));
        assert_eq!(first.scale, 3e38 / 127.0);
        assert!(second.scale.is_nan());
        assert!(q.rows_to_fill(3, BLOCK).len() == 3 && q.row(2)[0].scale.is_nan());
    }

    #[test]
    fn the_product_follows_its_definition() {
        let (rows, cols, n_tokens) = (19, 192, 3);
        for codes in GroupCodes::ALL {
            let shape = GroupShape::new(rows, cols, 64, codes).unwrap();
            let mut packed = vec![0; shape.packed_bytes()];
            for (tile, out) in packed.chunks_exact_mut(shape.tile_bytes()).enumerate() {
                let fill = |row, codes: &mut [i8], scales: &mut [u16]| {
                    for (col, code) in codes.iter_mut().enumerate() {
                        *code = if (row * 31 + col * 17) % 7 < 3 { 1 } else { -1 };
                    }
                    for (group, scale) in scales.iter_mut().enumerate() {
                        let d = (row * 3 + group + 1) as f32 * 0.01;
                        *scale = half::f16::from_f32(d).to_bits();
                    }
                };
                pack_group_tile(shape, tile, fill, out);
            }
            let w = Grouped::new(shape, &packed).unwrap();
            let x: Vec<f32> = (0..n_tokens * cols)
                .map(|i| (i % 11) as f32 - 5.0)
                .collect();
            let mut q = BlockActivations::with_capacity(n_tokens, cols);
            q.quantize(Isa::SCALAR, &x, cols);
            let mut out = vec![0.0; n_tokens * rows];
            let view = OutputRows::new(&mut out, n_tokens, rows).unwrap();
            grouped_matmul(Isa::SCALAR, w, &q, view);
            let mut row = vec![0.0; cols];
            for (r, t) in (0..rows).flat_map(|r| (0..n_tokens).map(move |t| (r, t))) {
                w.row(r, &mut row);
                let mut sum = 0.0;
                for (group, x) in row.chunks(64).zip(q.row(t).chunks(2)) {
                    let mut group_sum = 0.0;
                    for (weights, x) in group.chunks(BLOCK).zip(x) {
                        let signs = weights.iter().map(|w| w.signum() as i32);
                        let dot: i32 = signs.zip(x.q).map(|(w, q)| w * i32::from(q)).sum();
                        group_sum += dot as f32 * x.scale;
                    }
                    sum += group_sum * group[0].abs();
                }
                assert_eq!(out[t * rows + r], sum, "{codes:?}, row {r}, token {t}");
            }
        }
    }
}
