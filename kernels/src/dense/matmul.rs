//! The product of a dense matrix with float or int16 rows. Decode reads each weight once; rows are the outer loop.

use super::{Dense, DenseInput, DenseType};
use crate::isa::Kernels;
use crate::simd::lanes::{LANES, padded};
use crate::simd::tree_sum;
use crate::{Isa, OutputRows};

/// `out[t][r] = sum_j x[t][j] * w[r][j]`, for the rows of `out`.
///
/// # Panics
/// If `x` was set for another type or width than `w`, or `out` has other tokens than `x` or rows outside `w`: a caller's
/// mistake.
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

/// [`dense_matmul`] for one ISA.
#[inline(always)]
pub(crate) fn matmul_rows<S: Kernels>(
    s: S,
    w: Dense<'_>,
    x: &DenseInput,
    out: &mut OutputRows<'_>,
) {
    match w.ty() {
        DenseType::F32 => float_rows(
            s,
            w,
            x,
            out,
            #[inline(always)]
            |v: &[u8; 4 * LANES]| s.load_f32(v),
        ),
        DenseType::F16 => float_rows(
            s,
            w,
            x,
            out,
            #[inline(always)]
            |v: &[u8; 2 * LANES]| s.load_f16(v),
        ),
        DenseType::Bf16 => float_rows(
            s,
            w,
            x,
            out,
            #[inline(always)]
            |v: &[u8; 2 * LANES]| s.load_bf16(v),
        ),
        DenseType::Q8_0 => quant_rows(s, w, x, out),
        DenseType::Q6K => s.q6_k_matmul(w, x, out),
    }
}

/// Float types. Decode takes four rows at once so that their additions overlap; more tokens take two rows by two tokens,
/// which also halves the conversions to f32. B is the bytes of 16 weights.
#[inline(always)]
fn float_rows<S: Kernels, const B: usize>(
    s: S,
    w: Dense<'_>,
    x: &DenseInput,
    out: &mut OutputRows<'_>,
    load: impl Fn(&[u8; B]) -> S::F,
) {
    let range = out.range();
    let group = if x.n_tokens() == 1 { 4 } else { 2 };
    let mut r = range.start;
    while r + group <= range.end {
        let mut t = 0;
        while t < x.n_tokens() {
            t += match (group, x.n_tokens() - t) {
                (4, _) => float_tile::<S, B, 4, 1>(s, w, x, out, (r, t), &load),
                (_, 1) => float_tile::<S, B, 2, 1>(s, w, x, out, (r, t), &load),
                _ => float_tile::<S, B, 2, 2>(s, w, x, out, (r, t), &load),
            };
        }
        r += group;
    }
    for r in r..range.end {
        for t in 0..x.n_tokens() {
            float_tile::<S, B, 1, 1>(s, w, x, out, (r, t), &load);
        }
    }
}

/// Rows r..r + R for tokens t..t + T: w . x, lane i % 16 summing element i, then the tree. Returns T.
#[inline(always)]
fn float_tile<S: Kernels, const B: usize, const R: usize, const T: usize>(
    s: S,
    w: Dense<'_>,
    x: &DenseInput,
    out: &mut OutputRows<'_>,
    (r, t): (usize, usize),
    load: &impl Fn(&[u8; B]) -> S::F,
) -> usize {
    let rows: [_; R] = std::array::from_fn(|i| w.row(r + i).as_chunks::<B>());
    let tokens: [_; T] = std::array::from_fn(|i| x.row(t + i).as_chunks::<LANES>());
    let mut acc = [[s.splat(0.0); T]; R];
    for i in 0..tokens[0].0.len() {
        let x: [S::F; T] = std::array::from_fn(
            #[inline(always)]
            |t| s.load(&tokens[t].0[i]),
        );
        for r in 0..R {
            s.prefetch(&rows[r].0[i]);
            let w = load(&rows[r].0[i]);
            for t in 0..T {
                acc[r][t] = s.add(acc[r][t], s.mul(w, x[t]));
            }
        }
    }
    if !tokens[0].1.is_empty() {
        for r in 0..R {
            let mut bytes = [0; B];
            bytes[..rows[r].1.len()].copy_from_slice(rows[r].1);
            for t in 0..T {
                let x = s.load(&padded(tokens[t].1));
                acc[r][t] = s.add(acc[r][t], s.mul(load(&bytes), x));
            }
        }
    }
    let at = r - out.range().start;
    for i in 0..T {
        let line = out.token(t + i);
        for (r, acc) in acc.iter().enumerate() {
            line[at + r] = s.sum(acc[i]);
        }
    }
    T
}

/// Quantised types: a row at a time, one linear stream of bytes; up to four tokens share each unpacked block.
#[inline(always)]
pub(crate) fn quant_rows<S: Kernels>(s: S, w: Dense<'_>, x: &DenseInput, out: &mut OutputRows<'_>) {
    let range = out.range();
    for r in range.clone() {
        let mut t = 0;
        while t < x.n_tokens() {
            t += match x.n_tokens() - t {
                1 => quant_tile::<S, 1>(s, w, x, out, r, t),
                2 | 3 => quant_tile::<S, 2>(s, w, x, out, r, t),
                _ => quant_tile::<S, 4>(s, w, x, out, r, t),
            };
        }
    }
}

/// Row `r` for tokens t..t + T; returns T.
#[inline(always)]
fn quant_tile<S: Kernels, const T: usize>(
    s: S,
    w: Dense<'_>,
    x: &DenseInput,
    out: &mut OutputRows<'_>,
    r: usize,
    t: usize,
) -> usize {
    let rows = std::array::from_fn(|i| x.quant_row(t + i));
    let lanes = match w.ty() {
        DenseType::Q8_0 => s.q8_0_row::<T>(w.row(r), rows),
        _ => s.q6_k_row::<T>(w.row(r), rows),
    };
    let at = r - out.range().start;
    for (i, lanes) in lanes.into_iter().enumerate() {
        out.token(t + i)[at] = tree_sum(lanes) / x.scale(t + i);
    }
    T
}
