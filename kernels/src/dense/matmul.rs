//! The product of a dense matrix with float or int16 rows. Decode reads each weight once; rows are the outer loop.

use super::{Dense, DenseInput, DenseType};
use crate::isa::{Kernels, tree_sum};
use crate::ops::lanes::{LANES, padded};
use crate::{Isa, OutputRows};

/// out[t][r] = sum_j x[t][j] * w[r][j], for the rows of `out`.
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
        DenseType::Q8_0 | DenseType::Q6K => quant_rows(s, w, x, out),
    }
}

/// Float types, four rows at once so that their additions overlap. B is the bytes of 16 weights.
#[inline(always)]
fn float_rows<S: Kernels, const B: usize>(
    s: S,
    w: Dense<'_>,
    x: &DenseInput,
    out: &mut OutputRows<'_>,
    load: impl Fn(&[u8; B]) -> S::F,
) {
    let range = out.range();
    let mut r = range.start;
    while r + 4 <= range.end {
        let rows = std::array::from_fn(|i| w.row(r + i));
        for t in 0..x.n_tokens() {
            let sums = dots::<S, B, 4>(s, rows, x.row(t), &load);
            out.token(t)[r - range.start..][..4].copy_from_slice(&sums);
        }
        r += 4;
    }
    for r in r..range.end {
        for t in 0..x.n_tokens() {
            out.token(t)[r - range.start] = dots::<S, B, 1>(s, [w.row(r)], x.row(t), &load)[0];
        }
    }
}

/// w . x for R rows, lane i % 16 summing element i, then the tree.
#[inline(always)]
fn dots<S: Kernels, const B: usize, const R: usize>(
    s: S,
    rows: [&[u8]; R],
    x: &[f32],
    load: &impl Fn(&[u8; B]) -> S::F,
) -> [f32; R] {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let parts = rows.map(|row| row.as_chunks::<B>());
    let mut acc = [s.splat(0.0); R];
    for (i, x) in chunks.iter().enumerate() {
        let x = s.load(x);
        for r in 0..R {
            s.prefetch(&parts[r].0[i]);
            acc[r] = s.add(acc[r], s.mul(load(&parts[r].0[i]), x));
        }
    }
    if !tail.is_empty() {
        let x = s.load(&padded(tail));
        for r in 0..R {
            let mut bytes = [0; B];
            bytes[..parts[r].1.len()].copy_from_slice(parts[r].1);
            acc[r] = s.add(acc[r], s.mul(load(&bytes), x));
        }
    }
    acc.map(
        #[inline(always)]
        |acc| s.sum(acc),
    )
}

/// Quantised types: a row at a time, one linear stream of bytes; up to four tokens share each unpacked block.
#[inline(always)]
fn quant_rows<S: Kernels>(s: S, w: Dense<'_>, x: &DenseInput, out: &mut OutputRows<'_>) {
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
