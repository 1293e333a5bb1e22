//! Dense products over any ISA: walks over rows and tokens. Decode reads each weight once; rows are
//! the outer loop.

use super::kernels::Kernels;
use crate::OutputRows;
use crate::dense::{Dense, DenseInput, DenseType};
use crate::simd::lanes::{LANES, padded};
use crate::simd::tree_sum;

/// The inner loop of a quantised type; X is a token as it reads one.
pub(crate) trait RowLoop<X: Copy>: Copy {
    /// The lanes of one row for some tokens.
    fn lanes<const T: usize>(self, w: &[u8], x: [X; T]) -> [[f32; LANES]; T];
}

/// Q8_0 by an ISA's loop.
#[derive(Clone, Copy)]
struct Q8_0<K>(K);

impl<K: Kernels> RowLoop<&[i16]> for Q8_0<K> {
    #[inline(always)]
    fn lanes<const T: usize>(self, w: &[u8], x: [&[i16]; T]) -> [[f32; LANES]; T] {
        self.0.q8_0_row(w, x)
    }
}

/// Packs what the product will read.
pub(crate) fn pack<K: Kernels>(k: K, x: &DenseInput) {
    if x.ty() == DenseType::Q6K {
        x.packed()
            .get(&mut Default::default(), |packed| k.pack_q6_k(x, packed));
    }
}

/// See [`crate::dense_matmul`].
#[inline(always)]
pub(crate) fn matmul<S: Kernels>(s: S, w: Dense<'_>, x: &DenseInput, out: &mut OutputRows<'_>) {
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
        DenseType::Q8_0 => quant_rows(Q8_0(s), w, x, |t| x.wide(t), out),
        DenseType::Q6K => {
            let mut own = Default::default();
            let packed = x.packed().get(&mut own, |packed| s.pack_q6_k(x, packed));
            s.q6_k_matmul(w, x, packed, out);
        }
    }
}

/// Float types. Decode takes four rows at once so that their additions overlap; more tokens take
/// two rows by two tokens, which also halves the conversions to f32. B is the bytes of 16 weights.
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

/// Rows r..r + R for tokens t..t + T: w . x, lane i % 16 summing element i, then the tree. Returns
/// T.
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

/// Quantised types: a row at a time, one linear stream of bytes; up to four tokens share each
/// unpacked block.
#[inline(always)]
pub(crate) fn quant_rows<L: RowLoop<X>, X: Copy>(
    row_loop: L,
    w: Dense<'_>,
    x: &DenseInput,
    token: impl Fn(usize) -> X + Copy,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    for r in range.clone() {
        let mut t = 0;
        while t < x.n_tokens() {
            t += match x.n_tokens() - t {
                1 => quant_tile::<L, X, 1>(row_loop, w, x, token, out, r, t),
                2 | 3 => quant_tile::<L, X, 2>(row_loop, w, x, token, out, r, t),
                _ => quant_tile::<L, X, 4>(row_loop, w, x, token, out, r, t),
            };
        }
    }
}

/// Row `r` for tokens t..t + T; returns T.
#[inline(always)]
fn quant_tile<L: RowLoop<X>, X: Copy, const T: usize>(
    row_loop: L,
    w: Dense<'_>,
    x: &DenseInput,
    token: impl Fn(usize) -> X,
    out: &mut OutputRows<'_>,
    r: usize,
    t: usize,
) -> usize {
    let tokens = std::array::from_fn(
        #[inline(always)]
        |i| token(t + i),
    );
    let lanes = row_loop.lanes::<T>(w.row(r), tokens);
    let at = r - out.range().start;
    for (i, lanes) in lanes.into_iter().enumerate() {
        out.token(t + i)[at] = tree_sum(lanes) / x.scale(t + i);
    }
    T
}
