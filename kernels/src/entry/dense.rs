//! The product of a dense matrix, and its input.

use crate::dense::{Dense, DenseInput, DenseType};
use crate::{Isa, OutputRows};

impl DenseInput {
    /// Replaces the contents by the rows of `x`, `[n_tokens, k]`, for a matrix stored as `ty`.
    ///
    /// For Q8_0 and Q6_K: q = round_half_even(x * s), s = limit / max(max |x|, 1e-5), limit 32767
    /// or 16383. A row with a NaN or an infinity gets scale NaN, and so NaN results.
    pub fn set(&mut self, isa: Isa, x: &[f32], k: usize, ty: DenseType) {
        self.fill(x, k, ty, |x, limit, q| isa.quantize_row_wide(x, limit, q));
        isa.pack_dense(self);
    }
}

/// `out[t][r] = sum_j x[t][j] * w[r][j]`, for the rows of `out`.
///
/// # Panics
/// If `x` was set for another type or width than `w`, or `out` has other tokens than `x` or rows
/// outside `w`: a caller's mistake.
pub fn dense_matmul(isa: Isa, w: Dense<'_>, x: &DenseInput, mut out: OutputRows<'_>) {
    assert!(
        quantised(w.ty()) == quantised(x.ty()) && (!quantised(w.ty()) || w.ty() == x.ty()),
        "input set for another type"
    );
    assert_eq!(x.k(), w.cols(), "input of another width than the matrix");
    assert_eq!(
        x.n_tokens(),
        out.n_tokens(),
        "output for another number of tokens"
    );
    assert!(
        out.range().end <= w.rows(),
        "output rows outside the matrix"
    );
    isa.dense_matmul(w, x, &mut out);
}

fn quantised(ty: DenseType) -> bool {
    matches!(ty, DenseType::Q8_0 | DenseType::Q6K)
}
