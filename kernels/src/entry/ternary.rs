//! The ternary product.

use crate::{Isa, OutputRows, QuantizedActivations, Ternary};

/// `out[t][r] = (sum_j q[t][j] * w[r][j]) as f32 / s_t * w.scale`, for the rows of `out`.
///
/// One token streams the weights once (decode); several unpack each weight block once for a tile of
/// tokens.
///
/// # Panics
/// If `x` has not `w.cols()` values a token, or `out` other tokens than `x` or rows outside `w`: a
/// caller's mistake.
pub fn ternary_matmul(isa: Isa, w: Ternary<'_>, x: &QuantizedActivations, mut out: OutputRows<'_>) {
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
        out.range().end <= w.rows(),
        "output rows outside the matrix"
    );
    isa.ternary_matmul(w, x, &mut out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::pack_ternary;

    #[test]
    fn the_product_follows_its_definition() {
        let (rows, cols, n_tokens) = (3, 130, 2);
        let trits: Vec<i8> = (0..rows * cols).map(|i| (i * 7 % 3) as i8 - 1).collect();
        let packed = pack_ternary(rows, cols, &trits);
        let w = Ternary::new(rows, cols, &packed, 0.5).unwrap();
        let x: Vec<f32> = (0..n_tokens * cols)
            .map(|i| (i % 11) as f32 - 5.0)
            .collect();
        let mut q = QuantizedActivations::with_capacity(n_tokens, cols);
        q.quantize(Isa::SCALAR, &x, cols);
        let mut out = vec![0.0; n_tokens * rows];
        ternary_matmul(
            Isa::SCALAR,
            w,
            &q,
            OutputRows::new(&mut out, n_tokens, rows).unwrap(),
        );
        for t in 0..n_tokens {
            for r in 0..rows {
                let sum: i32 = (0..cols)
                    .map(|j| i32::from(q.row(t)[j]) * i32::from(trits[r * cols + j]))
                    .sum();
                assert_eq!(out[t * rows + r], sum as f32 / q.scale(t) * 0.5);
            }
        }
    }
}
